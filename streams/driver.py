"""A whole pipeline in one process without a broker: bytes in, bytes out, a clock that only you move.

For tests of a pipeline's YAML and pack, and for trying things out:

    driver = TopologyDriver(load_pipeline("cold-chain"), partners={"lake": AcceptingPartner()})
    driver.publish("fridge-1", b'{"sensor_id": "fridge-1", ...}')
    driver.finish()
    driver.read("sent")          # [Sent, ...] as dicts
    driver.partners["lake"].effects

The stages, the runner and every rule are the product's own; only the log is in memory and partners are functions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from audit.block import Block, read_block
from schemas.codec import Codec, SingleObjectCodec
from schemas.pack import Pack
from streams.claims import MemoryClaims
from streams.delivery.protocol import Envelope, Outcome, OutcomeKind
from streams.dispatch.allowance import Allowances
from streams.pipeline import STAGES, Parts
from streams.progress import Identity
from streams.runtime.memory import MemoryBroker, MemoryLog
from streams.runtime.runner import Exchange, Runner, Step
from streams.stage import Message
from streams.validate.authorised import TradingPartners
from topology.lanes import lanes_of
from topology.model import STANDARD, Lane, Pipeline
from topology.packs import pack_builder

INPUTS = {"validate": "raw", "batch": "validated", "dispatch": "batched"}


class Partner(Protocol):
    """A partner as a function; a generator of test answers."""

    def __call__(self, envelope: Envelope) -> Outcome:
        """What comes of one attempt."""
        ...


class AcceptingPartner:
    """Takes everything, and remembers each idempotency key: the ledger law 7 speaks of."""

    def __init__(self) -> None:
        self.effects: dict[str, bytes] = {}
        self.attempts: list[Envelope] = []

    def __call__(self, envelope: Envelope) -> Outcome:
        self.attempts.append(envelope)
        held = self.effects.setdefault(envelope.idempotency_key, envelope.body)
        if held != envelope.body:
            return Outcome(OutcomeKind.CONFLICT, "other bytes under this key")
        return Outcome(OutcomeKind.DELIVERED, "stored")


class DirectExchange:
    """Asks partners at once; the answers come with the next turn."""

    def __init__(self, partners: Mapping[str, Partner]) -> None:
        self._partners = partners
        self._answers: deque[tuple[Envelope, Outcome]] = deque()

    def launch(self, effects: Sequence[Envelope]) -> None:
        self._answers.extend((envelope, self._partners[envelope.partner](envelope)) for envelope in effects)

    def poll(self) -> list[tuple[Envelope, Outcome]]:
        answers = list(self._answers)
        self._answers.clear()
        return answers

    def busy(self) -> bool:
        return bool(self._answers)


class TopologyDriver:
    """Runs a pipeline over an in-memory log. Time stands still unless `advance` moves it."""

    def __init__(
        self,
        pipeline: Pipeline,
        partners: Mapping[str, Partner] | None = None,
        exchange: Exchange | None = None,
        pack: Pack | None = None,
        codec: Codec | None = None,
        start: int = 1_767_225_600_000,
        observe: Callable[[str, Step], None] = lambda stage, step: None,
        authorised: Callable[[], TradingPartners] = TradingPartners,
        lane: Lane = STANDARD,
        allowances: Allowances | None = None,
    ) -> None:
        """`start` is the clock in ms since epoch (default 2026-01-01T00:00Z). `observe` sees each turn of a stage.
        `authorised` gives the list of trading partners; by default it is empty. `lane` and `allowances` are for
        LanesDriver. Raises ValueError for a pipeline of several lanes."""
        if len(pipeline.lanes) > 1:
            raise ValueError(f"{pipeline.pipeline} has lanes {', '.join(pipeline.lanes)}: run it in a LanesDriver")
        self._lane: Lane = lane
        self._allowances = allowances
        self.pipeline = pipeline
        self.partners: dict[str, Any] = dict(partners or {name: AcceptingPartner() for name in pipeline.partner_names})
        self.codec = codec or SingleObjectCodec()
        self.pack = pack or pack_builder(pipeline)()
        self.broker = MemoryBroker(pipeline)
        self.broker.now = start
        self.claims = MemoryClaims()
        self._exchange = exchange or DirectExchange(self.partners)
        self._observe, self._authorised = observe, authorised
        self.runners: dict[str, Runner] = {}
        for stage in STAGES:
            self.start(stage)

    def start(self, stage: str) -> Runner:
        """A new worker for one stage, with nothing in memory: also what follows a crash."""
        identity = Identity("driver", "in-memory", self.pack.version)
        parts = Parts(
            self.pipeline, self.codec, self.pack, identity, self.claims, authorised=self._authorised, lane=self._lane,
            allowances=self._allowances,
        )  # fmt: skip
        log = MemoryLog(self.broker, stage, INPUTS[stage])
        exchange = None
        if stage == "validate":
            made: Any = parts.validate()
        elif stage == "batch":
            made = parts.batch()
        else:
            made = parts.dispatch(lambda partition, offset: log.read("batched", partition, offset))
            made.may_send = True
            exchange = self._exchange
        runner = Runner(
            log,
            made,
            self.pipeline.chunk,
            exchange,
            clock=lambda: self.broker.now,
            observe=lambda step: self._observe(stage, step),
        )
        self.runners[stage] = runner
        return runner

    def kill(self, stage: str) -> None:
        """The stage's worker is gone, and the group knows it."""
        group = self.pipeline.group_id(stage)
        for member in list(self.broker.members.get(group, [])):
            self.broker.leave(group, member)

    def publish(
        self, key: str | None, value: bytes | None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, int]:
        """A publisher's message; returns partition and offset on `raw`."""
        return self.broker.publish(key, value, headers)

    def advance(self, seconds: float) -> None:
        """Moves the clock, then runs what has become due."""
        self.broker.now += int(seconds * 1000)
        self.run()

    def run(self, turns: int = 100_000) -> None:
        """Turns every stage until nothing moves. Raises RuntimeError if that does not happen in `turns` turns."""
        for _ in range(turns):
            if not self.turn():
                return
        raise RuntimeError(f"the pipeline still moves after {turns} turns")

    def turn(self) -> bool:
        """One turn of every stage; whether anything moves, or will at the next."""
        assigned = self._all_assigned()  # before the turn: one that only takes partitions over has read nothing
        before = sum(self.broker.end("heads", p) for p in range(self.pipeline.partitions))
        results = [self.runners[stage].step(timeout=0) for stage in STAGES]
        after = sum(self.broker.end("heads", p) for p in range(self.pipeline.partitions))
        quiet = all(step.result == "idle" for step in results)
        return not (quiet and before == after and not self._exchange.busy() and assigned)

    def _all_assigned(self) -> bool:
        return all(len(self.runners[stage].partitions) == self.pipeline.partitions for stage in STAGES)

    def finish(self) -> None:
        """A bounded run: everything published goes all its way; windows close with reason `end`. What waits for a
        retry then waits for `advance`."""
        for stage in STAGES[:-1]:  # dispatch has nothing to close, and drained it would begin no attempt any more
            self.run()
            self.close(stage)
        self.run()

    def close(self, stage: str) -> None:
        """What a stage writes at the end of its input."""
        while self.runners[stage].drain(ending=True).result not in ("idle", "commit"):
            self.run()  # a doubt: the windows are open as before, and are closed again

    def messages(self, topic: str) -> list[Message]:
        """Every message of a topic, as stored."""
        return self.broker.all(topic)

    def read(self, topic: str) -> list[dict[str, Any]]:
        """Every message of a topic, decoded; tombstones are left out."""
        return [self.codec.decode(m.value)[1] for m in self.messages(topic) if m.value is not None]

    def blocks(self) -> list[Block]:
        """Every audit block."""
        return [read_block(m.value or b"") for m in self.messages("audit")]


