"""Owns how times on the command line are read: an age, a time with its zone, a window between two."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import NamedTuple

from waybill.output import EPOCH, Fault

AGE = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)")
UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class Window(NamedTuple):
    """A span of time in ms since epoch: from `start` on, before `end`. Windows that touch share no moment."""

    start: int
    end: int | None
    """None: without an end."""

    def holds(self, ms: int) -> bool:
        """Whether a moment lies in it."""
        return self.start <= ms and (self.end is None or ms < self.end)


def age(text: str) -> int | None:
    """An age such as 90s, 10m, 2h, 1d in ms; None for another text."""
    match = AGE.fullmatch(text)
    return int(match[1]) * UNITS[match[2]] if match else None


def instant(text: str) -> int | None:
    """An RFC 3339 time with its zone as ms since epoch; None for another text."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if at.tzinfo is None else (at - EPOCH) // timedelta(milliseconds=1)


def window(text: str, now: int) -> Window:
    """`24h`: from 24 hours before `now` (ms since epoch) on; `FROM/TO`: from one time up to another. Raises Fault."""
    if back := age(text):
        return Window(now - back, None)
    times = [instant(part) for part in text.split("/")]
    if len(times) != 2 or times[0] is None or times[1] is None:
        shown = text if len(text) <= 80 else text[:80] + "…"
        raise Fault(
            f"--window {shown!r}: expected an age such as 24h, for what came since then, or FROM/TO, two times with "
            "their zones such as 2026-03-02T00:00:00Z/2026-03-03T00:00:00Z"
        )
    if times[1] <= times[0]:
        raise Fault(f"--window {text!r}: ends before it begins; name the earlier time first")
    return Window(times[0], times[1])
