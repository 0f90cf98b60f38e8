"""The HTTP sink against a real partner on a real socket, with everything that can go wrong on the way."""

from __future__ import annotations

import asyncio
import base64
import gc
import gzip
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Any

import pytest
from aiohttp.client_proto import ResponseHandler

from streams.delivery.answers import MAX_PAUSE
from streams.delivery.connector import MAX_HEAD, SLICE
from streams.delivery.http import MAX_ANSWER, HttpSink
from streams.delivery.protocol import Envelope, Outcome
from streams.delivery.protocol import OutcomeKind as Kind
from tests.delivery.worlds import BODY, canned_port, closed_port, envelope, http, run, silent_port
from tests.support import wait_for
from topology.partner import HttpPartner
from waybill.partner_sim import Modes, Server, check_faults


@pytest.fixture
def partner() -> Iterator[Server]:
    with Server() as server:
        yield server


def deliver(partner: HttpPartner, *envelopes: Envelope) -> list[Outcome]:
    async def work() -> list[Outcome]:
        sink = HttpSink("p", partner)
        try:
            return [await sink.send(each) for each in envelopes]
        finally:
            await sink.close()

    return run(work())


YEAR = 31_536_000
FAULTS = [
    # fault, outcome of the attempt that meets it, effects it left behind
    ("reset_before_read", Kind.UNKNOWN, 0),
    ("reset_after_read", Kind.UNKNOWN, 0),
    ("store_then_reset", Kind.UNKNOWN, 1),
    ("truncated", Kind.UNKNOWN, 1),
    ("truncated:reset", Kind.UNKNOWN, 1),
    ("short_length", Kind.UNKNOWN, 1),
    ("unframed", Kind.DELIVERED, 1),
    ("unframed:cut", Kind.UNKNOWN, 1),
    ("unframed:empty", Kind.UNKNOWN, 1),
    ("chunked:cut", Kind.UNKNOWN, 1),
    ("invalid_json", Kind.UNKNOWN, 1),
    ("huge", Kind.UNKNOWN, 1),
    ("gzip", Kind.UNKNOWN, 1),
    ("wrong_type", Kind.DELIVERED, 1),
    ("html", Kind.UNKNOWN, 0),
    ("partial", Kind.UNKNOWN, 0),
    ("partial:0", Kind.UNKNOWN, 0),
    ("partial:3", Kind.UNKNOWN, 1),
    ("in_progress", Kind.UNKNOWN, 0),
    ("bare_conflict", Kind.DELIVERED, 1),
    ("exists", Kind.DELIVERED, 1),
    ("exists:412", Kind.DELIVERED, 1),
    ("holds_other", Kind.CONFLICT, 0),
    ("holds_other:412", Kind.CONFLICT, 0),
    ("holds_other:422", Kind.CONFLICT, 0),
    *((f"status:{status}", Kind.UNKNOWN, 0) for status in (500, 502, 503, 504)),
    *((f"status:{status},7", Kind.PAUSED, 0) for status in (429, 503)),
    *((f"status:{status},{YEAR}", Kind.PAUSED, 0) for status in (429, 503)),
    *((f"status:{status},Fri, 31 Dec 2100 23:59:59 GMT", Kind.PAUSED, 0) for status in (429, 503)),
    ("status:429", Kind.PAUSED, 0),
    ("status:429,soon", Kind.PAUSED, 0),
    ("status:503,soon", Kind.UNKNOWN, 0),
    *((f"status:{status}", Kind.REFUSED, 0) for status in (301, 302, 303, 307, 308)),
    *((f"status:{status}", Kind.INVALID, 0) for status in (400, 422)),
    ("status:413", Kind.TOO_LARGE, 0),
    ("status:404", Kind.REFUSED, 0),
    *((f"status:{status}", Kind.STOPPED, 0) for status in (401, 403)),
]


