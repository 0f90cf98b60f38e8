"""The fast way for the commonest JSON readings, in °C and UTC, which gives the records that the thorough way gives, or
nothing. It must never refuse: whatever it is in doubt about, `read_thoroughly` judges.

What nearly all readings of a fleet have in common (product, zone, claim) passes the pydantic gate when it is met first,
and is compared ever after; the payload around what differs is made then, too. Of a reading by itself that leaves its
sensor, time and temperature. A property test holds both ways equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from schemas.canonical import canonical_json_fast
from schemas.errors import Finding
from schemas.kept import Kept
from schemas.pack import NO_COLUMNS, Columns, Record
from schemas.packs.cold_chain.judge import ABSENT, SENSOR_ID_LENGTH, Rules, claim_differs
from schemas.packs.cold_chain.options import Source
from schemas.packs.cold_chain.reading import Reading
from schemas.packs.cold_chain.times import minute_start, seconds
from schemas.packs.cold_chain.units import LARGEST, number_text

MAX_READING = 2**16
"""Bytes of one JSON reading, which has some two hundred: looking thoroughly into megabytes would hold up the stream."""
_BRACE = b"{"[0]
_numbers = Kept(number_text, 2**15)
"""Sensors repeat their values, and `repr` of a float takes four times as long as looking it up."""
_minutes, _seconds = Kept(minute_start, 20_000), Kept(seconds, 70_000)


def _sensor_text(sensor_id: str) -> str:
    """What stands between the quotes where JSON has this sensor. Raises ValueError for what names no sensor."""
    shortest, longest = SENSOR_ID_LENGTH
    if not shortest <= len(sensor_id) <= longest or not sensor_id.isprintable():
        raise ValueError(sensor_id)
    text = orjson.dumps(sensor_id)[1:-1].decode()
    return sensor_id if text == sensor_id else text


_sensors = Kept(_sensor_text, 65_536)

Stated = tuple[int, Any, Any, Any]
"""Number of fields, and what zone, product and claim say; None where there is none."""


class Shape(NamedTuple):
    """The payload of such readings in one state, around what differs: event time, sensor, temperature and timestamp
    stand between these, in this order."""

    start: str
    sensor: str
    celsius: str
    end: str
    warnings: tuple[Finding, ...]


class Terms(NamedTuple):
    """What is settled for readings that state the same. Temperatures in °C, limits included."""

    quotes: int
    """Two for each field's name, two for each text (all but the temperature). More of them in a reading mean a repeated
    key or an escaped quote."""
    bound_low: float
    bound_high: float
    low: float
    high: float
    within: Shape
    beyond: Shape
    product: str
    zone: str


_HOLES = "event_time", "sensor_id", "temperature_c", "timestamp_utc"
_TIME = '","timestamp_utc":"'


Row = tuple[str, str, str, str, int, bytes, tuple[Finding, ...]]
"""A plain reading: sensor, time as text, product, zone, time in ms, payload, warnings."""


class PlainReader:
    """Reads plain readings from one source."""

    def __init__(self, rules: Rules, source: Source) -> None:
        self._known: Kept[Stated, Terms] = Kept(lambda stated: _terms(stated, rules, source), 8192)
        self._most = min(MAX_READING, rules.options.max_bytes)
        self._never = bool(source.sentinels)

    def __call__(self, data: bytes | None) -> Record | None:
        """The record of one; None where anything calls for the thorough way."""
        for sensor_id, stamp, product, zone, moment, payload, warnings in self.rows((data,)):
            fields = {
                "sensor_id": sensor_id,
                "event_time": stamp,
                "product": product,
                "zone_id": zone,
                "kind": "reading",
                "day": stamp[:10],
            }
            return Record(fields, moment, payload, sha256(payload).digest(), warnings)
        return None

    def rows(self, values: Iterable[bytes | None]) -> list[Row]:
        """Those of the first of many, up to one where anything calls for the thorough way."""
        found: list[Row] = []
        if self._never:
            return found
        # Once per record and measured, by what it saves of the whole: parsing without a model a fifth, terms a fifth, a
        # payload out of pieces a tenth, a loop here in place of a call for each reading a tenth.
        put, known, most, loads = found.append, self._known, self._most, orjson.loads
        minutes, seconds_of, sensors, numbers = _minutes, _seconds, _sensors, _numbers
        for data in values:
            if not data or data[0] != _BRACE or len(data) > most:
                break
            try:
                sent = loads(data)
                get = sent.get
                sensor_id, timestamp, celsius = sent["sensor_id"], sent["timestamp_utc"], sent["temperature_c"]
                quotes, bound_low, bound_high, low, high, within, beyond, product, zone = known[
                    len(sent), get("zone_id"), get("product"), get("compliance_state")
                ]
                moment = minutes[timestamp[:17]] + seconds_of[timestamp[17:]]
                text = sensors[sensor_id]
                if (
                    (type(celsius) is not float and type(celsius) is not int)
                    or not bound_low <= celsius <= bound_high
                    or data.count(b'"') != quotes
                ):
                    break
            except (ValueError, KeyError, TypeError, AttributeError):  # no JSON, or not of these types
                break
            start, before_sensor, before_celsius, end, warnings = within if low <= celsius <= high else beyond
            payload = (
                f"{start}{moment}{before_sensor}{text}{before_celsius}{numbers[celsius]}{_TIME}{timestamp}{end}"
            ).encode()
            stamp = timestamp if len(timestamp) == 24 else timestamp[:19] + ".000Z"
            put((sensor_id, stamp, product, zone, moment, payload, warnings))
        return found


def columns(rows: Sequence[Row]) -> Columns:
    """The records of plain readings."""
    if not rows:
        return NO_COLUMNS
    sensors, stamps, products, zones, moments, payloads, warnings = zip(*rows, strict=True)
    known = {"sensor_id": sensors, "event_time": stamps, "product": products, "zone_id": zones}

    def field(name: str) -> Sequence[str]:
        if name == "day":
            return [stamp[:10] for stamp in stamps]
        return ("reading",) * len(rows) if name == "kind" else known[name]

    return Columns(field, moments, payloads, [sha256(payload).digest() for payload in payloads], warnings)


def _terms(stated: Stated, rules: Rules, source: Source) -> Terms:
    """Raises ValueError (pydantic's is one) or KeyError where readings that state this are not plain."""
    count, zone_id, stated_product, stated_claim = stated
    sent = {"zone_id": zone_id, "product": stated_product, "compliance_state": stated_claim}
    sent = {name: value for name, value in sent.items() if value is not None}
    if count != len(sent) + 3:
        raise ValueError("another field, or a null")
    Reading.model_validate(sent)
    product: str = stated_product or source.product or rules.options.default_product
    zone: str | None = zone_id or source.zone_id
    limits = rules.limits[product]
    low, high, bounds = limits.low, limits.high, (limits.bound_low, limits.bound_high)
    if rules.structure_only:
        bounds = math.nextafter(-273.0, 0), math.nextafter(LARGEST, 0)
    if rules.structure_only or not limits.judged:
        low, high = -math.inf, math.inf
        states = "unknown", "unknown"
    else:
        states = "within_spec", "excursion"
    claim: str = stated_claim or "unknown"
    within, beyond = (_shape(claim, state, product, zone, source.logging_interval) for state in states)
    return Terms(4 * count - 2, *bounds, low, high, within, beyond, product, zone or ABSENT)


def _shape(claim: str, state: str, product: str, zone: str | None, interval: int | None) -> Shape:
    payload: dict[str, Any] = dict.fromkeys(_HOLES, "") | {
        "compliance_state": claim,
        "kind": "reading",
        "product": product,
        "state": state,
    }
    if zone is not None:
        payload["zone_id"] = zone
    if interval is not None:
        payload["interval_s"] = interval
    pieces, rest = [], canonical_json_fast(payload).decode()
    for name in _HOLES:  # a quote within a text is escaped, so that none of these can stand in one
        before, _, rest = rest.partition(f'"{name}":""')
        pieces.append(f'{before}"{name}":' + ("" if name == "event_time" else '"'))
        rest = rest if name == "event_time" else f'"{rest}'
    start, sensor, celsius, time = pieces
    if time != _TIME:
        raise AssertionError(f"between temperature and timestamp stands {time}")
    differs = claim != "unknown" != state != claim
    return Shape(start, sensor, celsius, rest, (claim_differs(claim, state, product),) if differs else ())
