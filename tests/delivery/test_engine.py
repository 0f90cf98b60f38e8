"""The engine: partner I/O beside the Kafka thread, bounded per partner, an outcome for every envelope."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streams.delivery.engine import DeliveryEngine
from streams.delivery.object_store import OBJECT_STORE_SLOTS
from streams.delivery.protocol import Envelope, Outcome, Sink
from streams.delivery.protocol import OutcomeKind as Kind
from tests.delivery.worlds import envelope, http, store
from topology.partner import Partner
from waybill.partner_sim import Server

LONG = 30.0
DONE = Outcome(Kind.DELIVERED, "ok")


class Gate:
    """A sink whose attempts wait until they are let through."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.now = self.most = 0
        self.closed = False

    async def send(self, envelope: Envelope) -> Outcome:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            while not self.opened.is_set():
                await asyncio.sleep(0.001)
            return DONE
        finally:
            self.now -= 1

    async def close(self) -> None:
        self.closed = True


class Stubborn(Gate):
    """Ignores its time-out and being cancelled."""

    async def send(self, envelope: Envelope) -> Outcome:
        while True:
            try:
                return await super().send(envelope)
            except asyncio.CancelledError:
                continue


class Broken(Gate):
    """Breaks the law that send never raises."""

    async def send(self, envelope: Envelope) -> Outcome:
        raise RuntimeError("a bug in a sink")


class Panic(BaseException):
    """As a panic of Rust arrives in Python."""


class Panics(Gate):
    """Breaks it in native code, once."""

    async def send(self, envelope: Envelope) -> Outcome:
        self.most += 1
        if self.most == 1:
            raise Panic("a bug in a library")
        return DONE


def partner(connections: int = 8, timeout: float = LONG) -> Partner:
    return http("http://127.0.0.1:1/", timeout=timeout, connections=connections)


@contextmanager
def engine(sinks: dict[str, Sink] | None = None, grace: float = 1.0, **partners: Partner) -> Iterator[DeliveryEngine]:
    if sinks is None:
        made = DeliveryEngine(partners, grace=grace)
    else:
        made = DeliveryEngine(partners, lambda name, _: sinks[name], grace=grace)
    made.start()
    try:
        yield made
    finally:
        made.close(0)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        threading.Event().wait(0.002)


def collect(running: DeliveryEngine, count: int) -> list[tuple[Envelope, Outcome]]:
    found: list[tuple[Envelope, Outcome]] = []
    while len(found) < count:
        assert running.wait(LONG), f"only {len(found)} of {count} outcomes came"
        found += running.poll()
    return found


def untimed(answers: list[tuple[Envelope, Outcome]]) -> list[tuple[Envelope, Outcome]]:
    """The answers without what nobody can foretell: how long each attempt took, which all of them must say."""
    assert all(outcome.seconds is not None and outcome.seconds >= 0 for _, outcome in answers)
    return [(one, outcome._replace(seconds=None)) for one, outcome in answers]


def test_every_envelope_comes_back_once_from_real_partners(tmp_path: Path) -> None:
    with Server() as server, engine(api=http(server.url, connections=4), lake=store(f"file://{tmp_path}")) as running:
        sent = [envelope(batch=n, partner="api" if n % 2 else "lake") for n in range(200)]

        def submit(part: list[Envelope]) -> None:
            for each in part:
                running.submit(each)

        threads = [threading.Thread(target=submit, args=(part,)) for part in (sent[:100], sent[100:])]
        for thread in threads:
            thread.start()
        back = collect(running, len(sent))
        for thread in threads:
            thread.join()
        assert {outcome.kind for _, outcome in back} == {Kind.DELIVERED}
        assert sorted(e.batch_id for e, _ in back) == sorted(e.batch_id for e in sent)
        assert running.poll() == []
        assert not running.wait(0)
        effects = [effect["key"] for effect in server.partner.effects]
        assert sorted(effects) == sorted(e.idempotency_key for e in sent if e.partner == "api")
        assert len({entry["peer"] for entry in server.partner.attempts}) <= 4
        assert len([f for f in tmp_path.rglob("batch_*") if not f.name.endswith(".meta.json")]) == 100


def test_a_batch_is_in_flight_until_its_outcome_is_given_out() -> None:
    gate = Gate()
    with engine({"p": gate}, p=partner()) as running:
        one = envelope()
        assert not running.in_flight(one.batch_id)
        running.submit(one)
        assert running.in_flight(one.batch_id)
        with pytest.raises(ValueError, match="in flight already"):
            running.submit(one._replace(attempt=2))
        gate.opened.set()
        assert running.wait(LONG)
        assert running.in_flight(one.batch_id)
        assert untimed(running.poll()) == [(one, DONE)]
        assert not running.in_flight(one.batch_id)
        running.submit(one._replace(attempt=2))
        assert collect(running, 1)[0][0].attempt == 2


