"""Owns how far validate is behind, so that a request can be told at once (ING-19). Measured on a thread of its own; a
request only adds up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.runtime.admin import Cluster
from topology.model import Pipeline
from waybill.context import client_settings

LOOK_SECONDS = 0.5
AGAIN_SECONDS = 0.05
REQUEST_SECONDS = 5.0
"""For one answer: a lost connection must not eat the time in which what was measured last is good."""
STALE_SECONDS = 10.0
"""What was measured longer ago says nothing: a broker that restarts is back sooner."""


class Backlog:
    """Submissions on one raw topic that validate has not committed: the last measurement, and what may have come since.
    Never too few: what was under way when the measurement began is added, and counted twice if it was seen too.
    Thread-safe."""

    def __init__(self, high: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`high`: above it nothing is taken. `clock`: seconds."""
        self.high = high
        self._clock = clock
        self._lock = threading.Lock()
        self._lag: int | None = None
        self._at = 0.0
        self._sent = 0
        self._settled = 0
        self._included = 0

    def begin(self) -> int:
        """What to hand to `measured`: submissions that are surely part of a measurement that begins now."""
        with self._lock:
            return self._settled

    def measured(self, lag: int, begun: int) -> None:
        """A measurement that began with `begun` came to `lag`."""
        with self._lock:
            self._lag, self._included, self._at = lag, begun, self._clock()

    def add(self, number: int) -> None:
        """So many submissions are on their way to the topic."""
        with self._lock:
            self._sent += number

    def settle(self, number: int) -> None:
        """The broker has answered for so many of them."""
        with self._lock:
            self._settled += number

    def now(self) -> int | None:
        """Submissions; None where it has not been known for a while."""
        with self._lock:
            if self._lag is None or self._clock() - self._at > STALE_SECONDS:
                return None
            return self._lag + self._sent - self._included


class Offsets(Protocol):
    """The two questions to a cluster, both answered None where it does not answer now."""

    def ends(self, partitions: list[tuple[str, int]], /) -> Mapping[tuple[str, int], int] | None:
        """High watermarks."""
        ...

    def committed(self, group: str, topic: str, partitions: int, /) -> Mapping[int, int] | None:
        """What a group has committed; 0 where nothing yet."""
        ...


class KafkaOffsets:
    """See Offsets. Used from one thread."""

    def __init__(self, brokers: str) -> None:
        self._brokers = brokers
        self._cluster = Cluster(client_settings(brokers))
        self._members: dict[str, Any] = {}
        """A consumer for each group, which never joins it."""

    def ends(self, partitions: list[tuple[str, int]]) -> Mapping[tuple[str, int], int] | None:
        """See Offsets."""
        return self._cluster.ends(partitions)

    def committed(self, group: str, topic: str, partitions: int) -> Mapping[int, int] | None:
        """See Offsets. Not asked of the admin client, whose request crashes the process where the coordinator has just
        moved (librdkafka #5040). read_uncommitted: an open transaction holds up no answer."""
        member = self._members.get(group)
        if member is None:
            settings = {"group.id": group, "isolation.level": "read_uncommitted", "enable.auto.commit": False}
            member = self._members[group] = Consumer(client_settings(self._brokers, **settings))
        where = [TopicPartition(topic, number) for number in range(partitions)]
        try:
            found = member.committed(where, REQUEST_SECONDS)
        except KafkaException:
            return None
        return None if any(one.error for one in found) else {one.partition: max(0, one.offset) for one in found}

    def close(self) -> None:
        """Closes the clients."""
        for member in self._members.values():
            member.close()


class BacklogWatch(threading.Thread):
    """Measures every pipeline, twice a second."""

    def __init__(
        self,
        cluster: Offsets,
        backlogs: Iterable[tuple[Pipeline, Backlog]],
        tell: Callable[[], None],
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """`tell`: called after each round."""
        super().__init__(name="backlog", daemon=True)
        self._cluster, self._backlogs, self._tell = cluster, list(backlogs), tell
        self._look_seconds = look_seconds
        self._off = threading.Event()

    def stop(self) -> None:
        """No more looking; waits for the answers under way."""
        self._off.set()
        if self.is_alive():
            self.join()

    def first(self, seconds: float = STALE_SECONDS) -> bool:
        """Looks until every pipeline is known; whether it came to that. A broker that was started a moment ago has no
        coordinator yet."""
        deadline = time.monotonic() + seconds
        self.look()
        while any(backlog.now() is None for _, backlog in self._backlogs):
            if time.monotonic() >= deadline:
                return False
            self._off.wait(AGAIN_SECONDS)
            self.look()
        return True

    def look(self) -> None:
        """One round. A pipeline of which the cluster does not answer keeps what was measured last."""
        for pipeline, backlog in self._backlogs:
            begun = backlog.begin()
            topic, partitions = pipeline.raw_topic, pipeline.partitions
            # the ends last: what was committed in between cannot make the lag too small
            committed = self._cluster.committed(pipeline.group_id("validate"), topic, partitions)
            ends = self._cluster.ends([(topic, number) for number in range(partitions)])
            if committed is not None and ends is not None:
                lag = sum(max(0, ends[topic, number] - committed[number]) for number in range(partitions))
                backlog.measured(lag, begun)

    def run(self) -> None:
        while not self._off.wait(self._look_seconds):
            self.look()
            self._tell()
