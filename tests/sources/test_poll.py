"""A repository is asked page by page; what it has is published once, and nothing is passed over."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from tests.sources.test_folder import Broker
from topology.source import QuerySource
from waybill.sources.client import QueryClient
from waybill.sources.ledger import Doubt
from waybill.sources.page import Unreadable, next_page, read_page
from waybill.sources.poll import Answer, Failed, PollSource

URL = "https://partner.example/epcis/events"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(minute: int) -> str:
    return f"2026-03-01T10:{minute:02}:00.000Z"


def document(events: list[dict[str, Any]]) -> bytes:
    body = {"queryResults": {"queryName": "q", "resultsBody": {"eventList": events}}}
    return json.dumps({"type": "EPCISQueryDocument", "epcisBody": body}).encode()


class Repository:
    """Events with record times, in pages; faults that a test asks for, one for each request."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.asked: list[dict[str, str]] = []
        self.faults: list[Answer | Failed | None] = []
        self.last = 0

    def add(self, *minutes: int) -> None:
        for minute in minutes:
            self.events.append({"eventID": f"e{len(self.events)}", "recordTime": at(minute)})

    def fetch(self, url: str) -> Answer:
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        self.asked.append(query)
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, Failed):
            raise fault
        if fault is not None:
            return fault
        size, start = int(query["perPage"]), int(query.get("nextPageToken", 0))
        since = datetime.fromisoformat(query.get("GE_recordTime", "1970-01-01T00:00:00Z"))
        found = [event for event in self.events if datetime.fromisoformat(event["recordTime"]) >= since]
        headers = {}
        if start + size < len(found):
            more = f"{URL}?perPage={size}&nextPageToken={start + size}"
            more += f"&GE_recordTime={query['GE_recordTime']}" if "GE_recordTime" in query else ""
            headers["link"] = f'<{more}>; rel="next"'
        return Answer(200, "OK", headers, document(found[start : start + size]))


class World:
    """A repository, the broker, and processes of one source that come and go."""

    def __init__(self, **settings: Any) -> None:
        self.repository, self.broker, self.told = Repository(), Broker(), list[str]()
        given = {"kind": "epcis-query", "pipeline": "epcis", "url": URL, "per_page": 2, **settings}
        self.source = QuerySource.model_validate(given)
        self.begin()

    def begin(self) -> None:
        self.poll = PollSource(
            "partner-a", self.source, self.repository.fetch, self.broker, self.told.append, lambda: NOW
        )
        self.poll.start()

    def turn(self) -> int:
        return len(list(self.poll.turn(0)))

    @property
    def pages(self) -> list[list[str]]:
        """The ids of the events on `raw`, page by page."""
        found = [json.loads(value)["epcisBody"]["queryResults"]["resultsBody"] for value in self.broker.values]
        return [[event["eventID"] for event in page["eventList"]] for page in found]


def test_every_page_is_a_submission_and_the_next_round_asks_from_before_the_newest() -> None:
    world = World(parameters={"EQ_bizStep": "shipping"}, overlap=90, site="plant")
    world.repository.add(1, 2, 3, 4, 5)
    assert world.turn() == 3
    assert world.pages == [["e0", "e1"], ["e2", "e3"], ["e4"]]
    assert world.broker.raw[0][1] == {
        "content-type": b"application/ld+json", "waybill-source": URL.encode(), "waybill-site": b"plant",
        "waybill-channel": b"epcis-query", "waybill-publisher": b"partner-a",
        "waybill-received-at": b"2026-03-01T12:00:00.000Z",
    }  # fmt: skip
    world.turn()
    first, last = world.repository.asked[0], world.repository.asked[-1]
    assert first == {"EQ_bizStep": "shipping", "perPage": "2", "orderBy": "recordTime"}
    assert last == {**first, "GE_recordTime": "2026-03-01T10:03:30.000Z"}


def test_what_is_asked_for_again_and_has_not_changed_is_not_published_again() -> None:
    world = World()
    world.repository.add(1, 2, 3)
    assert world.turn() == 2
    assert [world.turn() for _ in range(3)] == [1, 0, 0], "the page around the newest event, once, then nothing"
    rows = dict(world.broker.rows)
    assert world.turn() == 0
    assert world.broker.rows == rows
    world.repository.add(4)
    world.turn()
    assert "e3" in {event for page in world.pages for event in page}


