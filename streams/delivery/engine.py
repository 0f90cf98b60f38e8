"""Owns partner I/O: one thread with one event loop, so that a long chunk of Kafka work never makes a partner look slow.

It takes envelopes and gives back outcomes. It decides nothing: whether to retry, when, and what it means is dispatch's,
and so are a partner's breaker and rate (`streams/dispatch/gate.py`).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from streams.delivery.answers import fault
from streams.delivery.http import HttpSink
from streams.delivery.object_store import OBJECT_STORE_SLOTS, ObjectStoreSink
from streams.delivery.protocol import Envelope, Outcome, OutcomeKind, Sink
from streams.runtime import failpoints
from topology.partner import HttpPartner, KafkaPartner, ObjectStorePartner, Partner, PostgresPartner, SftpPartner

GRACE = 2.0
"""Seconds beyond a partner's time-out before the engine gives up on a sink that does not keep it."""
EVENT_SLICE = 0.02
"""Seconds between looks at a foreign event while waiting."""


def build_sink(name: str, partner: Partner) -> Sink:
    """The sink of a partner. Opens nothing. Raises ValueError for a URL or option that means nothing. A client library
    that most workers do not need is imported where it is needed."""
    match partner:
        case HttpPartner():
            return HttpSink(name, partner)
        case ObjectStorePartner():
            return ObjectStoreSink(name, partner)
        case KafkaPartner():
            from streams.delivery.kafka_topic import KafkaSink

            return KafkaSink(name, partner)
        case PostgresPartner():
            from streams.delivery.postgres import PostgresSink

            return PostgresSink(name, partner)
        case SftpPartner():
            from streams.delivery.sftp import SftpSink

            return SftpSink(name, partner)


