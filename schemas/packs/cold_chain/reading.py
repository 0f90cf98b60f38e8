"""JSON readings: the pydantic gate every one passes (VAL-01..VAL-03), a fast way for the common shape, and a
thorough way that says everything wrong with the others. Both give the same record for the same bytes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast, get_args

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from schemas import errors
from schemas.canonical import canonical_json_fast, sha256
from schemas.errors import Finding
from schemas.kept import Kept
from schemas.pack import Record
from schemas.packs.cold_chain import codes
from schemas.packs.cold_chain.judge import ABSENT, Observation, Rules, claim_differs, judge
from schemas.packs.cold_chain.options import Source
from schemas.packs.cold_chain.times import minute_start, seconds
from schemas.packs.cold_chain.units import LARGEST, number_text
from schemas.packs.jsontext import inspect, shorten


class Reading(BaseModel):
    """What a sensor sends. Exactly one of `temperature_c` and `temperature` (with `unit`); no field may be null."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    sensor_id: str | None = Field(None, min_length=4, max_length=64, description="required, here or by a source rule")
    timestamp_utc: str | None = Field(None, max_length=64, description="RFC 3339, UTC; kept as sent")
    temperature_c: float | None = Field(None, description="°C")
    temperature: float | None = Field(None, description="in `unit`")
    unit: str | None = Field(None, max_length=16, description="C, F, K, °C, °F or UN/ECE CEL, FAH, KEL")
    zone_id: str | None = Field(None, pattern=r"^[A-Z0-9\-]+$", description="storage zone")
    compliance_state: Literal["within_spec", "excursion", "unknown"] | None = Field(None, description="a claim")
    product: str | None = Field(None, min_length=1, max_length=64, description="name of the limits")


def _as_dict(model: type[BaseModel]) -> TypeAdapter[dict[str, Any]]:
    """The model's own fields and rules over a plain dict, which costs what parsing costs; an instance doubles it."""
    fields = {}
    for name, info in model.model_fields.items():
        kinds = [kind for kind in get_args(info.annotation) if kind is not type(None)]  # absent is not null
        fields[name] = Annotated[kinds[0], Field(), *info.metadata]
    shape = cast(Any, TypedDict)(model.__name__, fields, total=False)
    return TypeAdapter(cast(Any, with_config(model.model_config)(shape)))


_new, _dumps = tuple.__new__, orjson.dumps
_gate = _as_dict(Reading).validator.validate_json
_MISTAKES = {
    "extra_forbidden": errors.UNKNOWN_FIELD,
    "string_too_short": errors.OUT_OF_RANGE,
    "string_too_long": errors.OUT_OF_RANGE,
    "string_pattern_mismatch": errors.BAD_FORMAT,
    "literal_error": errors.BAD_FORMAT,
    "finite_number": errors.NOT_A_NUMBER,
}


_numbers = Kept(number_text, 2**15)
"""Sensors repeat their values, and `repr` of a float takes four times as long as looking it up."""


