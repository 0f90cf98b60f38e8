"""One worker process: a thread per pipeline and stage, the Faust frame around them, start, stop and drain.

A thread owns one log (consumer and transactional producer) and turns one runner. What ends a thread for good ends the
process: fencing and gaps are an operator's or a supervisor's business, never a reason to rejoin (TX3).
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import structlog
from prometheus_client import generate_latest

from schemas.codec import codec_for
from streams.delivery.engine import DeliveryEngine
from streams.delivery.exchange import EngineExchange
from streams.dispatch.allowance import Allowances
from streams.pipeline import STAGES, Parts
from streams.progress import Identity
from streams.runtime import bounded, garbage
from streams.runtime.admin import Cluster, describe_cluster_topics
from streams.runtime.claims import ObjectClaims
from streams.runtime.clients import client_settings
from streams.runtime.control import ControlWatch, Pauses
from streams.runtime.frame import Frame
from streams.runtime.guard import Guard
from streams.runtime.kafka import KafkaLog
from streams.runtime.lag import LagWatch, Progress, Reading, Stuck
from streams.runtime.log import Fatal, LogError, LogGap
from streams.runtime.master import MasterReader
from streams.runtime.observe import Metrics, Observer
from streams.runtime.parser import ParserProcess
from streams.runtime.restore import Reader
from streams.runtime.runner import Runner, steady_clock
from streams.runtime.stores import with_stores
from streams.runtime.topic_watch import TopicWatch
from streams.runtime.turns import Desk, LaneTurns, NoTurns, Turns
from topology.lanes import lanes_of
from topology.model import Lane, Pipeline
from topology.packs import pack_builder
from topology.topics import check_cluster, topic_specs

EXIT_FATAL, EXIT_GAP, EXIT_STALLED, EXIT_DRAIN, EXIT_UNFINISHED = 70, 71, 72, 73, 74
"""Exit codes of a worker: fenced or beyond repair; records could be skipped; no progress; drain not finished; a
bounded run was stopped before its end."""

STALL_SECONDS = 120.0
"""A thread that has not turned its loop for this long is stuck: longer than any single step may take (TX1's wait for
a pending transaction included), so that the supervisor can replace the process."""

STAND_SECONDS = 1.0
"""How old a thread's word may be on where it stands."""

EMPTY_SECONDS = 5.0
"""For a look at whether anything lies where a stage stands still."""

LAST_SECONDS = 60.0
"""Beyond the drain: a process that is still there so long after one of its stages has ended is ended by the guard."""

FRAME_START_SECONDS = 60.0
"""Faust joins its group within a second or two. Its client can also stand still for good, when a broker tells it of no
brokers just as it starts up again."""

FRAME_STOP_SECONDS = 10.0
"""Faust leaves its group within a second or two; longer means a broker that does not answer."""

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


class StageThread(threading.Thread):
    """Owns one stage of one pipeline, or of one of its lanes, in this process."""

    def __init__(self, worker: Worker, flow: Flow, stage: str) -> None:
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
            self._worker.control.wait_read()
            self._pauses.obey(self._stage)
            self._stage.may_send = True
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