@pytest.mark.parametrize(("fault", "kind", "effects"), FAULTS, ids=[row[0] for row in FAULTS])
def test_a_fault_then_a_retry_ends_in_one_effect(partner: Server, fault: str, kind: Kind, effects: int) -> None:
    partner.partner.faults.append(fault)
    (first,) = deliver(http(partner.url), envelope())
    assert first.kind is kind
    assert first.retry_after is None or first.retry_after <= MAX_PAUSE
    assert len(partner.partner.effects) == effects
    (second,) = deliver(http(partner.url), envelope(attempt=2))
    assert second.kind is Kind.DELIVERED
    assert [effect["key"] for effect in partner.partner.effects] == [envelope().idempotency_key]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("status:502", Kind.FAILED),
        ("status:503", Kind.FAILED),
        ("status:503,7", Kind.PAUSED),
        ("status:500", Kind.UNKNOWN),
        ("store_then_reset", Kind.UNKNOWN),
    ],
)
def test_a_status_that_the_partner_declares_as_not_done_is_a_known_failure(
    partner: Server, fault: str, kind: Kind
) -> None:
    declared = http(partner.url, not_done=[502, 503])
    partner.partner.faults.append(fault)
    first, second = deliver(declared, envelope(), envelope(attempt=2))
    assert (first.kind, second.kind) == (kind, Kind.DELIVERED)
    assert len(partner.partner.effects) == 1


TOO_LATE = [
    ("hang", 0),
    ("store_then_hang", 1),
    ("late:30", 1),
    ("drip", 1),
    ("long_length", 1),
    ("chunked", 1),
    ("continue_stall", 1),
]


@pytest.mark.parametrize(("fault", "effects"), TOO_LATE, ids=[row[0] for row in TOO_LATE])
def test_a_time_out_is_unknown_however_far_the_partner_came(partner: Server, fault: str, effects: int) -> None:
    partner.partner.faults.append(fault)
    (first,) = deliver(http(partner.url, timeout=0.5), envelope())
    assert first.kind is Kind.UNKNOWN
    assert len(partner.partner.effects) == effects
    (second,) = deliver(http(partner.url), envelope(attempt=2))
    assert second.kind is Kind.DELIVERED
    assert len(partner.partner.effects) == 1


@pytest.mark.parametrize("fault", ["store_late:0.6", "in_progress:0.6"])
def test_what_is_stored_after_the_outcome_is_stored_once(partner: Server, fault: str) -> None:
    """The first attempt takes effect when the sink has long given it up as unknown."""
    partner.partner.faults.append(fault)
    (first,) = deliver(http(partner.url, timeout=0.3), envelope())
    assert first.kind is Kind.UNKNOWN
    wait_for(lambda: partner.partner.effects, 20, "the first attempt takes effect")
    (second,) = deliver(http(partner.url), envelope(attempt=2))
    assert second.kind is Kind.DELIVERED
    assert [(effect["key"], effect["attempt"]) for effect in partner.partner.effects] == [
        (envelope().idempotency_key, 1)
    ]


def test_a_retry_that_overtakes_its_first_attempt_has_one_effect(partner: Server) -> None:
    partner.partner.faults.append("store_late:1")
    first, second = deliver(http(partner.url, timeout=0.3), envelope(), envelope(attempt=2))
    assert (first.kind, second.kind) == (Kind.UNKNOWN, Kind.DELIVERED)
    wait_for(lambda: partner.partner.pending == 0, 20, "the first attempt is worked on at last")
    assert [effect["attempt"] for effect in partner.partner.effects] == [2]


def test_answers_for_each_record_are_read_and_asked_for_again_until_all_are_known(partner: Server) -> None:
    declared = http(partner.url, response={"records": "records", "id": "id"})
    partner.partner.faults.extend(["partial", "partial:1"])
    first, second = deliver(declared, *(envelope(ZONE, attempt=n)._replace(names=("a", "b")) for n in (1, 2)))
    assert (first.kind, second.kind) == (Kind.UNKNOWN, Kind.DELIVERED)
    assert "1 of 2 records have no final outcome" in first.answer


def test_records_that_a_partner_refuses_for_good_are_told_again_where_the_answer_was_lost(partner: Server) -> None:
    declared = http(partner.url, response={"records": "records", "id": "id"})
    partner.partner.faults.extend(["refuse_some", "none", "bare_conflict"])
    outcomes = deliver(declared, *(envelope(ZONE, attempt=n)._replace(names=("a", "b")) for n in (1, 2, 3)))
    assert [(outcome.kind, dict(outcome.refused)) for outcome in outcomes] == [(Kind.PARTIAL, {1: "422"})] * 3
    (effect,) = partner.partner.effects
    assert (effect["records"], effect["refused"]) == (["a"], ["b"])


def test_a_burst_is_unknown_for_as_long_as_it_lasts(partner: Server) -> None:
    partner.partner.faults.extend(check_faults(["2*status:502", "status:504", "store_then_reset"]))
    outcomes = deliver(http(partner.url), *(envelope(attempt=n) for n in range(1, 6)))
    assert [outcome.kind for outcome in outcomes] == [Kind.UNKNOWN] * 4 + [Kind.DELIVERED]
    assert len(partner.partner.effects) == 1


