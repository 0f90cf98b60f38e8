"""The bytes of an ack of a delivered record, written by hand: there is one for each record, and fastavro takes longer
for it than everything else that dispatch does to a record.

The bytes are fastavro's own (a property test holds both equal). What the acks of a batch share is made once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.avro import long, optional_text, text
from schemas.canonical import RawPosition
from schemas.codec import WireError
from schemas.kept import Kept

DELIVERED, NO_DUPLICATE, NO_PASSPORT, NO_WARNINGS = b"\0", b"\0", b"\0", b"\0"
_source: Kept[tuple[str, int, int], bytes] = Kept(
    lambda source: text(source[0]) + long(source[1]) + long(source[2]), 8192
)
"""Raw topic, incarnation and partition."""


def shared_middle(batch_id: bytes, partner: str, answer: str | None) -> bytes:
    """Fields that the acks of a delivered batch share, from `outcome` to `answer`. Raises WireError."""
    try:
        if len(batch_id) != 32:
            raise ValueError("a batch id has 32 bytes")
        return b"".join((DELIVERED, NO_DUPLICATE, b"\2", batch_id, optional_text(partner), optional_text(answer)))
    except (ValueError, AttributeError) as error:
        raise WireError(f"message does not fit schema sent: {error}") from error


def encode_delivered(header: bytes, record: Mapping[str, Any], raw: RawPosition, middle: bytes) -> bytes | None:
    """The ack of a record of a delivered batch; `middle` as made above, `raw` its position, which is at hand. None
    where the record has a passport or warnings, as few have: then the codec writes it. Raises WireError."""
    if record["passport"] is not None or record["warnings"]:
        return None
    topic, incarnation, partition, offset, index = raw
    try:
        digest = record["digest"]
        if len(digest) != 32:
            raise ValueError("a digest has 32 bytes")
        return b"".join(
            (
                header,
                _source[topic, incarnation, partition],
                long(offset),
                long(index),
                long(record["count"]),
                text(record["key"]),
                digest,
                middle,
                NO_WARNINGS,
                long(record["topology_version"]),
                long(record["recorded_at"]),
                long(record["event_time"]),
                NO_PASSPORT,
            )
        )
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise WireError(f"message does not fit schema sent: {error}") from error