def test_a_late_event_within_the_overlap_is_found() -> None:
    world = World(overlap=120)
    world.repository.add(5)
    world.turn()
    world.repository.add(4)  # recorded before the newest, and shown after it
    world.turn()
    assert {event for page in world.pages for event in page} == {"e0", "e1"}


@pytest.mark.parametrize("fate", ["lost", "aborted"])
@pytest.mark.parametrize("page", [0, 1, 2])
def test_a_process_that_ended_at_any_page_is_followed_by_one_that_goes_on_there(page: int, fate: str) -> None:
    world = World()
    world.repository.add(1, 2, 3, 4, 5)
    world.broker.answers = ["well"] * page + [fate]
    with pytest.raises(Doubt):
        world.turn()
    world.begin()
    while world.poll.waiting or len(world.pages) < 3:
        world.turn()
    assert world.pages[:3] == [["e0", "e1"], ["e2", "e3"], ["e4"]]


def test_a_repository_that_asks_for_patience_gets_it_and_waits_grow() -> None:
    world = World(interval=60)
    world.repository.faults = [
        Answer(429, "Too Many Requests", {"retry-after": "17"}, b""), Answer(503, "", {}, b""), Failed("no answer"),
        Answer(401, "", {}, b""), Answer(302, "", {"location": "https://elsewhere.example"}, b""),
    ]  # fmt: skip
    pauses = []
    for _ in range(5):
        assert world.turn() == 0
        assert world.poll.waiting
        pauses.append(world.poll.pause)
    assert pauses == [17, 2, 4, 60, 60]
    world.repository.add(1)
    assert (world.turn(), world.poll.pause, world.poll.waiting) == (1, 60, False)


def test_a_page_token_that_has_expired_begins_the_round_anew() -> None:
    world = World()
    world.repository.add(1, 2, 3)
    world.repository.faults = [None, Answer(404, "Not Found", {}, b"")]
    assert world.turn() == 1
    assert world.poll.waiting
    world.begin()
    world.turn()
    assert {event for page in world.pages for event in page} == {"e0", "e1", "e2"}


def test_pages_that_go_in_a_circle_are_not_published_without_end() -> None:
    world = World()
    circle = Answer(200, "", {"link": f'<{URL}?nextPageToken=0>; rel="next"'}, document([{"recordTime": at(1)}]))
    world.repository.faults = [circle] * 3
    assert world.turn() == 1
    assert "circle" in world.told[0]
    assert world.poll.pause == 60


def test_a_record_time_in_the_future_hides_nothing() -> None:
    world = World(overlap=0)
    world.repository.events = [{"eventID": "e0", "recordTime": "9999-01-01T00:00:00Z"}]
    world.turn()
    world.turn()
    assert world.repository.asked[-1]["GE_recordTime"] == "2026-03-01T12:00:00.000Z"


def test_the_first_question_asks_from_where_it_is_told_and_nothing_is_nothing() -> None:
    world = World(since="2026-01-01T00:00:00+01:00", overlap=0)
    assert (world.turn(), world.broker.raw) == (0, [])
    assert world.repository.asked[0]["GE_recordTime"] == "2025-12-31T23:00:00.000Z"


@pytest.mark.parametrize("body", [b"", b"<epcis/>", b"[]", b"{}", b'{"epcisBody": {"queryResults": 1}}', b"[" * 5000])
def test_what_is_no_page_is_told_and_not_published(body: bytes) -> None:
    world = World()
    world.repository.faults = [Answer(200, "", {}, body)]
    assert (world.turn(), world.broker.raw, len(world.told)) == (0, [], 1)


def test_record_times_that_are_none_are_passed_over() -> None:
    times = [None, 5, "soon", "2026-03-01T10:00:00", "2026-03-01T10:00:00+02:00"]
    page = read_page(document([{"recordTime": one} for one in times]))
    assert (page.events, page.newest) == (5, datetime(2026, 3, 1, 8, tzinfo=UTC))


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        (None, None), ("", None), (f'<{URL}?a=1>; rel="prev"', None), (f"<{URL}?a=1>; rel=next", f"{URL}?a=1"),
        ('</epcis/events?nextPageToken=x%2By>; rel="next"', f"{URL}?nextPageToken=x%2By"),
        (f'<{URL}?a=1>; rel="first", <?b=2>; title="x"; rel="next last"', f"{URL}?b=2"),
    ],
)  # fmt: skip
def test_the_next_page_is_what_the_link_says(links: str | None, expected: str | None) -> None:
    assert next_page(links, URL) == expected


