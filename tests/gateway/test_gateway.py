"""What a publisher may rely on when it speaks HTTP: an ack for what the broker has, a clear refusal for the rest."""

from __future__ import annotations

import base64
import select
import socket
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import structlog

from tests.gateway.running import LIMIT, OPEN, Running, Said, gateway, said
from tests.support import wait_for
from waybill.gateway.backlog import Backlog, BacklogWatch
from waybill.gateway.route import LaneRoute
from waybill.gateway.tokens import Tokens
from waybill.output import Fault
from waybill.raw_producer import Receipt

BODY = b'{"sensor_id": "a"}\r\n\x00\xff'


@pytest.fixture
def running() -> Iterator[Running]:
    with gateway() as one:
        yield one


def test_a_submission_is_published_as_it_is_and_answered_with_position_id_and_digest(running: Running) -> None:
    answer = running.post(
        BODY, Content_Type="application/json; charset=utf-8", Waybill_Key="k\u00fc".encode().decode("latin-1"),
        Waybill_Source="ward/7", Waybill_Site="s",
    )  # fmt: skip
    digest = sha256(BODY).hexdigest()
    assert answer.status == 202
    assert answer.json == {
        "pipeline": "demo",
        "submissions": [{"line": None, "position": "t/0/0", "id": "t/0/0", "digest": digest, "bytes": len(BODY)}],
    }
    headers = {
        "content-type": b"application/json; charset=utf-8", "waybill-source": b"ward/7", "waybill-site": b"s",
        "waybill-channel": b"http", "waybill-received-at": b"2026-03-01T12:00:00.250Z",
    }  # fmt: skip
    assert running.kafka.taken == [("demo.raw", BODY, "kü".encode(), headers)]


def test_each_line_is_a_submission_where_that_is_asked(running: Running) -> None:
    answer = running.post(b"one\r\n\n  \ntwo\nthree", "/v1/demo/records?lines=true")
    assert answer.status == 202
    assert [(row["line"], row["position"]) for row in answer.json["submissions"]] == [
        (1, "t/0/0"),
        (4, "t/0/1"),
        (5, "t/0/2"),
    ]
    assert [value for _, value, *_ in running.kafka.taken] == [b"one", b"two", b"three"]


def test_the_priority_header_chooses_the_lane_and_its_backlog(running: Running) -> None:
    behind = Backlog(10, lambda: running.clock)
    behind.measured(11, 0)
    running.lanes |= {"high": LaneRoute("demo.high.raw", behind)}
    assert (answer := running.post(b"x", Waybill_Priority="high")).status == 429, answer
    behind.measured(0, 0)
    assert running.post(b"x", Waybill_Priority="high").status == 202
    assert running.post(b"x").status == 202
    assert [topic for topic, *_ in running.kafka.taken] == ["demo.high.raw", "demo.raw"]
    assert [headers.get("waybill-priority") for *_, headers in running.kafka.taken] == [b"high", None]


@pytest.mark.parametrize("lanes", [["standard"], ["high", "standard"]])
@pytest.mark.parametrize("name", ["urgent", "low", "HIGH"])
def test_a_lane_that_the_pipeline_does_not_have_is_refused(running: Running, lanes: list[str], name: str) -> None:
    """Taken under another lane, its publisher would wait for a haste that nobody promised."""
    only = dict.fromkeys(lanes, running.lanes["standard"])
    running.lanes.clear()
    running.lanes.update(only)
    answer = running.post(b"x", Waybill_Priority=name)
    assert (answer.status, answer.problem()) == (400, "unreadable-request")
    detail = answer.json["detail"]
    assert detail.startswith(f"Waybill-Priority: pipeline demo has no lane {name!r}")
    assert f"allowed: {', '.join(lanes)}" in detail
    assert not running.kafka.taken
    assert running.post(b"x", Waybill_Priority="standard").status == 202
    assert running.post(b"x").status == 202


def test_an_ack_without_a_position_is_an_ack(running: Running) -> None:
    running.kafka.answers = lambda _: Receipt()
    answer = running.post(b"x")
    assert (answer.status, answer.json["submissions"][0]["position"]) == (202, None)


