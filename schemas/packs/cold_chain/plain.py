"""The fast way for the commonest JSON reading, in °C and UTC, which gives the record that the thorough way gives, or
nothing. It must never refuse: whatever it is in doubt about, `read_thoroughly` judges.

What nearly all readings of a fleet have in common (product, zone, claim) passes the pydantic gate when it is met first,
and is compared ever after; the payload around what differs is made then, too. Of a reading by itself that leaves its
sensor, time and temperature. A property test holds both ways equal.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from schemas.canonical import canonical_json_fast
from schemas.errors import Finding
from schemas.kept import Kept
from schemas.pack import Record
from schemas.packs.cold_chain.judge import ABSENT, SENSOR_ID_LENGTH, Rules, claim_differs
from schemas.packs.cold_chain.options import Source
from schemas.packs.cold_chain.reading import Reading
from schemas.packs.cold_chain.times import minute_start, seconds
from schemas.packs.cold_chain.units import LARGEST, number_text

ReadPlain = Callable[[bytes], Record | None]

MAX_READING = 2**16
"""Bytes of one JSON reading, which has some two hundred: looking thoroughly into megabytes would hold up the stream."""
_BRACE, _BACKSLASH = b"{\\"
_new, _loads, _sha256 = tuple.__new__, orjson.loads, hashlib.sha256
_numbers = Kept(number_text, 2**15)
"""Sensors repeat their values, and `repr` of a float takes four times as long as looking it up."""
_minutes, _seconds = Kept(minute_start, 20_000), Kept(seconds, 70_000)

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


def plain_reader(rules: Rules, source: Source) -> ReadPlain:
    """What reads plain readings from this source: the record of one; None where anything calls for the thorough way."""
    known: Kept[Stated, Terms] = Kept(lambda stated: _terms(stated, rules, source), 8192)
    shortest, longest = SENSOR_ID_LENGTH

    most = min(MAX_READING, rules.options.max_bytes)

    # Once per record and measured, by what it saves of the whole: parsing without a model a fifth, terms a fifth, a
    # payload out of pieces a tenth.
    def read(data: bytes) -> Record | None:
        if data[0] != _BRACE or len(data) > most:
            return None
        try:
            sent = _loads(data)
            get = sent.get
            sensor_id, timestamp, celsius = sent["sensor_id"], sent["timestamp_utc"], sent["temperature_c"]
            bound_low, bound_high, low, high, within, beyond, product, zone = known[
                len(sent), get("zone_id"), get("product"), get("compliance_state")
            ]
            moment = _minutes[timestamp[:17]] + _seconds[timestamp[17:]]
            if (
                (type(celsius) is not float and type(celsius) is not int)
                or not bound_low <= celsius <= bound_high
                or not shortest <= len(sensor_id) <= longest
                or not sensor_id.isprintable()
                # Quotes: two for each field's name, two for each text (all but the temperature). More of them means a
                # repeated key or an escaped quote.
                or data.count(b'"') != 4 * len(sent) - 2
            ):
                return None
        except (ValueError, KeyError, TypeError, AttributeError):  # no JSON, or not of these types
            return None
        start, before_sensor, before_celsius, end, warnings = within if low <= celsius <= high else beyond
        text = sensor_id if _BACKSLASH not in data else orjson.dumps(sensor_id)[1:-1].decode()
        payload = (
            f"{start}{moment}{before_sensor}{text}{before_celsius}{_numbers[celsius]}{_TIME}{timestamp}{end}"
        ).encode()
        fields = {
            "sensor_id": sensor_id,
            "event_time": timestamp if len(timestamp) == 24 else timestamp[:19] + ".000Z",
            "product": product,
            "zone_id": zone,
            "kind": "reading",
            "day": timestamp[:10],
        }
        # A named tuple's own constructor costs three times as much as making the tuple.
        return _new(Record, (fields, moment, payload, _sha256(payload).digest(), warnings))

    return (lambda data: None) if source.sentinels else read


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
    return Terms(*bounds, low, high, within, beyond, product, zone or ABSENT)


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
