"""A bounded run of one stage: up to where its input ends now, windows closed, partners answered (law 6).

Whoever calls it goes stage by stage: a stage takes its ends when the one before has stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from streams.runtime.log import Fatal
from streams.runtime.runner import Runner

JOIN_SECONDS = 60.0
"""For all partitions to be assigned: longer than the session of a predecessor that was killed."""


class Interrupted(Exception):
    """The run was told to stop before its end."""


def run_to_end(
    runner: Runner,
    partitions: int,
    settled: Callable[[], bool] = lambda: True,
    stopping: Callable[[], bool] = lambda: False,
    join_seconds: float = JOIN_SECONDS,
) -> dict[int, int]:
    """Works everything up to the high watermarks found once all `partitions` are assigned, waits until `settled` and
    closes what is open. Returns those ends.

    Raises Interrupted when `stopping` says so, and like `Runner.step`; Fatal too if other workers hold partitions.
    """
    deadline = time.monotonic() + join_seconds
    while len(runner.partitions) < partitions:
        if time.monotonic() >= deadline:
            raise Fatal(
                f"{runner.stage.name}: a bounded run needs all {partitions} partitions of {runner.stage.input} and got "
                f"{len(runner.partitions)} in {join_seconds:g} s: is another worker of this pipeline running?"
            )
        _step(runner, stopping)
    ends = {partition: runner.log.bounds(partition)[1] for partition in range(partitions)}
    marks: dict[int, int] = {}
    while True:
        # a turn without messages comes before the log is asked: asking costs a read
        while _step(runner, stopping) or runner.busy or not settled() or not _reached(runner, ends, marks):
            pass
        if runner.drain(ending=True).result in ("idle", "commit"):
            return ends


def _step(runner: Runner, stopping: Callable[[], bool]) -> int:
    """One turn; returns how many messages it took."""
    if stopping():
        raise Interrupted
    return runner.step().messages


def _reached(runner: Runner, ends: Mapping[int, int], marks: dict[int, int]) -> bool:
    """Whether everything below the ends was worked. `marks`: the lowest position of each partition behind which
    nothing but markers of transactions was found, so that the log is asked once and not at every turn (TX4)."""
    positions = runner.positions
    for partition, end in ends.items():
        position = positions.get(partition)
        if position is None:
            return False
        if position >= marks.get(partition, end):
            continue
        if not runner.log.nothing_between(partition, position, end):
            return False
        marks[partition] = position
    return True
