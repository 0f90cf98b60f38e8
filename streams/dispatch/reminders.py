"""Batches by when something is to be done about them. Pure: the time is passed in."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count
from typing import NamedTuple


class Reminder(NamedTuple):
    """One batch; whether there is still something to do is for the reader to see."""

    when: int
    """ms since epoch."""
    sequence: int
    partition: int
    batch_id: bytes


class Reminders:
    """A heap of them. Nothing is taken out before its time, but with its partition."""

    def __init__(self) -> None:
        self._heap: list[Reminder] = []
        self._sequence = count()

    def add(self, when: int, partition: int, batch_id: bytes) -> None:
        """Has a batch come up again at a time."""
        heappush(self._heap, Reminder(when, next(self._sequence), partition, batch_id))

    def due(self, now: int) -> bool:
        """Whether one has come up."""
        return bool(self._heap) and self._heap[0].when <= now

    def take(self, now: int) -> Reminder | None:
        """The first that has come up; None: no other has."""
        return heappop(self._heap) if self.due(now) else None

    def drop(self, partition: int) -> None:
        """Forgets a partition."""
        self._heap = [one for one in self._heap if one.partition != partition]
        heapify(self._heap)
