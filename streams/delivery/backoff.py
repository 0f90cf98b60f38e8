"""How long to wait before the next attempt: three presets, one function, no clock (trap T10, RTY-02 to RTY-05)."""

from __future__ import annotations

from random import Random

from topology.sections import BackoffPreset


def delay(preset: BackoffPreset, failures: int, random: Random) -> float:
    """Seconds to wait after the `failures`-th failed attempt (from 1).

    documents: min(2^n, 10) + U(0, 0.5). inventory: 2, 4, 8, ... without jitter, as its source asks.
    packets: full jitter between 1 s and the exponential bound: U(1, min(2^n, 30)).
    `random` is seeded by the caller, so that a replay waits alike. Raises ValueError for `failures` below 1.
    """
    if failures < 1:
        raise ValueError(f"failures counts from 1, got {failures}")
    exponential = float(2 ** min(failures, 16))
    match preset:
        case "documents":
            return min(exponential, 10.0) + random.uniform(0.0, 0.5)
        case "inventory":
            return exponential
        case "packets":
            return random.uniform(1.0, min(exponential, 30.0))