@pytest.mark.parametrize("target", ["https://evil.example/", "http://partner.example/epcis/events", "//evil.example/x"])
def test_credentials_go_to_no_other_server(target: str) -> None:
    with pytest.raises(Unreadable, match="another server"):
        next_page(f'<{target}>; rel="next"', URL)


@pytest.mark.parametrize("target", ["mailto:x", "file:///etc/passwd", "javascript:1", "https://partner.example:99999/"])
def test_a_next_page_that_is_no_address_is_told(target: str) -> None:
    with pytest.raises(Unreadable, match="no URL"):
        next_page(f'<{target}>; rel="next"', URL)


def test_an_event_nested_without_end_is_taken_like_any_other() -> None:
    """It is for the pack to refuse it: the other events of its page must not wait for it."""
    deep = b'{"a":' * 400 + b"1" + b"}" * 400
    body = b'{"epcisBody":{"eventList":[{"recordTime":"2026-03-01T10:00:00Z"},%s]}}'
    assert read_page(body % deep).events == 2
    assert read_page(body % deep).digest != read_page(body % b"{}").digest


def test_a_record_time_before_there_were_any_is_none() -> None:
    """The next round would ask from before the first year."""
    assert read_page(document([{"eventID": "e0", "recordTime": "0001-01-01T00:00:00Z"}])).newest is None


@pytest.mark.parametrize(
    "since", ["2026-13-45T99:99Z", "2026-01-01T00:00:00.1.2Z", "2026-01-01T10:00:00+99:99", "0001-01-01T00:00:00Z"]
)
def test_a_first_time_that_does_not_exist_is_no_setting(since: str) -> None:
    with pytest.raises(ValidationError, match="since"):
        World(since=since)


@pytest.mark.parametrize(
    "url", ["http://[::1/events", "https://partner.example:99999/events", "http:///events", "http://a b/events"]
)
def test_an_address_that_is_none_is_no_setting(url: str) -> None:
    with pytest.raises(ValidationError, match="url"):
        World(url=url)


def test_parameters_of_the_source_itself_cannot_be_set() -> None:
    with pytest.raises(ValidationError, match="GE_recordTime"):
        World(parameters={"GE_recordTime": at(1)})


class Handler(http.server.BaseHTTPRequestHandler):
    seen: list[dict[str, str]] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.seen.append({"path": self.path, **self.headers})
        size = 200 if "large" in self.path else 2
        self.send_response(200 if self.headers["Authorization"] == "Bearer s3cret-token" else 401)
        self.send_header("Content-Length", str(size))
        self.send_header("Link", '<?p=2>; rel="next"')
        self.end_headers()
        self.wfile.write(b"x" * size)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Handler.seen = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/events"
        running.shutdown()
        thread.join(60)


def test_a_page_is_fetched_with_our_credentials_and_within_bounds(server: str) -> None:
    source = QuerySource.model_validate({
        "kind": "epcis-query", "pipeline": "epcis", "url": server,
        "auth": {"kind": "bearer", "token": {"env": "TOKEN"}},
    })  # fmt: skip
    client = QueryClient(source, 100, {"TOKEN": "s3cret-token"})
    answer = client.fetch(server + "?a=b%2Bc")
    assert (answer.status, answer.body, answer.headers["link"]) == (200, b"xx", '<?p=2>; rel="next"')
    assert (Handler.seen[0]["path"], Handler.seen[0]["GS1-EPCIS-Version"]) == ("/events?a=b%2Bc", "2.0.0")
    with pytest.raises(Failed, match="per_page"):
        client.fetch(server + "?large")
    client.close()
    absent = QueryClient(source, 100, {})
    with pytest.raises(Failed, match="TOKEN is not set"):
        absent.fetch(server)
    absent.close()
    nobody = QueryClient(source.model_copy(update={"auth": None}), 100)
    with pytest.raises(Failed):
        nobody.fetch("http://127.0.0.1:1/events")
    nobody.close()
