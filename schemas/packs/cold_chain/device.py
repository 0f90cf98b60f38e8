"""What a logger says about itself: a `daily_summary` per day of history, a `device_report` per recording.

What the device stated travels verbatim under `stated` and `conf`; beside it stand the same facts by name, in °C and
UTC. Identity: a day is `<date>/daily`, or `<date>/daily-until-<HH:MM>` where the export was made on that very day, so
that a later export of the whole day is another record and not a conflict; a report is `<end>/report`. Neither can
share an idempotency key with a reading. Event time is the start of the day, or the end of the recording.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias

import orjson

from schemas import errors
from schemas.canonical import canonical_json_fast, sha256
from schemas.errors import Finding
from schemas.pack import Record
from schemas.packs.cold_chain import codes
from schemas.packs.cold_chain.jsontext import shorten
from schemas.packs.cold_chain.judge import ABSENT, Rules, check_sensor
from schemas.packs.cold_chain.options import Source
from schemas.packs.cold_chain.times import LAST, MINUTE, day_text, iso_text, offset_text, parse_iso, parse_offset
from schemas.packs.cold_chain.units import LARGEST, UNITS, parse_number, plain, to_celsius

Stated: TypeAlias = Mapping[str, Any]
"""Nested texts: str → str, Stated, or (under `more`) a list of Stated."""

DAY_KIND, REPORT_KIND = "daily_summary", "device_report"
_KEPT = ("Device", "Serial", "Zone", "Temp unit", "Alarm", "MKT Energy", "Logging Interval")
_ZONE = re.compile(r"([+-]?)(\d{1,2})(?:\.(\d\d))?", re.ASCII)
# A zone is a multiple of 15 minutes, so .25 .50 .75 can only be parts of an hour and .15 .30 .45 only minutes.
_QUARTERS = {None: 0, "00": 0, "25": 15, "50": 30, "75": 45, "15": 15, "30": 30, "45": 45}
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d", re.ASCII)


class DeviceRule(NamedTuple):
    """Who measured, in which unit and zone: as the export states it, else by the rule of its source."""

    sensor_id: str | None
    unit: str | None
    utc_offset: str | None
    logging_interval: int | None


def device_rule(conf: Stated, rules: Rules, source: Source, found: list[Finding]) -> DeviceRule:
    """Reads the configuration block of an export. Adds to `found` what is wrong or was taken from the format."""
    offset = source.utc_offset
    zone = conf.get("Zone")
    if isinstance(zone, str) and zone:
        match = _ZONE.fullmatch(zone)
        if match is None or match[3] not in _QUARTERS or int(match[2]) > 14:
            found.append(Finding(errors.BAD_FORMAT, "Conf.Zone", f"{shorten(zone)} is no UTC offset in hours"))
            offset = "Z"
        else:
            minutes = int(match[2]) * 60 + _QUARTERS[match[3]]
            offset = offset_text(-minutes if match[1] == "-" else minutes)
    serial, unit = conf.get("Serial"), conf.get("Temp unit")
    if not (isinstance(unit, str) and unit):
        unit = source.unit
        if unit is None and str(conf.get("Device", "")).startswith("Q-tag CLm"):
            unit = "C"
            found.append(Finding(codes.UNIT_BY_FORMAT, "unit", "the export states no unit; a Q-tag CLm logs in C"))
    logging = conf.get("Logging Interval")
    interval = source.logging_interval
    if isinstance(logging, str) and logging.isascii() and logging.isdigit() and 0 < int(logging[:6]) <= 1440:
        interval = int(logging[:6]) * 60
    sensor_id = serial if isinstance(serial, str) and serial else source.sensor_id
    return DeviceRule(sensor_id, unit, offset, interval)


class _Reader:
    """Reads the stated facts of one part and collects what is wrong with them."""

    def __init__(self, stated: Stated, conf: Stated, rules: Rules, source: Source) -> None:
        self.stated, self.rules = stated, rules
        self.conf = {name: conf[name] for name in _KEPT if name in conf}
        self.found: list[Finding] = []
        self.rule = device_rule(conf, rules, source, self.found)
        self.product = source.product or rules.options.default_product
        self.zone_id = source.zone_id
        self.found += check_sensor(self.rule.sensor_id, set())
        if self.rule.unit is None:
            message = "no unit, neither in the export nor in a source rule: add `unit` to options.sources"
            self.found.append(Finding(errors.MISSING_FIELD, "unit", message))
        elif self.rule.unit not in UNITS:
            self.found.append(Finding(codes.UNKNOWN_UNIT, "unit", f"{shorten(self.rule.unit)} is no unit"))
        if self.rule.utc_offset is None:
            message = "no UTC offset, neither Conf.Zone nor a source rule: add `utc_offset` to options.sources"
            self.found.append(Finding(codes.NAIVE_TIMESTAMP, "timestamp", message))

    def celsius(self, text: Any, path: str) -> str | None:
        """A stated temperature in °C; None for `--.-` or nothing."""
        if text in (None, "", "--.-"):
            return None
        number = parse_number(text) if isinstance(text, str) else None
        if number is None or abs(number) >= LARGEST:
            self.found.append(Finding(errors.WRONG_TYPE, path, f"{shorten(str(text))} is no decimal number"))
            return None
        return plain(to_celsius(number, UNITS.get(self.rule.unit or "", "C")))

    def minutes(self, text: Any, path: str) -> int | None:
        """Stated minutes; None for nothing."""
        if text in (None, ""):
            return None
        if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 9):
            self.found.append(Finding(errors.WRONG_TYPE, path, f"{shorten(str(text))} is no number of minutes"))
            return None
        return int(text)

    def moment(self, text: Any, path: str) -> int | None:
        """A stated local date and time as ms, UTC."""
        if text in (None, ""):
            self.found.append(Finding(errors.MISSING_FIELD, path, "no time"))
            return None
        try:
            moment = parse_iso(text) if isinstance(text, str) else None
        except ValueError as error:
            self.found.append(Finding(codes.IMPOSSIBLE_DATE, path, f"{shorten(str(text))}: {error}"))
            return None
        if moment is None or moment.offset is not None:
            self.found.append(Finding(errors.BAD_FORMAT, path, f"{shorten(str(text))} is no local date and time"))
            return None
        result = moment.local - parse_offset(self.rule.utc_offset or "Z") * MINUTE
        if not 0 <= result < LAST:
            self.found.append(Finding(errors.OUT_OF_RANGE, path, f"{shorten(str(text))} is not between 1970 and 9999"))
            return None
        return result

    def finish(self, kind: str, event_time: int | None, name: str, facts: dict[str, Any]) -> Any:
        """The record, or every finding."""
        verdict = errors.judge(self.found)
        if (verdict is not None and verdict.refused) or event_time is None or self.rule.utc_offset is None:
            return tuple(self.found)
        low, high = facts.get("min_c"), facts.get("max_c")
        limits = self.rules.limits.get(self.product)
        state = "unknown"
        if limits is not None and limits.judged and low is not None and high is not None:
            states = {limits.state(float(low)), limits.state(float(high))}
            state = "excursion" if "excursion" in states else "within_spec"
        payload = {name: value for name, value in facts.items() if value is not None} | {
            "kind": kind,
            "sensor_id": self.rule.sensor_id,
            "event_time": event_time,
            "utc_offset": offset_text(parse_offset(self.rule.utc_offset)),
            "unit": self.rule.unit,
            "product": self.product,
            "state": state,
            "stated": self.stated,
            "conf": self.conf,
        }
        if self.zone_id is not None:
            payload["zone_id"] = self.zone_id
        data = canonical_json_fast(payload)
        fields = {
            "sensor_id": self.rule.sensor_id or "",
            "event_time": name,
            "product": self.product,
            "zone_id": self.zone_id or ABSENT,
            "kind": kind,
            "day": day_text(event_time),
        }
        return Record(fields, event_time, data, sha256(data), tuple(self.found))


def _sub(tree: Any, *names: str) -> Any:
    for name in names:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree


def daily_summary(
    stated: Stated, conf: Stated, created: str | None, rules: Rules, source: Source
) -> Record | tuple[Finding, ...]:
    """One day of history. `created`: when the export was made (local, as stated), None if unknown."""
    read = _Reader(stated, conf, rules, source)
    date = stated.get("Date")
    start = read.moment(f"{date} 00:00" if isinstance(date, str) and date else None, "Date")
    until = None
    if created is not None and isinstance(date, str) and created[:11] == date + " " and _CLOCK.fullmatch(created[11:]):
        until = created[11:]
    facts: dict[str, Any] = {
        "date": date,
        "until": until,
        "min_c": read.celsius(stated.get("Min T"), "Min T"),
        "max_c": read.celsius(stated.get("Max T"), "Max T"),
        "avg_c": read.celsius(stated.get("Avrg T"), "Avrg T"),
    }
    for side, index in zip(("low", "high"), _alarm_order(conf), strict=True):
        if index is None:
            continue
        limit, day = _sub(conf, "Alarm", index), _sub(stated, "Alarm", index)
        path = f"Alarm.{index}"
        facts[f"{side}_limit_c"] = read.celsius(_sub(limit, "T AL"), f"{path}.T AL")
        facts[f"{side}_alarm_minutes"] = read.minutes(_sub(limit, "t AL"), f"{path}.t AL")
        below = "minutes_below" if side == "low" else "minutes_above"
        facts[below] = read.minutes(_sub(day, "t Acc"), f"{path}.t Acc")
        facts[f"{side}_alarm_at"] = _sub(day, "TS A")
    name = f"{date}/daily-until-{until}" if until else f"{date}/daily"
    return read.finish(DAY_KIND, start, name, facts)  # type: ignore[no-any-return]


def _alarm_order(conf: Stated) -> tuple[str | None, str | None]:
    """Which of the two configured alarms is the low and which the high one: by their limits, not their place."""
    limits: list[tuple[Decimal, str]] = []
    alarms = conf.get("Alarm")
    for index in alarms if isinstance(alarms, Mapping) else ():
        text = _sub(alarms, index, "T AL")
        number = parse_number(text) if isinstance(text, str) else None
        if number is not None:
            limits.append((number, index))
    limits.sort()
    return (limits[0][1], limits[1][1]) if len(limits) == 2 else (None, None)


def device_report(stated: Stated, conf: Stated, rules: Rules, source: Source) -> Record | tuple[Finding, ...]:
    """The device's own figures about one recording: MKT, mean, extremes, alarms."""
    read = _Reader(stated, conf, rules, source)
    stop = read.moment(stated.get("TS Stop"), "TS Stop")
    start = read.moment(stated.get("TS Start"), "TS Start")
    facts = {
        "start": start,
        "min_c": read.celsius(stated.get("Min T"), "Min T"),
        "max_c": read.celsius(stated.get("Max T"), "Max T"),
        "avg_c": read.celsius(stated.get("Avrg T"), "Avrg T"),
        "mkt_c": read.celsius(stated.get("MKT"), "MKT"),
    }
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
