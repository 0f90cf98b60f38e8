"""How fast a figure grows. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

NOISE = 1.15
"""Gaps of less than 15 % are noise on a shared machine."""

Pair = tuple[float, float]


def exponent(pairs: Sequence[Pair]) -> float | None:
    """k of y = a·x^k, by least squares over the logarithms: 1 is linear, 2 quadratic. None where it cannot be said: for
    fewer than two different x, or where anything is not positive."""
    if len({x for x, _ in pairs}) < 2 or any(x <= 0 or y <= 0 for x, y in pairs):
        return None
    xs, ys = ([math.log(pair[place]) for pair in pairs] for place in (0, 1))
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    upper = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return upper / sum((x - mean_x) ** 2 for x in xs)


def faster_than_linear(pairs: Sequence[Pair], noise: float = NOISE) -> list[tuple[Pair, Pair]]:
    """The steps between neighbours in which y grew by a larger factor than x, by more than noise. A fit over all of
    them would hide the last one behind the fixed costs of the first."""
    ordered = sorted(pairs)
    return [
        (before, after) for before, after in pairwise(ordered) if after[1] > noise * before[1] * after[0] / before[0]
    ]
