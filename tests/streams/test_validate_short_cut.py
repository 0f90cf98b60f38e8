"""What validate writes for plain readings by its short cut is what it writes the long way, byte for byte: with a pack
that knows no short cut and reads everything thoroughly."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import SingleObjectCodec
from schemas.packs import load_pack
from schemas.packs.cold_chain.plain import PlainReader
from schemas.packs.cold_chain.sample import sample
from streams.deadletter import DeadLetters
from streams.progress import Identity
from streams.stage import Chunk, Header, Message, Work
from streams.tables import MemoryRows
from streams.validate.agent import ValidateStage
from topology.load import load_pipeline
from topology.model import Pipeline
from topology.sections import Chunking

CODEC = SingleObjectCodec()
SHIPPED = load_pipeline("cold-chain")
SOURCES = [{"match": "cellar*", "product": "cool", "zone_id": "Z-1"}, {"match": "probe*", "logging_interval": 60}]
READINGS = [value for _, value in sample(400)]
"""Two in a hundred of them are bad."""
BARE = b'{"temperature_c":%b,"sensor_id":"CELLAR-1","timestamp_utc":"2026-03-01T08:15:0%dZ"}'
READINGS += [BARE % (celsius, second) for celsius in (b"3", b"-0.0", b"1e1", b"12.345") for second in range(10)]
READINGS += [value.replace(b"}", b',"compliance_state":"excursion"}') for value in READINGS[:40]]
AMID = 1_772_409_840_000
"""A time in the midst of the readings', ms."""
NASTY = [b'"', b"\\", b"\\u0041", b"NaN", b"1e2", b"-0.0", b"null", b" ", b"\n", b"}", b"{", b",", b"\xff", b"\0", b""]


@st.composite
def values(draw: st.DrawFn) -> bytes | None:
    kind = draw(st.sampled_from(["plain"] * 6 + ["mutated"] * 3 + ["array", "lines", "null", "binary"]))
    if kind == "null":
        return None
    if kind == "binary":
        return draw(st.binary(max_size=40))
    if kind in ("array", "lines"):
        parts = draw(st.lists(st.sampled_from(READINGS), max_size=5))
        return b"[" + b" , ".join(parts) + b"]" if kind == "array" else b"\n".join(parts)
    value = draw(st.sampled_from(READINGS))
    if kind == "mutated":
        at = draw(st.integers(0, len(value)))
        end = draw(st.integers(at, min(at + 12, len(value))))
        value = value[:at] + draw(st.sampled_from(NASTY)) + value[end:]
    return value


HEADERS = st.lists(
    st.sampled_from(
        [
            ("content-type", b"application/json"),
            ("content-type", b"text/csv"),
            ("content-type", b"\xff"),
            ("waybill-source", b"cellar-1"),
            ("waybill-source", b"probe.json"),
            ("waybill-site", b"probe"),
            ("waybill-received-at", b"2026-03-01T00:00:00Z"),
            ("waybill-received-at", b""),
            ("trace", b"1"),
        ]
    ),
    max_size=4,
).map(tuple)


def pipelines() -> list[Pipeline]:
    """The shipped one, one in which fields stand otherwise: several to a partition, none to a group; one of short
    chunks; and one that refuses half of the readings because they lie ahead."""
    options = {**SHIPPED.options, "sources": SOURCES}
    other = {
        "partition_by": ["sensor_id", "event_time"],
        "group_by": [],
        "partner": "lake",
        "profile": "lenient",
        "ordering_by": "day",
        "raw": {"timestamps": "create", "max_ahead": 1},
    }
    shipped = SHIPPED.model_dump()
    shipped |= {"options": options}
    return [
        Pipeline(**shipped | more)
        for more in ({}, other, {"chunk": {"bytes": 1024, "records": 100}}, {"event_ahead": 1})
    ]


PIPELINES = pipelines()


