"""Owns which events lie in the future: after the time at which Kafka took in what tells of them.

That time stands in the log, so the answer is the same whenever it is asked for: on a rebuild, on another worker. A pack
cannot ask, it has no clock; a replayed record is taken in anew, and by then its event may have happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from schemas.errors import EVENT_IN_FUTURE, Finding
from schemas.pack import CANONICAL_TYPE, Record, Refusal


class Ahead:
    """How far ahead an event may lie. Times in ms since epoch, UTC."""

    def __init__(self, seconds: float | None) -> None:
        """None: as far as it likes."""
        self._ms = None if seconds is None else int(seconds * 1000)

    def first(self, event_times: Sequence[int], recorded: Sequence[int]) -> int:
        """Place of the first event that lies too far ahead of when its message was taken in; their number if none
        does."""
        if self._ms is None:
            return len(event_times)
        pairs = enumerate(zip(event_times, recorded))  # noqa: B905 - there are no fewer of `recorded`
        return next((place for place, (event, taken) in pairs if event - taken > self._ms), len(event_times))

    def judge(self, item: Record | Refusal, recorded_at: int) -> Record | Refusal:
        """What a pack made of a record; refused, with its payload as a submission of its own, where its event lies too
        far ahead."""
        if self._ms is None or isinstance(item, Refusal) or item.event_time - recorded_at <= self._ms:
            return item
        ahead, allowed = item.event_time - recorded_at, self._ms
        message = (
            f"{_utc(item.event_time)} is {ahead / 1000:g} s after {_utc(recorded_at)}, when it was taken in; at most "
            f"{allowed / 1000:g} s are allowed"
        )
        return Refusal((Finding(EVENT_IN_FUTURE, "event_time", message),), item.payload, CANONICAL_TYPE, canonical=True)


def _utc(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
