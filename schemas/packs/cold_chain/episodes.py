"""Time spent out of limits: how long each reading stands, excursion episodes, single and cumulative alarms.

A reading stands until the next one of its sensor; across a gap (more than 1.5 intervals), and at the end, for one
interval. Time that nobody observed is counted nowhere. Limits are strict: the limit itself is within. A reading
without a temperature neither continues nor ends an episode, and counts no time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from statistics import median_low
from typing import Literal, NamedTuple

Side = Literal["low", "high"]
GAP_FACTOR = 1.5


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
    """The median distance of neighbouring points, ms; None with fewer than two moments."""
    steps = [after.at - before.at for before, after in itertools.pairwise(points) if after.at > before.at]
    return median_low(steps) if steps else None


def standing(points: Sequence[Point], interval: int | None) -> list[int]:
    """How long each point stands, ms. `points` in order of time; `interval` of logging, ms, None if unknown."""
    if interval is None:
        return [0] * len(points)
    spans = []
    for before, after in itertools.pairwise(points):
        step = after.at - before.at
        spans.append(step if step <= GAP_FACTOR * interval else interval)
    return [*spans, interval] if points else []


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


def episodes(points: Sequence[Point], spans: Sequence[int], side: Side, limit: float) -> list[Episode]:
    """Every episode beyond a limit, in order of time."""
    found: list[Episode] = []
    now: Episode | None = None
    for point, span in zip(points, spans, strict=True):
        celsius = point.celsius
        if celsius is None:
            continue
        if not is_out(celsius, side, limit):
            if now is not None:
                found.append(now)
            now = None
        elif now is None:
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
) -> Triggered:
    """Whether the time out of a limit reached `minutes`: in one episode (`single`; its longest is counted), or in all
    together (`cumulative`). 0 minutes: at the first reading out."""
    needed, counted, longest, reached = minutes * 60_000, 0, 0, None
    for point, span in _known(points, spans):
        if is_out(point.celsius or 0.0, side, limit):
            if reached is None and counted + span >= needed:
                reached = point.at + max(needed - counted, 0)
            counted += span
            longest = max(longest, counted)
        elif mode == "single":
            counted = 0
    return Triggered(reached, longest)


def _known(points: Sequence[Point], spans: Sequence[int]) -> Iterable[tuple[Point, int]]:
    return ((point, span) for point, span in zip(points, spans, strict=True) if point.celsius is not None)