def stage(made: Pipeline, inline: int) -> ValidateStage:
    pack = load_pack(made.pack, made.options, made.profile)
    claim = "claim:{}".format
    built = ValidateStage(
        made, CODEC, pack, Identity("w", "0", pack.version), DeadLetters(CODEC, made.partitions), clock=lambda: 0.0,
        claim=lambda data: claim(len(data)), inline=inline,
    )  # fmt: skip
    for partition in range(made.partitions):
        built.restore(partition, {"heads": MemoryRows()}, None, 0)
    return built


def worked(made: Pipeline, chunks: list[Chunk], inline: int) -> list[Work]:
    """Each chunk begins with what the one before was cut at."""
    built = stage(made, inline)
    found: list[Work] = []
    left: list[Message] = []
    condemned: dict[tuple[int, int], str] = {}
    for chunk in chunks:
        condemned |= chunk.condemned
        messages = left + chunk.messages
        work = built.process(Chunk(messages, chunk.now, condemned=condemned))
        left = [m for m in messages if m.offset >= work.resume.get(m.partition, m.offset + 1)]
        found.append(work)
    return found


def worked_slowly(made: Pipeline, chunks: list[Chunk], inline: int) -> list[Work]:
    with patch.object(PlainReader, "rows", lambda self, values: []):
        return worked(made, chunks, inline)


@settings(max_examples=200)
@given(
    which=st.sampled_from(range(len(PIPELINES))),
    given_chunks=st.lists(
        st.lists(st.tuples(values(), HEADERS, st.integers(0, 3), st.integers(0, 3000)), max_size=8), max_size=3
    ),
    start=st.sampled_from([0, 8190, 2**40]),
    condemned=st.sets(st.integers(0, 20), max_size=1),
    inline=st.sampled_from([400, 10_000]),
)
def test_the_short_cut_and_the_long_way_write_the_same_bytes(
    which: int,
    given_chunks: list[list[tuple[bytes | None, tuple[Header, ...], int, int]]],
    start: int,
    condemned: set[int],
    inline: int,
) -> None:
    made = PIPELINES[which]
    base = 1_780_000_000_000 if made.event_ahead is None else AMID
    ends = dict.fromkeys(range(made.partitions), start)
    chunks = []
    for messages in given_chunks:
        found = []
        for value, headers, partition, ahead in messages:
            found.append(Message(partition, ends[partition], base + ahead, None, value, headers))
            ends[partition] += 1
        lost = {(m.partition, m.offset): "the reader crashed" for place, m in enumerate(found) if place in condemned}
        chunks.append(Chunk(found, base + 500, condemned=lost))
    assert worked(made, chunks, inline) == worked_slowly(made, chunks, inline)


@pytest.mark.parametrize("size", [10**6, 2**24])
def test_a_chunk_is_cut_at_the_same_record_both_ways(size: int) -> None:
    """By the records of a transaction, which are counted at every 256th, and by its bytes."""
    made = SHIPPED.model_copy(update={"chunk": Chunking(records=300, bytes=size // 10)})
    messages = [Message(0, place, 1_780_000_000_000, None, value, ()) for place, value in enumerate(READINGS * 3)]
    messages += [message._replace(partition=1) for message in messages[:3]]
    found = worked(made, [Chunk(messages, 1_780_000_000_000)], 10_000)
    assert found == worked_slowly(made, [Chunk(messages, 1_780_000_000_000)], 10_000)
    assert found[0].resume[1] == 0
    if size > 10**6:
        assert found[0].resume[0] == 768, "at twice 300 records, looked at when a multiple of 256 is passed"
    else:
        assert 256 < found[0].resume[0] < 768


@pytest.mark.parametrize("which", range(len(PIPELINES)))
def test_the_sample_takes_the_short_cut(which: int) -> None:
    made = PIPELINES[which]
    pack = load_pack(made.pack, made.options, made.profile)
    assert sum(len(pack.singles([value]).payloads) for value in READINGS) > 0.95 * len(READINGS)
    with patch.object(PlainReader, "rows", lambda self, values: []):
        assert not any(pack.singles([value]).payloads for value in READINGS)
