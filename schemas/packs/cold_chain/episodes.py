"""Time spent out of limits: how long each reading stands, excursion episodes, single and cumulative alarms.

A reading stands until the next one of its sensor. Across a gap (more than 1.5 intervals), and at the end, it stands for
one interval if the interval is stated; where it is only inferred from the readings, nothing says that the sensor went
on. Time that nobody observed is counted nowhere, and an episode ends at a gap. Limits are strict: the limit itself is
within. A reading without a temperature neither continues nor ends an episode, and counts no time.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from statistics import median_low
from typing import Literal, NamedTuple

Side = Literal["low", "high"]
GAP_FACTOR = 1.5
LONGEST_INFERRED = 3_600_000
"""Ms. Readings further apart than an hour, the longest interval met in a logger's file, may as well be two that are
left of many: a longer interval must be stated."""


class Point(NamedTuple):
    """One reading: `at` in ms since epoch, `celsius` None for a sensor fault, `place` its index in the batch."""

    at: int
    celsius: float | None
    place: int = 0


class Episode(NamedTuple):
    """An unbroken run of readings out of one limit. Times in ms; `observed` is the time its readings stand."""

    side: Side
    start: int
    end: int
    observed: int
    extreme: float
    readings: int


class Triggered(NamedTuple):
    """Whether an alarm's duration was reached: when (ms; None: not), and the time counted towards it."""

    at: int | None
    observed: int


def typical_interval(points: Sequence[Point]) -> int | None:
    """The interval that the points themselves suggest: their median distance, ms, an hour at most; None with fewer
    than two moments."""
    return typical_step([after.at - before.at for before, after in itertools.pairwise(points)])


def typical_step(steps: Sequence[int]) -> int | None:
    """The same of the distances between neighbours, ms, none of them negative."""
    apart = [step for step in steps if step]
    return min(median_low(apart), LONGEST_INFERRED) if apart else None


def is_gap(before: Point, after: Point, interval: int | None) -> bool:
    """Whether neighbours are so far apart that nobody observed what was between them."""
    return interval is not None and after.at - before.at > GAP_FACTOR * interval


def standing(points: Sequence[Point], interval: int | None, stated: bool = True) -> list[int]:
    """How long each point stands, ms. `points` in order of time; `interval` of logging, ms, None if unknown; `stated`:
    by the source, not inferred."""
    if interval is None:
        return [0] * len(points)
    alone = interval if stated else 0
    pairs = itertools.pairwise(points)
    spans = [alone if is_gap(before, after, interval) else after.at - before.at for before, after in pairs]
    return [*spans, alone] if points else []


def is_out(celsius: float, side: Side, limit: float) -> bool:
    """Strictly beyond the limit."""
    return celsius < limit if side == "low" else celsius > limit


def time_out(points: Sequence[Point], spans: Sequence[int], side: Side, limit: float) -> int:
    """Time beyond a limit, ms."""
    return sum(
        span
        for point, span in zip(points, spans, strict=True)
        if point.celsius is not None and is_out(point.celsius, side, limit)
    )


def episodes(
    points: Sequence[Point], spans: Sequence[int], side: Side, limit: float, interval: int | None
) -> list[Episode]:
    """Every episode beyond a limit, in order of time. `interval`: see `standing`."""
    found: list[Episode] = []
    now: Episode | None = None
    for before, point, span in zip([None, *points], points, spans, strict=False):
        celsius = point.celsius
        broken = before is not None and is_gap(before, point, interval)
        if now is not None and (broken or (celsius is not None and not is_out(celsius, side, limit))):
            found.append(now)
            now = None
        if celsius is None or not is_out(celsius, side, limit):
            continue
        if now is None:
            now = Episode(side, point.at, point.at + span, span, celsius, 1)
        else:
            extreme = min(now.extreme, celsius) if side == "low" else max(now.extreme, celsius)
            now = Episode(side, now.start, point.at + span, now.observed + span, extreme, now.readings + 1)
    return found if now is None else [*found, now]


def alarm(
    points: Sequence[Point],
    spans: Sequence[int],
    side: Side,
    limit: float,
    minutes: int,
    mode: Literal["single", "cumulative"],
    interval: int | None,
) -> Triggered:
    """Whether the time out of a limit reached `minutes`: in one episode (`single`; its longest is counted), or in all
    together (`cumulative`). 0 minutes: at the first reading out."""
    needed, counted, longest, reached = minutes * 60_000, 0, 0, None
    for before, point, span in zip([None, *points], points, spans, strict=False):
        if mode == "single" and before is not None and is_gap(before, point, interval):
            counted = 0
        if point.celsius is None:
            continue
        if is_out(point.celsius, side, limit):
            if reached is None and counted + span >= needed:
                reached = point.at + max(needed - counted, 0)
            counted += span
            longest = max(longest, counted)
        elif mode == "single":
            counted = 0
    return Triggered(reached, longest)
