"""One worker process: a thread per pipeline and stage, the Faust frame around them, start, stop and drain."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from uuid import uuid4

import structlog
from prometheus_client import generate_latest

from streams.runtime import garbage
from streams.runtime.admin import Cluster, describe_cluster_topics
from streams.runtime.clients import client_settings
from streams.runtime.control import ControlWatch
from streams.runtime.frame import Frame
from streams.runtime.guard import Guard
from streams.runtime.lag import LagWatch, Progress, Reading, Stuck
from streams.runtime.log import Fatal, LogError, LogGap
from streams.runtime.observe import Metrics
from streams.runtime.restore import Reader
from streams.runtime.stage_thread import StageThread, WorkerSettings, flows
from streams.runtime.topic_watch import TopicWatch
from topology.model import Pipeline
from topology.topics import check_cluster, topic_specs

EXIT_FATAL, EXIT_GAP, EXIT_STALLED, EXIT_DRAIN, EXIT_UNFINISHED = 70, 71, 72, 73, 74
"""Exit codes of a worker: fenced or beyond repair; records could be skipped; no progress; drain not finished; a
bounded run was stopped before its end."""

STALL_SECONDS = 120.0
"""A thread that has not turned its loop for this long is stuck: longer than any single step may take (TX1's wait for
a pending transaction included), so that the supervisor can replace the process."""

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
        deadline = time.monotonic() + self.settings.drain_seconds + 15
        for stage in self.settings.stages:
            threads = [thread for thread in self.threads if thread.stage_name == stage]
            for thread in threads:
                thread.ask_to_stop()
            for thread in filter(threading.Thread.is_alive, threads):
                await asyncio.to_thread(thread.join, max(0.0, deadline - time.monotonic()))
        self.control.stop()  # until here, because a partner may be paused while dispatch drains
        code = exit_code(self.threads)
        if not_drained := [thread.name for thread in self.threads if _has_not_drained(thread)]:
            log.warning("not drained", stages=not_drained)
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
                return exit_code(self.threads), f"{thread.name} has ended", self._age(thread)
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


def exit_code(threads: Sequence[StageThread]) -> int:
    """Of a process with these stages. What one has ended with says more than that another has not drained."""
    errors = [thread.error for thread in threads if thread.error is not None]
    if errors:
        return EXIT_GAP if any(isinstance(error, LogGap) for error in errors) else EXIT_FATAL
    return EXIT_DRAIN if any(_has_not_drained(thread) for thread in threads) else 0


def _has_not_drained(thread: StageThread) -> bool:
    return thread.is_alive() or thread.drained is False


def check_topics(bootstrap: str, pipeline: Pipeline) -> None:
    """Raises Fatal where a topic is missing or set up so that a law could not hold."""
    specs = topic_specs(pipeline)
    problems = check_cluster(specs, describe_cluster_topics(bootstrap, [spec.name for spec in specs]))
    if problems:
        raise Fatal("; ".join(str(problem) for problem in problems))
