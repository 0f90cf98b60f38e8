"""The audit block: its bytes, how a transaction's entries become blocks, and how blocks are read back.

Everything about a transaction that may differ between two runs on equal input (worker, clock, cut) stands in the
block around the entries, not in the content chain. The checksum at the end covers every byte of the block.
"""

from __future__ import annotations

import json
from binascii import hexlify
from collections.abc import Iterable
from hashlib import sha256
from importlib.resources import files
from io import BytesIO
from typing import Any, NamedTuple

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

from audit.chain import ACTIONS, Action, Entry, entry_pieces

SCHEMA_TEXT = files("audit").joinpath("block.avsc").read_text("utf-8")
_RAW_SCHEMA = json.loads(SCHEMA_TEXT)
SCHEMA: Any = fastavro.parse_schema(_RAW_SCHEMA, named_schemas={})
# The fields before `entries`: fastavro writes them; entries are many and are written here.
_FRONT: Any = fastavro.parse_schema({**_RAW_SCHEMA, "fields": _RAW_SCHEMA["fields"][:-2]}, named_schemas={})

HEADER = b"\xc3\x01" + bytes.fromhex(fingerprint(to_parsing_canonical_form(_RAW_SCHEMA), "CRC-64-AVRO"))
"""Avro single-object encoding: marker and fingerprint, the first ten bytes of every block."""

MAX_BLOCK_BYTES = 900_000
"""Where make_blocks splits unless told otherwise: below the 1 MB that a topic with default settings takes."""
LEAST_BLOCK_BYTES = 4096
LINK = 4
"""Bytes of the running head kept with each entry."""
REST = 10 + 5 + 32 + LINK
"""Bytes of an entry behind its tag at most: offset, index, digest and link."""


class BlockError(ValueError):
    """Bytes that are no audit block."""


class Chain(NamedTuple):
    """Which content chain: there is one per stage and partition of a pipeline."""

    pipeline: str
    stage: str
    partition: int

    def __str__(self) -> str:
        return f"{self.pipeline}/{self.stage}/{self.partition}"


class Span(NamedTuple):
    """What a transaction read. `next_offset` is the offset it commits, which batch holds back to its oldest open
    record; all None where there is none."""

    input_topic: str
    first_offset: int | None
    last_offset: int | None
    next_offset: int | None


class Observation(NamedTuple):
    """Who wrote a block, and when."""

    worker: str
    written_at: int
    """Worker's clock, ms since epoch, UTC."""
    software: str
    topology_version: int
    schema_version: str


class Block(NamedTuple):
    """A block as read."""

    chain: Chain
    sequence: int
    part: int
    parts: int
    span: Span
    prev_head: bytes
    head: bytes
    observed: Observation
    entries: list[Entry]
    links: list[bytes]
    """Per entry, the first bytes of the head after it."""


class Blocks(NamedTuple):
    """What make_blocks gives: messages for the audit topic, in order, and the chain's new head."""

    blocks: list[bytes]
    head: bytes


class Tag(NamedTuple):
    """What entries that share action, code, topic, incarnation and partition have in common, made once."""

    avro: bytes
    """Those five fields as they stand in a block."""
    opening: bytes
    """What is hashed for such an entry, behind the head before it: this, the digest in hex, ..."""
    first: bytes
    """... for the index 0, what stands up to the offset, ..."""
    indexed: bytes
    """... for any, the same with room for it, ..."""
    closing: bytes
    """... and, behind the offset, the end."""


Noted = tuple[Tag, int, int, bytes]
"""An entry until it stands in its block: tag, raw offset, raw index, digest."""


def write_blocks(
    chain: Chain,
    sequence: int,
    prev_head: bytes,
    entries: Iterable[Noted],
    span: Span,
    observed: Observation,
    *,
    max_bytes: int = MAX_BLOCK_BYTES,
) -> Blocks:
    """The blocks of one transaction, none over `max_bytes` (VA4); one block even where there is no entry.

    `sequence` is 1 for the first transaction of a chain and one more for each that writes a block.
    Raises ValueError if an entry's digest has not 32 bytes, or `max_bytes` leaves no room for an entry.
    """
    front = _front(chain, sequence, 0, 2**31 - 1, span, prev_head, prev_head, observed)
    room = max_bytes - len(HEADER) - len(front) - 5 - 1 - 32  # count, end of array, checksum
    if max_bytes < LEAST_BLOCK_BYTES or room < LEAST_BLOCK_BYTES // 4:
        raise ValueError(f"max_bytes {max_bytes} leaves no room for an entry; allowed: {LEAST_BLOCK_BYTES} and more")
    cuts: list[tuple[bytes, bytes, int, list[bytes]]] = []
    first, head, count, size = prev_head, prev_head, 0, 0
    pieces: list[bytes] = []
    ints, low, four = _INTS, _LOW, _FOUR
    top, top_bytes, tens, tens_bytes = -1, b"", -1, b""
    # Once per record: no call that can be spared. Copying a new hash takes a tenth less than making one, and each
    # update that is saved as much again; an entry kept as eight fields until here took half as long again. What is
    # hashed is joined from pieces and not formatted, and only the last digits of an offset are looked up: a quarter.
    start, join = sha256().copy, b"".join
    for (avro, opening, at_first, indexed, closing), offset, index, digest in entries:
        if len(digest) != 32:
            raise ValueError(f"an entry's digest has {len(digest)} bytes; allowed: 32")
        size += len(avro) + REST
        if size > room and count:
            cuts.append((first, head, count, pieces))
            first, pieces, count, size = head, [], 0, len(avro) + REST
        if offset // 10_000 != tens:
            tens = offset // 10_000
            tens_bytes = b"%d" % tens
        link = start()
        link.update(
            join(
                (
                    head,
                    opening,
                    hexlify(digest),
                    indexed % index if index else at_first,
                    tens_bytes if tens > 0 else b"",
                    four[offset % 10_000] if tens > 0 else b"%d" % offset,
                    closing,
                )
            )
        )
        head = link.digest()
        count += 1
        if offset >> 13 != top:
            top = offset >> 13
            top_bytes = _varint(top) if top > 0 else b""
        pieces += (
            avro,
            low[offset & 8191] if top > 0 else _long(offset),
            top_bytes,
            ints[index] if 0 <= index < SMALL else _long(index),
            digest,
            head[:LINK],
        )
    cuts.append((first, head, count, pieces))
    blocks = []
    for part, (before, after, count, pieces) in enumerate(cuts):
        front = _front(chain, sequence, part, len(cuts), span, before, after, observed)
        array = (_long(count), *pieces, b"\0") if count else (b"\0",)
        body = b"".join((HEADER, front, *array))
        blocks.append(body + sha256(body).digest())
    return Blocks(blocks, head)


