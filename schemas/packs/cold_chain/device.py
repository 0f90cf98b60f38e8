"""What a logger says about itself: a `daily_summary` per day of history, a `device_report` per recording.

What the device stated travels verbatim under `stated` and `conf`; beside it stand the same facts by name, in °C and
UTC. Identity: a day is `<date>/daily`, or `<date>/daily-until-<HH:MM>` where the export was made on that very day, so
that a later export of the whole day is another record and not a conflict; a report is `<end>/report`. Neither can
share an idempotency key with a reading. Event time is the start of the day, or the end of the recording.

A day or report without its extremes, its mean, or the time of a configured alarm is no summary but a part of one: it is
refused, or what is left of an export would take the place of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson

from schemas import errors
from schemas.errors import Finding
from schemas.pack import Record
from schemas.packs.cold_chain import codes
from schemas.packs.cold_chain.judge import Rules
from schemas.packs.cold_chain.options import Source
from schemas.packs.cold_chain.stated import Reader, Stated, sub
from schemas.packs.cold_chain.times import iso_text
from schemas.packs.cold_chain.units import parse_number, plain
from schemas.packs.jsontext import shorten

DAY_KIND, REPORT_KIND = "daily_summary", "device_report"
LONGEST_DAY = 1500
"""Minutes: a day has 1,440, and one on which the clock was put back by an hour has these."""
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d", re.ASCII)


def daily_summary(
    stated: Stated, conf: Stated, created: str | None, rules: Rules, source: Source
) -> Record | tuple[Finding, ...]:
    """One day of history. `created`: when the export was made (local, as stated), None if unknown."""
    read = Reader(stated, conf, rules, source)
    date = stated.get("Date")
    start = read.moment(f"{date} 00:00" if isinstance(date, str) and date else None, "Date")
    until = None
    if created is not None and isinstance(date, str) and created[:11] == date + " " and _CLOCK.fullmatch(created[11:]):
        until = created[11:]
    facts: dict[str, Any] = {"date": date, "until": until, **read.temperatures()}
    alarms = _alarms(conf)
    sides = ("low", "high") if len(alarms) == 2 else ()
    for place, (_, index) in enumerate(alarms):
        limit, day, path = sub(conf, "Alarm", index), sub(stated, "Alarm", index), f"Alarm.{index}"
        spent = read.required(sub(day, "t Acc"), f"{path}.t Acc")
        minutes = read.minutes(spent, f"{path}.t Acc", LONGEST_DAY)
        if not sides:
            continue  # which of one or three is the low and which the high alarm, nobody says
        side = sides[place]
        celsius = read.celsius(sub(limit, "T AL"), f"{path}.T AL")
        facts |= {
            f"{side}_limit_c": None if celsius is None else plain(celsius),
            f"{side}_alarm_minutes": read.minutes(sub(limit, "t AL"), f"{path}.t AL"),
            "minutes_below" if side == "low" else "minutes_above": minutes,
            f"{side}_alarm_at": sub(day, "TS A"),
        }
    name = f"{date}/daily-until-{until}" if until else f"{date}/daily"
    return read.finish(DAY_KIND, start, name, facts)  # type: ignore[no-any-return]


def _alarms(conf: Stated) -> list[tuple[Decimal, str]]:
    """Limit and index of each alarm that has a limit, in the order of limits: the low one comes before the high one,
    whatever their place in the export."""
    limits: list[tuple[Decimal, str]] = []
    alarms = conf.get("Alarm")
    for index in alarms if isinstance(alarms, Mapping) else ():
        text = sub(alarms, index, "T AL")
        number = parse_number(text) if isinstance(text, str) else None
        if number is not None:
            limits.append((number, index))
    return sorted(limits)


def device_report(stated: Stated, conf: Stated, rules: Rules, source: Source) -> Record | tuple[Finding, ...]:
    """The device's own figures about one recording: MKT, mean, extremes, alarms."""
    read = Reader(stated, conf, rules, source)
    stop = read.moment(stated.get("TS Stop"), "TS Stop")
    start = read.moment(stated.get("TS Start"), "TS Start")
    others = ("MKT",) if "MKT" in stated or "MKT Energy" in conf else ()
    facts = {"start": start, **read.temperatures(*others)}
    return read.finish(REPORT_KIND, stop, f"{iso_text(stop or 0)}/report", facts)  # type: ignore[no-any-return]


def read_canonical_device(value: Mapping[str, Any], rules: Rules) -> Record | tuple[Finding, ...]:
    """A canonical daily summary or report: made again from what it states, and compared."""
    found = [
        Finding(errors.WRONG_TYPE, name, "nested texts are expected")
        for name in ("stated", "conf")
        if not (isinstance(value.get(name), dict) and _is_stated(value[name]))
    ]
    texts = ("sensor_id", "utc_offset", "unit", "product", "zone_id", "date", "until")
    found += [
        Finding(errors.WRONG_TYPE, name, "a text is expected")
        for name in texts
        if name in value and not isinstance(value[name], str)
    ]
    if found:
        return tuple(found)
    try:
        source = Source(match="*", **{name: value[name] for name in texts[:5] if name in value})
    except ValueError:
        return (Finding(errors.BAD_FORMAT, "", "sensor_id, unit, utc_offset or zone_id has a form no record has"),)
    created = f"{value.get('date')} {value['until']}" if "until" in value else None
    if value["kind"] == DAY_KIND:
        outcome = daily_summary(value["stated"], value["conf"], created, rules, source)
    else:
        outcome = device_report(value["stated"], value["conf"], rules, source)
    return compare(outcome, value)


def compare(outcome: Record | tuple[Finding, ...], sent: Mapping[str, Any]) -> Record | tuple[Finding, ...]:
    """A canonical record made again must be what was sent, but for the state, which follows the limits in force."""
    if not isinstance(outcome, Record):
        return outcome
    again = orjson.loads(outcome.payload)
    differs = sorted(name for name in {*again, *sent} - {"state"} if again.get(name) != sent.get(name))
    if differs:
        message = "does not follow from what the record states"
        return tuple(Finding(codes.DERIVED_VALUE_DIFFERS, shorten(name)[1:-1], message) for name in differs)
    if again["state"] != sent.get("state"):
        message = f"was {shorten(str(sent.get('state')))}, is {again['state']} by the limits in force"
        return outcome._replace(warnings=(*outcome.warnings, Finding(codes.STATE_RECOMPUTED, "state", message)))
    return outcome


def _is_stated(value: Any) -> bool:
    if isinstance(value, dict):
        return all(key.isascii() and key.isprintable() and _is_stated(item) for key, item in value.items())
    if isinstance(value, list):
        return all(isinstance(item, dict) and _is_stated(item) for item in value)
    return isinstance(value, str)