class Worker:
    """All threads of one process. `run` returns the exit code."""

    def __init__(self, settings: WorkerSettings, pipelines: Sequence[Pipeline]) -> None:
        self.settings, self.metrics = settings, Metrics()
        stages = "-".join(settings.stages)
        names = "-".join(sorted(p.group_id("frame") for p in pipelines))
        self.frame = Frame(
            # Its own group at each start: the frame would else wait a minute for the session of a killed predecessor.
            f"{names}.{stages}.{settings.slot}.{uuid4().hex[:8]}",
            settings.bootstrap,
            settings.home,
            settings.web_bind,
            settings.web_port,
        )
        self.control = ControlWatch(settings.bootstrap, self._tell)
        self.threads = [StageThread(self, flow, stage) for flow in flows(pipelines) for stage in settings.stages]
        self.news: Callable[[], None] = lambda: None
        """Called by a thread that has ended or come to the end of its input."""
        self._stopping = self._told_ready = False
        cluster = self.cluster = Cluster({"bootstrap.servers": settings.bootstrap, "log_level": 0})
        self._progress = Progress(self._empty)
        self._lag = LagWatch(self._readings, cluster.ends, self._progress)
        topics = {spec.name: spec.partitions for p in pipelines for spec in topic_specs(p) if spec.short != "control"}
        self._topics = TopicWatch(topics, cluster.look, self._tell)
        self.wrong: LogError | None = None
        """What has become of a topic, or of its watching; every thread ends with it."""
        self.frame.page("/healthz", self._healthz)
        self.frame.page("/readyz", self._readyz)
        self.frame.page("/metrics", self._metrics_page)

    async def run(self, stop: asyncio.Event) -> int:
        """Starts everything, waits for `stop`, for a thread that ends, or for the end of a bounded run; drains and
        stops."""
        loop = asyncio.get_running_loop()
        news = asyncio.Event()

        def heard() -> None:
            loop.call_soon_threadsafe(news.set)

        self.news = heard
        if (early := await self._start_frame(stop)) is not None:
            return early
        garbage.tune()
        log.info("frame started", pid=os.getpid(), web=f"http://{self.settings.web_bind}:{self.settings.web_port}")
        Guard(self._standing, self.settings.drain_seconds + LAST_SECONDS).start()
        self._lag.start()
        self._topics.start()
        if "dispatch" in self.settings.stages:
            self.control.start()
        code = 0
        if self.settings.until_end:
            code = await self._run_to_end(stop, news)
        else:
            for thread in self.threads:
                thread.start()
            await self._watch(stop, news, lambda: any(not t.is_alive() for t in self.threads))
        log.info("stopping", drain_seconds=self.settings.drain_seconds)
        stopped = await self._stop()
        # what a stage ended with says more than that the run was not finished because of it
        return stopped if any(thread.error is not None for thread in self.threads) else max(code, stopped)

    async def _start_frame(self, stop: asyncio.Event) -> int | None:
        """An exit code where it did not come up, or was told to stop before."""
        starting, stopped = asyncio.create_task(self.frame.start()), asyncio.create_task(stop.wait())
        await asyncio.wait([starting, stopped], timeout=FRAME_START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if starting.done():
            starting.result()  # raises what went wrong
            return None
        starting.cancel()
        if stop.is_set():
            log.info("stopped before it had started")
            return EXIT_UNFINISHED if self.settings.until_end else 0
        log.error("the frame did not start", seconds=FRAME_START_SECONDS)
        return EXIT_STALLED

    async def _run_to_end(self, stop: asyncio.Event, news: asyncio.Event) -> int:
        """Stage by stage. Batch stays until dispatch is done: what that has released is read, too, so that nothing
        is left over but what was published meanwhile."""
        stages = self.settings.stages
        again = ("batch",) if {"batch", "dispatch"} <= set(stages) else ()
        for place, stage in enumerate((*stages, *again)):
            threads = [thread for thread in self.threads if thread.stage_name == stage]
            for thread in threads:
                thread.ask_for_end(leave=stage not in again or place == len(stages))
                if thread.ident is None:
                    thread.start()
            await self._watch(stop, news, lambda threads=threads: all(t.reached.is_set() for t in threads))  # type: ignore[misc]
            if not all(thread.reached.is_set() for thread in threads):
                return EXIT_UNFINISHED
        return 0

    async def _watch(self, stop: asyncio.Event, news: asyncio.Event, done: Callable[[], bool]) -> None:
        """Waits until `done`, `stop`, or a thread that fails."""
        stopped = asyncio.create_task(stop.wait())
        try:
            while not (done() or stop.is_set() or any(thread.error is not None for thread in self.threads)):
                heard = asyncio.create_task(news.wait())
                await asyncio.wait([stopped, heard], timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                heard.cancel()
                news.clear()
                self._say_when_ready()
        finally:
            stopped.cancel()

    async def _stop(self) -> int:
        """In the order data flows, so that what one stage writes last the next can still take."""
        self._stopping = True
        self._lag.stop()
        self._topics.stop()
        self.control.stop()
        deadline = time.monotonic() + self.settings.drain_seconds + 15
        for stage in self.settings.stages:
            threads = [thread for thread in self.threads if thread.stage_name == stage]
            for thread in threads:
                thread.ask_to_stop()
            for thread in filter(threading.Thread.is_alive, threads):
                await asyncio.to_thread(thread.join, max(0.0, deadline - time.monotonic()))
        code = max((_exit_code(thread) for thread in self.threads), default=0)
        with suppress(TimeoutError):
            await self.frame.stop(FRAME_STOP_SECONDS)
        log.info("stopped", code=code)
        return code

    def _tell(self, wrong: LogError) -> None:
        self.wrong = wrong

    def _say_when_ready(self) -> None:
        if not self._told_ready and self._readyz()[0] == 200:
            self._told_ready = True
            log.info("ready", stages=[thread.name for thread in self.threads])

    def _standing(self) -> tuple[int, str, float] | None:
        """For the guard: what should end this process, if it does not end by itself in so many seconds."""
        for thread in self.threads:
            if thread.error is not None:
                return _exit_code(thread), f"{thread.name} has ended", self._age(thread)
        for thread in self.threads:
            if self._stuck(thread, STALL_SECONDS):
                return EXIT_STALLED, f"{thread.name} has made no progress for {STALL_SECONDS:g} s", float("inf")
        worst = self._progress.worst()
        if worst is not None and worst.seconds > STALL_SECONDS and not self._stopping:
            return EXIT_STALLED, _told(worst), float("inf")
        return None

    def _readings(self) -> list[Reading]:
        return [reading for thread in self.threads for reading in thread.readings()]

    def _empty(self, topic: str, partition: int, start: int, end: int) -> bool:
        """Whether nothing lies there that could be taken; a client of its own, because it is asked from a thread of
        its own, and seldom."""
        one = self.threads[0]
        settings = client_settings(self.settings.bootstrap, one.pipeline, one.stage_name, self.settings.slot, 0, {})
        reader = Reader(settings.reader, Cluster(settings.common), EMPTY_SECONDS, lambda: None)
        try:
            return reader.empty(topic, partition, start, end)
        except Fatal:  # what cannot be read is not nothing: an open transaction stands in the way
            return False
        finally:
            reader.close()

    # ---- web -------------------------------------------------------------------------------------

    def _age(self, thread: StageThread) -> float:
        return time.monotonic() - thread.observer.last_turn

    def _stuck(self, thread: StageThread, seconds: float) -> bool:
        """Whether a running thread has not turned its loop for so long."""
        return thread.is_alive() and self._age(thread) > seconds

    def _healthz(self) -> tuple[int, str, str]:
        """Alive: no thread has ended with an error and none is stuck."""
        bad = [t.name for t in self.threads if t.error is not None or self._stuck(t, STALL_SECONDS)]
        return (500, "text/plain", f"stuck or ended: {', '.join(bad)}\n") if bad else (200, "text/plain", "ok\n")

    def _readyz(self) -> tuple[int, str, str]:
        """Ready: every stage has its tables restored and turns its loop."""
        waiting = [t.name for t in self.threads if not t.ready or self._stuck(t, STALL_SECONDS / 4)]
        waiting += [_told(stuck) for stuck in self._progress.stuck if stuck.seconds > STALL_SECONDS / 4]
        if waiting or self._stopping:
            return 503, "text/plain", f"not ready: {', '.join(waiting) or 'stopping'}\n"
        return 200, "text/plain", "ready\n"

    def _metrics_page(self) -> tuple[int, str, str]:
        for thread in self.threads:
            labels = (thread.pipeline.pipeline, thread.stage_name)
            self.metrics.progress_age.labels(*labels).set(self._age(thread))
        for (name, partition), lag in self._progress.lags.items():
            self.metrics.lag.labels(*name.split("/"), partition).set(lag)
        self.metrics.waiting.clear()
        for stuck in self._progress.stuck:
            name, partition = stuck.reading.stage, stuck.reading.partition
            self.metrics.waiting.labels(*name.split("/"), partition).set(stuck.seconds)
        return 200, "text/plain", generate_latest(self.metrics.registry).decode()


def _told(stuck: Stuck) -> str:
    one = stuck.reading
    return (
        f"{one.stage} has taken nothing of {one.topic}[{one.partition}] for {stuck.seconds:.0f} s, though "
        f"{stuck.lag} offsets lie behind {one.position}: a client that does not fetch, or a transaction of another "
        "producer that stays open"
    )


def _exit_code(thread: StageThread) -> int:
    if isinstance(thread.error, LogGap):
        return EXIT_GAP
    if thread.error is not None:
        return EXIT_FATAL
    return EXIT_DRAIN if thread.is_alive() or thread.drained is False else 0


def check_topics(bootstrap: str, pipeline: Pipeline) -> None:
    """Raises Fatal where a topic is missing or set up so that a law could not hold."""
    specs = topic_specs(pipeline)
    problems = check_cluster(specs, describe_cluster_topics(bootstrap, [spec.name for spec in specs]))
    if problems:
        raise Fatal("; ".join(str(problem) for problem in problems))
