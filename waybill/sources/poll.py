"""Owns how a repository is asked: page by page, from where the last process stood. Decides, and opens no connection.

The row `cursor` commits with each page: the next page, or once all are fetched the newest record time seen. The next
round asks from `overlap` before it, since a repository may show an event later than its record time; what comes twice
is a duplicate of its record, and a page of exactly the events of one in the round before is not published again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple, Protocol

import orjson
from yarl import URL

from streams.delivery.answers import retry_after
from topology.source import QuerySource
from waybill.sources.page import Page, Unreadable, next_page, read_page
from waybill.sources.protocol import PEOPLE_PAUSE, Published, Rows, back_off

CURSOR = b"cursor"
MOST_SEEN = 10_000
"""Pages whose events are remembered until the next round."""
LOST_PAGE = (400, 404, 410)
"""What a repository may answer to a page token that has expired."""


class Answer(NamedTuple):
    """What a repository said."""

    status: int
    reason: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


class Failed(Exception):
    """There is no answer; the message says why."""


class Fetch(Protocol):
    """Asks for one page."""

    def __call__(self, url: str) -> Answer:
        """Raises Failed."""
        ...


class PollSource:
    """One repository. See `protocol.Running`."""

    def __init__(
        self,
        name: str,
        source: QuerySource,
        fetch: Fetch,
        rows: Rows,
        tell: Callable[[str], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._name, self._source, self._fetch, self._rows = name, source, fetch, rows
        self._tell, self._clock = tell, clock
        self._state = _State(source.since)
        self._failures = 0
        self._pause = source.interval

    def start(self) -> None:
        """See Running."""
        row = self._rows.open().get(CURSOR)
        self._state = _State(self._source.since) if row is None else _State(**orjson.loads(row))

    @property
    def pause(self) -> float:
        """See Running."""
        return self._pause

    @property
    def waiting(self) -> bool:
        """See Running."""
        return self._failures > 0 or self._state.next is not None

    def turn(self, now: float) -> Iterator[Published]:
        """See Running: every page there is, up to the last."""
        while True:
            url = self._state.next or self._first()
            try:
                answer = self._fetch(url)
            except Failed as failed:
                return self._failed(str(failed), None)
            if answer.status in LOST_PAGE and self._state.next is not None:
                return self._anew(f"the next page is not there any more ({answer.status})")
            if answer.status != 200:
                return self._refused(answer)
            try:
                page, following = read_page(answer.body), next_page(answer.headers.get("link"), url)
            except Unreadable as wrong:
                return self._failed(f"the answer is {wrong}", PEOPLE_PAUSE)
            if page.digest in self._state.seen:
                return self._anew("the pages go in a circle")
            self._failures = 0
            if (published := self._take(page, following, answer)) is not None:
                yield published
            if following is None:
                self._pause = self._source.interval
                return

    def _first(self) -> str:
        source, since = self._source, self._state.since
        query = {**source.parameters, "perPage": str(source.per_page), "orderBy": "recordTime"}
        if since is not None:
            query["GE_recordTime"] = _text(datetime.fromisoformat(since) - timedelta(seconds=source.overlap))
        return str(URL(source.url).with_query(query))

    def _take(self, page: Page, following: str | None, answer: Answer) -> Published | None:
        """Commits a page and the cursor behind it."""
        before = self._state
        state = before.after(page, following, self._clock())
        new = page.events > 0 and page.digest not in before.before
        if new or state != before:
            value = answer.body if new else None
            position = self._rows.publish(value, self._name.encode(), self._headers(), {CURSOR: state.row()})
        self._state = state
        if not new:
            return None
        return Published(self._source.url, len(answer.body), sha256(answer.body).hexdigest(), position)

    def _headers(self) -> list[tuple[str, bytes]]:
        named = [
            ("content-type", "application/ld+json"),
            ("waybill-source", self._source.url),
            ("waybill-site", self._source.site),
            ("waybill-channel", self._source.kind),
            ("waybill-publisher", self._name),
            ("waybill-received-at", _text(self._clock())),
        ]
        return [(key, text.encode()) for key, text in named if text is not None]

    def _refused(self, answer: Answer) -> None:
        asked = retry_after(answer.headers.get("retry-after"), self._clock().timestamp())
        passing = answer.status >= 500 or answer.status in (408, 429)
        least = asked if asked is not None else 0.0 if passing else PEOPLE_PAUSE
        self._failed(f"answered {answer.status} {answer.reason}".rstrip(), least)

    def _anew(self, words: str) -> None:
        """The round begins anew, after a while: a repository that breaks it each time is not asked without end."""
        self._state = self._state._replace(next=None, seen=[])
        self._rows.publish(None, CURSOR, [], {CURSOR: self._state.row()})
        self._failed(words, PEOPLE_PAUSE)

    def _failed(self, words: str, least: float | None) -> None:
        """`least`: seconds that it asks for, or that a person needs."""
        self._failures += 1
        self._pause = max(back_off(self._failures), least or 0.0)
        self._tell(f"{self._name}: {words}; asked again in {self._pause:g} s")


class _State(NamedTuple):
    """The cursor."""

    since: str | None
    """Newest record time of all rounds that are done."""
    next: str | None = None
    """The page to go on with in the round under way."""
    newest: str | None = None
    """Newest record time in it."""
    seen: list[str] = []  # noqa: RUF012  (never changed)
    """Digests of its pages."""
    before: list[str] = []  # noqa: RUF012  (never changed)
    """Those of the round before."""

    def row(self) -> bytes:
        return orjson.dumps(self._asdict())

    def after(self, page: Page, following: str | None, now: datetime) -> _State:
        """The cursor behind a page. A record time ahead of our clock would hide what comes until then."""
        times = [datetime.fromisoformat(text) for text in (self.newest, self.since) if text is not None]
        if page.newest is not None:
            times.append(min(page.newest, now))
        newest = _text(max(times)) if times else None
        seen = ([*self.seen, page.digest] if page.events else self.seen)[-MOST_SEEN:]
        if following is not None:
            return self._replace(next=following, newest=newest, seen=seen)
        return _State(newest, before=seen)


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
