"""Rows of the `delivery` table: what they hold, and their bytes.

The bytes are put together by hand, because a batch has two or three rows, one before each attempt; they are fastavro's
own (a property test holds both equal).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from schemas.avro import digest, long, optional_digest, optional_text, text
from schemas.codec import WireError
from schemas.members import passport_field
from schemas.messages import DeliveryState, PassportPart

UNSETTLED = ("pending", "in_flight")


class Row(NamedTuple):
    """Retry state of one batch; the fields of `schemas/wire/delivery.avsc` in their order."""

    batch_id: bytes
    batched_partition: int
    batched_offset: int
    """Where the frozen body lies, also for a later life and for a part of it."""
    partner: str
    group: str
    count: int  # type: ignore[assignment]  # the field hides tuple.count, as in the schema
    state: DeliveryState
    life: int
    attempt: int
    """Attempts used in this life. An attempt that the partner put off (PAUSED, STOPPED) is given back."""
    unknown: bool
    """Some attempt of any life may have taken effect (DI2)."""
    body_digest: bytes | None
    render_version: int
    budget_used: int
    """Attempts of this life known to have failed; those neither among them nor `spared` ended unknown."""
    not_before: int
    first_attempt_at: int
    """Start of the first attempt that may have taken effect: since then the partner may hold the key (DI3)."""
    last_attempt_at: int
    answer: str | None
    retained: bool
    recorded_at: int
    """First recorded time in the batch: its oldest version's age counts from there (BA9)."""
    parent: bytes | None
    """The batch that this one is a half of (DI4)."""
    passport: PassportPart | None = None
    spared: int = 0
    """Attempts of this life that failed or ended unknown because the partner as a whole was down."""
    spared_since: int = 0
    """Start of the first of them."""
    excerpt: str | None = None
    """Beginning of the last answer's body; not of the one that delivered."""
    answer_digest: bytes | None = None
    first: int = 0
    """Index of its first record in the frozen batch."""
    begun_at: int = 0
    """When dispatch began this life; of a half, that of its parent. 0: the row is older than this field."""

    @property
    def settled(self) -> bool:
        """Nothing more happens in this life."""
        return self.state not in UNSETTLED

    def message(self) -> dict[str, Any]:
        """The row as its wire message."""
        return self._asdict()


STATES: dict[DeliveryState, bytes] = {
    "pending": b"\0", "in_flight": b"\2", "sent": b"\4", "dead": b"\6", "split": b"\x08"
}  # fmt: skip


def encode_delivery(header: bytes, row: Row) -> bytes:
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
