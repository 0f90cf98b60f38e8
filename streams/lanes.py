"""Owns whose turn it is: the lanes of one pipeline at one thing that all of them need. Pure, and not thread-safe.

In each round a lane has as many turns as it weighs, the highest first; a round is over when nobody who wants a turn has
one left. So a higher lane goes first, a lower one is never starved, and an idle one gives its share away (ADR 19).
"""

from __future__ import annotations

from collections.abc import Collection

from topology.model import LANES, Lane

WEIGHTS: dict[Lane, int] = {"high": 16, "standard": 4, "low": 1}
"""Turns in a round."""


class Arbiter:
    """Turns of some lanes."""

    def __init__(self) -> None:
        self._left = dict(WEIGHTS)

    def next(self, wanting: Collection[Lane]) -> Lane:
        """Whose turn it is among those that want one; there must be some."""
        ranked = [lane for lane in LANES if lane in wanting]
        return next((lane for lane in ranked if self._left[lane]), ranked[0])

    def took(self, lane: Lane) -> None:
        """A lane has had a turn; one that had none left has begun a new round."""
        if not self._left[lane]:
            self._left = dict(WEIGHTS)
        self._left[lane] -= 1