ZONE = b'{"records":[{"id":"a","record":{"zone_id":"good"}},{"id":"b","record":{"zone_id":"bad"}}]}'
MODES: list[tuple[dict[str, Any], set[Kind]]] = [
    ({"unauthorized": True}, {Kind.STOPPED}),
    ({"capacity": len(ZONE) - 1}, {Kind.TOO_LARGE}),
    ({"poison": ["bad"]}, {Kind.INVALID}),
    ({"fault": "status:503,1"}, {Kind.PAUSED}),
    ({"fault": "reset_before_read"}, {Kind.UNKNOWN}),
    ({"slow": 30.0}, {Kind.UNKNOWN}),
    ({"down": "refuse"}, {Kind.FAILED}),
    ({"down": "reset"}, {Kind.FAILED, Kind.UNKNOWN}),  # whether a byte went before the reset is chance
]


@pytest.mark.parametrize(("mode", "kinds"), MODES, ids=[str(row[0]) for row in MODES])
def test_a_mode_holds_for_every_batch_until_it_is_over(partner: Server, mode: dict[str, Any], kinds: set[Kind]) -> None:
    before, *meanwhile = [envelope(ZONE, batch=batch) for batch in (1, 2, 3)]
    assert deliver(http(partner.url), before)[0].kind is Kind.DELIVERED
    partner.change(**mode)
    assert {outcome.kind for outcome in deliver(http(partner.url, timeout=0.5), *meanwhile)} <= kinds
    assert len(partner.partner.effects) == 1
    partner.change(**{name: getattr(Modes(), name) for name in mode})
    afterwards = deliver(http(partner.url), *(each._replace(attempt=2) for each in meanwhile))
    assert {outcome.kind for outcome in afterwards} == {Kind.DELIVERED}
    keys = [effect["key"] for effect in partner.partner.effects]
    assert keys == [before.idempotency_key, *(each.idempotency_key for each in meanwhile)]


def test_a_partner_that_takes_the_connection_and_says_nothing_is_unknown() -> None:
    with silent_port() as port:
        (outcome,) = deliver(http(f"http://127.0.0.1:{port}/", timeout=0.3), envelope())
    assert outcome.kind is Kind.UNKNOWN


def test_no_byte_sent_is_a_known_failure() -> None:
    with closed_port() as port:
        refused, again = deliver(http(f"http://127.0.0.1:{port}/"), envelope(), envelope(attempt=2))
    assert (refused.kind, again.kind) == (Kind.FAILED, Kind.FAILED)
    (nowhere,) = deliver(http("http://nowhere.invalid/"), envelope())
    assert nowhere.kind is Kind.FAILED
    with canned_port(b"HTTP/1.1 200 OK\r\n\r\n", until=b"") as port:
        (no_tls,) = deliver(http(f"https://127.0.0.1:{port}/"), envelope())
    assert no_tls.kind is Kind.FAILED
    with silent_port() as port:
        (slow_tls,) = deliver(http(f"https://127.0.0.1:{port}/", timeout=0.3), envelope())
    assert slow_tls.kind is Kind.FAILED
    (unsendable,) = deliver(http(f"http://127.0.0.1:{port}/"), envelope(flush_utc="a\r\nHost: b"))
    assert unsendable.kind is Kind.FAILED


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 2",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive5",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfive5\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: nine\r\n\r\nfive5",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\n{}",
        b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000_000 + b"Content-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 1_000_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + b"T: y\r\n" * 100_000 + b"\r\n",
    ],
    ids=[
        "closed",
        "cut status",
        "no http",
        "short body",
        "cut chunks",
        "bad length",
        "two lengths",
        "endless reason",
        "endless header",
        "endless headers",
        "endless chunk size",
        "endless trailers",
    ],
)
def test_half_an_answer_is_unknown(answer: bytes) -> None:
    with canned_port(answer) as port:
        (outcome,) = deliver(http(f"http://127.0.0.1:{port}/"), envelope())
    assert outcome.kind is Kind.UNKNOWN


