"""A stage without a broker, and what its `process()` costs: log, tables and runner are the product's own, in memory.

Only step 2 of each turn is timed. The rest (fetching, committing, the stores) is the same for all that is measured so,
and the memory it takes is no part of a worker's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from streams.runtime.memory import MemoryBroker, MemoryLog
from streams.runtime.runner import Exchange, Runner, Step
from streams.stage import Chunk, Stage, Work
from topology.sections import Chunking

NOW = 1_767_225_600_000
"""Milliseconds; the clock stands still."""


@dataclass
class Timed:
    """Step 2 of a stage, by processor time."""

    stage: Stage
    cpu: float = 0.0
    """Seconds of this thread."""
    seconds: float = 0.0
    """By the clock."""

    def __call__(self, chunk: Chunk) -> Work:
        began, clock = time.thread_time(), time.perf_counter()
        work = self.stage.process(chunk)
        self.cpu += time.thread_time() - began
        self.seconds += time.perf_counter() - clock
        return work


def work_all(broker: MemoryBroker, timed: Timed, chunk: Chunking, exchange: Exchange | None = None) -> None:
    """To the end of the stage's input, what it holds open closed. Raises RuntimeError where a turn fails."""
    log = MemoryLog(broker, timed.stage.name, timed.stage.input)
    runner = Runner(log, timed.stage, chunk, exchange, hand_over=timed, clock=lambda: broker.now)
    _went_well(timed, runner.step(timeout=0))  # takes the partitions over
    while _went_well(timed, runner.step(timeout=0)).messages or runner.busy:
        pass
    _went_well(timed, runner.drain(ending=True))
    runner.close()


def _went_well(timed: Timed, step: Step) -> Step:
    if step.error is not None:
        raise RuntimeError(f"{timed.stage.name}: {step.error}") from step.error
    return step
