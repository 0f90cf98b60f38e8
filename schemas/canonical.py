"""Canonical JSON (RFC 8785), digests and deterministic ids. Everything here depends on content and position
only: no clock, no randomness, no worker name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import orjson
import rfc8785

GENESIS = bytes(32)
"""Head of an empty content chain: 64 zeros in hex (AUD-04)."""

UNIT_SEPARATOR = "\x1f"
"""Joins the idempotency fields into one key; it cannot occur in a valid field value."""


class RawPosition(NamedTuple):
    """Where a record came from: the identity of a life on `raw`."""

    topic: str
    incarnation: int
    partition: int
    offset: int
    index: int  # type: ignore[assignment]  # the field hides tuple.index, on purpose

    @property
    def submission(self) -> tuple[str, int, int, int]:
        """Position of the whole submission: topic, incarnation, partition, offset."""
        return self[:4]


def sha256(data: bytes) -> bytes:
    """SHA-256, 32 bytes."""
    return hashlib.sha256(data).digest()


def canonical_json(value: Any) -> bytes:
    """RFC 8785 bytes of any JSON value. Raises rfc8785.CanonicalizationError for NaN, Infinity, integers
    beyond 2^53-1 and lone surrogates."""
    try:
        return rfc8785.dumps(value)
    except UnicodeEncodeError as error:  # how rfc8785 sorts keys shows through
        raise rfc8785.CanonicalizationError(f"a key with a lone surrogate: {error.object!r}") from error


def canonical_json_fast(value: dict[str, Any]) -> bytes:
    """The same bytes for values made only of str, int within 2^53, bool, None, lists and dicts with ASCII keys.

    Floats are the one thing orjson writes differently from RFC 8785 (`21.0` against `21`), so audited payloads
    carry decimals as text. A property test holds both functions equal. Measured: 0.4 µs against 23 µs.
    """
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def record_id(position: RawPosition) -> str:
    """Human-readable deterministic id (ING-12): `topic/partition/offset/index`, with `@incarnation` behind the
    topic once an operator has accepted a recreated topic. Two reads of one record give one id."""
    topic = position.topic if not position.incarnation else f"{position.topic}@{position.incarnation}"
    return f"{topic}/{position.partition}/{position.offset}/{position.index}"


def parse_record_id(text: str) -> RawPosition:
    """The position behind a record id, or behind a submission id (without index: index 0).

    Raises ValueError with the accepted forms.
    """
    parts = text.rsplit("/", 3)
    if len(parts) == 3:
        parts.append("0")
    try:
        topic, _, incarnation = parts[0].partition("@")
        position = RawPosition(topic, int(incarnation or 0), int(parts[1]), int(parts[2]), int(parts[3]))
    except (ValueError, IndexError):
        raise ValueError(
            f"{text!r} is no record id: expected topic/partition/offset/index, for example cold-chain.raw/0/17/0"
        ) from None
    if not topic or min(position[1:]) < 0:
        raise ValueError(f"{text!r} is no record id: the topic is empty or a number is negative")
    return position


idempotency_key: Callable[[Iterable[str]], str] = UNIT_SEPARATOR.join
"""One key out of the idempotency fields, in the order the pipeline names them."""


def version_row_key(key: str, offset: int) -> str:
    """Row key in the `idempotency` table: one row per admitted version (BA2)."""
    return f"{key}{UNIT_SEPARATOR}{offset}"
