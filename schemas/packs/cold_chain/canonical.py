"""A record's canonical payload as a submission of its own: read back, judged again, and compared.

Nothing derived is believed: event time and Celsius are computed again from what was stated, and a payload whose
derived values do not follow is refused. The state is that of the limits in force now.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas import errors
from schemas.errors import Finding
from schemas.pack import Record
from schemas.packs.cold_chain import codes
from schemas.packs.cold_chain.device import DAY_KIND, REPORT_KIND, compare, read_canonical_device
from schemas.packs.cold_chain.judge import Observation, Rules, judge
from schemas.packs.cold_chain.options import NO_SOURCE
from schemas.packs.cold_chain.reading import model_findings
from schemas.packs.cold_chain.times import parse_offset
from schemas.packs.jsontext import inspect


class CanonicalReading(BaseModel):
    """The payload of a `reading` record."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["reading"]
    sensor_id: str
    event_time: int
    """Ms since epoch, UTC; derived."""
    timestamp_utc: str | None = None
    """The sender's text, verbatim, of a JSON reading."""
    timestamp: str | None = None
    """The sender's text, verbatim, of a file."""
    utc_offset: str | None = None
    """Offset that was stated outside the timestamp."""
    timestamp_format: str | None = None
    value: str | None = None
    """As sent, with `unit`; absent where the sender wrote `temperature_c`."""
    unit: str | None = None
    temperature_c: str | None = None
    """°C; derived where `value` stands beside it."""
    fault: Literal["no_value", "sentinel"] | None = None
    product: str
    zone_id: str | None = None
    compliance_state: Literal["within_spec", "excursion", "unknown"]
    """The sender's claim, verbatim; `unknown` where it made none."""
    state: Literal["within_spec", "excursion", "unknown"]
    interval_s: int | None = Field(None, ge=1, le=86_400)


def read_canonical(data: bytes, rules: Rules) -> Record | tuple[Finding, ...]:
    """The record of a canonical payload, or every finding."""
    value, found = inspect(data, rules.options.max_depth)
    if value is None and not found:
        return (Finding(errors.TOMBSTONE, "", "a null value means nothing on a raw topic"),)
    if not isinstance(value, dict):
        return tuple(found) or (Finding(errors.WRONG_TYPE, "", "a canonical record is a JSON object"),)
    if not found and value.get("kind") in (DAY_KIND, REPORT_KIND):
        return read_canonical_device(value, rules)
    clean = model_findings(CanonicalReading, value, found, lenient=False)
    if found:
        return tuple(found)
    return _reading(clean, rules)


def _reading(clean: dict[str, Any], rules: Rules) -> Record | tuple[Finding, ...]:
    found: list[Finding] = []
    if "timestamp" in clean and "timestamp_utc" in clean:
        found.append(Finding(codes.CONTRADICTORY_FIELDS, "timestamp", "both timestamp and timestamp_utc"))
    if "utc_offset" in clean:
        try:
            parse_offset(clean["utc_offset"])
        except ValueError as error:
            return (Finding(errors.BAD_FORMAT, "utc_offset", str(error)),)
    time_field = "timestamp_utc" if "timestamp_utc" in clean else "timestamp"
    sent_celsius = "value" not in clean
    seen = Observation(
        sensor_id=clean["sensor_id"],
        timestamp=clean.get(time_field),
        value=clean.get("temperature_c") if sent_celsius else clean["value"],
        unit=clean.get("unit"),
        utc_offset=clean.get("utc_offset"),
        timestamp_format=clean.get("timestamp_format"),
        zone_id=clean.get("zone_id"),
        claim=clean["compliance_state"],
        product=clean["product"],
        interval=clean.get("interval_s"),
        fault=clean.get("fault"),
        time_field=time_field,
        value_field="temperature_c" if sent_celsius else "value",
    )
    return compare(judge(seen, rules, NO_SOURCE, found), clean)
