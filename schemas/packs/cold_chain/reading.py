"""JSON readings: the pydantic model that is their gate (VAL-01..VAL-03), and the thorough way, which says everything
that is wrong with one. `plain.py` is the fast way for the common shape: it gives the same record for the same bytes."""

from __future__ import annotations

from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas import errors
from schemas.errors import Finding
from schemas.pack import Record
from schemas.packs.cold_chain import codes
from schemas.packs.cold_chain.judge import SENSOR_ID_LENGTH, Observation, Rules, judge
from schemas.packs.cold_chain.options import Source
from schemas.packs.cold_chain.units import number_text
from schemas.packs.jsontext import inspect, shorten


class Reading(BaseModel):
    """What a sensor sends. Exactly one of `temperature_c` and `temperature` (with `unit`); no field may be null."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    sensor_id: str | None = Field(
        None,
        min_length=SENSOR_ID_LENGTH[0],
        max_length=SENSOR_ID_LENGTH[1],
        description="required, here or by a source rule",
    )
    timestamp_utc: str | None = Field(None, max_length=64, description="RFC 3339, UTC; kept as sent")
    temperature_c: float | None = Field(None, description="°C")
    temperature: float | None = Field(None, description="in `unit`")
    unit: str | None = Field(None, max_length=16, description="C, F, K, °C, °F or UN/ECE CEL, FAH, KEL")
    zone_id: str | None = Field(None, pattern=r"^[A-Z0-9\-]+$", description="storage zone")
    compliance_state: Literal["within_spec", "excursion", "unknown"] | None = Field(None, description="a claim")
    product: str | None = Field(None, min_length=1, max_length=64, description="name of the limits")


_MISTAKES = {
    "extra_forbidden": errors.UNKNOWN_FIELD,
    "string_too_short": errors.OUT_OF_RANGE,
    "string_too_long": errors.OUT_OF_RANGE,
    "string_pattern_mismatch": errors.BAD_FORMAT,
    "literal_error": errors.BAD_FORMAT,
    "finite_number": errors.NOT_A_NUMBER,
}


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


_SAID = frozenset(
    {"sensor_id", "timestamp_utc", "temperature_c", "value", "unit", "zone_id", "compliance_state", "product"}
)
_DERIVED = frozenset({"kind", "event_time", "state"})


def editable(payload: bytes, name: str) -> bytes | None:
    """A reading's canonical payload as the JSON reading that gives it, indented for a person who corrects it. `name`
    has no place in one. None for what no JSON reading says: a fault, an interval, a file's own time, a device's day."""
    record = orjson.loads(payload)
    if not isinstance(record, dict) or record.get("kind") != "reading" or record.keys() - _SAID - _DERIVED:
        return None
    field = "value" if "value" in record else "temperature_c"
    text = record.get(field)
    if text is None or "timestamp_utc" not in record or number_text(float(text)) != text:
        return None
    said = {part: record[part] for part in ("sensor_id", "timestamp_utc")}
    said["temperature" if field == "value" else field] = orjson.Fragment(text)
    said |= {part: record[part] for part in ("unit", "product", "zone_id", "compliance_state") if part in record}
    return orjson.dumps(said, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
