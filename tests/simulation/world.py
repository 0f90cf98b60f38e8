"""The whole topology in one process: broker, stages behind the product's runner, partners, and one virtual clock.

`tests/simulation/schedule.py` says who moves when; `tests/simulation/oracle.py` judges what came of it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

from schemas.codec import SingleObjectCodec
from streams.batch.identity import MemoryVersions
from streams.pipeline import STAGES, Parts
from streams.progress import Identity
from streams.runtime import runner as runner_module
from streams.runtime.log import Fatal, LogError, LogGap
from streams.runtime.memory import MemoryBroker
from streams.runtime.runner import Runner
from streams.stage import Chunk, TableStore, Work
from streams.tables import MemoryRows
from tests.simulation.log import INPUTS, OpenTransaction, SimLog
from tests.simulation.pack import LinePack
from tests.simulation.partner import Partners, SimExchange
from tests.simulation.setting import setting
from topology.model import EVENT_TOPICS, TABLES

CODEC = SingleObjectCodec()
START = 1_767_225_600_000
KILL, OTHERS, OTHERS_IN_DOUBT = 0.002, 0.02, 0.12
"""How likely, at each call to the outside, a process dies there, or others move meanwhile; and the latter at a call
that decides between old and new."""
IN_DOUBT = ("begin", "before-commit", "after-commit", "committed", "catch-up heads", "before-send")
DEEP = 2
"""Processes held up inside one another at most."""
EXPECTED = ("cannot work", "the reader crashed")
"""What the pack raises on purpose."""


class Broken(BaseException):
    """A law is broken. No Exception, so that no runner takes it for a fault of its stage."""


class Crash(BaseException):
    """kill -9 at this moment."""


class Injected(RuntimeError):
    """Raised inside a stage's process."""


class Submission(NamedTuple):
    """What was published."""

    value: bytes
    lines: list[str]
    after: Any = None
    """Position of the record whose dead letter the publisher had seen, if it was repeated or corrected for that."""


@dataclass(eq=False)
class Process:
    """One worker process, with one stage."""

    stage_name: str
    slot: int
    dead: bool = False
    asleep: bool = False
    working: bool = False
    """It is in the middle of a step."""
    log: SimLog = field(init=False)
    stage: Any = field(init=False)
    runner: Runner = field(init=False)
    exchange: SimExchange | None = None

    @property
    def name(self) -> str:
        return f"{self.stage_name}.{self.slot}"


