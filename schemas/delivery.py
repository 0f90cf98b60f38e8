"""The bytes of rows of the `delivery` table, put together by hand: a batch has two or three, one before each attempt.

The bytes are fastavro's own (a property test holds both equal).
"""

from __future__ import annotations

from schemas.avro import digest, long, optional_digest, optional_text, text
from schemas.codec import WireError
from schemas.members import passport_field
from schemas.messages import DeliveryState, PassportPart

STATES: dict[DeliveryState, bytes] = {
    "pending": b"\0", "in_flight": b"\2", "sent": b"\4", "dead": b"\6", "split": b"\x08"
}  # fmt: skip

Fields = tuple[
    bytes, int, int, str, str, int, DeliveryState, int, int, bool, bytes | None, int, int, int, int, int, str | None,
    bool, int, bytes | None, PassportPart | None, int, int, str | None, bytes | None, int, int,
]  # fmt: skip
"""Those of `schemas/wire/delivery.avsc`, in their order."""


def encode_delivery(header: bytes, row: Fields) -> bytes:
    """One row. `header`: the codec's. Raises WireError for what does not fit the schema."""
    (
        batch_id, partition, offset, partner, group, count, state, life, attempt, unknown, body_digest, render_version,
        budget_used, not_before, first_attempt_at, last_attempt_at, answer, retained, recorded_at, parent, passport,
        spared, spared_since, excerpt, answer_digest, first, begun_at,
    ) = row  # fmt: skip
    try:
        return b"".join(
            (
                header,
                digest(batch_id),
                long(partition),
                long(offset),
                text(partner),
                text(group),
                long(count),
                STATES[state],
                long(life),
                long(attempt),
                b"\1" if unknown else b"\0",
                optional_digest(body_digest),
                long(render_version),
                long(budget_used),
                long(not_before),
                long(first_attempt_at),
                long(last_attempt_at),
                optional_text(answer),
                b"\1" if retained else b"\0",
                long(recorded_at),
                optional_digest(parent),
                passport_field(passport),
                long(spared),
                long(spared_since),
                optional_text(excerpt),
                optional_digest(answer_digest),
                long(first),
                long(begun_at),
            )
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise WireError(f"message does not fit schema delivery: {error}") from error