class LanesDriver:
    """A pipeline of several lanes: a driver for each, one clock, and partners whose limits they share."""

    def __init__(
        self,
        pipeline: Pipeline,
        partners: Mapping[str, Partner] | None = None,
        exchange: Callable[[Lane], Exchange | None] = lambda lane: None,
    ) -> None:
        """As TopologyDriver; `exchange` makes each lane's."""
        allowances = Allowances()
        self.lanes: dict[Lane, TopologyDriver] = {
            lane: TopologyDriver(derived, partners, exchange(lane), lane=lane, allowances=allowances)
            for lane, derived in lanes_of(pipeline).items()
        }

    def advance(self, seconds: float) -> None:
        """Moves the clock, then runs what has become due."""
        for driver in self.lanes.values():
            driver.broker.now += int(seconds * 1000)
        self.run()

    def run(self, turns: int = 100_000) -> None:
        """Turns every stage of every lane until nothing moves. Raises RuntimeError as TopologyDriver.run does."""
        for _ in range(turns):
            moving = [driver.turn() for driver in self.lanes.values()]
            if not any(moving):
                return
        raise RuntimeError(f"the lanes still move after {turns} turns")

    def finish(self) -> None:
        """A bounded run of all lanes, stage by stage."""
        for stage in STAGES[:-1]:
            self.run()
            for driver in self.lanes.values():
                driver.close(stage)
        self.run()
