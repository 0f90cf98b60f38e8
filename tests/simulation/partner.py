"""The simulated partners and the network before them: requests under way, a ledger of attempts and effects.

A request may arrive late, or not at all; an answer may be lost though the batch was stored. What the ledger holds is
the truth that the oracle judges by.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from schemas.canonical import sha256
from streams.delivery.protocol import Envelope, Outcome, OutcomeKind
from tests.simulation.setting import ARRIVES

if TYPE_CHECKING:
    from tests.simulation.world import Process, World


POISON = 6
"""Of 256 records, which no partner takes: those whose digest begins with less."""


class Attempt(NamedTuple):
    """One attempt as the network saw it begin."""

    envelope: Envelope
    ends: list[int]
    """Where the partitions of `delivery` ended at that moment: the write-ahead must stand before."""


class Effect(NamedTuple):
    """A batch that a partner stored."""

    key: str
    body: bytes


@dataclass(eq=False)
class Request:
    """An attempt under way."""

    envelope: Envelope
    exchange: SimExchange
    at: int
    answered: bool = False


class SimExchange:
    """The partners as one dispatch worker sees them. See streams.runtime.runner.Exchange."""

    def __init__(self, world: World, process: Process) -> None:
        self._world, self._process = world, process
        self._open: set[bytes] = set()
        self._inbox: list[tuple[Envelope, Outcome]] = []

    def launch(self, effects: Sequence[Envelope]) -> None:
        for envelope in effects:
            self._world.at(self._process, "before-send")
            if envelope.batch_id in self._open:
                self._world.broken("an attempt of this batch is still out in this worker")
            self._open.add(envelope.batch_id)
            self._world.partners.begin(envelope, self, self._process)

    def poll(self) -> list[tuple[Envelope, Outcome]]:
        self._world.at(self._process, "poll")
        answers, self._inbox = self._inbox, []
        for envelope, _ in answers:
            self._open.discard(envelope.batch_id)
        return answers

    def busy(self) -> bool:
        return bool(self._open)

    @property
    def answered(self) -> bool:
        """Whether an answer waits to be polled."""
        return bool(self._inbox)

    def in_flight(self, batch_id: bytes) -> bool:
        """Whether an attempt of a batch has not come back."""
        return batch_id in self._open

    def give(self, envelope: Envelope, outcome: Outcome) -> None:
        """An answer reaches the worker."""
        self._inbox.append((envelope, outcome))


class Partners:
    """Both partners, and all that is under way to them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.wire: list[Request] = []
        self.attempts: list[Attempt] = []
        self.effects: list[Effect] = []
        self._known: dict[str, tuple[int, bytes]] = {}
        """Idempotency key -> since when it is remembered, and the digest stored."""
        self._refused: set[str] = set()
        self._limit = Random(world.seed).choice((1, 2, 3, 4))
        """Records that a partner takes in one request; a batch has four at most."""
        self._retention = {
            name: None if p.key_retention is None else int(p.key_retention * 1000)
            for name, p in world.pipeline.partners.items()
        }

    def begin(self, envelope: Envelope, exchange: SimExchange, process: Process) -> None:
        """An attempt leaves the worker, or fails to."""
        world, r = self._world, self._world.r
        ends = [world.broker.end("delivery", partition) for partition in range(world.pipeline.partitions)]
        self.attempts.append(Attempt(envelope, ends))
        world.note(f"{process.name} sends {envelope.idempotency_key[:8]} life {envelope.life}.{envelope.attempt}")
        if not process.stage.may_send:
            world.broken("DI5: an attempt before the control topic was read")
        if not world.calm and r.random() < 0.08:
            return exchange.give(envelope, Outcome(OutcomeKind.FAILED, "refused connection"))
        return self.wire.append(Request(envelope, exchange, world.now))

    def happen(self) -> None:
        """Something happens to one request: it arrives, or its worker gives up on it while it travels on."""
        if not self.wire:
            return
        r = self._world.r
        request = r.choice(self.wire)
        if r.random() < 0.2:
            self._give(request, Outcome(OutcomeKind.UNKNOWN, "no answer"))
        else:
            self._arrive(request)

    def settle(self) -> None:
        """Every request comes to its end."""
        for request in list(self.wire):
            self._arrive(request)

    def _arrive(self, request: Request) -> None:
        world, envelope = self._world, request.envelope
        self.wire.remove(request)
        if world.now - request.at > ARRIVES:
            return self._give(request, Outcome(OutcomeKind.UNKNOWN, "lost on the way"))
        outcome = self._judge(envelope)
        world.note(f"partner says {outcome.kind} ({outcome.answer}) of {envelope.idempotency_key[:8]}")
        if not world.calm and world.r.random() < 0.2:
            outcome = Outcome(OutcomeKind.UNKNOWN, "answer lost")
        return self._give(request, outcome)

    def _give(self, request: Request, outcome: Outcome) -> None:
        if not request.answered:
            request.answered = True
            request.exchange.give(request.envelope, outcome)

    def _judge(self, envelope: Envelope) -> Outcome:
        world, key = self._world, envelope.idempotency_key
        x = 1.0 if world.calm else world.r.random()
        if self._remembers(envelope):
            if world.setting.moody and x < 0.15:
                kinds = (OutcomeKind.REFUSED, OutcomeKind.INVALID, OutcomeKind.TOO_LARGE)
                return Outcome(world.r.choice(kinds), "changed my mind")
            if self._known[key][1] != sha256(envelope.body):
                world.broken(f"law 3: {key[:8]} was sent with other bytes")
            return Outcome(OutcomeKind.DELIVERED, "409 have it")
        if int(envelope.metadata["record_count"]) > self._limit:
            return Outcome(OutcomeKind.TOO_LARGE, "413")
        if any(int(record["digest"][:2], 16) < POISON for record in json.loads(envelope.body)["records"]):
            return Outcome(OutcomeKind.INVALID, "400")
        if x < 0.12 or (key in self._refused and x < 0.9):
            self._refused.add(key)
            kinds = (OutcomeKind.REFUSED, OutcomeKind.INVALID, OutcomeKind.TOO_LARGE)
            return Outcome(world.r.choice(kinds), "no")
        if x < 0.20:
            return Outcome(OutcomeKind.UNKNOWN, "500, nothing done")
        if x < 0.26:
            return Outcome(OutcomeKind.PAUSED, "429", world.r.choice((None, 1.0, 4.0, 40.0)))
        if x < 0.28:
            return Outcome(OutcomeKind.STOPPED, "401")
        if x < 0.31:
            return Outcome(OutcomeKind.FAILED, "503, declared as not done")
        self._known[key] = (world.now, sha256(envelope.body))
        self.effects.append(Effect(key, envelope.body))
        if x < 0.42:
            return Outcome(OutcomeKind.UNKNOWN, "500, but done")
        return Outcome(OutcomeKind.DELIVERED, "200")

    def _remembers(self, envelope: Envelope) -> bool:
        known = self._known.get(envelope.idempotency_key)
        retention = self._retention[envelope.partner]
        return known is not None and (retention is None or self._world.now - known[0] <= retention)
