"""Times of events: xsd:dateTime and RFC 3339 to milliseconds since epoch, UTC. Nothing is guessed: a time without a
zone has no milliseconds."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import lru_cache

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])(\d\d):(\d\d))?", re.ASCII
)
OFFSET = re.compile(r"[+-](?:(?:0\d|1[0-3]):[0-5]\d|14:00)", re.ASCII)
"""`eventTimeZoneOffset`, which tells where an event was; it does not correct `eventTime`."""
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # plain calendar arithmetic; the offset is handled beside it
LAST = 253_402_300_800_000
"""First millisecond of the year 10000."""


@lru_cache(maxsize=20_000)
def milliseconds(text: str) -> int | None:
    """Milliseconds since epoch, rounded half up; None: no zone, another form, or a time that does not exist or lies
    outside the years 1970 to 9999."""
    moment = _moment(text)
    return moment if moment is not None and 0 <= moment < LAST else None


def _moment(text: str) -> int | None:
    match = _TIME.fullmatch(text)
    if match is None or len(text) > 64:
        return None
    year, month, day, hour, minute, second, fraction, zulu, sign, off_hour, off_minute = match.groups()
    if not zulu and not sign:
        return None
    try:
        wall = datetime(int(year), int(month), int(day), int(hour) % 24, int(minute), int(second))  # noqa: DTZ001
    except ValueError:
        return None
    if hour == "24":
        if minute + second != "0000" or int(fraction or 0):
            return None
        wall += timedelta(days=1)
    moment = (wall - _EPOCH) // timedelta(milliseconds=1)
    if fraction:
        moment += int(fraction[:3].ljust(3, "0")) + (fraction[3:4] >= "5")
    if sign:
        if int(off_minute) > 59 or int(off_hour) * 60 + int(off_minute) > 14 * 60:
            return None
        shift = (int(off_hour) * 60 + int(off_minute)) * 60_000
        moment += shift if sign == "-" else -shift
    return moment


def has_zone(text: str) -> bool:
    """Whether a text that is a dateTime says its zone."""
    match = _TIME.fullmatch(text)
    return match is not None and bool(match[8] or match[9])


def is_date_time(text: str) -> bool:
    """xsd:dateTime: a calendar day and a time of day, with or without zone."""
    match = _TIME.fullmatch(text)
    if match is None:
        return False
    return _moment(text if has_zone(text) else text + "Z") is not None


def utc_text(moment: int) -> str:
    """`YYYY-MM-DDTHH:MM:SS.mmmZ` of milliseconds since epoch."""
    return (_EPOCH + timedelta(milliseconds=moment)).isoformat(timespec="milliseconds") + "Z"