def read_block(data: bytes) -> Block:
    """The block in `data`, its checksum not looked at (see `is_intact`). Raises BlockError."""
    if data[: len(HEADER)] != HEADER:
        raise BlockError(f"begins with {data[: len(HEADER)].hex() or 'nothing'}, not with {HEADER.hex()}")
    source = BytesIO(data)
    source.seek(len(HEADER))
    try:
        raw: Any = fastavro.schemaless_reader(source, SCHEMA, None)
    except (ValueError, EOFError, IndexError, KeyError, OverflowError, MemoryError) as error:
        raise BlockError(f"cut off or damaged: {error or type(error).__name__}") from error
    if source.tell() != len(data):
        raise BlockError(f"{len(data) - source.tell()} bytes behind its end")
    if not 0 <= raw["part"] < raw["parts"]:
        raise BlockError(f"part {raw['part']} of {raw['parts']}")
    return Block(
        Chain(raw["pipeline"], raw["stage"], raw["partition"]),
        raw["sequence"],
        raw["part"],
        raw["parts"],
        Span(raw["input_topic"], raw["first_offset"], raw["last_offset"], raw["next_offset"]),
        raw["prev_head"],
        raw["head"],
        Observation(**raw["observed"]),
        [Entry(*(row[name] for name in Entry._fields)) for row in raw["entries"]],
        [row["link"] for row in raw["entries"]],
    )


def is_intact(data: bytes) -> bool:
    """Whether the checksum fits: no byte has changed by accident. A forger writes a new one; chain, heads table
    and signatures are for him."""
    return sha256(data[:-32]).digest() == data[-32:]


def _front(
    chain: Chain,
    sequence: int,
    part: int,
    parts: int,
    span: Span,
    prev_head: bytes,
    head: bytes,
    observed: Observation,
) -> bytes:
    message = {
        **chain._asdict(),
        "sequence": sequence,
        "part": part,
        "parts": parts,
        **span._asdict(),
        "prev_head": prev_head,
        "head": head,
        "observed": observed._asdict(),
    }
    out = BytesIO()
    fastavro.schemaless_writer(out, _FRONT, message)
    return out.getvalue()


# Avro's binary forms of what an entry holds, each made once where values repeat.

SMALL = 8192


def _varint(rest: int) -> bytes:
    """Seven bits a byte, lowest first."""
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _long(value: int) -> bytes:
    """Avro int or long: zigzag, then as _varint."""
    return _varint((value << 1) ^ (value >> 63))


def _text(value: str) -> bytes:
    data = value.encode()
    return _long(len(data)) + data


_INTS = [_long(value) for value in range(SMALL)]
_LOW = [bytes((value << 1 & 0x7F | 0x80, value >> 6 | 0x80)) for value in range(SMALL)]
"""First two bytes of an offset from 8192 on, by its low 13 bits; the bytes of the rest follow and rarely change."""

_FOUR = [b"%04d" % value for value in range(10_000)]
"""The last four digits of an offset from 10,000 on; those before them rarely change."""


class _Tags(dict[tuple[Action, str, str, int, int], Tag]):
    """Tags by action, code, topic, incarnation and partition, of which there are few distinct ones."""

    def __missing__(self, key: tuple[Action, str, str, int, int]) -> Tag:
        action, code, topic, incarnation, partition = key
        if len(self) >= 4096:
            self.clear()
        avro = b"".join((_long(ACTIONS.index(action)), _text(code), _text(topic), _long(incarnation), _long(partition)))
        opening, indexed, closing = entry_pieces(*key)
        tag = self[key] = Tag(avro, opening, indexed % 0, indexed, closing)
        return tag


TAGS = _Tags()
