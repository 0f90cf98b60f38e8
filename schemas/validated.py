"""The bytes of `validated` and `idempotency` messages, of which every record has one: written and read by hand, since
fastavro takes longer for these two than everything else that happens to a record.

The bytes are fastavro's own (a property test holds both equal). What many records share is made once and kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any, NamedTuple

from schemas.avro import SMALL, SMALL_BYTES, long, longs, optional_text, sizes, text
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
    if not found:
        return NO_WARNINGS
    items = b"".join(text(one.code) + text(one.path) + text(one.message) for one in found)
    return long(len(found)) + items + b"\0"


def encode_validated(
    front: bytes,
    key: str,
    digest: bytes,
    ordering: str | None,
    recorded_at: bytes,
    raw_offset: int,
    raw_index: int,
    event_time: int,
    submission_digest: bytes,
    rest: bytes,
    warnings: Sequence[Finding],
    payload: bytes,
) -> bytes:
    """A Validated message without passport or claim; `front` and `rest` as made above, `recorded_at` by `avro.long`
    (neighbours share it).

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
                recorded_at,
                _long(raw_offset),
                _small[raw_index] if 0 <= raw_index < SMALL else _long(raw_index),
                _long(event_time),
                submission_digest,
                rest,
                _warnings(warnings),
                _small[size] if size < SMALL else _long(size),
                payload,
                NO_CLAIM,
            )
        )
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise WireError(f"message does not fit schema validated: {error}") from error


def encode_first(
    fronts: Iterable[bytes],
    keys: Iterable[str],
    digests: Sequence[bytes],
    orderings: Iterable[str] | None,
    recorded_at: Iterable[bytes],
    raw_offsets: Sequence[int],
    event_times: Sequence[int],
    submission_digests: Sequence[bytes],
    rests: Iterable[bytes],
    warnings: Sequence[Sequence[Finding]],
    payloads: Sequence[bytes],
) -> list[bytes]:
    """What `encode_validated` makes of many records that are each the first of its submission, given column by column:
    as many as the shortest column has. Without a step of the interpreter for each message it takes a third of the time.

    Raises WireError for a value that does not fit the schema.
    """
    try:
        if not {*map(len, digests), *map(len, submission_digests)} <= {32}:
            raise ValueError("a digest has 32 bytes")
        key_bytes = list(map(str.encode, keys))
        columns: tuple[Iterable[bytes], ...] = (
            fronts,
            sizes(key_bytes),
            key_bytes,
            digests,
            repeat(b"\0") if orderings is None else map(optional_text, orderings),
            recorded_at,
            longs(raw_offsets),
            repeat(SMALL_BYTES[0]),
            longs(event_times),
            submission_digests,
            rests,
            map(_warnings, warnings) if any(warnings) else repeat(NO_WARNINGS),
            sizes(payloads),
            payloads,
            repeat(NO_CLAIM),
        )
        return list(map(b"".join, zip(*columns)))  # noqa: B905 - see above
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise WireError(f"message does not fit schema validated: {error}") from error


def claim_payload(message: bytes, payload: bytes, url: str) -> bytes:
    """The same message without its payload, which is kept at `url` (VA4)."""
    size = long(len(payload))
    before = message[: -len(size) - len(payload) - len(NO_CLAIM)]
    return b"".join((before, long(0), b"\2", text(url), size))


class Shared(NamedTuple):
    """The first fields of a Validated message: equal for all records of a window from one raw partition."""

    group: str
    date: str
    partner: str
    topic: str
    incarnation: int
    partition: int


class Front(NamedTuple):
    """What batch reads of a Validated message; the rest travels on unread."""

    shared: Shared
    key: str
    digest: bytes
    ordering: str | None
    recorded_at: int
    raw_offset: int
    raw_index: int
    claimed: int = 0
    """Bytes of the payload, where it is not in the message."""
    key_field: bytes = b""
    """The field `key` as it stands in the message; nothing where the message was read in full, as below."""
    position_field: bytes = b""
    """The fields `raw_offset` and `raw_index`, in as many bytes as they need."""
    ordering_field: bytes = b""

    @property
    def raw(self) -> RawPosition:
        """Where the record came from."""
        _, _, _, topic, incarnation, partition = self.shared
        return _new(RawPosition, (topic, incarnation, partition, self.raw_offset, self.raw_index))


def front_of(record: Mapping[str, Any]) -> Front:
    """The front of a Validated message that was read in full."""
    topic, incarnation, partition, offset, index = (record[f"raw_{name}"] for name in RawPosition._fields)
    key, digest, group, date, partner = (record[name] for name in ("key", "digest", "group", "date", "partner"))
    claimed = record["claim"]["size"] if record["claim"] else 0
    shared = Shared(group, date, partner, topic, incarnation, partition)
    return Front(shared, key, digest, record["ordering"], record["recorded_at"], offset, index, claimed)


class _Known(dict[bytes, Shared | None]):
    """What the bytes of a shared front mean; None, and not kept, where they are not of the common form."""

    def __missing__(self, data: bytes) -> Shared | None:
        found = _shared(data)
        if found is not None:
            if len(self) >= 8192:
                self.clear()
            self[data] = found
        return found


def _shared(data: bytes) -> Shared | None:
    texts, at = [], 0
    for _ in range(4):
        size = data[at]
        if size > 127 or size & 1:
            return None
        end = at + 1 + (size >> 1)
        texts.append(data[at + 1 : end].decode())
        at = end
    if (data[at] | data[at + 1]) & 0x81:  # incarnation and partition: one byte each, not negative
        return None
    group, date, partner, topic = texts
    return Shared(group, date, partner, topic, data[at] >> 1, data[at + 1] >> 1)


_KNOWN = _Known()
known_shared = _KNOWN.__getitem__


