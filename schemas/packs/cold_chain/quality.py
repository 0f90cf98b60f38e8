"""What makes a series of readings doubtful: gaps, stuck values, jumps. Pure functions over points in order of time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from schemas.packs.cold_chain.episodes import Point, is_gap


class Gap(NamedTuple):
    """No reading between two moments, ms, for more than 1.5 intervals."""

    after: int
    before: int


class Stuck(NamedTuple):
    """One value repeated without any change, from one moment to another, ms."""

    start: int
    end: int
    celsius: float
    readings: int


class Jump(NamedTuple):
    """A step between neighbouring readings, °C, larger than air and probe allow."""

    at: int
    step: float


def gaps(points: Sequence[Point], interval: int | None) -> list[Gap]:
    """Every gap; none where the interval (ms) is unknown."""
    pairs = itertools.pairwise(points)
    return [Gap(before.at, after.at) for before, after in pairs if is_gap(before, after, interval)]


def stuck(points: Sequence[Point], least: int) -> list[Stuck]:
    """Every run of at least `least` equal temperatures. A fault ends a run."""
    found: list[Stuck] = []
    start = 0
    for place in range(1, len(points) + 1):
        if place < len(points) and points[place].celsius == points[start].celsius:
            continue
        celsius = points[start].celsius
        if celsius is not None and place - start >= least:
            found.append(Stuck(points[start].at, points[place - 1].at, celsius, place - start))
        start = place
    return found


def jumps(points: Sequence[Point], interval: int | None, most: float) -> list[Jump]:
    """Every step of more than `most` °C between neighbours with no gap between them."""
    found = []
    for before, after in itertools.pairwise(points):
        if before.celsius is None or after.celsius is None or is_gap(before, after, interval):
            continue
        if abs(after.celsius - before.celsius) > most:
            found.append(Jump(after.at, after.celsius - before.celsius))
    return found