def test_open_attempts_are_bounded_per_partner_and_one_partner_does_not_hold_another() -> None:
    gates: dict[str, Sink] = {"slow": (slow := Gate()), "quick": (quick := Gate()), "lake": (lake := Gate())}
    quick.opened.set()
    with engine(gates, slow=partner(3), quick=partner(2), lake=store("file:unused")) as running:
        for n in range(50):
            running.submit(envelope(batch=n, partner="slow"))
            running.submit(envelope(batch=100 + n, partner="lake"))
        for n in range(50):
            running.submit(envelope(batch=200 + n, partner="quick"))
        assert {e.partner for e, _ in collect(running, 50)} == {"quick"}
        until(lambda: slow.now == 3 and lake.now == OBJECT_STORE_SLOTS)
        slow.opened.set()
        lake.opened.set()
        collect(running, 100)
    assert (slow.most, lake.most) == (3, OBJECT_STORE_SLOTS)
    assert quick.most <= 2


@pytest.mark.parametrize("kind", [Gate, Stubborn])
def test_a_send_that_overruns_is_unknown_and_frees_its_slot(kind: type[Gate]) -> None:
    gate = kind()
    with engine({"p": gate}, grace=0.0, p=partner(connections=1, timeout=0.05)) as running:
        running.submit(envelope(batch=1))
        running.submit(envelope(batch=2))
        given_up = [outcome for _, outcome in collect(running, 2)]
        assert [outcome.kind for outcome in given_up] == [Kind.UNKNOWN, Kind.UNKNOWN]
        assert all((outcome.seconds or 0) >= 0.04 for outcome in given_up), "as long as they were waited for"
        gate.opened.set()
        running.submit(envelope(batch=3))
        assert untimed(collect(running, 1)) == [(envelope(batch=3), DONE)], (
            "a late answer must not come up as another's"
        )


def test_a_sink_that_raises_has_an_unknown_outcome_and_says_why() -> None:
    with engine({"p": Broken()}, p=partner()) as running:
        running.submit(envelope())
        ((_, outcome),) = collect(running, 1)
    assert outcome.kind is Kind.UNKNOWN
    assert "a bug in a sink" in outcome.answer


def test_a_panic_in_a_sink_has_an_unknown_outcome_too_and_frees_its_slot() -> None:
    with engine({"p": Panics()}, p=partner(connections=1)) as running:
        for number, kind in ((1, Kind.UNKNOWN), (2, Kind.DELIVERED)):
            running.submit(envelope(batch=number))
            ((_, outcome),) = collect(running, 1)
            assert outcome.kind is kind


def test_wait_ends_with_an_answer_an_event_or_the_time() -> None:
    gate, stop = Gate(), threading.Event()
    with engine({"p": gate}, p=partner()) as running:
        assert not running.wait(0.01)
        running.submit(envelope())
        threading.Timer(0.05, stop.set).start()
        assert not running.wait(3600, stop)
        assert stop.is_set()
        threading.Timer(0.05, gate.opened.set).start()
        assert running.wait(LONG)
        assert running.wait(0, stop), "an answer counts more than the event"


def test_close_waits_for_open_attempts_and_names_those_it_gave_up() -> None:
    quick, stuck = Gate(), Stubborn()
    quick.opened.set()
    with engine({"quick": quick, "stuck": stuck}, quick=partner(), stuck=partner(1)) as running:
        done, open_one, queued = (
            envelope(batch=1, partner="quick"),
            envelope(batch=2, partner="stuck"),
            envelope(batch=3, partner="stuck"),
        )
        for each in (done, open_one, queued):
            running.submit(each)
        until(lambda: stuck.now == 1)
        assert running.close(0.2) == [open_one, queued]
        assert untimed(running.poll()) == [(done, DONE)]
        assert running.close(0) == [open_one, queued]
        assert quick.closed
        assert stuck.closed
        assert "delivery" not in [thread.name for thread in threading.enumerate()]
        with pytest.raises(RuntimeError, match="not running"):
            running.submit(envelope(batch=4, partner="quick"))


def test_close_lets_an_open_attempt_finish_within_the_deadline() -> None:
    gate = Gate()
    with engine({"p": gate}, p=partner()) as running:
        running.submit(envelope())
        until(lambda: gate.now == 1)
        threading.Timer(0.05, gate.opened.set).start()
        assert running.close(LONG) == []
        assert untimed(running.poll()) == [(envelope(), DONE)]


def test_misuse_is_named() -> None:
    idle = DeliveryEngine({"p": partner()})
    with pytest.raises(RuntimeError, match="start"):
        idle.submit(envelope())
    assert idle.close(0) == []
    with engine({"p": Gate()}, p=partner()) as running:
        with pytest.raises(KeyError, match="'q' is unknown here; there are p"):
            running.submit(envelope(partner="q"))
        with pytest.raises(RuntimeError, match="build a new one"):
            running.start()
