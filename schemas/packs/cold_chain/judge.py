"""The rules of a reading (VAL-05..VAL-10, ING-15): from what a source stated to a record, or to everything wrong.

Every format ends here: JSON, CSV and logger exports differ only in how they fill an `Observation`.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, NamedTuple

from schemas import errors
from schemas.canonical import canonical_json_fast, sha256
from schemas.errors import Finding
from schemas.pack import Record, comes_from
from schemas.packs.cold_chain import codes
from schemas.packs.cold_chain.options import NO_SOURCE, UNSPECIFIED, Options, Product, Source
from schemas.packs.cold_chain.times import (
    LAST,
    MINUTE,
    day_text,
    iso_text,
    offset_text,
    parse_format,
    parse_iso,
    parse_offset,
)
from schemas.packs.cold_chain.units import ABSOLUTE_ZERO, LARGEST, UNITS, parse_number, plain, to_celsius
from schemas.packs.jsontext import shorten
from schemas.profiles import RecordProfile

CLAIMS = ("within_spec", "excursion", "unknown")
ABSENT = "none"
"""What `zone_id` reads as in a record's fields where nobody states one (a real zone is upper case)."""

SENSOR_ID_LENGTH = 4, 64
"""Characters of a sensor id, least and most (VAL-05)."""
_ZONE = re.compile(r"[A-Z0-9\-]+", re.ASCII)


class Observation(NamedTuple):
    """One reading as its source states it; None: not stated. `value` is text as sent."""

    sensor_id: str | None
    timestamp: str | None
    value: str | None
    unit: str | None = None
    utc_offset: str | None = None
    """Stated by the file around the reading."""
    timestamp_format: str | None = None
    zone_id: str | None = None
    claim: str | None = None
    product: str | None = None
    interval: int | None = None
    """Logging interval, s."""
    fault: str | None = None
    """The source itself marks the value as no temperature."""
    time_field: str = "timestamp"
    value_field: str = "temperature"


class Rules:
    """The options in force, prepared for judging."""

    def __init__(self, options: Options, profile: RecordProfile) -> None:
        self.options = options
        self.profile = profile
        self.strict = profile == "strict"
        self.structure_only = profile == "schema"
        self.sources = *options.sources, NO_SOURCE
        """The rules of sources in order; the last matches all."""
        self.products = options.catalogue()
        self.limits = {name: Limits.of(product) for name, product in self.products.items()}

    def source(self, source: str | None, site: str | None) -> Source:
        """The first rule that matches the headers of a submission; an empty one if none does."""
        return next(rule for rule in self.sources if rule is NO_SOURCE or comes_from(rule.match, source, site))


class Limits(NamedTuple):
    """A product's limits as floats, for comparing. JSON readings are doubles anyway, and the limits are short
    decimals, which compare alike as doubles and as decimals rounded to a double."""

    low: float
    high: float
    bound_low: float
    bound_high: float
    judged: bool

    @classmethod
    def of(cls, product: Product) -> Limits:
        low = float("-inf") if product.low is None else float(product.low)
        high = float("inf") if product.high is None else float(product.high)
        judged = product.low is not None or product.high is not None
        # Nearer to absolute zero than this the thorough way decides, in exact decimals.
        return cls(low, high, max(float(product.bounds[0]), -273.0), float(product.bounds[1]), judged)

    def state(self, celsius: float) -> str:
        """The computed compliance state: limits themselves are within."""
        if not self.judged:
            return "unknown"
        return "within_spec" if self.low <= celsius <= self.high else "excursion"


