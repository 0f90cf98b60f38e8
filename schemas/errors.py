"""The registry of error codes: class, route and reason of each (VAL-25, DLQ-01, DLQ-06).

A finding names a code and a path; everything else about it is looked up here, so a code cannot mean one thing
in one stage and another in the next. Packs add their own codes with `register`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class ErrorClass(StrEnum):
    """The four classes of VAL-25, gravest first."""

    FATAL_SCHEMA_MISMATCH = "FATAL_SCHEMA_MISMATCH"
    COMPLIANCE_BLOCK = "COMPLIANCE_BLOCK"
    RECOVERABLE_TIMEOUT = "RECOVERABLE_TIMEOUT"
    WARNING_DEVIATION = "WARNING_DEVIATION"


GRAVITY = {name: rank for rank, name in enumerate(ErrorClass)}

ROUTES = {
    ErrorClass.FATAL_SCHEMA_MISMATCH: "dlq",
    ErrorClass.COMPLIANCE_BLOCK: "regulatory-affairs",
    ErrorClass.RECOVERABLE_TIMEOUT: "operations",
    ErrorClass.WARNING_DEVIATION: "log",
}


class Reason(StrEnum):
    """Why a record lies in the dead-letter topic, which decides how it may leave it (DLQ-06)."""

    SCHEMA_VIOLATION = "schema_violation"
    TRANSIENT_FAILURE = "transient_failure"
    CONFLICT = "conflict"


class Code(NamedTuple):
    """One registered code."""

    name: str
    error_class: ErrorClass
    reason: Reason
    meaning: str


class Finding(NamedTuple):
    """One thing found wrong: a registered code, the field path inside the record, and words for a person."""

    code: str
    path: str
    message: str

    @property
    def error_class(self) -> ErrorClass:
        return lookup(self.code).error_class


CODES: dict[str, Code] = {}


def register(name: str, error_class: ErrorClass, meaning: str, reason: Reason = Reason.SCHEMA_VIOLATION) -> str:
    """Adds a code and returns its name. Raises ValueError if it is taken with another meaning."""
    code = Code(name, error_class, reason, meaning)
    if CODES.setdefault(name, code) != code:
        raise ValueError(f"error code {name} is registered twice with different meanings")
    return name


def lookup(name: str) -> Code:
    """The registered code. Raises KeyError: an unregistered code is a programming error."""
    return CODES[name]


class Verdict(NamedTuple):
    """What a set of findings amounts to."""

    error_class: ErrorClass
    route: str
    reason: Reason
    refused: bool


def judge(findings: Iterable[Finding]) -> Verdict | None:
    """The gravest finding decides; None where nothing was found. A warning alone refuses nothing."""
    codes = sorted((lookup(f.code) for f in findings), key=lambda code: GRAVITY[code.error_class])
    if not codes:
        return None
    worst = codes[0]
    refused = worst.error_class is not ErrorClass.WARNING_DEVIATION
    return Verdict(worst.error_class, ROUTES[worst.error_class], worst.reason, refused)


FATAL, BLOCK = ErrorClass.FATAL_SCHEMA_MISMATCH, ErrorClass.COMPLIANCE_BLOCK
TIMEOUT, WARNING = ErrorClass.RECOVERABLE_TIMEOUT, ErrorClass.WARNING_DEVIATION

# Envelope: what any pack may find before it looks at a record.
EMPTY_MESSAGE = register("EMPTY_MESSAGE", FATAL, "the message has no bytes")
TOMBSTONE = register("TOMBSTONE", FATAL, "the message has a null value, which means nothing on a raw topic")
NOT_UTF8 = register("NOT_UTF8", FATAL, "text that is not valid UTF-8")
NUL_CHARACTER = register("NUL_CHARACTER", FATAL, "a NUL character inside text")
LONE_SURROGATE = register("LONE_SURROGATE", FATAL, "half of a surrogate pair, which is no character")
MALFORMED_JSON = register("MALFORMED_JSON", FATAL, "not well-formed JSON")
DUPLICATE_JSON_KEY = register("DUPLICATE_JSON_KEY", FATAL, "one object names a key twice")
NESTED_TOO_DEEP = register("NESTED_TOO_DEEP", FATAL, "nesting beyond the limit")
NOT_A_NUMBER = register("NOT_A_NUMBER", FATAL, "NaN, Infinity or a number too large for IEEE 754")
UNSAFE_INTEGER = register("UNSAFE_INTEGER", FATAL, "an integer beyond 2^53-1, which JSON readers round")
MALFORMED_CSV = register("MALFORMED_CSV", FATAL, "a row that does not match its header")
UNKNOWN_CONTENT = register("UNKNOWN_CONTENT", FATAL, "content of a type this pipeline does not read")
EMPTY_SUBMISSION = register("EMPTY_SUBMISSION", FATAL, "well-formed, but holds no record")
TOO_LARGE = register("TOO_LARGE", FATAL, "larger than the pipeline allows")
PARSER_FAILED = register("PARSER_FAILED", FATAL, "the reader crashed or ran out of time or memory on this input, twice")

# Fields.
MISSING_FIELD = register("MISSING_FIELD", FATAL, "a required field is absent")
UNKNOWN_FIELD = register("UNKNOWN_FIELD", FATAL, "a field the schema does not know")
WRONG_TYPE = register("WRONG_TYPE", FATAL, "a value of another type than the schema asks")
OUT_OF_RANGE = register("OUT_OF_RANGE", FATAL, "a value outside its allowed range")
BAD_FORMAT = register("BAD_FORMAT", FATAL, "text that does not match its required form")

EVENT_IN_FUTURE = register("EVENT_IN_FUTURE", FATAL, "an event that lies further ahead than the pipeline allows")

# Master data.
PARTNER_NOT_LISTED = register("PARTNER_NOT_LISTED", BLOCK, "a party that is in no row of the list of trading partners")
PARTNER_WITHDRAWN = register("PARTNER_WITHDRAWN", BLOCK, "a party that was taken off the list of trading partners")
LICENCE_NOT_VALID = register("LICENCE_NOT_VALID", BLOCK, "an event on a day that its party's licence does not cover")

# Identity.
CONFLICTING_VERSION = register(
    "CONFLICTING_VERSION", BLOCK, "same idempotency key as an admitted record, other content", Reason.CONFLICT
)
STALE_VERSION = register(
    "STALE_VERSION", BLOCK, "its ordering value is not above that of the admitted version", Reason.CONFLICT
)

# State over time.
TOO_MANY_WAITING = register(
    "TOO_MANY_WAITING", TIMEOUT, "no room to wait for what must come before it", Reason.TRANSIENT_FAILURE
)

# Delivery.
PARTNER_REFUSED = register("PARTNER_REFUSED", FATAL, "the partner refused it for good")
PARTNER_TOO_LARGE = register("PARTNER_TOO_LARGE", FATAL, "the partner takes no request as large as this record alone")
RETRIES_EXHAUSTED = register(
    "RETRIES_EXHAUSTED", TIMEOUT, "every attempt failed, none took effect", Reason.TRANSIENT_FAILURE
)
OUTCOME_UNKNOWN = register(
    "OUTCOME_UNKNOWN",
    TIMEOUT,
    "attempts are used up, or their time is, and some may have taken effect",
    Reason.TRANSIENT_FAILURE,
)
DEADLINE_EXCEEDED = register(
    "DEADLINE_EXCEEDED",
    TIMEOUT,
    "the time that its partner is given for a batch is over, no attempt took effect",
    Reason.TRANSIENT_FAILURE,
)
STORED_OBJECT_DIFFERS = register(
    "STORED_OBJECT_DIFFERS", BLOCK, "an object of the same name with other bytes exists", Reason.CONFLICT
)
BODY_DIGEST_CHANGED = register(
    "BODY_DIGEST_CHANGED",
    BLOCK,
    "a retry would not send the bytes of the first attempt",
    Reason.CONFLICT,
)
CLAIM_LOST = register(
    "CLAIM_LOST",
    BLOCK,
    "the payload that a claim check names is missing or has other bytes",
    Reason.TRANSIENT_FAILURE,
)
UNPROCESSABLE = register("UNPROCESSABLE", FATAL, "processing this record alone failed twice; see the message")
