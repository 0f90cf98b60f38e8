"""Owns how many records batches of one partition of `validated` may have: the settings, and what cap messages said.

A cap is in force from its offset on (DI7). The head keeps the last one of each partner, so that a worker that begins
behind it knows it too. Pure.
"""

from __future__ import annotations

from topology.model import Pipeline


class Caps:
    """Caps by partner, as they are at `processed_through`."""

    def __init__(self, pipeline: Pipeline, told: dict[str, int]) -> None:
        """`told`: what the head keeps; it is written to."""
        self._pipeline, self._told = pipeline, told
        self._most: dict[str, int] = {}

    def most(self, partner: str) -> int:
        """Records that a batch for a partner may have."""
        most = self._most.get(partner)
        if most is None:
            most = self._most[partner] = self._pipeline.cap_for(partner, self._told.get(partner))
        return most

    def learn(self, partner: str, records: int) -> int:
        """A cap message was read; the cap from here on. One for a partner that has no caps now is kept for when it has:
        dispatch keeps it, too."""
        self._told[partner] = records
        self._most.pop(partner, None)
        return self.most(partner)

    def reason(self, most: int) -> str:
        """Why a window is closed that holds as many records as it may."""
        return "count" if most == self._pipeline.batching.max_records else "cap"
