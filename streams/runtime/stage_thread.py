"""One stage of one pipeline on a thread of its own: its log, its stage, its runner, and what of them others may see.

What ends a thread for good ends the process: fencing and gaps are an operator's or a supervisor's business, never
a reason to rejoin (TX3).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import structlog

from schemas.registry import codec_for
from streams.delivery.engine import DeliveryEngine
from streams.delivery.exchange import EngineExchange
from streams.dispatch.allowance import Allowances
from streams.pipeline import STAGES, Parts
from streams.progress import Identity
from streams.runtime import bounded
from streams.runtime.admin import Cluster
from streams.runtime.claims import ObjectClaims
from streams.runtime.control import ControlWatch, Pauses
from streams.runtime.frame import Frame
from streams.runtime.kafka import KafkaLog
from streams.runtime.lag import Reading
from streams.runtime.log import LogError
from streams.runtime.master import MasterReader
from streams.runtime.observe import Metrics, Observer
from streams.runtime.parser import ParserProcess
from streams.runtime.runner import Runner, steady_clock
from streams.runtime.stores import with_stores
from streams.runtime.turns import Desk, LaneTurns, NoTurns, Turns
from topology.lanes import lanes_of
from topology.model import Lane, Pipeline
from topology.packs import pack_builder

STAND_SECONDS = 1.0
"""How old a thread's word may be on where it stands."""

log = structlog.get_logger("waybill")


@dataclass(frozen=True)
class WorkerSettings:
    """Where and as whom a worker runs."""

    bootstrap: str
    home: Path
    slot: int = 0
    stages: tuple[str, ...] = STAGES
    web_bind: str = "127.0.0.1"
    web_port: int = 6066
    drain_seconds: float = 30.0
    software: str = "waybill"
    session_seconds: float = 10.0
    until_end: bool = False
    """A bounded run: stage by stage, each up to where its input ends when the one before has stopped (law 6)."""


class Flow(NamedTuple):
    """A lane of a pipeline in this process, and what it shares with the others."""

    lane: Lane
    pipeline: Pipeline
    declared: Pipeline
    """The one whose lane it is; itself where there are no others."""
    shared: bool
    """There are others."""
    desk: Desk
    allowances: Allowances


def flows(pipelines: Sequence[Pipeline]) -> list[Flow]:
    """The lanes of pipelines, the highest of each first."""
    found = []
    for declared in pipelines:
        lanes, desk, allowances = lanes_of(declared), Desk(), Allowances()
        found += [Flow(lane, one, declared, len(lanes) > 1, desk, allowances) for lane, one in lanes.items()]
    return found


class Process(Protocol):
    """What a thread needs of the worker it is part of."""

    settings: WorkerSettings
    metrics: Metrics
    frame: Frame
    control: ControlWatch
    cluster: Cluster
    wrong: LogError | None
    """What has become of a topic, or of its watching; every thread ends with it."""
    news: Callable[[], None]
    """Called by a thread that has ended or come to the end of its input."""


