"""What one transaction may grow to. Owns the counting; what is done about it is the stage's."""

from __future__ import annotations

from collections.abc import Callable

from topology.model import Pipeline


class Limits:
    """What one transaction may grow to before the chunk is cut; the rest opens the next one (VA2)."""

    def __init__(self, pipeline: Pipeline, clock: Callable[[], float]) -> None:
        self._seconds, self._clock = pipeline.chunk.seconds, clock
        self._most_records, self._most_bytes = 2 * pipeline.chunk.records, 2 * pipeline.chunk.bytes
        self._records, self._bytes, self._until = 0, 0, 0.0
        self.full = False

    def start(self) -> None:
        """A new chunk."""
        self._records, self._bytes, self._until = 0, 0, self._clock() + self._seconds
        self.full = False

    def room(self) -> tuple[int, int]:
        """How many outputs there may be before `took` is to be asked, and how many bytes."""
        return 256 - (self._records & 255), self._most_bytes - self._bytes

    def took(self, size: int, count: int = 1) -> bool:
        """Counts an output, or several that there was room for; True when the chunk is full. The clock is asked at
        every 256th only."""
        self._records = records = self._records + count
        self._bytes = total = self._bytes + size
        if not records & 255:
            self.full = records >= self._most_records or self._clock() > self._until
        if total >= self._most_bytes:
            self.full = True
        return self.full

    def look(self) -> bool:
        """Asks the clock, where one submission or record alone may have taken long to read; True when the chunk is
        full."""
        self.full = self.full or self._clock() > self._until
        return self.full