def judge(seen: Observation, rules: Rules, source: Source, found: list[Finding]) -> Record | tuple[Finding, ...]:
    """A record, or every finding. `found` is what the format's reader found before; a field it names is not
    reported as missing again."""
    blamed = {finding.path for finding in found}
    findings = list(found)
    payload: dict[str, Any] = {"kind": "reading"}

    sensor_id = seen.sensor_id if seen.sensor_id is not None else source.sensor_id
    findings += check_sensor(sensor_id, blamed)
    event_time = _time(seen, rules, source, blamed, findings, payload)
    name, product = _product(seen, rules, source, findings)
    celsius = _temperature(seen, rules, source, product, blamed, findings, payload)
    zone = seen.zone_id if seen.zone_id is not None else source.zone_id
    if zone is not None and not _ZONE.fullmatch(zone):
        findings.append(Finding(errors.BAD_FORMAT, "zone_id", f"{shorten(zone)} does not match ^[A-Z0-9\\-]+$"))
    claim = seen.claim if seen.claim is not None else "unknown"
    if claim not in CLAIMS:
        message = f"{shorten(claim)} is none of {', '.join(CLAIMS)}"
        findings.append(Finding(errors.BAD_FORMAT, "compliance_state", message))

    verdict = errors.judge(findings)
    if (verdict is not None and verdict.refused) or sensor_id is None or event_time is None:
        return tuple(findings)

    state = "unknown"
    if celsius is not None and product is not None and not rules.structure_only:
        state = rules.limits[name].state(float(celsius))
    if claim != "unknown" and state not in ("unknown", claim):
        findings.append(claim_differs(claim, state, name))
    payload |= {
        "sensor_id": sensor_id,
        "event_time": event_time,
        "product": name,
        "compliance_state": claim,
        "state": state,
    }
    if zone is not None:
        payload["zone_id"] = zone
    interval = seen.interval if seen.interval is not None else source.logging_interval
    if interval is not None:
        payload["interval_s"] = interval
    return reading_record(payload, tuple(findings))


def claim_differs(claim: str, state: str, product: str) -> Finding:
    """VAL-10: the sender's word against the computed state."""
    message = f"the sender claims {claim}; the limits of {product} give {state}"
    return Finding(codes.COMPLIANCE_CLAIM_DIFFERS, "compliance_state", message)


def reading_record(payload: dict[str, Any], warnings: tuple[Finding, ...]) -> Record:
    """The record of a complete reading payload."""
    data = canonical_json_fast(payload)
    moment = payload["event_time"]
    fields = {
        "sensor_id": payload["sensor_id"],
        "event_time": iso_text(moment),
        "product": payload["product"],
        "zone_id": payload.get("zone_id", ABSENT),
        "kind": "reading",
        "day": day_text(moment),
    }
    return Record(fields, moment, data, sha256(data), warnings)


def check_sensor(sensor_id: str | None, blamed: set[str]) -> list[Finding]:
    """VAL-05, and characters that may stand in a key."""
    if sensor_id is None:
        if "sensor_id" in blamed:
            return []
        message = "no sensor id, neither in the record nor in a source rule: add `sensor_id` to options.sources"
        return [Finding(errors.MISSING_FIELD, "sensor_id", message)]
    findings = []
    shortest, longest = SENSOR_ID_LENGTH
    if not shortest <= len(sensor_id) <= longest:
        message = f"{shorten(sensor_id)} has {len(sensor_id)} characters; {shortest} to {longest} are allowed"
        findings.append(Finding(errors.OUT_OF_RANGE, "sensor_id", message))
    if not sensor_id.isprintable() and "sensor_id" not in blamed:
        findings.append(Finding(errors.BAD_FORMAT, "sensor_id", f"{shorten(sensor_id)} holds unprintable characters"))
    return findings


def _time(
    seen: Observation,
    rules: Rules,
    source: Source,
    blamed: set[str],
    findings: list[Finding],
    payload: dict[str, Any],
) -> int | None:
    """Event time in ms, UTC; writes the verbatim text and whatever else is needed to derive it again."""
    field, text = seen.time_field, seen.timestamp
    if text is None:
        if field not in blamed:
            findings.append(Finding(errors.MISSING_FIELD, field, "no timestamp"))
        return None
    if field in blamed:
        return None
    pattern = seen.timestamp_format or source.timestamp_format
    try:
        moment = parse_iso(text)
        if moment is not None:
            pattern = None
        elif pattern is not None:
            moment = parse_format(text, pattern)
    except ValueError as error:
        findings.append(Finding(codes.IMPOSSIBLE_DATE, field, f"{shorten(text)}: {error}"))
        return None
    if moment is None:
        wanted = f"nor {pattern}" if pattern else "and the source has no timestamp_format"
        findings.append(Finding(errors.BAD_FORMAT, field, f"{shorten(text)} is not ISO 8601 {wanted}"))
        return None
    payload[field] = text
    if pattern is not None:
        payload["timestamp_format"] = pattern
    offset = moment.offset
    if offset is None:
        outside = seen.utc_offset if seen.utc_offset is not None else source.utc_offset
        if outside is None:
            message = f"{shorten(text)} has no UTC offset: add `utc_offset` for this source to options.sources"
            findings.append(Finding(codes.NAIVE_TIMESTAMP, field, message))
            return None
        offset = parse_offset(outside)
        payload["utc_offset"] = offset_text(offset)
        if field == "timestamp_utc":
            message = f"{shorten(text)} has no offset; that of its source was used: {offset_text(offset)}"
            findings.append(Finding(codes.ZONE_BY_RULE, field, message))
    elif offset != 0 and field == "timestamp_utc":
        message = f"{shorten(text)} is not in UTC"
        code = codes.NOT_UTC if rules.strict else codes.OFFSET_NORMALISED
        findings.append(Finding(code, field, message))
    event_time = moment.local - offset * MINUTE
    if not 0 <= event_time < LAST:
        findings.append(Finding(errors.OUT_OF_RANGE, field, f"{shorten(text)} is not between 1970 and 9999"))
        return None
    return event_time