INTERIM = b"HTTP/1.1 103 E\r\n\r\n"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def test_a_few_interim_answers_are_passed_over_and_a_flood_of_them_is_no_answer() -> None:
    with canned_port(INTERIM * 20 + GOOD) as port:
        (few,) = deliver(http(f"http://127.0.0.1:{port}/"), envelope())
    assert few.kind is Kind.DELIVERED
    with canned_port(INTERIM * 20_000 + GOOD) as port:
        (flood,) = deliver(http(f"http://127.0.0.1:{port}/"), envelope())
    assert (flood.kind, flood.status) == (Kind.UNKNOWN, None)
    assert "no head within" in flood.answer


@pytest.mark.parametrize(
    "answer",
    [
        INTERIM * 20_000 + GOOD,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 60_000 + b"0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000,
    ],
    ids=["interim answers", "chunks of one byte", "long body"],
)
def test_whatever_comes_one_turn_of_the_loop_parses_little_of_it(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All partners share the loop, and every time-out is kept by it."""
    turn, parsed, parse = 0, Counter[int](), ResponseHandler.data_received

    def counted(self: ResponseHandler, data: bytes) -> None:
        parsed[turn] += len(data)
        parse(self, data)

    async def work() -> None:
        async def turns() -> None:
            nonlocal turn
            while True:
                turn += 1
                await asyncio.sleep(0)

        sink, other = HttpSink("p", http(f"http://127.0.0.1:{port}/")), asyncio.create_task(turns())
        await sink.send(envelope())
        other.cancel()
        await sink.close()

    monkeypatch.setattr(ResponseHandler, "data_received", counted)
    with canned_port(answer) as port:
        run(work())
    assert parsed.total() > 60_000
    assert max(parsed.values()) <= SLICE


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nX: sesame-secret " + b"x" * 10_000_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: sesame-secret\r\n" + b"X: y\r\n" * 1_600_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: sesame-secret\r\n",
        b"SSH-2.0-sesame-secret \xff\r\n",
    ],
    ids=["one of 10 MB", "10 MB of them", "cut off", "no http"],
)
def test_of_a_head_that_cannot_be_read_the_beginning_is_kept_and_no_secret(answer: bytes) -> None:
    with canned_port(answer) as port:
        (outcome,) = deliver(
            http(f"http://127.0.0.1:{port}/", headers={"Authorization": "Bearer sesame-secret"}), envelope()
        )
    assert (outcome.kind, outcome.status) == (Kind.UNKNOWN, None)
    assert "400" not in outcome.answer, "a status that nobody sent"
    assert outcome.kept is not None
    expected = answer[:5000].replace(b"sesame-secret", b"***").decode("utf-8", "replace").encode()[:4096]
    assert outcome.kept.excerpt == expected.decode("utf-8", "ignore")
    running, digests = sha256(), set()
    for byte in answer[: MAX_HEAD + SLICE]:
        running.update(bytes([byte]))
        digests.add(running.digest())
    assert outcome.kept.digest in digests, "of what was read"


def test_an_answer_longer_than_anyone_should_read_is_unknown() -> None:
    length = MAX_ANSWER + 1
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + b"x" * length
    with canned_port(answer) as port:
        (outcome,) = deliver(http(f"http://127.0.0.1:{port}/"), envelope())
    assert outcome.kind is Kind.UNKNOWN
    assert len(outcome.answer) < 300


def test_a_compressed_answer_is_not_unpacked() -> None:
    packed = gzip.compress(b"unpacked " * 1000)
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
    with canned_port(answer) as port:
        (outcome,) = deliver(http(f"http://127.0.0.1:{port}/"), envelope())
    assert outcome.kind is Kind.UNKNOWN
    assert "unpacked" not in outcome.answer


def test_the_pool_is_bounded(partner: Server) -> None:
    async def work() -> None:
        sink = HttpSink("p", http(partner.url, connections=2))
        outcomes = await asyncio.gather(*(sink.send(envelope(batch=n)) for n in range(30)))
        assert {outcome.kind for outcome in outcomes} == {Kind.DELIVERED}
        await sink.close()

    run(work())
    assert len({entry["peer"] for entry in partner.partner.attempts}) <= 2


def test_redirects_are_never_followed() -> None:
    with Server() as elsewhere:
        answer = f"HTTP/1.1 307 Go\r\nLocation: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n"
        with canned_port(answer.encode()) as port:
            (outcome,) = deliver(http(f"http://127.0.0.1:{port}/"), envelope())
        assert outcome.kind is Kind.REFUSED
        assert elsewhere.partner.lines == []


def test_the_request_carries_key_digest_attempt_and_the_partners_headers() -> None:
    seen: list[str] = []

    async def work() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            seen.append(head.decode())
            seen.append((await reader.readexactly(len(BODY))).decode())
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        headers = {"X-Compliance-Standard": "NIH-NSF-OSHA-EPA"}
        sink = HttpSink("p", http(f"http://127.0.0.1:{port}/inventory/upsert", method="PUT", headers=headers))
        assert (await sink.send(envelope(attempt=2))).kind is Kind.DELIVERED
        await sink.close()
        server.close()
        await server.wait_closed()

    run(work())
    one = envelope()
    head = seen[0].split("\r\n")
    assert head[0] == "PUT /inventory/upsert HTTP/1.1"
    assert {
        "X-Compliance-Standard: NIH-NSF-OSHA-EPA",
        "Content-Type: application/json",
        f"Content-Length: {len(BODY)}",
        f"Idempotency-Key: {one.idempotency_key}",
        f"Content-Digest: sha-256=:{base64.b64encode(one.body_digest).decode()}:",
        f"Waybill-Batch: {one.batch_id.hex()}",
        "Waybill-Attempt: 2",
        "Waybill-Life: 1",
        "Waybill-Record-Count: 3",
        "Waybill-Flush-Utc: 2026-01-31T12:00:00Z",
    } <= set(head)
    assert seen[1] == BODY.decode()


def test_credentials_a_partner_echoes_do_not_reach_the_answer() -> None:
    echo = b"HTTP/1.1 403 No\r\nContent-Length: 27\r\n\r\ntoken sesame-secret is wrong"[:-1]
    with canned_port(echo) as port:
        (outcome,) = deliver(
            http(f"http://127.0.0.1:{port}/", headers={"Authorization": "Bearer sesame-secret"}), envelope()
        )
    assert outcome.kind is Kind.STOPPED
    assert "***" in outcome.answer
    assert "sesame" not in outcome.answer


def test_a_partner_that_comes_back_is_reached_by_the_same_sink() -> None:
    async def work() -> None:
        with closed_port() as port:
            sink = HttpSink("p", http(f"http://127.0.0.1:{port}/batches"))
            assert (await sink.send(envelope())).kind is Kind.FAILED
        with Server(port=port):
            assert (await sink.send(envelope(attempt=2))).kind is Kind.DELIVERED
        with Server(port=port):  # the pooled connection is dead, which the sink may only learn by using it
            kinds = [(await sink.send(envelope(batch=2, attempt=n))).kind for n in (1, 2)]
            assert kinds[0] in (Kind.DELIVERED, Kind.UNKNOWN)
            assert kinds[1] is Kind.DELIVERED
        await sink.close()

    run(work())


def test_one_connection_serves_a_row_of_batches(partner: Server) -> None:
    outcomes = deliver(http(partner.url, connections=1), *(envelope(batch=n) for n in range(20)))
    assert {outcome.kind for outcome in outcomes} == {Kind.DELIVERED}
    assert len({entry["peer"] for entry in partner.partner.attempts}) == 1


@pytest.mark.parametrize(
    "stray",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"],
    ids=["a second answer", "408 to a connection that idles"],
)
def test_what_came_unasked_is_not_taken_for_the_answer_to_the_next_batch(stray: bytes) -> None:
    async def work() -> None:
        requests, idle, said = 0, asyncio.Event(), asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal requests
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode()
                    await reader.readexactly(int(head.lower().partition("content-length: ")[2].split()[0]))
                    requests += 1
                    body = b'{"request": %d}' % requests
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                    if requests == 1:
                        await idle.wait()
                        writer.write(stray)
                        await writer.drain()
                        said.set()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        sink = HttpSink("p", http(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))
        first = await sink.send(envelope(batch=1))
        idle.set()
        await said.wait()
        for _ in range(100):  # it is in the socket; now the client's side reads it
            await asyncio.sleep(0)
        second = await sink.send(envelope(batch=2))
        assert (first.answer, second.answer) == ('200 OK: {"request": 1}', '200 OK: {"request": 2}')
        await sink.close()
        server.close()
        await server.wait_closed()

    run(work())


def test_closing_twice_and_a_broken_answer_leave_no_socket_open(partner: Server) -> None:
    partner.partner.faults.extend(["huge", "truncated"])

    async def work() -> None:
        sink = HttpSink("p", http(partner.url))
        for attempt in (1, 2, 3):
            await sink.send(envelope(attempt=attempt))
        await sink.close()
        await sink.close()

    run(work())
    gc.collect()  # an unclosed session or socket warns here, and warnings are errors
