"""Windows and their cuts as properties: whatever is said, in whatever chunks, with whatever goes wrong between them."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.canonical import RawPosition
from streams.batch.window import Line, Windows
from streams.stage import Chunk, Work
from tests.streams.batch_desk import Desk
from tests.streams.batch_world import CODEC

CAP = 3


class Said(NamedTuple):
    """One record that a publisher sends."""

    key: str
    content: str
    after: int
    """Seconds since the one before."""
    date: str


RECORDS = st.lists(
    st.builds(Said, st.sampled_from("abcd"), st.sampled_from("xy"), st.sampled_from([0, 0, 1, 4, 30]),
              st.sampled_from(["d1", "d2"])),
    max_size=25,
)  # fmt: skip
TAKES = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def desk_with(records: list[Said], deterministic: bool = True) -> Desk:
    desk = Desk(
        on_conflict="supersede", deterministic=deterministic, keep=60,
        batching={"max_records": CAP, "linger": 10, "max_reread": 8, "max_bytes": 1100},
    )  # fmt: skip
    now = 0
    for said in records:
        now += said.after
        desk.say(said.key, said.content, at=now, date=said.date)
    return desk


def in_chunks(desk: Desk, takes: list[int]) -> None:
    """Works everything, the chunks as large as `takes` says, in turn."""
    end = desk.broker.end("validated", 0)
    for turn in range(200):
        desk.log.take = takes[turn % len(takes)]
        desk.runner.step(timeout=0)
        if desk.runner.positions.get(0, -1) >= end:
            return
    raise AssertionError("no progress")


# ---- at the stage ----------------------------------------------------------------------------------


@settings(max_examples=150)
@given(records=RECORDS, takes=TAKES)
def test_every_cut_keeps_the_caps_the_order_and_the_line(records: list[Said], takes: list[int]) -> None:
    desk = desk_with(records)
    in_chunks(desk, takes)
    for batch in desk.batches():
        members = [CODEC.decode(m)[1] for m in batch["records"]]
        offsets = [m["raw_offset"] for m in members]
        assert offsets == sorted(set(offsets))
        assert {(m["group"], m["date"]) for m in members} == {(batch["group"], batch["date"])}
        assert 0 < len(members) <= CAP
        assert len(members) == 1 or sum(len(m) for m in batch["records"]) <= 1100
        assert batch["first_recorded_at"] == min(m["recorded_at"] for m in members)
        assert batch["last_recorded_at"] == max(m["recorded_at"] for m in members)


@settings(max_examples=150)
@given(records=RECORDS, takes=TAKES)
def test_the_committed_offset_is_the_lowest_open_one_and_every_admitted_record_is_in_one_place(
    records: list[Said], takes: list[int]
) -> None:
    desk = desk_with(records)
    in_chunks(desk, takes)
    batched = [offset for offsets in desk.offsets() for offset in offsets]
    waiting = [
        CODEC.decode(m)[1]["raw_offset"] for window in desk.lot.windows for m in window.records
    ]  # the test's raw offset is the offset in `validated` here
    admitted = [offset for action, offset in desk.chain() if action in ("ADMIT", "SUPERSEDE")]
    assert sorted(batched + waiting) == admitted
    if records:
        assert desk.committed == min(waiting, default=len(records))


@settings(max_examples=150)
@given(records=RECORDS, takes=TAKES, others=TAKES, kills=st.sets(st.integers(0, 12)))
def test_ids_bytes_answers_and_chain_are_the_same_however_chunked_and_killed(
    records: list[Said], takes: list[int], others: list[int], kills: set[int]
) -> None:
    one, two = desk_with(records), desk_with(records)
    in_chunks(one, takes)
    for turn in range(max(kills, default=0)):
        two.log.take = others[turn % len(others)]
        two.runner.step(timeout=0)
        if turn in kills:
            two.start()
    in_chunks(two, others)
    for topic in ("batched", "sent", "dead-letter"):
        assert [m.value for m in one.broker.all(topic)] == [m.value for m in two.broker.all(topic)]
    assert one.chain() == two.chain()
    assert one.lot.progress.chain == two.lot.progress.chain
    assert one.committed == two.committed


@settings(max_examples=100)
@given(records=RECORDS, takes=TAKES)
def test_windows_and_versions_restored_equal_those_before(records: list[Said], takes: list[int]) -> None:
    desk = desk_with(records)
    in_chunks(desk, takes)
    before = desk.lot
    desk.start()
    in_chunks(desk, takes)
    after = desk.lot

    def shown(windows: Windows) -> list[object]:
        return [
            (w.line, w.first_offset, w.last_offset, w.size, w.records, w.opened_at, w.hash.digest(), w.unhashed)
            for w in windows
        ]

    assert shown(after.windows) == shown(before.windows)
    assert after.windows.sealed_through == before.windows.sealed_through
    assert dict(after.versions.store.items()) == dict(before.versions.store.items())
    assert after.progress == before.progress


# ---- windows alone ---------------------------------------------------------------------------------


def position(offset: int) -> RawPosition:
    return RawPosition("raw", 0, 0, offset, 0)


def put(windows: Windows, line: Line, offset: int, size: int = 5) -> None:
    digest = sha256(bytes([offset])).digest()
    windows.add(line, "p", offset, position(offset), digest, b"m" * size, offset, offset, 0, offset, 0, 99)


LINES = st.sampled_from([Line("g", "d1"), Line("g", "d2"), Line("h", "d1")])


@given(steps=st.lists(st.tuples(LINES, st.booleans()), max_size=40))
def test_low_watermark_size_and_ids_follow_a_plain_account(steps: list[tuple[Line, bool]]) -> None:
    windows = Windows("pipe", 7)
    account: dict[Line, list[int]] = {}
    for offset, (line, seal) in enumerate(steps):
        put(windows, line, offset, size=offset)
        account.setdefault(line, []).append(offset)
        if seal:
            window = windows.get(line)
            assert window is not None
            sealed = windows.seal(window, "count")
            manifest = {
                "pipeline": "pipe", "partition": 7, "group": line.group, "date": line.date,
                "records": [
                    {"raw": list(position(o)), "digest": sha256(bytes([o])).hexdigest()} for o in account.pop(line)
                ],
            }  # fmt: skip
            text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
            assert sealed.batch_id == sha256(text.encode()).digest()
        still = [o for members in account.values() for o in members]
        assert windows.committed_offset(offset + 1) == min(still, default=offset + 1)
        assert windows.size == sum(still)
        assert [w.first_offset for w in windows] == sorted(members[0] for members in account.values())


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 127, 128, 129, 200])
def test_an_id_is_that_of_all_members_however_many_are_hashed_at_once(count: int) -> None:
    windows, line = Windows("pipe", 7), Line("g", "d")
    for offset in range(count):
        put(windows, line, offset)
    window = windows.get(line)
    assert window is not None
    records = [{"raw": list(position(o)), "digest": sha256(bytes([o])).hexdigest()} for o in range(count)]
    manifest = {"pipeline": "pipe", "partition": 7, "group": "g", "date": "d", "records": records}
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    assert windows.seal(window, "count").batch_id == sha256(text.encode()).digest()


def test_an_offset_that_is_not_above_the_last_one_is_refused() -> None:
    windows = Windows("pipe", 0)
    put(windows, Line("g", "d"), 5)
    with pytest.raises(AssertionError, match="BA4"):
        put(windows, Line("g", "d"), 5)


# ---- BAT-14: a flush signal during a flush is not lost ------------------------------------------------


def test_bat14_an_idle_close_that_falls_due_while_a_chunk_is_worked_comes_after_it() -> None:
    desk = Desk(batching={"idle": 5})
    process = desk.stage.process

    def slow(chunk: Chunk) -> Work:
        work = process(chunk)
        desk.wall += 6000  # the time ran out while the cap was being flushed
        return work

    desk.runner._hand_over = slow
    for key in "abcd":
        desk.say(key)
    desk.runner.step(timeout=0)
    desk.runner.step(timeout=0)
    assert desk.reasons() == ["count"]
    desk.runner.step(timeout=0)
    assert desk.reasons() == ["count", "wall"]
    assert desk.offsets() == [[0, 1, 2], [3]]


@pytest.mark.parametrize("fault", ["abort", "lost-yes", "lost-no"])
def test_bat14_a_flush_whose_commit_is_in_doubt_is_done_once(fault: str) -> None:
    desk = Desk(batching={"idle": 5})
    desk.say("a")
    desk.run()
    faults = [fault]
    desk.broker.fault = lambda stage: faults.pop() if faults else "ok"
    desk.wall += 6000
    desk.runner.step(timeout=0)
    assert not faults
    desk.wall += 6000
    desk.run()
    desk.wall += 6000
    desk.run()
    assert desk.offsets() == [[0]]


@pytest.mark.parametrize("fault", ["ok", "abort", "lost-yes", "lost-no"])
def test_bat14_a_stop_during_a_flush_takes_effect_after_it_and_loses_nothing(fault: str) -> None:
    desk = Desk(batching={"idle": 5})
    for key in "abcde":
        desk.say(key)
    desk.runner.step(timeout=0)
    faults = [fault]
    desk.broker.fault = lambda stage: faults.pop() if faults else "ok"
    desk.runner.step(timeout=0)  # the cap is flushed; meanwhile somebody says stop
    desk.runner.drain(ending=False)
    desk.runner.close()
    desk.start()
    desk.run()
    desk.wall += 6000
    desk.run()
    assert desk.offsets() == [[0, 1, 2], [3, 4]]


def test_a_stop_of_a_deterministic_pipeline_leaves_windows_open_and_the_end_does_not() -> None:
    desk = desk_with([Said("a", "x", 0, "d1")])
    in_chunks(desk, [5])
    desk.runner.drain(ending=False)
    assert desk.offsets() == []
    desk.runner.drain(ending=True)
    assert desk.reasons() == ["end"]