class World:
    """One history under way."""

    def __init__(self, seed: int, move: Callable[[World], None]) -> None:
        self.seed, self.r, self._move = seed, Random(seed), move
        self.setting = setting(self.r)
        self.pipeline = self.setting.pipeline
        self.broker = MemoryBroker(self.pipeline)
        self.broker.now = START
        self.broker.fault = self._fault
        self.codec = CODEC
        self.events: list[str] = []
        self.count: Counter[str] = Counter()
        self.calm = False
        self.closed_at: int | None = None
        """Where `validated` ended when the windows of its partition 0 were closed at the end."""
        self.depth = 0
        self.published: dict[tuple[int, int], Submission] = {}
        self.garbled: set[tuple[int, int]] = set()
        """Positions in `validated` of what nobody can read."""
        self.transactions: list[OpenTransaction] = []
        self.disks: dict[tuple[str, int, str, int], TableStore] = {}
        """Stores of dead processes, by stage, slot, table and partition, for whoever gets the slot."""
        self.ghosts: list[SimLog] = []
        """Members that are dead but have not run into the session time-out."""
        self.processes: list[Process] = []
        self.partners = Partners(self)
        self._decoded: dict[bytes, tuple[str, dict[str, Any]]] = {}
        for stage in STAGES:
            for slot in range(self.setting.workers[stage]):
                self.start(stage, slot)

    # ---- time ------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """The one clock, ms."""
        return self.broker.now

    @now.setter
    def now(self, value: int) -> None:
        self.broker.now = value

    def sleep(self, seconds: float) -> None:
        """A process waits; meanwhile something comes from the partners."""
        self.now += max(500, int(seconds * 1000))
        self.partners.happen()

    def virtual_time(self) -> Any:
        """Takes the place of `time` in the runner while a history runs."""
        clock = SimpleNamespace(monotonic=lambda: self.now / 1000, perf_counter=lambda: 0.0, sleep=self.sleep)
        return patch.object(runner_module, "time", clock)

    # ---- what is said about it -------------------------------------------------------------------

    def note(self, event: str) -> None:
        """One line of the history."""
        self.events.append(f"{self.now - START:>8} {'  ' * self.depth}{event}")

    def broken(self, what: str) -> None:
        """Ends the history: a law is broken."""
        raise Broken(what)

    def decode(self, value: bytes) -> tuple[str, dict[str, Any]]:
        """A message; each is decoded once."""
        found = self._decoded.get(value)
        if found is None:
            found = self._decoded[value] = CODEC.decode(value)
        return found

    def digest(self) -> str:
        """SHA-256 over everything that happened and everything on the topics."""
        trace = hashlib.sha256("\n".join(self.events).encode())
        for topic in ("raw", *EVENT_TOPICS, *TABLES):
            for message in self.broker.all(topic):
                trace.update(repr(message).encode())
        return trace.hexdigest()

    # ---- faults ----------------------------------------------------------------------------------

    def at(self, process: Process, point: str) -> None:
        """A call to the outside: here a process may die, and here others may move."""
        if process.dead:
            raise Crash
        if self.calm:
            return
        x = self.r.random()
        if x < KILL:
            self.note(f"{process.name} dies at {point}")
            self.count["crash"] += 1
            self.kill(process)
            raise Crash
        if x < KILL + (OTHERS_IN_DOUBT if point in IN_DOUBT else OTHERS) and self.depth < DEEP:
            self.note(f"{process.name} is held up at {point}")
            self.count[f"held up at {point}"] += 1
            self.depth += 1
            if self.r.random() < 0.3:
                self.broker.rebalance(process.log.group)
            for _ in range(self.r.randint(1, 4)):
                self._move(self)
            self.depth -= 1
            if process.dead:
                raise Crash

    def _fault(self, stage: str) -> str:
        if self.calm or self.r.random() < 0.93:
            return "ok"
        fault = self.r.choice(("abort", "lost-yes", "lost-no"))
        self.note(f"commit of {stage}: {fault}")
        self.count[fault] += 1
        return fault

    def wait_for_pending(self, group: str, partition: int) -> None:
        """A stable committed offset is there when no open transaction holds offsets of the partition."""
        for one in self.transactions:
            if one.log.group == group and partition in one.offsets and not one.ended:
                commits = self.r.random() < 0.6
                self.note(f"the open transaction of {one.log.member} {'commits' if commits else 'expires'}")
                self.count["pending"] += 1
                one.commit() if commits else one.expire()

    # ---- processes -------------------------------------------------------------------------------

    def start(self, stage: str, slot: int) -> Process:
        """A new worker process, with nothing in memory."""
        process = Process(stage, slot)
        parts = Parts(
            self.pipeline, CODEC, LinePack(), Identity("sim", "0", "1"),
            versions=lambda partition: self._store(process, "idempotency", partition, MemoryVersions),
            rows=lambda table, partition: self._store(process, table, partition, MemoryRows),
            random=Random(self.seed),
        )  # fmt: skip
        log = process.log = SimLog(self, process)
        if stage == "validate":
            process.stage = parts.validate()
        elif stage == "batch":
            process.stage = parts.batch()
        else:
            exchange = process.exchange = SimExchange(self, process)
            process.stage = parts.dispatch(
                lambda partition, offset: log.read("batched", partition, offset), exchange.in_flight
            )
            process.stage.may_send = self.calm or self.r.random() < 0.7
        process.runner = Runner(
            log, process.stage, self.pipeline.chunk, process.exchange, lambda chunk: self._process(process, chunk),
            lambda: self.now,
        )  # fmt: skip
        self.processes.append(process)
        self.note(f"{process.name} starts")
        return process

    def _store(self, process: Process, table: str, partition: int, make: Callable[[], Any]) -> Any:
        """A store of its own, or the one a predecessor in the slot left on the disk."""
        kept = self.disks.pop((process.stage_name, process.slot, table, partition), None)
        if kept is not None:
            self.count["store kept"] += 1
        return make() if kept is None else kept

    def _process(self, process: Process, chunk: Chunk) -> Work:
        """Step 2, in which a stage may raise before or after its work."""
        x = 1.0 if self.calm or not self.setting.stage_faults else self.r.random()
        if x < 0.01:
            raise Injected("before the work")
        work: Work = process.stage.process(chunk)
        if x < 0.02:
            raise Injected("after the work")
        return work

    def kill(self, process: Process) -> None:
        """kill -9: what was in memory is gone; the group learns of it at once or by the session time-out."""
        if process.dead:
            return
        process.dead = True
        self.processes.remove(process)
        for partition, stores in process.runner._stores.items():
            for table, store in stores.items():
                if self.r.random() < 0.5:
                    self.disks[process.stage_name, process.slot, table, partition] = store
        if self.calm or self.r.random() < 0.6:
            self.broker.leave(process.log.group, process.log.member)
        else:
            self.ghosts.append(process.log)

    def step(self, process: Process) -> str:
        """One turn of a process; what it came to."""

        def turn() -> str:
            step = process.runner.step(timeout=0)
            self._check(process, step.error)
            return step.result

        return self.guarded(process, turn)

    def guarded(self, process: Process, turn: Callable[[], str]) -> str:
        """Runs a piece of a process: it may die in it, or end itself with a Fatal error."""
        process.working = True
        try:
            result = turn()
        except Crash:
            result = "dead"
        except LogGap as gap:
            raise Broken(f"law 1: {process.name} sees a gap: {gap}") from gap
        except Fatal as fatal:
            self._check(process, fatal)
            self.count["fatal"] += 1
            self.note(f"{process.name} ends itself: {fatal}")
            self.kill(process)
            result = "fatal"
        finally:
            process.working = False
        if result != "idle":
            self.note(f"{process.name}: {result}")
        self.count[result] += 1
        return result

    def _check(self, process: Process, error: BaseException | None) -> None:
        """Errors of the log and those put in are expected, others are faults of the product."""
        while error is not None and error.__cause__ is not None:
            error = error.__cause__
        if error is None or isinstance(error, LogError | Injected) or str(error).startswith(EXPECTED):
            return
        raise Broken(f"law 5: {process.name} raised {type(error).__name__}: {error}") from error

    def of(self, stage: str) -> list[Process]:
        """The living processes of a stage."""
        return [process for process in self.processes if process.stage_name == stage]

    def has_work(self, process: Process) -> bool:
        """Whether a turn of a process would come to anything."""
        log = process.log
        if not log.current or (process.exchange is not None and process.exchange.answered):
            return True
        held = self.broker.partitions(INPUTS[process.stage_name])
        behind = any(held[p] and at <= held[p][-1].offset for p, at in process.runner.positions.items())
        return behind or bool(process.stage.due(self.now))

    def at_end(self, stage: str) -> bool:
        """Whether every partition of a stage's input has been read to its end."""
        positions: dict[int, int] = {}
        for process in self.of(stage):
            positions |= process.runner.positions
        return all(
            partition in positions and (not held or positions[partition] > held[-1].offset)
            for partition, held in enumerate(self.broker.partitions(INPUTS[stage]))
        )
