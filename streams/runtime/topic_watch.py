"""Owns the look at a running worker's topics: whether each is still the one it was, with the partitions it needs (T2).

A topic made anew under a running client is not always noticed: where the new log reaches past the old offset the client
reads on there and skips what lies before, and a table is written on as if its rows were still there. What is committed
until the next look is found again at a restart, because the heads name the topics they were written for (TX3).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from itertools import cycle
from typing import NamedTuple

from streams.runtime.log import Fatal, LogError, LogGap

LOOK_SECONDS = 5.0
MOST = 100
"""Topics of one look: with more of them, each has its turn less often, or the looks of a worker with many pipelines
would cost more than its work."""


class Seen(NamedTuple):
    """A topic as the cluster has it."""

    topic_id: str
    partitions: int


class TopicWatch(threading.Thread):
    """Looks every few seconds and tells once what is wrong; on a thread of its own, because an answer may take long.

    `topics`: how many partitions each must have. `ask` gives those that exist, or None where the cluster does not
    answer.
    """

    def __init__(
        self,
        topics: Mapping[str, int],
        ask: Callable[[Iterable[str]], Mapping[str, Seen] | None],
        tell: Callable[[LogError], None],
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        super().__init__(name="topics", daemon=True)
        self._topics, self._ask, self._tell = dict(topics), ask, tell
        names = sorted(topics)
        self._turns = cycle(names[start : start + MOST] for start in range(0, len(names), MOST))
        self._look_seconds = look_seconds
        self._ids: dict[str, str] = {}
        self._missing: set[str] = set()
        self._off = threading.Event()

    def stop(self) -> None:
        """No more looking."""
        self._off.set()

    def run(self) -> None:
        while True:
            wrong = self.look()
            if wrong is not None:
                return self._tell(wrong)
            if self._off.wait(self._look_seconds):
                return None

    def look(self) -> LogError | None:
        """Asks once, for those whose turn it is. A topic must be missing twice in a row: a broker that starts may not
        know it yet."""
        asked = next(self._turns)
        seen = self._ask(asked)
        if seen is None:
            return None
        missing = set(asked) - seen.keys()
        if gone := sorted(missing & self._missing):
            return LogGap(f"{', '.join(gone)}: deleted while this worker ran")
        self._missing = self._missing - set(asked) | missing
        for name, (topic_id, partitions) in sorted(seen.items()):
            known = self._ids.setdefault(name, topic_id)
            if topic_id != known:
                return LogGap(f"{name}: deleted and created again while this worker ran: id {topic_id}, before {known}")
            if partitions != self._topics[name]:
                return Fatal(
                    f"{name} has {partitions} partitions: the pipeline needs {self._topics[name]} partitions, "
                    "because stages and tables are joined by partition number"
                )
        return None
