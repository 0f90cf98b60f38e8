"""Rules VA1, VA2, VA4 and VA5 on the real stage and runner, with a pack of one line per record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.canonical import sha256
from schemas.pack import Record, Refusal, Submission
from streams.stage import Chunk, Work
from tests.streams.line_pack import LinePack, Lines
from tests.streams.toy_pack import CODEC, Toy, create_time, line_pipeline, small_chunks
from topology.model import Pipeline
from topology.sections import Chunking

SPAN = "\n".join(f"k{i} g {i}" for i in range(8))
"""A submission of eight records, which spans chunks of three."""


def every_index(toy: Toy) -> list[tuple[int, int, int]]:
    return [
        (m.partition, m.offset, index)
        for m in toy.broker.all("raw")
        for index in range(Lines(m.value or b"").count)
    ]  # fmt: skip


# ---- VA1 -------------------------------------------------------------------------------------------


def test_va1_a_record_carries_everything_that_later_stages_need() -> None:
    toy = Toy(line_pipeline(ordering_by="o", version=7))
    toy.publish("a g1 5", timestamp=1234)
    toy.run()
    (record,) = toy.validated()
    assert {name: record[name] for name in ("key", "group", "partner", "date", "ordering")} == {
        "key": "a", "group": "g1", "partner": "p", "date": "1970-01-01", "ordering": "5",
    }  # fmt: skip
    assert (record["topology_version"], record["recorded_at"]) == (7, 1234)
    assert record["digest"] == sha256(record["payload"])
    assert record["submission_digest"] == sha256(b"a g1 5")


def test_va1_a_submission_that_spans_chunks_keeps_the_version_it_began_with() -> None:
    toy = Toy(small_chunks(3))
    toy.publish(SPAN, "z g 1")
    toy.runner.step(timeout=0)
    toy.runner.step(timeout=0)
    assert 0 < len(toy.validated()) < 8
    toy.pipeline = Pipeline(**{**toy.pipeline.model_dump(), "version": 2, "group_by": []})
    toy.kill()
    toy.run()
    assert [m["topology_version"] for m in toy.validated()] == [1] * 8 + [2]


# ---- VA2 -------------------------------------------------------------------------------------------


def test_va2_cut_in_mid_submission_the_head_says_where_and_a_restart_unpacks_again() -> None:
    toy = Toy(small_chunks(3))
    toy.publish(SPAN)
    toy.runner.step(timeout=0)
    toy.runner.step(timeout=0)
    done = len(toy.validated())
    assert toy.head()["next_index"] == done
    assert toy.head()["processed_through"] == -1
    toy.kill()
    before = toy.pack.unpacked
    toy.run()
    assert toy.pack.unpacked == before + 1
    assert [m["raw_index"] for m in toy.validated()] == list(range(8))
    assert toy.head()["next_index"] == 0


def test_va2_without_a_restart_it_is_unpacked_once() -> None:
    toy = Toy(small_chunks(3))
    toy.publish(SPAN)
    toy.run()
    assert toy.head()["counter"] > 2
    assert toy.pack.unpacked == 1


class Killed(BaseException):
    """kill -9 of the worker."""


@pytest.mark.parametrize("fault", ["abort", "lost-yes", "lost-no", "kill-before", "kill-after"])
@pytest.mark.parametrize("at", range(8))
@pytest.mark.parametrize("cut", [2, 3, 5, 8, 9])
def test_va2_at_every_cut_and_crash_point_no_record_twice_and_none_lost(cut: int, at: int, fault: str) -> None:
    toy = Toy(small_chunks(cut))
    toy.publish("first g 1", SPAN, "!bad\nlast g 1", "end g 1")
    plain = Toy(line_pipeline())
    plain.publish("first g 1", SPAN, "!bad\nlast g 1", "end g 1")
    plain.run()
    commits = 0

    def broker_fault(stage: str) -> str:
        nonlocal commits
        commits += 1
        if commits == at + 1 and fault == "kill-before":
            raise Killed
        return fault if commits == at + 1 and not fault.startswith("kill") else "ok"

    toy.broker.fault = broker_fault
    for _ in range(40):
        try:
            toy.runner.step(timeout=0)
        except Killed:
            toy.kill()
        if fault == "kill-after" and commits == at + 1:
            toy.kill()
    toy.run()
    assert toy.answers() == every_index(toy)
    assert toy.head()["chain"] == plain.head()["chain"]


def test_va2_a_submission_without_records_has_its_own_answer() -> None:
    toy = Toy()
    toy.publish("")
    toy.run()
    assert [(m["raw_index"], m["count"]) for m in toy.dead()] == [(0, 1)]


class Liar:
    """Says three records and gives two."""

    content_type, count = "text/plain", 3
    notes: Mapping[str, int] = {}

    def records(self, start: int = 0) -> Iterator[Record | Refusal]:
        return (item for _, item in zip(range(start, 2), Lines(b"a g 1\nb g 1").records(start), strict=False))


def test_va2_a_pack_whose_count_is_wrong_condemns_the_submission_and_no_other() -> None:
    pack = LinePack()

    def lying(submission: Submission, *_: object) -> Any:
        return Liar() if submission.value == b"lie\nlie\nlie" else pack.unpack(submission)

    toy = Toy(unpack=lying)
    toy.publish("x g 1", "lie\nlie\nlie", "y g 1")
    toy.run()
    assert toy.answers() == [(0, 0, 0), (0, 1, 0), (0, 2, 0)]
    (finding,) = toy.dead()[0]["findings"]
    assert finding["code"] == "UNPROCESSABLE"
    assert "gave 2 records of a submission it counts 3 in" in finding["message"]


def test_va2_what_spans_chunks_and_what_fills_them_take_turns() -> None:
    """Others come first in a chunk, since what spans it may take all that is left. But they may fill each, for as long
    as their backlog lasts."""
    toy = Toy(line_pipeline(partitions=3, chunk=small_chunks(3).chunk))
    toy.publish(SPAN)
    toy.runner.step(timeout=0)
    toy.runner.step(timeout=0)
    assert 0 < toy.head()["next_index"] < 8
    filling = "a g 1\nb g 1\nc g 1"
    for partition in (1, 2):
        toy.publish(*[filling] * 40, partition=partition)
    for _ in range(9):
        toy.runner.step(timeout=0)
    worked = Counter(message["raw_partition"] for message in toy.validated())
    assert worked[0] == 8, "the rest of it is in two of the nine chunks"
    assert min(worked[1], worked[2]) >= 9


# ---- VA4 -------------------------------------------------------------------------------------------


def test_va4_an_original_over_the_limit_goes_by_claim_and_is_stored_before_the_commit() -> None:
    stored: list[bytes] = []
    visible: list[int] = []

    def claim(data: bytes) -> str:
        stored.append(data)
        visible.append(len(toy.dead()))
        return f"claim/{sha256(data).hex()}"

    toy = Toy(claim=claim, inline=100)
    large = "!" + "x" * 200
    toy.publish(large, "!" + "y" * 99)
    toy.run()
    over, under = toy.dead()
    assert stored == [large.encode()]
    assert visible == [0]
    assert (over["original"], over["claim"]) == (None, f"claim/{sha256(large.encode()).hex()}")
    assert (under["original"], under["claim"]) == (b"!" + b"y" * 99, None)
    assert over["digest"] == sha256(large.encode())


def test_va4_a_message_that_makes_processing_raise_is_one_dead_letter_and_its_neighbours_pass() -> None:
    toy = Toy()
    toy.publish("a g 1", "b g 1\nboom\nc g 1", "d g 1", "crash", "e g 1")
    toy.run()
    assert [m["key"] for m in toy.validated()] == ["a", "d", "e"]
    assert [(m["raw_offset"], m["original"]) for m in toy.dead()] == [(1, b"b g 1\nboom\nc g 1"), (3, b"crash")]
    for m in toy.dead():
        assert (m["findings"][0]["code"], m["count"], m["error_class"]) == ("UNPROCESSABLE", 1, "FATAL_SCHEMA_MISMATCH")
    assert "cannot work boom" in toy.dead()[0]["findings"][0]["message"]


@pytest.mark.parametrize("fault", ["boom", "k6 g nogroup"])
@pytest.mark.parametrize("cut", [2, 3, 4])
def test_va4_a_submission_that_fails_after_a_part_of_it_has_committed_answers_every_record(
    cut: int, fault: str
) -> None:
    toy = Toy(small_chunks(cut))
    lines = [f"k{i} g {i}" for i in range(10)]
    lines[6] = fault
    toy.publish("\n".join(lines), "z g 1")
    toy.run()
    assert toy.answers() == every_index(toy)
    assert [(m["raw_index"], m["count"], m["findings"][0]["code"]) for m in toy.dead()] == [(6, 10, "UNPROCESSABLE")]


def test_va4_two_thousand_refused_records_in_a_row_do_not_stall_it() -> None:
    toy = Toy()
    toy.publish(*[f"!{i}" for i in range(2000)], "a g 1")
    turns = len(toy.run())
    assert len(toy.dead()) == 2000
    assert [m["key"] for m in toy.validated()] == ["a"]
    assert turns < 10


def test_va4_a_chunk_is_cut_by_time_too() -> None:
    toy = Toy(line_pipeline(chunk=Chunking(seconds=1)))
    ticks = iter(range(10_000))
    toy.stage._limits._clock = lambda: next(ticks)
    toy.publish(*[f"k{i} g 1" for i in range(600)])
    toy.runner.step(timeout=0)
    toy.runner.step(timeout=0)
    assert 0 < len(toy.validated()) < 600
    toy.run()
    assert len(toy.validated()) == 600


# ---- VA5 -------------------------------------------------------------------------------------------


def test_va5_create_time_is_clamped_to_max_ahead_of_the_clock() -> None:
    toy = Toy(create_time(60))
    toy.now = 100_000
    toy.publish("a g 1", timestamp=500_000)
    toy.publish("b g 1", timestamp=150_000)
    toy.run()
    assert [m["recorded_at"] for m in toy.validated()] == [160_000, 150_000]


def test_va5_it_is_clamped_once_also_where_a_submission_spans_chunks() -> None:
    toy = Toy(create_time(60, chunk=small_chunks(3).chunk))
    toy.runner.step(timeout=0)  # joins
    first = toy.now + 1000
    toy.publish(SPAN, timestamp=10**9)
    for _ in range(20):
        toy.now += 1000
        toy.runner.step(timeout=0)
    assert len(toy.validated()) == 8
    assert {m["recorded_at"] for m in toy.validated()} == {first + 60_000}


@settings(max_examples=40)
@given(
    before=st.integers(0, 10**7),
    clocks=st.lists(st.tuples(st.integers(0, 10**7), st.booleans()), min_size=1, max_size=6),
    published=st.integers(0, 10**7),
)
def test_va5_all_records_of_a_submission_have_one_time_whatever_clocks_its_chunks_are_worked_on(
    before: int, clocks: list[tuple[int, bool]], published: int
) -> None:
    """A record before it may have been taken in under a clock that was ahead; a worker may be killed between chunks."""
    toy = Toy(create_time(60, chunk=small_chunks(2).chunk))
    toy.now = before
    toy.publish("a g 1", timestamp=10**9)
    toy.run()
    toy.publish(SPAN, timestamp=published)
    for now, killed in clocks:
        toy.now = now
        if killed:
            toy.kill()
            toy.runner.step(timeout=0)
        toy.runner.step(timeout=0)
    toy.run()
    times = [m["recorded_at"] for m in toy.validated() if m["raw_offset"] == 1]
    assert times == [times[0]] * 8
    assert times[0] <= published


def test_va2_a_submission_begun_under_a_head_of_an_older_version_goes_on() -> None:
    toy = Toy(create_time(60, chunk=small_chunks(3).chunk))
    toy.publish(SPAN, timestamp=10**9)
    toy.runner.step(timeout=0)
    toy.runner.step(timeout=0)
    head = toy.head()
    assert head["begun"] == {"recorded_at": 60_000, "count": 8, "broken": 0}
    toy.broker.append("heads", 0, b"validate/0", CODEC.encode("head", head | {"begun": None}))
    toy.kill()
    toy.now += 10**6
    toy.run()
    assert [m["raw_index"] for m in toy.validated()] == list(range(8))
    assert {m["recorded_at"] for m in toy.validated()} == {60_000}
    assert toy.head()["begun"] is None


def test_va5_the_brokers_own_time_is_taken_as_it_is() -> None:
    toy = Toy()
    toy.publish("a g 1", timestamp=10**12)
    toy.run()
    assert toy.validated()[0]["recorded_at"] == 10**12


# ---- conservation ----------------------------------------------------------------------------------

LINE = st.one_of(
    st.builds("{} g{} {}".format, st.sampled_from("abc"), st.integers(0, 1), st.integers(0, 9)),
    st.sampled_from(["!bad", ""]),
)
SUBMISSION = st.one_of(st.lists(LINE, min_size=1, max_size=9).map("\n".join), st.sampled_from(["crash", "boom", ""]))


@settings(max_examples=150)
@given(
    submissions=st.lists(st.tuples(SUBMISSION, st.integers(0, 1)), max_size=8),
    cut=st.integers(2, 6),
    take=st.integers(1, 5),
    happens=st.lists(st.sampled_from(["ok", "ok", "abort", "lost-yes", "lost-no", "kill", "rebalance"]), max_size=12),
)
def test_every_raw_record_has_one_answer_the_order_of_its_key_and_the_same_chain_however_chunked(
    submissions: list[tuple[str, int]], cut: int, take: int, happens: list[str]
) -> None:
    def filled(toy: Toy) -> Toy:
        for text, partition in submissions:
            toy.publish(text, partition=partition)
        return toy

    plain = filled(Toy(line_pipeline(partitions=2)))
    plain.run()
    toy = filled(Toy(line_pipeline(partitions=2, chunk=small_chunks(cut).chunk)))
    for what in happens:
        toy.log.take = take
        if what == "kill":
            toy.kill()
        elif what == "rebalance":
            toy.broker.rebalance(toy.pipeline.group_id("validate"))
        else:
            toy.broker.fault = lambda stage, what=what: what  # type: ignore[misc]
        toy.runner.step(timeout=0)
        toy.broker.fault = lambda stage: "ok"
    toy.run()
    whole = {(p, m.offset) for p in range(2) for m in toy.broker.partitions("raw")[p] if m.value in (b"crash", b"boom")}
    expected = [at for at in every_index(toy) if at[:2] not in whole or at[2] == 0]
    assert toy.answers() == sorted(expected)
    for partition in range(2):
        if toy.broker.partitions("raw")[partition]:
            assert toy.head(partition)["chain"] == plain.head(partition)["chain"]
    for partition in range(2):  # order per key: of one raw partition, as published
        written = [written_at(m.value or b"") for m in toy.broker.partitions("validated")[partition]]
        for a, b in pairwise(sorted(written, key=lambda at: at[:2])):
            assert a[:2] != b[:2] or a[2:] < b[2:]


def written_at(value: bytes) -> tuple[str, int, int, int]:
    m = CODEC.decode(value)[1]
    return m["key"], m["raw_partition"], m["raw_offset"], m["raw_index"]


def test_a_process_that_works_a_chunk_twice_gives_the_same_work() -> None:
    """What an abort throws away and what is done again are equal byte for byte."""
    works: list[Work] = []
    toy = Toy()
    process = toy.stage.process

    def noted(chunk: Chunk) -> Work:
        works.append(process(chunk))
        return works[-1]

    toy.runner._hand_over = noted
    toy.broker.fault = lambda stage: "abort" if len(works) == 1 else "ok"
    toy.publish("a g 1\n!bad", "b g 1")
    toy.run()
    assert len(works) == 2
    assert works[0].outputs == works[1].outputs