def test_what_the_broker_did_not_acknowledge_is_never_called_published(running: Running) -> None:
    running.kafka.answers = lambda number: (
        Receipt(error="Local: Message timed out") if number == 1 else Receipt("t/0/0")
    )
    answer = running.post(b"one\ntwo", "/v1/demo/records?lines=true")
    assert (answer.status, answer.problem()) == (503, "no-acknowledgement")
    assert "Retry-After" in answer.headers
    first, second = answer.json["submissions"]
    assert (first["position"], second["position"], second["error"]) == ("t/0/0", None, "Local: Message timed out")


def long_body() -> Iterator[bytes]:
    for _ in range(LIMIT // 1024 + 1):
        yield b"x" * 1024


REFUSED = {
    "nothing": ({"body": b""}, 400, "empty-submission"),
    "only blank lines": ({"body": b"\n \n", "path": "/v1/demo/records?lines=true"}, 400, "empty-submission"),
    "another query": ({"body": b"x", "path": "/v1/demo/records?lines=yes"}, 400, "unreadable-request"),
    "a key that is too long": ({"body": b"x", "Waybill_Key": "k" * 1001}, 400, "unreadable-request"),
    "another digest": ({"body": b"x", "Content_Digest": "sha-256=:AAAA:"}, 400, "digest-differs"),
    "another pipeline": ({"body": b"x", "path": "/v1/other/records"}, 404, "not-found"),
    "another place": ({"body": b"x", "path": "/v1/demo"}, 404, "not-found"),
    "too large, as announced": ({"body": b"x" * (LIMIT + 1)}, 413, "too-large"),
    "too large, as it comes": ({"body": long_body()}, 413, "too-large"),
    "a type the pack does not read": ({"body": b"x", "Content_Type": "image/png"}, 415, "unknown-content-type"),
    "packed": ({"body": b"x", "Content_Encoding": "gzip"}, 415, "unknown-content-type"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_taken_is_refused_in_words_and_not_published(running: Running, case: str) -> None:
    request, status, kind = REFUSED[case]
    answer = running.post(**request)  # type: ignore[arg-type]
    assert (answer.status, answer.problem()) == (status, kind)
    assert running.kafka.taken == []
    assert running.post(b"x" * LIMIT).status == 202, "the limit itself is allowed, and the gateway goes on"


def test_the_right_digest_is_taken(running: Running) -> None:
    digest = base64.b64encode(sha256(b"x").digest()).decode()
    assert running.post(b"x", Content_Digest=f"sha-256=:{digest}:").status == 202


def test_another_method_is_told_which_one_is_right(running: Running) -> None:
    for method, path, right in (("GET", "/v1/demo/records", "POST"), ("POST", "/healthz", "GET")):
        answer = running.ask(method, path)
        assert (answer.status, answer.problem(), answer.headers["Allow"]) == (405, "wrong-method", right)


def test_what_is_no_http_is_told_so_and_the_gateway_goes_on(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.port)) as client:
        client.settimeout(20)
        client.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        answer = client.makefile("rb").read()
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"application/problem+json" in answer
    assert running.post(b"x").status == 202


def test_a_body_that_is_cut_off_is_not_published(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.port)) as client:
        client.sendall(b"POST /v1/demo/records HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
    wait_for(lambda: b'requests_total{pipeline="demo",status="400"} 1.0' in running.metrics.page(), 20, "it is noticed")
    assert running.kafka.taken == []
    assert running.intake._open == 0, "its bytes are given back"


def test_a_pipeline_that_is_behind_takes_nothing_more_until_it_has_caught_up(running: Running) -> None:
    statuses = [running.post(b"x").status for _ in range(12)]
    assert statuses == [202] * 11 + [429], "above the mark, not at it"
    answer = running.post(b"x")
    assert (answer.problem(), answer.headers["Retry-After"]) == ("backlog", "5")
    begun = running.backlog.begin()
    running.backlog.measured(10, begun)
    assert running.post(b"x").status == 202


def test_a_broker_that_does_not_answer_is_a_503_at_once(running: Running) -> None:
    running.clock = 60.0
    for answer in (running.post(b"x"), running.ask("GET", "/readyz")):
        assert (answer.status, answer.problem()) == (503, "no-broker")
    assert running.kafka.taken == []
    assert running.ask("GET", "/healthz").status == 200
    running.backlog.measured(0, 0)
    assert running.ask("GET", "/readyz").status == 200


def test_open_bytes_are_bounded_and_given_back(running: Running) -> None:
    running.kafka.answers = lambda _: None
    waiting = [running.connect() for _ in range(OPEN // LIMIT)]
    for connection in waiting:
        connection.request("POST", "/v1/demo/records", b"x" * LIMIT)
    wait_for(lambda: len(running.kafka.taken) == len(waiting), 20, "all are with the broker")
    answer = running.post(b"y")
    assert (answer.status, answer.problem(), answer.headers["Retry-After"]) == (503, "busy", "1")
    running.acknowledge()
    assert [said(connection).status for connection in waiting] == [202] * len(waiting)
    for connection in waiting:
        connection.close()
    running.kafka.answers = lambda _: Receipt("t/0/9")
    assert running.post(b"x" * LIMIT).status == 202


def test_a_client_library_that_is_full_is_told_to_come_again(running: Running) -> None:
    running.kafka.full = True
    answer = running.post(b"x")
    assert (answer.status, answer.problem()) == (503, "busy")


def test_connections_are_bounded() -> None:
    with gateway(connections=2) as running:
        held = [running.connect() for _ in range(2)]
        for connection in held:
            connection.request("POST", "/v1/demo/records", b"x")
            assert said(connection).status == 202
        answer = running.post(b"x")
        assert (answer.status, answer.problem()) == (503, "busy")
        held.pop().close()
        wait_for(lambda: running.post(b"x").status == 202, 20, "there is room again")
        held.pop().close()


def test_who_is_one_too_many_is_told_so_however_slowly_it_speaks() -> None:
    with gateway(connections=1) as running:
        held, late = running.connect(), running.connect()
        held.request("POST", "/v1/demo/records", b"x")
        assert said(held).status == 202
        late.connect()
        ended = select.poll()
        ended.register(late.sock, select.POLLRDHUP)
        assert ended.poll(20_000), "the answer is not over"
        for _ in range(2):  # the second write fails where the first one was answered by a reset
            late.send(b"POST /v1/demo/records HTTP/1.1\r\n")
        assert late.sock.recv(4096).startswith(b"HTTP/1.1 503 ")
        held.close()
        late.close()


def test_a_stop_answers_what_was_taken_and_takes_nothing_more() -> None:
    with gateway() as running:
        running.kafka.answers = lambda _: None
        waiting = running.connect()
        waiting.request("POST", "/v1/demo/records", b"x")
        wait_for(lambda: running.kafka.taken, 20, "it is with the broker")
        running.stop()
        running.acknowledge()
        assert said(waiting).status == 202
        waiting.close()
        running.thread.join(20)
        assert not running.thread.is_alive()
        with pytest.raises(ConnectionRefusedError):
            running.post(b"x")


# Tokens.


def digest_of(token: str) -> str:
    return sha256(token.encode()).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"# publishers\nward {digest_of('s3cret')} demo,other\nlab {digest_of('elsewhere')} other\n")
    return path


def test_only_who_holds_a_token_of_the_pipeline_may_publish(file: Path) -> None:
    with gateway(Tokens(file)) as running:

        def ask(authorization: str | None) -> Said:
            return running.post(b"x", **({} if authorization is None else {"Authorization": authorization}))

        for wrong in (
            None,
            "Bearer",
            "Bearer wrong",
            "Basic s3cret",
            f"Bearer {digest_of('s3cret')}",
            "Bearer " + "x" * 5000,
        ):
            answer = ask(wrong)
            assert (answer.status, answer.problem()) == (401, "no-token"), wrong
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        answer = ask("Bearer elsewhere")
        assert (answer.status, answer.problem()) == (403, "not-allowed")
        assert running.kafka.taken == []
        assert ask("bearer s3cret").status == 202
        assert running.kafka.taken[0][3]["waybill-publisher"] == b"ward"
        assert running.ask("GET", "/metrics").status == 401
        assert b"s3cret" not in running.ask("GET", "/metrics", headers={"Authorization": "Bearer s3cret"}).body
        assert running.post(b"x", "/v1/none/records").status == 401, "what is served is told to nobody else"


def test_tokens_are_read_again_and_a_broken_file_changes_nothing(file: Path) -> None:
    tokens = Tokens(file)
    assert not tokens.reload()
    file.write_text(f"new {digest_of('other')}\n")
    assert tokens.reload()
    assert (tokens.find("Bearer s3cret"), bool(tokens.find("Bearer other"))) == (None, True)
    file.write_text("new other\n")
    with pytest.raises(Fault, match="tokens:1: the second word is no SHA-256"):
        tokens.reload()
    assert tokens.find("Bearer other")
    assert not tokens.reload(), "said once"
    file.unlink()
    with pytest.raises(Fault, match="cannot be read"):
        tokens.reload()
    assert tokens.find("Bearer other")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no token"), ("# out\n", "holds no token"), ("a\n", ":1: 1 words"), ("\na b c d\n", ":2: 4 words"),
        (f"a {'0' * 63}\n", "SHA-256"), (f"a {'0' * 64} ,\n", "names no pipeline"),
    ],
)  # fmt: skip
def test_a_file_that_means_nothing_is_named_with_its_line_and_never_shown(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(Fault, match=words) as fault:
        Tokens(path)
    assert "0000" not in str(fault.value)


def test_publishers_at_once_get_their_own_answers(running: Running) -> None:
    running.backlog.high = 1000
    wrong: list[Said] = []

    def publish(number: int) -> None:
        connection = running.connect()
        for turn in range(20):
            body = f"{number}/{turn}".encode()
            connection.request("POST", "/v1/demo/records", body)
            answer = said(connection)
            if answer.status != 202 or answer.json["submissions"][0]["digest"] != sha256(body).hexdigest():
                wrong.append(answer)
        connection.close()

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len({value for _, value, *_ in running.kafka.taken}) == 160


def test_what_is_under_way_counts_until_a_measurement_has_surely_seen_it() -> None:
    backlog = Backlog(10, lambda: 0.0)
    backlog.add(2)
    backlog.settle(1)
    begun = backlog.begin()
    backlog.settle(1)
    backlog.measured(1, begun)
    assert backlog.now() == 2, "one was under way when the measurement began; it may not have been seen"
    backlog.measured(2, backlog.begin())
    assert backlog.now() == 2


def test_it_is_ready_once_the_broker_has_said_how_far_every_pipeline_is(running: Running) -> None:
    class Late:
        asked = 0

        def ends(self, partitions: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
            return dict.fromkeys(partitions, 3)

        def committed(self, group: str, topic: str, partitions: int) -> dict[int, int] | None:
            self.asked += 1
            return None if self.asked < 3 else dict.fromkeys(range(partitions), 1)

    backlog = Backlog(10)
    watch = BacklogWatch(Late(), [(running.pipeline, backlog)], lambda: None)
    assert not watch.first(0)
    assert backlog.now() is None
    assert watch.first(60)
    assert backlog.now() == 2 * running.pipeline.partitions


def test_no_answer_tells_what_the_gateway_is_made_of(running: Running) -> None:
    answers = [running.post(BODY), running.ask("GET", "/nowhere"), running.ask("GET", "/healthz")]
    assert [answer.headers["Server"] for answer in answers] == ["waybill"] * 3
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as client:
        client.sendall(b"nonsense\r\n\r\n")
        assert b"aiohttp" not in client.makefile("rb").read()


def test_its_log_says_that_it_stops_and_has_stopped() -> None:
    with structlog.testing.capture_logs() as logged, gateway() as one:
        assert [line["event"] for line in logged] == []
        one.stop()
        one.thread.join(30)
    assert [(line["event"], line["log_level"]) for line in logged] == [("stopping", "info"), ("stopped", "info")]