def read_fast(data: bytes, rules: Rules, source: Source) -> Record | None:
    """The record of a plain reading in °C and UTC; None where anything calls for the thorough way."""
    try:
        sent: dict[str, Any] = _gate(data)
        # Quotes: two for each field's name, two for each text (all but the temperature). More of them means a
        # repeated key or an escaped quote.
        if data.count(b'"') != 4 * len(sent) - 2 or "temperature" in sent or "unit" in sent:
            return None
        timestamp: str = sent["timestamp_utc"]
        moment = minute_start(timestamp[:17]) + seconds(timestamp[17:])
        sensor_id: str = sent["sensor_id"]
        celsius: float = sent["temperature_c"]
        product: str = sent.get("product") or source.product or rules.options.default_product
        limits = rules.limits[product]
    except (ValidationError, ValueError, KeyError):
        return None
    if source.sentinels or not sensor_id.isprintable():
        return None
    if rules.structure_only:
        state = "unknown"
        if not -273.0 < celsius < LARGEST:
            return None
    elif not limits.bound_low <= celsius <= limits.bound_high:
        return None
    elif not limits.judged:
        state = "unknown"
    else:
        state = "within_spec" if limits.low <= celsius <= limits.high else "excursion"
    warnings: tuple[Finding, ...] = ()
    claim = sent.get("compliance_state", "unknown")
    if claim != "unknown" != state != claim:
        warnings = (claim_differs(claim, state, product),)
    # In the order of its keys, so that orjson need not sort them.
    payload = {
        "compliance_state": claim,
        "event_time": moment,
        "kind": "reading",
        "product": product,
        "sensor_id": sensor_id,
        "state": state,
        "temperature_c": _numbers[celsius],
        "timestamp_utc": timestamp,
    }
    zone = sent.get("zone_id") or source.zone_id
    if zone is not None:
        payload["zone_id"] = zone
    if source.logging_interval is None:
        encoded = _dumps(payload)
    else:
        payload["interval_s"] = source.logging_interval
        encoded = canonical_json_fast(payload)
    fields = {
        "sensor_id": sensor_id,
        "event_time": timestamp if len(timestamp) == 24 else timestamp[:19] + ".000Z",
        "product": product,
        "zone_id": zone or ABSENT,
        "kind": "reading",
        "day": timestamp[:10],
    }
    # A named tuple's own constructor costs three times as much as making the tuple.
    return _new(Record, (fields, moment, encoded, sha256(encoded), warnings))


def read_thoroughly(data: bytes, rules: Rules, source: Source) -> Record | tuple[Finding, ...]:
    """The record, or every finding, of one JSON object."""
    value, found = inspect(data, rules.options.max_depth)
    if not isinstance(value, dict):
        if not found:
            found = [Finding(errors.WRONG_TYPE, "", f"a reading is a JSON object, not {type(value).__name__}")]
        return tuple(found)
    clean = model_findings(Reading, value, found, lenient=rules.profile == "lenient")
    return judge(observe(clean, found), rules, source, found)


def model_findings(
    model: type[BaseModel], value: dict[str, Any], found: list[Finding], lenient: bool
) -> dict[str, Any]:
    """Holds a parsed object against a model: adds what is wrong to `found`, gives the fields that are right."""
    blamed = {finding.path.split(".")[0].split("[")[0] for finding in found}
    clean = {name: item for name, item in value.items() if name in model.model_fields and name not in blamed}
    for name, item in value.items():
        path = shorten(name)[1:-1]
        if path in blamed:
            continue
        if name not in model.model_fields:
            code = codes.UNKNOWN_FIELD_IGNORED if lenient else errors.UNKNOWN_FIELD
            found.append(Finding(code, path, f"the schema knows no field {shorten(name)}"))
        elif item is None:
            found.append(Finding(errors.WRONG_TYPE, path, "null is no value: leave the field out"))
            del clean[name]
    try:
        model.model_validate(clean)
    except ValidationError as wrong:
        for mistake in wrong.errors(include_url=False, include_input=False, include_context=False):
            name = str(mistake["loc"][0]) if mistake["loc"] else ""
            code = _MISTAKES.get(mistake["type"], errors.WRONG_TYPE)
            found.append(Finding(code, name, mistake["msg"]))
            clean.pop(name, None)
    return clean


def observe(clean: dict[str, Any], found: list[Finding]) -> Observation:
    """What a JSON reading states. Adds contradictions to `found`."""
    celsius, other, unit = clean.get("temperature_c"), clean.get("temperature"), clean.get("unit")
    blamed = {finding.path for finding in found}
    native = celsius is not None or "temperature_c" in blamed
    if native and ("temperature" in clean or "unit" in clean):
        message = "send either temperature_c alone, or temperature with unit"
        found.append(Finding(codes.CONTRADICTORY_FIELDS, "temperature_c", message))
    if other is None and not native and "temperature" not in blamed and unit is None:
        native = True
    number = celsius if native else other
    return Observation(
        sensor_id=clean.get("sensor_id"),
        timestamp=clean.get("timestamp_utc"),
        value=None if number is None else number_text(float(number)),
        unit=unit,
        zone_id=clean.get("zone_id"),
        claim=clean.get("compliance_state"),
        product=clean.get("product"),
        time_field="timestamp_utc",
        value_field="temperature_c" if native else "temperature",
    )
