"""Contender: the batch stage alone over records of the sample's item histories, with the state rules of their items or
without, in memory. Job: `records` (at least so many), `items` (whether the rules are on).

Measured is the stage's `process`: the rest of a turn (fetching, committing, the stores) is the same for both.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from itertools import islice
from typing import Any

from bench.process import Report, tell
from schemas.codec import SingleObjectCodec
from schemas.packs import load_pack
from schemas.packs.epcis.sample import histories
from streams.pipeline import Parts
from streams.progress import Identity
from streams.runtime import garbage
from streams.runtime.memory import MemoryBroker, MemoryLog
from streams.runtime.runner import Runner
from streams.stage import Chunk, Stage, Work
from topology.load import load_pipeline
from topology.model import Pipeline
from topology.sections import ItemHistory

NOW = 1_767_225_600_000
LEAST = 2
"""Events of a document, at least on average: of three there are four, two and one, now and then a fourth with one."""


@dataclass
class Timed:
    """Step 2 of a stage, by processor time."""

    stage: Stage
    cpu: float = 0.0
    seconds: float = 0.0

    def __call__(self, chunk: Chunk) -> Work:
        began, clock = time.thread_time(), time.perf_counter()
        work = self.stage.process(chunk)
        self.cpu += time.thread_time() - began
        self.seconds += time.perf_counter() - clock
        return work


def main() -> None:
    """Validates the documents, works the records, and reports of the second."""
    job = json.loads(sys.argv[1])
    made = pipeline(job["items"])
    broker = MemoryBroker(made)
    broker.now = NOW
    parts = Parts(made, SingleObjectCodec(), load_pack(made.pack, made.options, made.profile), Identity("0", "b", "1"))
    for document in islice(histories("json"), -(-job["records"] // LEAST)):
        broker.publish("maker", document)
    _work(broker, made, Timed(parts.validate()))
    garbage.tune()
    batch = Timed(parts.batch())
    _work(broker, made, batch)
    records = len(broker.all("validated"))
    if left := broker.all("dead-letter"):
        raise SystemExit(f"{len(left)} of {records} records were refused: the histories are not good")
    tell(Report(records, batch.seconds, batch.cpu))


def pipeline(items: bool) -> Pipeline:
    """The shipped pipeline, keyed by company as state rules need it, in both cases."""
    shipped = load_pipeline("epcis")
    changed: dict[str, Any] = {"partition_by": ["issuer"], "idempotency": [*shipped.idempotency, "issuer"]}
    return shipped.model_copy(update=changed | ({"items": ItemHistory(domain="issuer")} if items else {}))


def _work(broker: MemoryBroker, made: Pipeline, timed: Timed) -> None:
    """To the end of the stage's input."""
    log = MemoryLog(broker, timed.stage.name, timed.stage.input)
    runner = Runner(log, timed.stage, made.chunk, hand_over=timed, clock=lambda: broker.now)
    runner.step(timeout=0)  # takes the partitions over
    while (step := runner.step(timeout=0)).messages:
        if step.error is not None:
            raise SystemExit(f"{timed.stage.name}: {step.error}")
    runner.close()


if __name__ == "__main__":
    main()
