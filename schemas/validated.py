"""The bytes of `validated` and `idempotency` messages, of which every record has one: written and read by hand, since
fastavro takes longer for these two than everything else that happens to a record.

The bytes are fastavro's own (a property test holds both equal). What many records share is made once and kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from schemas.avro import SMALL, SMALL_BYTES, long, optional_text, text
from schemas.canonical import RawPosition
from schemas.codec import WireError
from schemas.errors import Finding

_long, _text, _new, _small = long, text, tuple.__new__, SMALL_BYTES
NO_PASSPORT = b"\0"
NO_WARNINGS = b"\0"
NO_CLAIM = b"\0"


def shared_front(
    header: bytes, group: str, date: str, partner: str, topic: str, incarnation: int, partition: int
) -> bytes:
    """What the Validated messages of a window from one raw partition begin with: the codec's header, and the first
    fields."""
    where = text(topic) + long(incarnation) + long(partition)
    return b"".join((header, text(group), text(date), text(partner), where))


@lru_cache(maxsize=8192)
def _origin(count: int, source: str | None, site: str | None, schema_version: str, topology_version: int) -> bytes:
    """Fields that submissions of one source share, up to and with an absent passport."""
    origin = optional_text(source) + optional_text(site)
    return b"".join((long(count), origin, text(schema_version), long(topology_version), NO_PASSPORT))


def shared_rest(
    received_at: str | None,
    count: int,
    source: str | None,
    site: str | None,
    schema_version: str,
    topology_version: int,
) -> bytes:
    """Fields that the records of one submission share, up to and with an absent passport."""
    return optional_text(received_at) + _origin(count, source, site, schema_version, topology_version)


def _warnings(found: Sequence[Finding]) -> bytes:
    items = b"".join(text(one.code) + text(one.path) + text(one.message) for one in found)
    return long(len(found)) + items + b"\0"


def encode_validated(
    front: bytes,
    key: str,
    digest: bytes,
    ordering: str | None,
    recorded_at: int,
    raw_offset: int,
    raw_index: int,
    event_time: int,
    submission_digest: bytes,
    rest: bytes,
    warnings: Sequence[Finding],
    payload: bytes,
) -> bytes:
    """A Validated message without passport or claim; `front` and `rest` as made above.

    Raises WireError for a value that does not fit the schema.
    """
    try:
        if len(digest) != 32 or len(submission_digest) != 32:
            raise ValueError("a digest has 32 bytes")
        key_bytes = key.encode()
        key_size, size = len(key_bytes), len(payload)
        # Once per record: a table is looked into without a call where a number is nearly always small.
        return b"".join(
            (
                front,
                _small[key_size] if key_size < SMALL else _long(key_size),
                key_bytes,
                digest,
                b"\0" if ordering is None else optional_text(ordering),
                _long(recorded_at),
                _long(raw_offset),
                _small[raw_index] if 0 <= raw_index < SMALL else _long(raw_index),
                _long(event_time),
                submission_digest,
                rest,
                _warnings(warnings) if warnings else NO_WARNINGS,
                _small[size] if size < SMALL else _long(size),
                payload,
                NO_CLAIM,
            )
        )
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise WireError(f"message does not fit schema validated: {error}") from error


def claim_payload(message: bytes, payload: bytes, url: str) -> bytes:
    """The same message without its payload, which is kept at `url` (VA4)."""
    size = long(len(payload))
    before = message[: -len(size) - len(payload) - len(NO_CLAIM)]
    return b"".join((before, long(0), b"\2", text(url), size))


class Front(NamedTuple):
    """What batch reads of a Validated message; the rest travels on unread."""

    key: str
    digest: bytes
    group: str
    date: str
    partner: str
    raw: RawPosition
    ordering: str | None
    recorded_at: int
    claimed: int = 0
    """Bytes of the payload, where it is not in the message."""


def front_of(record: Mapping[str, Any]) -> Front:
    """The front of a Validated message that was read in full."""
    raw = RawPosition(*(record[f"raw_{name}"] for name in RawPosition._fields))
    key, digest, group, date, partner = (record[name] for name in ("key", "digest", "group", "date", "partner"))
    claimed = record["claim"]["size"] if record["claim"] else 0
    return Front(key, digest, group, date, partner, raw, record["ordering"], record["recorded_at"], claimed)


class _Shared(dict[bytes, tuple[str, str, str, str, int, int]]):
    """What the bytes of a shared front mean."""

    def __missing__(self, data: bytes) -> tuple[str, str, str, str, int, int]:
        values, at = [], 0
        for _ in range(4):
            end = at + 1 + (data[at] >> 1)
            values.append(data[at + 1 : end].decode())
            at = end
        group, date, partner, topic = values
        if len(self) >= 8192:
            self.clear()
        found = self[data] = (group, date, partner, topic, data[at] >> 1, data[at + 1] >> 1)
        return found


_SHARED = _Shared()


def decode_front(data: bytes, start: int) -> Front | None:
    """The front of a Validated message whose header ends at `start`; None where it is not of the common form (long
    names, many partitions, a claim, damage): then the codec reads it, or says what is wrong with it."""
    try:
        if data[-1]:  # a claim ends in its size
            return None
        at = start
        for _ in range(4):  # the four texts
            size = data[at]
            if size > 127 or size & 1:
                return None
            at += 1 + (size >> 1)
        if (data[at] | data[at + 1]) & 0x81:  # incarnation and partition: one byte each, not negative
            return None
        at += 2
        group, date, partner, topic, incarnation, partition = _SHARED[data[start:at]]
        size = data[at]
        if size & 1:
            return None
        if size > 127:
            return None
        end = at + 1 + (size >> 1)
        key = data[at + 1 : end].decode()
        at = end + 32
        digest = data[end:at]
        ordering = None
        if data[at] == 0:
            at += 1
        else:
            size = data[at + 1]
            if data[at] != 2 or size > 127 or size & 1:
                return None
            end = at + 2 + (size >> 1)
            ordering = data[at + 2 : end].decode()
            at = end
        numbers = []
        for _ in range(3):
            shift = value = 0
            while (byte := data[at]) > 127:
                value |= (byte & 127) << shift
                shift += 7
                at += 1
            value |= byte << shift
            at += 1
            if value & 1 or shift > 56:
                return None
            numbers.append(value >> 1)
    except (IndexError, UnicodeDecodeError):
        return None
    recorded_at, offset, index = numbers
    raw = _new(RawPosition, (topic, incarnation, partition, offset, index))
    return _new(Front, (key, digest, group, date, partner, raw, ordering, recorded_at, 0))


@lru_cache(maxsize=8192)
def _source(topic: str, incarnation: int, partition: int) -> bytes:
    return text(topic) + long(incarnation) + long(partition)


@lru_cache(maxsize=8192)
def _line(group: str, date: str) -> bytes:
    return text(group) + text(date)


def encode_version_row(
    header: bytes,
    key: str,
    offset: int,
    raw: RawPosition,
    digest: bytes,
    admitted_at: int,
    group: str,
    date: str,
    ordering: str | None,
) -> bytes:
    """A row of `idempotency`. Raises WireError for a value that does not fit the schema."""
    topic, incarnation, partition, raw_offset, index = raw
    try:
        if len(digest) != 32:
            raise ValueError("a digest has 32 bytes")
        key_bytes = key.encode()
        return b"".join(
            (
                header,
                _long(len(key_bytes)),
                key_bytes,
                _long(offset),
                _source(topic, incarnation, partition),
                _long(raw_offset),
                _long(index),
                digest,
                _long(admitted_at),
                _line(group, date),
                b"\0" if ordering is None else optional_text(ordering),
            )
        )
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise WireError(f"message does not fit schema idempotency: {error}") from error
