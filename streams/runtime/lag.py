"""Whether what is assigned makes progress: input that lies there and is not taken, by partition.

A loop that turns is not enough: a client may fetch nothing any more, or another producer's open transaction may hold
back what can be read. `Progress` judges and is pure; `LagWatch` asks the cluster now and then, on a thread of its own,
because an answer may take long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

LOOK_SECONDS = 10.0

Where = tuple[str, int]
"""Topic and partition."""


class Reading(NamedTuple):
    """Where a stage stands in a partition that it works."""

    stage: str
    """As the worker names it: pipeline/stage."""
    topic: str
    partition: int
    position: int
    """Next offset; what lies behind it may be nothing but markers of transactions."""
    moved_at: float
    """When something of the partition was committed last, or gone on with that takes long to open; monotonic
    seconds."""
    held: bool
    """The stage itself holds its input up."""


class Stuck(NamedTuple):
    """A partition with input that is not taken."""

    reading: Reading
    lag: int
    seconds: float


class Progress:
    """What was seen of each partition, and since when its input waits.

    `empty` says whether nothing lies in a topic's partition from one offset to below another. To say so it reads what
    lies there, so it is not asked where a stage stands in the middle of a submission, which may be a large one.
    `clock`: monotonic seconds.
    """

    def __init__(
        self, empty: Callable[[str, int, int, int], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._empty, self._clock = empty, clock
        self._known_empty: dict[tuple[str, int], tuple[int, int]] = {}
        """(stage, partition) -> where nothing lies."""
        self._waiting: dict[tuple[str, int], tuple[int, float]] = {}
        """(stage, partition) -> how far it has come, and since when it has not come further, with input before it. What
        is done again and again, a chunk that is aborted or a window that is rebuilt, is no progress."""
        self._looked = float("-inf")
        self.lags: dict[tuple[str, int], int] = {}
        """(stage, partition) -> messages before it at the last look, the markers between them counted."""
        self.stuck: list[Stuck] = []

    def look(self, readings: Iterable[Reading], ends: Mapping[Where, int] | None) -> None:
        """`ends`: high watermarks; None: the cluster did not answer, and nobody can be blamed for that time."""
        if ends is None:
            self._waiting.clear()
            self.stuck = []
            return
        now, before = self._clock(), self._looked
        self._looked = now
        waiting: dict[tuple[str, int], tuple[int, float]] = {}
        self.lags, stuck = {}, []
        for reading in readings:
            key = reading.stage, reading.partition
            end = ends.get((reading.topic, reading.partition), 0)
            lag = self.lags[key] = max(0, end - reading.position)
            if not lag or reading.held:
                continue
            furthest, since = self._waiting.get(key, (-1, now))
            if reading.position > furthest:
                since = now
            since = max(since, reading.moved_at)
            waiting[key] = max(furthest, reading.position), since
            inside = reading.moved_at > before  # something was worked since, and the next offset is the same
            if now > since and (inside or not self._nothing_there(key, reading, end)):
                stuck.append(Stuck(reading, lag, now - since))
        self._waiting = waiting
        self.stuck = stuck

    def _nothing_there(self, key: tuple[str, int], reading: Reading, end: int) -> bool:
        where = reading.position, end
        if self._known_empty.get(key) != where:
            if not self._empty(reading.topic, reading.partition, *where):
                return False
            self._known_empty[key] = where
        self.lags[key] = 0
        return True

    def worst(self) -> Stuck | None:
        """The partition that has waited longest."""
        return max(self.stuck, key=lambda one: one.seconds, default=None)


class LagWatch(threading.Thread):
    """Looks at every partition that is worked, every ten seconds."""

    def __init__(
        self,
        readings: Callable[[], list[Reading]],
        ends: Callable[[list[Where]], Mapping[Where, int] | None],
        progress: Progress,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        super().__init__(name="lag", daemon=True)
        self._readings, self._ends, self._progress = readings, ends, progress
        self._look_seconds = look_seconds
        self._off = threading.Event()

    def stop(self) -> None:
        """No more looking."""
        self._off.set()

    def run(self) -> None:
        while not self._off.wait(self._look_seconds):
            readings = self._readings()
            ends = self._ends([(one.topic, one.partition) for one in readings]) if readings else {}
            # taken again: what has been read while the cluster was asked is no lag
            self._progress.look(self._readings(), ends)
