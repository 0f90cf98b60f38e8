"""Timestamps: text to milliseconds since epoch and back. A missing offset is reported, never guessed (VAL-09)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

MINUTE = 60_000
DAY = 86_400_000
LAST = 253_402_300_800_000
"""First millisecond of the year 10000; event times lie in [0, LAST)."""

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # plain calendar arithmetic; the offset is handled beside it
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(?:([Zz])|([+-])(\d\d):?(\d\d))?", re.ASCII
)
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)", re.ASCII)
_TAIL = re.compile(r"([0-5]\d)(?:\.(\d{3}))?Z", re.ASCII)


class Moment(NamedTuple):
    """A parsed timestamp: `local` is its wall clock read as if UTC, in ms; `offset` its stated offset in minutes,
    None where the text states none."""

    local: int
    offset: int | None


def parse_iso(text: str) -> Moment | None:
    """ISO 8601 / RFC 3339 with `T` or a space; seconds optional; digits beyond the millisecond are cut off.

    None: another form. Raises ValueError for a date, time of day or offset that does not exist."""
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zulu, sign, off_hour, off_minute = match.groups()
    wall = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0))  # noqa: DTZ001
    local = (wall - _EPOCH) // timedelta(milliseconds=1) + int((fraction or "0").ljust(3, "0")[:3])
    if zulu:
        return Moment(local, 0)
    return Moment(local, _minutes(sign, off_hour, off_minute) if sign else None)


def parse_format(text: str, pattern: str) -> Moment | None:
    """A text in a source's own `timestamp_format` (strptime directives, `%z` included). None: does not fit."""
    try:
        wall = datetime.strptime(text, pattern)  # noqa: DTZ007  # a missing zone is the point of `offset`
    except (ValueError, OverflowError, re.error):  # re.error: a pattern that names one directive twice
        return None
    zone = wall.utcoffset()
    if zone is not None and zone % timedelta(minutes=1):
        return None
    local = (wall.replace(tzinfo=None) - _EPOCH) // timedelta(milliseconds=1)
    return Moment(local, None if zone is None else zone // timedelta(minutes=1))


def parse_offset(text: str) -> int:
    """Minutes east of UTC of `Z`, `+05:30` or `-0500`. Raises ValueError for anything else."""
    if text in ("Z", "UTC"):
        return 0
    match = _OFFSET.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no UTC offset: expected Z or a form like -05:00")
    return _minutes(*match.groups())


def offset_text(minutes: int) -> str:
    """`+00:00` form of an offset in minutes."""
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02}:{rest:02}"


def _minutes(sign: str, hours: str, minutes: str) -> int:
    total = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or total > 18 * 60:
        raise ValueError(f"an offset of {sign}{hours}:{minutes} does not exist")
    return -total if sign == "-" else total


def minute_start(text: str) -> int:
    """Ms of the first 17 characters, `YYYY-MM-DDTHH:MM:`, of a timestamp. Raises ValueError for any other form.

    With `seconds` of the rest this reads the two commonest forms, `2026-01-31T08:15:00Z` and
    `2026-01-31T08:15:00.250Z`; whoever has many keeps both halves. `parse_iso` knows more.
    """
    moment = parse_iso(text + "00Z")
    if moment is None or text[10] != "T" or moment.local < 0:
        raise ValueError(text)
    return moment.local


def seconds(text: str) -> int:
    """Ms of `SSZ` or `SS.mmmZ`. Raises ValueError for any other form."""
    match = _TAIL.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return int(match[1]) * 1000 + int(match[2] or 0)


@lru_cache(maxsize=4096)
def _date_text(days: int) -> str:
    return (_EPOCH + timedelta(days=days)).date().isoformat()


def day_text(moment: int) -> str:
    """`YYYY-MM-DD` (UTC) of ms since epoch."""
    return _date_text(moment // DAY)


def iso_text(moment: int) -> str:
    """`YYYY-MM-DDTHH:MM:SS.mmmZ` of ms since epoch."""
    days, rest = divmod(moment, DAY)
    seconds, millis = divmod(rest, 1000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{_date_text(days)}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
