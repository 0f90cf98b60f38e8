"""Avro's binary forms of single values, for the messages that are written once per record and so by hand.

Everything else goes through fastavro (codec.py). Source: Apache Avro 1.12 specification, "Binary Encoding".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized

from schemas.kept import Kept

SMALL = 8192


def _varint(rest: int) -> bytes:
    """Seven bits a byte, lowest first."""
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


SMALL_BYTES = [_varint(value << 1) for value in range(SMALL)]
"""`long` of the values below SMALL."""
_LOW = [bytes((value << 1 & 0x7F | 0x80, value >> 6 | 0x80)) for value in range(SMALL)]
"""First two bytes of a value from SMALL on, by its low 13 bits; the bytes of the rest rarely change from one record
to the next, whether it is an offset or a time."""
_HIGH = Kept(_varint, 4096)


def long(value: int) -> bytes:
    """Avro int or long: zigzag, then as _varint. Raises OverflowError beyond 64 bits."""
    if 0 <= value < SMALL:
        return SMALL_BYTES[value]
    if 0 < value < 2**63:
        return _LOW[value & 8191] + _HIGH[value >> 13]
    if not -(2**63) <= value < 2**63:
        raise OverflowError(f"{value} does not fit into 64 bits")
    return _varint((value << 1) ^ (value >> 63))


def longs(values: Sequence[int]) -> Iterable[bytes]:
    """`long` of each, without a call for each where they are offsets or times of many records. Raises OverflowError
    beyond 64 bits."""
    if values and min(values) >= SMALL and max(values) < 2**63:
        low, high = _LOW, _HIGH
        return [low[value & 8191] + high[value >> 13] for value in values]
    return list(map(long, values))


def sizes(values: Iterable[Sized]) -> Iterable[bytes]:
    """`long` of the length of each."""
    lengths = list(map(len, values))
    small = max(lengths, default=0) < SMALL
    return map(SMALL_BYTES.__getitem__, lengths) if small else map(long, lengths)


def text(value: str) -> bytes:
    """Avro string."""
    data = value.encode()
    return long(len(data)) + data


def optional_text(value: str | None) -> bytes:
    """Avro union of null and string."""
    return b"\0" if value is None else b"\2" + text(value)


def digest(value: bytes) -> bytes:
    """Avro fixed of 32 bytes: a SHA-256, or an id that is one. Raises ValueError for another length."""
    if len(value) != 32:
        raise ValueError(f"a digest has 32 bytes, not {len(value)}")
    return value


def optional_digest(value: bytes | None) -> bytes:
    """Avro union of null and 32 bytes. Raises ValueError for another length."""
    return b"\0" if value is None else b"\2" + digest(value)