class DeliveryEngine:
    """Submit from any thread, collect from any thread. Every envelope submitted comes back from `poll` exactly once,
    unless `close` returns it as left open."""

    def __init__(
        self,
        partners: Mapping[str, Partner],
        build: Callable[[str, Partner], Sink] = build_sink,
        grace: float = GRACE,
    ) -> None:
        """Builds the sinks. Raises ValueError as `build_sink` does."""
        self._sinks = {name: build(name, partner) for name, partner in partners.items()}
        self._slots = {name: asyncio.Semaphore(_slots(partner)) for name, partner in partners.items()}
        self._deadlines = {name: partner.timeout + grace for name, partner in partners.items()}
        self._changed = threading.Condition()
        self._open: dict[bytes, Envelope] = {}
        self._answers: list[tuple[Envelope, Outcome]] = []
        self._accepting = self._shutting = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to take envelopes. An engine is started once; RuntimeError otherwise."""
        if self._thread is not None:
            raise RuntimeError("the delivery engine was started before; build a new one")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="delivery", daemon=True)
        self._thread.start()
        self._accepting = True

    def submit(self, *envelopes: Envelope) -> None:
        """Queues attempts and returns at once. Raises KeyError for a partner this engine was not built with,
        ValueError if an attempt of the batch is in flight, RuntimeError before `start` and after `close`; then none of
        them was queued."""
        for envelope in envelopes:
            if envelope.partner not in self._sinks:
                known = ", ".join(sorted(self._sinks))
                raise KeyError(f"partner {envelope.partner!r} is unknown here; there are {known}")
        with self._changed:
            if not self._accepting:
                raise RuntimeError("the delivery engine is not running: call start() first, and nothing after close()")
            fresh = {envelope.batch_id: envelope for envelope in envelopes}
            if len(fresh) < len(envelopes) or fresh.keys() & self._open.keys():
                twice = next(e for e in envelopes if e.batch_id in self._open or fresh[e.batch_id] is not e)
                raise ValueError(f"batch {twice.idempotency_key}: an attempt is in flight already")
            self._open |= fresh
            # Under the lock, so that close() cannot end the loop between the two. Once for all: it wakes the loop.
            self._loop.call_soon_threadsafe(self._begin, envelopes)

    def in_flight(self, batch_id: bytes) -> bool:
        """Whether an attempt of the batch was submitted whose outcome `poll` has not yet given out."""
        with self._changed:
            return batch_id in self._open

    def poll(self) -> list[tuple[Envelope, Outcome]]:
        """The outcomes since the last call, in the order they came. Does not block."""
        with self._changed:
            answers, self._answers = self._answers, []
            for envelope, _ in answers:
                self._open.pop(envelope.batch_id, None)
        return answers

    def wait(self, seconds: float, event: threading.Event | None = None) -> bool:
        """Blocks until `poll` has something to give, `event` is set, or the time is over. True: there are answers."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not self._answers and not (event is not None and event.is_set()):
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left if event is None else min(left, EVENT_SLICE))
            return bool(self._answers)

    def close(self, deadline: float) -> list[Envelope]:
        """Takes nothing more, waits up to `deadline` seconds for open attempts, gives up the rest and ends the thread.

        Outcomes that came stay in `poll`. Returned are the envelopes without one: their outcome is unknown and their
        write-ahead stays in flight (DI1). A second call returns the same.
        """
        until = time.monotonic() + deadline
        with self._changed:
            self._accepting = False
            while len(self._answers) < len(self._open) and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
        if self._thread is not None and self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        with self._changed:
            answered = {envelope.batch_id for envelope, _ in self._answers}
            return [envelope for batch_id, envelope in self._open.items() if batch_id not in answered]

    # Inside the loop's thread.

    def _begin(self, envelopes: Sequence[Envelope]) -> None:
        for envelope in envelopes:
            task = self._loop.create_task(self._deliver(envelope))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, envelope: Envelope) -> None:
        """One attempt in one of the partner's slots, with an outcome whatever the sink does."""
        # One task and one timer: with a task for the sink and one that waits for it, an attempt took twice as long.
        slot, seconds = self._slots[envelope.partner], self._deadlines[envelope.partner]
        await slot.acquire()
        attempt = _Attempt(envelope, asyncio.current_task(), time.monotonic())
        timer = self._loop.call_later(seconds, self._give_up, attempt, seconds)
        try:
            outcome = await self._sinks[envelope.partner].send(envelope)
        except asyncio.CancelledError:
            if self._shutting:
                raise  # its write-ahead stays in flight
            outcome = Outcome(OutcomeKind.UNKNOWN, "the attempt was given up")
        except BaseException as error:  # noqa: BLE001  (a sink that breaks its law; a panic in native code is one)
            outcome = fault(error, sent=True)
        finally:
            timer.cancel()
        self._end(attempt, outcome)

    def _give_up(self, attempt: _Attempt, seconds: float) -> None:
        """Not waited for any longer: a sink that ignores its time-out may ignore its cancellation too."""
        self._end(attempt, Outcome(OutcomeKind.UNKNOWN, f"no answer within {seconds:g} s"))
        if attempt.task is not None:
            attempt.task.cancel()

    def _end(self, attempt: _Attempt, outcome: Outcome) -> None:
        """The first outcome of an attempt counts, and frees its slot; what comes later is nobody's."""
        if attempt.ended:
            return
        attempt.ended = True
        self._slots[attempt.envelope.partner].release()
        failpoints.hit("dispatch:after-send")
        with self._changed:
            self._answers.append((attempt.envelope, outcome._replace(seconds=time.monotonic() - attempt.began)))
            self._changed.notify_all()

    async def _shut(self) -> None:
        self._shutting = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE)
        for sink in self._sinks.values():
            # A connection that cannot be closed politely ends with the process.
            with suppress(TimeoutError):
                await asyncio.wait_for(sink.close(), GRACE)


@dataclass(slots=True)
class _Attempt:
    envelope: Envelope
    task: asyncio.Task[Any] | None
    began: float
    ended: bool = False


def _slots(partner: Partner) -> int:
    return OBJECT_STORE_SLOTS if isinstance(partner, ObjectStorePartner) else partner.connections
