"""Owns which partition comes first in a chunk, so that none is left out for as long as others fill every chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import TypeVar

T = TypeVar("T")


class Turns:
    """Which of a worker's partitions had no room, and since when."""

    def __init__(self) -> None:
        self._chunk = 0
        self._left_out: dict[int, int] = {}
        """By partition: the first chunk that had no room for it."""

    def forget(self, partition: int) -> None:
        """It is no longer this worker's."""
        self._left_out.pop(partition, None)

    def sort(self, runs: Iterable[tuple[int, T]], spans: Callable[[int], bool]) -> list[tuple[int, T]]:
        """Partitions of a new chunk, with what they bring, in their order: what was left out of a chunk before, the
        longest ago first; then the others, and last of them what may take all that is left of it (`spans`)."""
        self._chunk += 1
        return sorted(runs, key=lambda run: (self._left_out.get(run[0], inf), spans(run[0])))

    def came(self, partition: int, full: bool) -> None:
        """Its turn in the chunk; `full`: there was no room any more."""
        if full:
            self._left_out.setdefault(partition, self._chunk)
        else:
            self._left_out.pop(partition, None)
