"""A table is whole and its rows are what they should be, or nothing goes on: T1, T2."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.codec import SingleObjectCodec
from streams.runtime.log import LogGap
from streams.tables import KINDS, decode_row
from tests.runtime.world import small_pipeline
from tests.schemas.samples import example
from tests.streams.batch_desk import Desk

CODEC = SingleObjectCodec()
PIPELINE = small_pipeline("app")


def read(table: str, value: bytes) -> dict[str, Any]:
    return decode_row(CODEC, PIPELINE, table, 1, b"a key", value)


@pytest.mark.parametrize(("key", "shown"), [(b"sensor", "'sensor'"), (b"\xd2i\xd1", "d269d1"), (b"a\x1fb", "611f62")])
def test_a_key_that_is_no_text_is_shown_as_hex(key: bytes, shown: str) -> None:
    with pytest.raises(LogGap, match=rf"the row of key {shown} cannot be read"):
        decode_row(CODEC, PIPELINE, "heads", 1, key, b"damaged")


@pytest.mark.parametrize("table", KINDS)
def test_t1_a_row_is_read_whole_or_ends_the_stage(table: str) -> None:
    row = CODEC.encode(KINDS[table], example(KINDS[table]))
    assert read(table, row) == example(KINDS[table])
    others = [CODEC.encode(kind, example(kind)) for kind in KINDS.values() if kind != KINDS[table]]
    cut = [row[:end] for end in range(len(row))]
    for damaged in (*cut, *others, row + b"\0", b"\0garbage" * 30, CODEC.encode("control", example("control"))):
        with pytest.raises(LogGap, match=rf"app.p.{table}\[1\]: the row of key 'a key' cannot be read: .* write it"):
            read(table, damaged)


def worked() -> Desk:
    """Three records in one batch, which the committed offset has passed."""
    desk = Desk()
    for key in ("a", "b", "c"):
        desk.say(key)
    desk.run()
    assert (desk.offsets(), desk.committed) == ([[0, 1, 2]], 3)
    return desk


@pytest.mark.parametrize("offset", [0, 2, 4])
def test_t2_a_group_that_was_moved_either_way_repeats_and_skips_nothing(offset: int) -> None:
    """BA3 forgets what the committed offset has passed: read again from below it, delivered records would fill new
    windows."""
    desk = worked()
    desk.say("d")
    desk.broker._committed[desk.pipeline.group_id("batch"), 0] = offset
    desk.start()
    with pytest.raises(LogGap, match=rf"offset {offset} is committed, the head was written with 3.* set offset 3 for"):
        desk.run()
    assert desk.offsets() == [[0, 1, 2]]


@pytest.mark.parametrize("table", ["idempotency", "windows"])
def test_t1_a_table_made_anew_is_never_taken_for_the_old_one(table: str) -> None:
    desk = worked()
    desk.broker.partitions(table)[0].clear()
    desk.say("a")
    desk.start()
    desk.log.topic_id = lambda topic: f"anew-{topic}" if topic == table else f"memory-{topic}"  # type: ignore[method-assign]
    with pytest.raises(LogGap, match=f"{table} has id anew-{table}, the head was written for memory-{table}"):
        desk.run()
    assert desk.offsets() == [[0, 1, 2]]


def test_t1_a_damaged_version_is_no_fault_of_the_record_that_asks_for_it() -> None:
    desk = worked()
    key = next(iter(desk.table("idempotency"))) or b""
    desk.broker.append("idempotency", 0, key, b"\0garbage")
    desk.say("a")
    desk.start()
    with pytest.raises(LogGap, match=r"idempotency.* cannot be read"):
        desk.run()
    assert desk.broker.all("dead-letter") == desk.broker.all("sent") == []
