"""Contender: the product's stages, each on a thread with its runner and Kafka log, to the end of a filled topic.

Built as a worker builds them (streams/runtime/stage_thread.py); with `frame`, chunks go through the Faust agents too,
and metrics and logs are written as in a worker.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from bench.process import Meter, tell
from bench.world import NEVER, delivering, pipeline
from schemas.packs import load_pack
from schemas.registry import codec_for
from streams.delivery.engine import DeliveryEngine
from streams.delivery.exchange import EngineExchange
from streams.pipeline import Parts
from streams.progress import Identity
from streams.runtime import garbage
from streams.runtime.frame import Frame
from streams.runtime.kafka import KafkaLog
from streams.runtime.observe import Metrics, Observer
from streams.runtime.runner import Runner, Step
from streams.runtime.stores import with_stores
from streams.stage import Chunk, Work
from topology.model import Pipeline
from waybill.commands.run import free_port
from waybill.logs import configure


@dataclass
class Run:
    """What the stages of one process share."""

    bootstrap: str
    pipeline: Pipeline
    frame: Frame | None
    meter: Meter
    stores: Path
    """For `store: rocksdb`."""
    due: dict[str, int | None]
    """How many messages a stage must work before it is done; None: the stage before it has yet to say."""
    ending: bool = True
    """Whether windows that are open at the end are sealed."""
    metrics: Metrics = field(default_factory=Metrics)
    transactions: int = 0
    redone: int = 0
    error: BaseException | None = None


class Count:
    """How many messages a stage is done with, each once: what was cut off or undone comes again, and batch reads again
    what its open windows hold."""

    def __init__(self) -> None:
        self.worked = 0
        self._next: dict[int, int] = {}
        self._pending = 0, self._next

    def took(self, chunk: Chunk, work: Work) -> None:
        """A chunk was processed."""
        reached, count = dict(self._next), 0
        for partition, messages in groupby(chunk.messages, itemgetter(0)):  # a look at each would be measured, too
            offsets = [message[1] for message in messages]
            first = bisect_left(offsets, reached.get(partition, 0))
            end = bisect_left(offsets, work.resume.get(partition, offsets[-1] + 1))
            if end > first:
                reached[partition] = offsets[end - 1] + 1
                count += end - first
        self._pending = count, reached

    def committed(self) -> None:
        """What was taken last is done with."""
        count, self._next = self._pending
        self._pending = 0, self._next
        self.worked += count


class StageRun(threading.Thread):
    """One stage, until it has worked what it must."""

    def __init__(self, run: Run, stage: str) -> None:
        super().__init__(name=stage, daemon=True)
        self._shared, self._stage_name = run, stage
        made = run.pipeline
        self._pack = load_pack(made.pack, made.options, made.profile)
        self._codec = codec_for(made.registry)
        self._observer = Observer(run.metrics, made, stage, self._codec, self._pack.version)
        self._stage: Any = None
        self._log: KafkaLog | None = None  # kept: its threads are counted at the end
        self._hand_over = run.frame.agent(f"bench-{stage}", self._process) if run.frame else self._process
        self._count = Count()
        self._batches = 0

    def _process(self, chunk: Chunk) -> Work:
        work: Work = self._stage.process(chunk)
        self._count.took(chunk, work)
        return work

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - the main thread must learn of it
            self._shared.error = error

    def _work(self) -> None:
        shared = self._shared
        log = self._log = KafkaLog(shared.bootstrap, shared.pipeline, self._stage_name, 0)
        exchange = self._build(log)
        runner = Runner(log, self._stage, shared.pipeline.chunk, exchange, self._hand_over, observe=self._saw)
        while not self._done(exchange):
            started = time.perf_counter()
            step = runner.step()
            if step.messages:
                shared.meter.fetched(started)
            if step.result == "indeterminate":
                raise RuntimeError(f"{self._stage_name} does not know what it committed: measure again")
        runner.drain(ending=shared.ending)
        if self._stage_name == "batch" and "dispatch" in shared.due:
            shared.due["dispatch"] = self._batches

    def _build(self, log: KafkaLog) -> EngineExchange | None:
        made = self._shared.pipeline
        parts = Parts(made, self._codec, self._pack, Identity("0", "waybill/bench", self._pack.version))
        parts = with_stores(parts, self._shared.stores)
        if self._stage_name != "dispatch":
            self._stage = parts.validate() if self._stage_name == "validate" else parts.batch()
            return None
        engine = DeliveryEngine(made.partners)
        engine.start()
        self._stage = parts.dispatch(lambda partition, at: log.read("batched", partition, at), engine.in_flight)
        self._stage.may_send = True
        return EngineExchange(engine)

    def _done(self, exchange: EngineExchange | None) -> bool:
        due = self._shared.due[self._stage_name]
        if due is None or self._count.worked < due:
            return False
        return exchange is None or not (exchange.busy() or self._stage.unsettled)

    def _saw(self, step: Step) -> None:
        shared = self._shared
        if step.result == "commit" and step.work is not None:
            shared.meter.committed()
            shared.transactions += 1
            self._count.committed()
            if self._stage_name == "batch":
                self._batches += sum(output.topic == "batched" for output in step.work.outputs)
        elif step.error is not None:
            shared.redone += 1
        if shared.frame is not None:
            self._observer(step)


def main() -> None:
    """Job: bootstrap, application, raw, lake, records, due (messages by stage, null: not known yet); maybe frame,
    store, whether windows may fill (`windows`; else none is sealed), and what `world.delivering` takes (`delivery`)."""
    job = {"frame": False, "store": "memory", "windows": True, "delivery": None} | json.loads(sys.argv[1])
    configure(verbose=False)
    frame = None
    if job["frame"]:
        name = f"{job['application']}.{'-'.join(job['due'])}"
        frame = Frame(name, job["bootstrap"], Path(job["lake"]), "127.0.0.1", free_port())
    more: dict[str, Any] = {} if job["windows"] else {"batching": NEVER}
    if job["delivery"]:
        more |= delivering(**job["delivery"])
    made = pipeline(job["application"], job["lake"], job["raw"], store=job["store"], **more)
    stores = Path(job["lake"]).with_suffix(".stores")
    run = Run(job["bootstrap"], made, frame, Meter(), stores, job["due"], job["windows"])
    threads = [StageRun(run, stage) for stage in job["due"]]
    garbage.tune()
    run.meter = Meter()  # only now: loading the pack is start-up
    if frame is None:
        _turn(threads)
    else:
        asyncio.run(_framed(frame, threads))
    if run.error is not None:
        raise SystemExit(f"{type(run.error).__name__}: {run.error}")
    tell(run.meter.report(job["records"], transactions=run.transactions, redone=run.redone))


def _turn(threads: list[StageRun]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def _framed(frame: Frame, threads: list[StageRun]) -> None:
    await frame.start()
    await asyncio.to_thread(_turn, threads)
    await frame.stop(10)


if __name__ == "__main__":
    main()