class StageThread(threading.Thread):
    """Owns one stage of one pipeline, or of one of its lanes, in this process."""

    def __init__(self, worker: Process, flow: Flow, stage: str) -> None:
        pipeline = flow.pipeline
        super().__init__(name=f"{pipeline.pipeline}/{stage}", daemon=True)
        self.pipeline, self.stage_name, self._flow = pipeline, stage, flow
        self._worker = worker
        self._stopping = threading.Event()
        self._bounded = threading.Event()
        self.reached = threading.Event()
        """A bounded run has come to its end; the thread goes on until it is asked to stop."""
        self.error: BaseException | None = None
        self.drained: bool | None = None
        self.runner: Runner | None = None
        self._build_pack = pack_builder(pipeline)
        self.pack = self._build_pack()
        self.codec = codec_for(pipeline.registry)
        self.observer = Observer(worker.metrics, pipeline, stage, self.codec, self.pack.version)
        self._engine: DeliveryEngine | None = None
        self._parser: ParserProcess | None = None
        self._master: MasterReader | None = None
        self._log: KafkaLog | None = None
        self.hand_over = worker.frame.agent(self.name.replace("/", "-"), self._process)
        self._stage: Any = None
        self._readings: list[Reading] = []
        self._stood = 0.0
        self._pauses = Pauses(worker.control.orders, flow.declared)

    def _process(self, chunk: Any) -> Any:
        return self._stage.process(chunk)

    def ask_to_stop(self) -> None:
        """Ends the loop after the turn at hand; the thread then drains."""
        self._stopping.set()

    def ask_for_end(self, leave: bool) -> None:
        """Runs up to where the input ends now and sets `reached`; stops there if it is to leave."""
        self.reached.clear()
        self._leave = leave
        self._bounded.set()

    def readings(self) -> list[Reading]:
        """Where it stood in each partition a moment ago; for any thread."""
        return self._readings

    def _stand(self, runner: Runner) -> None:
        if time.monotonic() - self._stood < STAND_SECONDS or self._log is None:
            return
        self._stood = time.monotonic()
        topic, moved = self.pipeline.topic(self._stage.input), self.observer.moved
        self._readings = [
            Reading(self.name, topic, partition, position, moved.get(partition, 0.0), partition in runner.held)
            for partition, position in self._log.standing(runner.positions).items()
        ]
        if self.stage_name == "batch":
            self.observer.waits(self._stage.waits)
        if self.stage_name == "dispatch":
            self.observer.partners(self._stage.partners(steady_clock()))

    @property
    def ready(self) -> bool:
        """Its partitions are restored (none assigned counts: there may be more workers than partitions)."""
        return self.runner is not None and self._assigned_once and self.error is None

    _assigned_once = False
    _leave = False

    def run(self) -> None:
        self.observer.last_turn = time.monotonic()
        try:
            self._run()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the process must learn of it and end
            self.error = error
            log.error("stage ended", pipeline=self.pipeline.pipeline, stage=self.stage_name, error=str(error))
        finally:
            with suppress(LogError):
                self._close()
            self._worker.news()

    def _run(self) -> None:
        settings = self._worker.settings
        overrides = {"session.timeout.ms": str(int(settings.session_seconds * 1000))}
        self._log = KafkaLog(
            settings.bootstrap, self.pipeline, self.stage_name, settings.slot, overrides=overrides,
            cluster=self._worker.cluster,
        )  # fmt: skip
        self._log.progressed, self._log.called = self.observer.alive, self._called
        exchange = self._build_stage(self._log)
        runner = self.runner = Runner(
            self._log, self._stage, self.pipeline.chunk, exchange, self.hand_over, observe=self._watch,
            turns=self._turns(),
        )  # fmt: skip
        while not self._interrupted():
            if self._bounded.is_set():
                self._run_to_end(runner)
            else:
                runner.step()
        self.drained = runner.stop(settings.drain_seconds)

    def _turns(self) -> Turns:
        """Dispatch shares partners with other lanes, the other stages the loop that works their chunks."""
        if self.stage_name == "dispatch":
            return NoTurns(lambda: self._flow.shared and self._stage.deliveries.outdone)
        return LaneTurns(self._flow.desk, self._flow.lane) if self._flow.shared else NoTurns()

    def _interrupted(self) -> bool:
        """Whether it was asked to stop. Raises what is wrong with the topics of this worker."""
        if self._worker.wrong is not None:
            raise self._worker.wrong
        return self._stopping.is_set()

    def _called(self) -> bool:
        """Whether something but a message waits for this thread."""
        ordered = self.stage_name == "dispatch" and self._pauses.waiting
        return ordered or self._stopping.is_set() or self._bounded.is_set() or self._worker.wrong is not None

    def _run_to_end(self, runner: Runner) -> None:
        stage = self._stage

        def settled() -> bool:
            if self.stage_name == "batch":
                return not stage.returning
            return self.stage_name != "dispatch" or stage.unsettled == 0

        with suppress(bounded.Interrupted):
            ends = bounded.run_to_end(runner, self.pipeline.partitions, settled, self._interrupted)
            log.info("at the end", pipeline=self.pipeline.pipeline, stage=self.stage_name, ends=ends)
            if self._leave:
                self._stopping.set()
            self._bounded.clear()
            self.reached.set()
            self._worker.news()

    def _watch(self, step: Any) -> None:
        runner = self.runner
        if runner is not None:
            self._assigned_once = self._assigned_once or runner.joined
            self._stand(runner)
        labels = (self.pipeline.pipeline, self.stage_name)
        self._worker.metrics.partitions.labels(*labels).set(len(runner.partitions) if runner else 0)
        if self.stage_name == "dispatch":
            self._worker.metrics.unsettled.labels(labels[0]).set(self._stage.unsettled)
            self._pauses.obey(self._stage)
        if step.result == "revoking":
            log.info("settling before a rebalance", pipeline=self.pipeline.pipeline, stage=self.stage_name)
        self.observer(step)

    def _build_stage(self, kafka: KafkaLog) -> EngineExchange | None:
        settings, pipeline = self._worker.settings, self.pipeline
        identity = Identity(f"{settings.slot}", settings.software, self.pack.version)
        home = settings.home / "stores" / pipeline.application / pipeline.pipeline / str(settings.slot)
        parts = Parts(
            pipeline, self.codec, self.pack, identity, ObjectClaims(pipeline.claims, settings.home / "claims"),
            lane=self._flow.lane, allowances=self._flow.allowances,
        )  # fmt: skip
        parts = with_stores(parts, home)
        if self.stage_name == "validate":
            self._parser = ParserProcess(self._build_pack, pipeline.parser)
            parts = replace(parts, unpack=self._parser.unpack)
            if self.pack.parties:
                self._master = MasterReader(settings.bootstrap)
                parts = replace(parts, authorised=self._master.current)
            self._stage = parts.validate()
        elif self.stage_name == "batch":
            self._stage = parts.batch()
        else:
            engine = self._engine = DeliveryEngine(pipeline.partners)
            engine.start()
            self._stage = parts.dispatch(
                lambda partition, offset: kafka.read("batched", partition, offset), engine.in_flight
            )
            read = self._worker.control.wait_read(self._stopping)
            self._pauses.obey(self._stage)
            self._stage.may_send = read
            return EngineExchange(engine, self.observer.answered)
        return None

    def _close(self) -> None:
        if self._engine is not None:
            self._engine.close(0)
        if self._parser is not None:
            self._parser.close()
        if self._master is not None:
            self._master.close()
        if self.runner is not None:
            self.runner.close()
        elif self._log is not None:
            self._log.close()
