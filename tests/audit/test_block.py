"""Blocks: Avro bytes that any Avro reader reads, split by size, and damage always told."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.block import (
    HEADER,
    LEAST_BLOCK_BYTES,
    LINK,
    SCHEMA,
    SCHEMA_TEXT,
    BlockError,
    Span,
    is_intact,
    read_block,
)
from audit.chain import ACTIONS, GENESIS, Entry, extend

from .samples import CHAIN, entry, make_blocks, observation, sample
from .test_chain import entries

spans = st.builds(
    Span,
    st.text(max_size=10),
    *[st.none() | st.integers(0, 2**62) for _ in ("first_offset", "last_offset", "next_offset")],
)


def test_the_schema_knows_every_action_in_order() -> None:
    fields = {field["name"]: field for field in json.loads(SCHEMA_TEXT)["fields"]}
    action = fields["entries"]["type"]["items"]["fields"][0]
    assert action["type"]["symbols"] == list(ACTIONS)


@given(st.lists(entries, max_size=6), spans)
def test_what_is_written_is_read_back(items: list[Entry], span: Span) -> None:
    made = make_blocks(CHAIN, 7, GENESIS, items, span, observation(7))
    (data,) = made.blocks
    block = read_block(data)
    assert (block.chain, block.sequence, block.part, block.parts) == (CHAIN, 7, 0, 1)
    assert (block.span, block.observed, block.entries) == (span, observation(7), items)
    assert (block.prev_head, block.head) == (GENESIS, made.head)
    assert made.head == extend(GENESIS, items)
    assert block.links == [extend(GENESIS, items[: place + 1])[:LINK] for place in range(len(items))]
    assert is_intact(data)


@given(st.lists(entries, max_size=6))
def test_the_bytes_are_those_of_a_stock_avro_writer(items: list[Entry]) -> None:
    (data,) = make_blocks(CHAIN, 7, GENESIS, items, Span("x", None, None, None), observation(7)).blocks
    source = BytesIO(data[len(HEADER) :])
    message: Any = fastavro.schemaless_reader(source, SCHEMA, None)
    again = BytesIO()
    fastavro.schemaless_writer(again, SCHEMA, message)
    assert HEADER + again.getvalue() == data


@pytest.mark.parametrize("text", ["%", "%b", "%%d", 'a"%b"', "100 %\n", "ü%s"])
def test_a_percent_sign_is_a_character_like_any_other(text: str) -> None:
    items = [Entry("REJECT", text, text, 1, 2, 3, 4, bytes(32)), Entry("REJECT", "", text, 1, 2, 3, 4, bytes(32))]
    made = make_blocks(CHAIN, 1, GENESIS, items, Span("x", None, None, None), observation(1))
    assert read_block(made.blocks[0]).entries == items
    assert made.head == extend(GENESIS, items)


@pytest.mark.parametrize("offset", [0, 1, 63, 64, 8191, 8192, 8193, 2**20 - 1, 2**20, 2**40, 2**63 - 1])
def test_offsets_of_any_size_survive(offset: int) -> None:
    items = [entry(offset), entry(5, 8191), entry(offset, 8192), entry(offset)]
    (data,) = make_blocks(CHAIN, 1, GENESIS, items, Span("x", None, None, None), observation(1)).blocks
    assert read_block(data).entries == items


def test_a_large_transaction_is_split_below_the_limit_and_reads_as_one_chain() -> None:
    items = [entry(place) for place in range(1000)]
    made = make_blocks(CHAIN, 3, GENESIS, items, Span("x", 0, 999, 1000), observation(3), max_bytes=LEAST_BLOCK_BYTES)
    assert max(map(len, made.blocks)) <= LEAST_BLOCK_BYTES
    blocks = [read_block(data) for data in made.blocks]
    assert [(block.part, block.parts) for block in blocks] == [(part, len(blocks)) for part in range(len(blocks))]
    assert [entry for block in blocks for entry in block.entries] == items
    assert [block.prev_head for block in blocks] == [GENESIS, *(block.head for block in blocks[:-1])]
    assert blocks[-1].head == made.head == extend(GENESIS, items)


def test_heads_do_not_depend_on_the_split() -> None:
    assert sample([40, 60]).ends[CHAIN].head == sample([1, 99], max_bytes=LEAST_BLOCK_BYTES).ends[CHAIN].head


def test_a_transaction_without_entries_still_has_a_block() -> None:
    made = make_blocks(CHAIN, 1, GENESIS, [], Span("x", None, None, 5), observation(1))
    assert [read_block(data).entries for data in made.blocks] == [[]]
    assert made.head == GENESIS


def test_what_cannot_be_a_block_is_refused_when_written() -> None:
    span = Span("x", None, None, None)
    with pytest.raises(ValueError, match="31 bytes; allowed: 32"):
        make_blocks(CHAIN, 1, GENESIS, [entry(1)._replace(digest=bytes(31))], span, observation(1))
    with pytest.raises(ValueError, match="max_bytes 4095 leaves no room"):
        make_blocks(CHAIN, 1, GENESIS, [], span, observation(1), max_bytes=4095)


def test_cut_off_bytes_and_bytes_behind_the_end_are_told() -> None:
    (data,) = sample([3]).blocks
    for cut in range(len(data)):
        with pytest.raises(BlockError):
            read_block(data[:cut])
    with pytest.raises(BlockError, match="1 bytes behind its end"):
        read_block(data + b"\0")
    with pytest.raises(BlockError, match="begins with 00"):
        read_block(b"\0" + data[1:])


@given(st.binary(max_size=300))
def test_any_bytes_are_a_block_or_a_block_error(tail: bytes) -> None:
    with pytest.raises(BlockError):
        read_block(HEADER + tail)


def test_every_changed_byte_breaks_the_checksum() -> None:
    (data,) = sample([2]).blocks
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        assert not is_intact(bytes(changed))


def test_a_part_that_its_transaction_does_not_have_is_told() -> None:
    (data,) = sample([1]).blocks
    place = data.index(b"validate") + len(b"validate") + 2  # behind partition and sequence
    assert data[place : place + 2] == bytes((0, 2))  # part 0 of 1, as Avro writes them
    with pytest.raises(BlockError, match="part 1 of 1"):
        read_block(data[:place] + b"\x02" + data[place + 1 :])