def number(data: bytes, at: int) -> tuple[int, int]:
    """A number that is not negative, and where it ends; -1 where it is. It may take more bytes than it needs."""
    shift = value = 0
    while (byte := data[at]) > 127:
        value |= (byte & 127) << shift
        shift += 7
        at += 1
    value |= byte << shift
    if value & 1 or shift > 56:
        return -1, at
    return value >> 1, at + 1


def _text_end(data: bytes, at: int) -> int:
    """Where the text that begins there ends. Raises ValueError where there is none."""
    size, at = number(data, at)
    if size < 0:
        raise ValueError("a text of less than no bytes")
    data[at : at + size].decode()
    return at + size


def _optional_end(data: bytes, at: int) -> int:
    """Where null or a text ends. Raises ValueError where there is neither."""
    if data[at] == 0:
        return at + 1
    if data[at] != 2:
        raise ValueError("neither null nor text")
    return _text_end(data, at + 1)


def _rest_end(data: bytes, at: int) -> int:
    """Where what `shared_rest` makes ends. Raises ValueError for a replayed record and for what is none of it."""
    count, at = number(data, _optional_end(data, at))  # behind received_at
    at = _text_end(data, _optional_end(data, _optional_end(data, at)))  # source, site, schema_version
    topology_version, at = number(data, at)
    if count < 0 or topology_version < 0:
        raise ValueError("a negative number")
    if data[at : at + 1] != NO_PASSPORT:
        raise ValueError("it has a passport")
    return at + 1


def _warnings_end(data: bytes, at: int) -> int:
    """Where the warnings end. Raises ValueError where they are not written in one block."""
    count, at = number(data, at)
    for _ in range(3 * count):
        at = _text_end(data, at)
    if count <= 0 or data[at] != 0:
        raise ValueError("warnings of another form")
    return at + 1


def read_fronts(header: bytes, values: Iterable[bytes | None]) -> Iterator[Front | None]:
    """The front of each message; None where it is no Validated message of the common form (long names, many
    partitions, a claim, damage): then the codec reads it, or says what is wrong with it. What has a front can be read
    to its last byte: what was damaged behind it must not be admitted, or a whole batch could not be read (law 1)."""
    # Half of what batch does with a record would be reading it, were it not for three things. The end of the shared
    # front is where the last front with a group of that size had its end, if the bytes up to there are a front met
    # before: the sizes lie in it, so that no other message begins with the same bytes. Else one walk finds it. The
    # time, which many neighbours share, is compared and not read. Fields that go on into another message stay bytes.
    start = len(header)
    known, new, kind, whole = _KNOWN, tuple.__new__, Front, int.from_bytes
    ends = [start] * 256
    """By the first byte of a front: where the last one that began with it ended."""
    time_field, recorded_at = b"\0", 0
    rest = b"nothing begins with this"
    for data in values:
        front = None
        try:
            if data and not data[-1] and data.startswith(header):  # a claim ends in its size
                at = ends[data[start]]
                shared = known.get(data[start:at])
                if shared is None:
                    at = start + 1 + (data[start] >> 1)
                    at += 1 + (data[at] >> 1)
                    at += 1 + (data[at] >> 1)
                    at += 3 + (data[at] >> 1)
                    shared = known[data[start:at]]
                    ends[data[start]] = at
                size = data[at]
                if shared is not None and not size & 1 and size < 128:
                    end = at + 1 + (size >> 1)
                    key_field = data[at:end]
                    key = key_field[1:].decode()
                    at = end + 32
                    digest = data[end:at]
                    if data[at] == 0:
                        ordering, ordering_field, found = None, b"\0", True
                        at += 1
                    else:
                        size = data[at + 1]
                        end = at + 2 + (size >> 1)
                        ordering, ordering_field = data[at + 2 : end].decode(), data[at:end]
                        found = data[at] == 2 and size < 128 and not size & 1
                        at = end
                    if data.startswith(time_field, at):
                        at += len(time_field)
                    else:
                        other, end = number(data, at)
                        if other < 0:
                            found = False
                        else:
                            recorded_at, time_field = other, data[at:end]
                        at = end
                    one, two = data[at], data[at + 1]
                    # three bytes: from 8,192 to a million
                    if one > 127 and two > 127 and 0 < (three := data[at + 2]) < 128 and not one & 1:
                        offset, end, plain = (one + (two << 7) + (three << 14) - 16512) >> 1, at + 3, True
                    else:
                        (offset, end), plain = number(data, at), False
                    if (one := data[end]) > 127 or one & 1:
                        (index, end), plain = number(data, end), False
                    else:
                        index = one >> 1
                        end += 1
                    position = data[at:end] if plain else b""
                    if whole(data[end : end + 6], "little") & 0x8080_8080_8080 == 0x0080_8080_8080:
                        at = end + 38  # event_time in six bytes, as from 1970 to 2039, and submission_digest
                    else:
                        while data[end] > 127:
                            end += 1
                        at = end + 33
                    if data.startswith(rest, at):
                        at += len(rest)
                    else:
                        end = _rest_end(data, at)
                        rest, at = data[at:end], end
                    at = _warnings_end(data, at) if data[at] else at + 1
                    if (size := data[at]) > 127 or size & 1:
                        size, at = number(data, at)
                    else:
                        size >>= 1
                        at += 1
                    if found and offset >= 0 and index >= 0 and 0 <= size == len(data) - at - 1:
                        position = position or long(offset) + long(index)
                        front = new(
                            kind,
                            (
                                shared, key, digest, ordering, recorded_at, offset, index, 0,
                                key_field, position, ordering_field,
                            ),
                        )  # fmt: skip
        except (IndexError, ValueError):  # cut off, or no text
            front = None
        yield front


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
