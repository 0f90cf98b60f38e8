"""What a logger's export states, read: who measured, in which unit and zone; temperatures, minutes and moments.

A reader collects everything that is wrong with one part, a day or a report. What must be stated and is not, is a part
that was lost: `--.-` is the device's own word for no value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias

from schemas import errors
from schemas.canonical import canonical_json_fast, sha256
from schemas.errors import Finding
from schemas.pack import Record
from schemas.packs.cold_chain import codes
from schemas.packs.cold_chain.judge import ABSENT, Rules, check_sensor, implausible
from schemas.packs.cold_chain.options import Source
from schemas.packs.cold_chain.times import LAST, MINUTE, day_text, offset_text, parse_iso, parse_offset
from schemas.packs.cold_chain.units import LARGEST, UNITS, parse_number, plain, to_celsius
from schemas.packs.jsontext import shorten

Stated: TypeAlias = Mapping[str, Any]
"""Nested texts: str → str, Stated, or (under `more`) a list of Stated."""

NO_VALUE = "--.-"
_MEANS = {"Avrg T": "avg_c", "MKT": "mkt_c"}
_KEPT = ("Device", "Serial", "Zone", "Temp unit", "Alarm", "MKT Energy", "Logging Interval")
_ZONE = re.compile(r"([+-]?)(\d{1,2})(?:\.(\d\d))?", re.ASCII)
# A zone is a multiple of 15 minutes, so .25 .50 .75 can only be parts of an hour and .15 .30 .45 only minutes.
_QUARTERS = {None: 0, "00": 0, "25": 15, "50": 30, "75": 45, "15": 15, "30": 30, "45": 45}


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


class Reader:
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

    def required(self, text: Any, path: str) -> Any:
        """What must be stated; None, with a finding, where it is not, and None for `--.-`."""
        if text in (None, ""):
            self.found.append(Finding(errors.MISSING_FIELD, path, "not stated: was the export cut off or edited?"))
        return None if text in ("", NO_VALUE) else text

    def celsius(self, text: Any, path: str) -> Decimal | None:
        """A stated temperature in °C; None for nothing."""
        if text is None:
            return None
        number = parse_number(text) if isinstance(text, str) else None
        if number is None or abs(number) >= LARGEST:
            self.found.append(Finding(errors.WRONG_TYPE, path, f"{shorten(str(text))} is no decimal number"))
            return None
        return to_celsius(number, UNITS.get(self.rule.unit or "", "C"))

    def measured(self, path: str) -> Decimal | None:
        """A temperature that the device measured or computed, as plausible as a reading must be (VAL-06)."""
        celsius = self.celsius(self.required(self.stated.get(path), path), path)
        if celsius is None or self.rule.unit not in UNITS:
            return celsius
        wrong = implausible(celsius, self.rules.products.get(self.product), self.rules, path)
        self.found += [wrong] if wrong else []
        return None if wrong else celsius

    def temperatures(self, *others: str) -> dict[str, str | None]:
        """Extremes, mean and `others` by the names of facts, in °C; means lie between the extremes."""
        low, high = self.measured("Min T"), self.measured("Max T")
        if low is not None and high is not None and low > high:
            self.found.append(Finding(errors.OUT_OF_RANGE, "Min T", f"{plain(low)} °C is above Max T, {plain(high)}"))
            low = high = None
        facts = {"min_c": low, "max_c": high}
        for path in ("Avrg T", *others):
            mean = facts[_MEANS[path]] = self.measured(path)
            if mean is not None and ((low is not None and mean < low) or (high is not None and mean > high)):
                message = f"{plain(mean)} °C is not between Min T and Max T"
                self.found.append(Finding(errors.OUT_OF_RANGE, path, message))
        return {name: None if value is None else plain(value) for name, value in facts.items()}

    def minutes(self, text: Any, path: str, most: int = 10**9) -> int | None:
        """Stated minutes, at most so many; None for nothing."""
        if text in (None, ""):
            return None
        if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 9):
            self.found.append(Finding(errors.WRONG_TYPE, path, f"{shorten(str(text))} is no number of minutes"))
            return None
        if int(text) > most:
            self.found.append(Finding(errors.OUT_OF_RANGE, path, f"{text} minutes; a day has {most} at most"))
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


def sub(tree: Any, *names: str) -> Any:
    """What stands under these names, one inside the other; None if there is no such thing."""
    for name in names:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree
