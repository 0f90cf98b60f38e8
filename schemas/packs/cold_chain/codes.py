"""The error codes of the cold-chain pack, beside those of `schemas.errors`."""

from __future__ import annotations

from schemas.errors import FATAL, WARNING, register

NAIVE_TIMESTAMP = register("NAIVE_TIMESTAMP", FATAL, "a time without a UTC offset, and no source rule gives one")
NOT_UTC = register("NOT_UTC", FATAL, "a time with an offset other than UTC, which the strict profile refuses")
IMPOSSIBLE_DATE = register("IMPOSSIBLE_DATE", FATAL, "a date or time of day that does not exist, such as 30 February")
UNKNOWN_UNIT = register("UNKNOWN_UNIT", FATAL, "a temperature unit other than Celsius, Fahrenheit or kelvin")
UNKNOWN_PRODUCT = register("UNKNOWN_PRODUCT", FATAL, "a product whose limits are not configured")
CONTRADICTORY_FIELDS = register("CONTRADICTORY_FIELDS", FATAL, "fields that must not stand beside each other")
MALFORMED_EXPORT = register("MALFORMED_EXPORT", FATAL, "a logger's text export that does not follow its own layout")
DERIVED_VALUE_DIFFERS = register(
    "DERIVED_VALUE_DIFFERS", FATAL, "a canonical record whose derived values do not follow from its stated ones"
)

COMPLIANCE_CLAIM_DIFFERS = register(
    "COMPLIANCE_CLAIM_DIFFERS", WARNING, "the sender's compliance_state is not what the product's limits give"
)
UNKNOWN_FIELD_IGNORED = register("UNKNOWN_FIELD_IGNORED", WARNING, "a field the schema does not know, left out")
UNKNOWN_PRODUCT_IGNORED = register(
    "UNKNOWN_PRODUCT_IGNORED", WARNING, "a product whose limits are not configured; compliance cannot be computed"
)
OFFSET_NORMALISED = register("OFFSET_NORMALISED", WARNING, "a time with an offset other than UTC, converted to UTC")
ZONE_BY_RULE = register("ZONE_BY_RULE", WARNING, "a timestamp_utc without offset, read with its source's utc_offset")
UNIT_BY_FORMAT = register(
    "UNIT_BY_FORMAT", WARNING, "the export states no unit; that of its format (Celsius) was taken"
)
STATE_RECOMPUTED = register("STATE_RECOMPUTED", WARNING, "limits have changed since this canonical record was written")