def _product(seen: Observation, rules: Rules, source: Source, findings: list[Finding]) -> tuple[str, Product | None]:
    name = seen.product or source.product or rules.options.default_product
    product = rules.products.get(name)
    if product is None:
        if not name.isprintable() or len(name) > 64:
            findings.append(Finding(errors.BAD_FORMAT, "product", f"{shorten(name)} is no name of a product"))
        elif not rules.structure_only:
            code = codes.UNKNOWN_PRODUCT if rules.strict else codes.UNKNOWN_PRODUCT_IGNORED
            message = f"{shorten(name)} has no limits; known: {', '.join(sorted(rules.products))}"
            findings.append(Finding(code, "product", message))
    return name, product


def _temperature(
    seen: Observation,
    rules: Rules,
    source: Source,
    product: Product | None,
    blamed: set[str],
    findings: list[Finding],
    payload: dict[str, Any],
) -> Decimal | None:
    """Degrees Celsius, or None for a fault or after a finding; writes value and unit as sent."""
    field = seen.value_field
    unit = "C" if field == "temperature_c" else seen.unit if seen.unit is not None else source.unit
    if seen.value is None and seen.fault is None:
        if field not in blamed:
            findings.append(Finding(errors.MISSING_FIELD, field, "no temperature"))
        return None
    if unit is None and "unit" not in blamed:
        message = "no unit, neither in the record nor in a source rule: add `unit` to options.sources"
        findings.append(Finding(errors.MISSING_FIELD, "unit", message))
    elif unit is not None and unit not in UNITS:
        findings.append(Finding(codes.UNKNOWN_UNIT, "unit", f"{shorten(unit)} is none of {', '.join(UNITS)}"))
    if seen.fault is not None:
        payload |= {"fault": seen.fault, "value": seen.value or "", "unit": unit}
        return None
    value = seen.value or ""
    number = parse_number(value)
    if number is None:
        if field not in blamed:
            findings.append(Finding(errors.WRONG_TYPE, field, f"{shorten(value)} is no decimal number"))
        return None
    if abs(number) >= LARGEST:
        findings.append(Finding(errors.OUT_OF_RANGE, field, f"{shorten(value)} is no temperature"))
        return None
    if unit is None or unit not in UNITS:
        return None
    if number in source.sentinels:
        payload |= {"fault": "sentinel", "value": value, "unit": unit}
        return None
    celsius = to_celsius(number, UNITS[unit])
    wrong = implausible(celsius, product, rules, field)
    if wrong is not None:
        findings.append(wrong)
        return None
    if field != "temperature_c":
        payload |= {"value": value, "unit": unit}
    payload["temperature_c"] = plain(celsius)
    return celsius


def implausible(celsius: Decimal, product: Product | None, rules: Rules, field: str) -> Finding | None:
    """VAL-06: absolute zero in any profile, and the product's bounds wherever limits are judged."""
    if celsius <= ABSOLUTE_ZERO:
        return Finding(errors.OUT_OF_RANGE, field, f"{plain(celsius)} °C is at or below absolute zero")
    low, high = (product or rules.products[UNSPECIFIED]).bounds
    if not rules.structure_only and not low <= celsius <= high:
        return Finding(errors.OUT_OF_RANGE, field, f"{plain(celsius)} °C is not between {low} and {high}")
    return None
