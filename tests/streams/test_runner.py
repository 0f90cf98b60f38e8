"""The runner's error table on the in-memory log: what each doubt leads to, and that only Fatal and LogGap get out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import pytest

from streams.runtime import runner as runner_module
from streams.runtime.log import (
    Abortable,
    Fatal,
    Fetched,
    Indeterminate,
    LogError,
    LogGap,
    Reached,
    StaleMember,
    TooLarge,
)
from streams.runtime.memory import MemoryBroker
from streams.runtime.runner import Runner, Step
from streams.stage import Chunk, Output, Work
from tests.streams.toy_pack import Toy, line_pipeline, small_chunks

ALL = [(0, offset, 0) for offset in range(4)]


def toy_with_four(**settings: Any) -> Toy:
    toy = Toy(**settings)
    toy.publish("a g 1", "b g 1", "!c", "d g 1")
    return toy


def faults(toy: Toy, *what: str) -> None:
    """The next commits end so, later ones well."""
    left = list(what)
    toy.broker.fault = lambda stage: left.pop(0) if left else "ok"


# ---- the error table -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "result"), [("abort", "abort"), ("lost-no", "indeterminate"), ("lost-yes", "indeterminate")]
)
def test_after_any_doubt_the_chunk_is_there_exactly_once(fault: str, result: str) -> None:
    toy = toy_with_four()
    faults(toy, fault, fault, fault)
    results = toy.run()
    assert result in results
    assert toy.answers() == ALL
    assert len(toy.audited()) == 4
    assert toy.head()["processed_through"] == 3


def test_tx1_after_an_indeterminate_commit_the_head_tells_that_it_was_committed() -> None:
    toy = toy_with_four()
    faults(toy, "lost-yes")
    toy.run()
    assert toy.head()["counter"] == 1  # nothing was done twice


def test_tx1_after_an_indeterminate_commit_the_head_tells_that_it_was_not() -> None:
    toy = toy_with_four()
    faults(toy, "lost-no")
    toy.run()
    assert toy.head()["counter"] == 1


def test_a_stale_member_is_refused_and_rejoins() -> None:
    toy = toy_with_four()
    toy.runner.step(timeout=0)
    process = toy.runner._hand_over

    def rebalanced_meanwhile(chunk: Chunk) -> Work:
        toy.runner._hand_over = process
        work = process(chunk)
        toy.broker.rebalance(toy.pipeline.group_id("validate"))
        return work

    toy.runner._hand_over = rebalanced_meanwhile
    step = toy.runner.step(timeout=0)
    assert step.result == "stale"
    assert toy.answers() == []
    toy.run()
    assert toy.answers() == ALL


def test_a_fenced_worker_leaves_and_writes_nothing() -> None:
    toy = toy_with_four()
    toy.runner.step(timeout=0)
    toy.broker.epochs[toy.pipeline.transactional_id("validate", 0)] += 1  # the same transactional id elsewhere
    with pytest.raises(Fatal, match="fenced"):
        toy.runner.step(timeout=0)
    assert toy.answers() == []


@pytest.mark.parametrize("error", [Abortable("again"), StaleMember("again"), Indeterminate("again")])
def test_a_doubt_while_recovering_from_a_doubt_is_recovered_too(error: LogError) -> None:
    toy = toy_with_four()
    faults(toy, "abort")
    recover, left = toy.log.recover, [error]

    def recover_badly(first: LogError) -> frozenset[int]:
        if left:
            raise left.pop()
        return recover(first)

    toy.log.recover = recover_badly  # type: ignore[method-assign, assignment]
    toy.run()
    assert not left
    assert toy.answers() == ALL


def test_a_recovery_that_never_ends_is_fatal() -> None:
    toy = toy_with_four()
    faults(toy, "abort")

    def never(error: LogError) -> NoReturn:
        raise Abortable("still in doubt")

    toy.log.recover = never  # type: ignore[method-assign]
    toy.runner.step(timeout=0)
    with pytest.raises(Fatal, match="still in doubt"):
        toy.runner.step(timeout=0)


# ---- nothing but Fatal and LogGap gets out ---------------------------------------------------------


@pytest.mark.parametrize("method", ["restore", "committed", "due", "store"])
def test_an_exception_of_a_stage_comes_out_as_fatal(method: str) -> None:
    toy = toy_with_four()

    def broken(*args: Any) -> NoReturn:
        raise KeyError("what nobody thought of")

    setattr(toy.stage, method, broken)
    with pytest.raises(Fatal, match="what nobody thought of"):
        toy.run()


def test_a_stage_that_fails_without_input_is_fatal() -> None:
    toy = Toy()
    toy.stage.due = lambda now: True  # type: ignore[method-assign]

    def broken(chunk: Chunk) -> NoReturn:
        raise ValueError("nothing to blame")

    toy.runner._hand_over = broken
    with pytest.raises(Fatal, match="nothing to blame"):
        toy.runner.step(timeout=0)


def test_an_output_too_large_condemns_the_record_that_made_it_and_no_other() -> None:
    toy = toy_with_four()
    transact = toy.log.transact

    def limited(outputs: Sequence[Output], offsets: Mapping[int, int], token: Any) -> Reached:
        for output in outputs:
            if output.topic == "validated" and output.key == b"b":
                raise TooLarge(output, "the broker said so")
        return transact(outputs, offsets, token)

    toy.log.transact = limited  # type: ignore[method-assign]
    toy.run()
    assert toy.answers() == ALL
    codes = {m["raw_offset"]: m["findings"][0]["code"] for m in toy.dead()}
    assert codes == {1: "UNPROCESSABLE", 2: "MALFORMED_CSV"}


@pytest.mark.parametrize("fault", ["abort", "lost-no", "lost-yes", "stale"])
def test_a_drain_in_doubt_loses_nothing_and_does_not_raise(fault: str) -> None:
    toy = toy_with_four()
    toy.run()
    stage_drain, drained = toy.stage.drain, []

    def drain(chunk: Chunk, ending: bool) -> Work:
        drained.append(ending)
        return Work([Output("sent", 0, b"k", b"v")], {0: 4})

    toy.stage.drain = drain  # type: ignore[method-assign]
    if fault == "stale":
        toy.broker.rebalance(toy.pipeline.group_id("validate"))
    else:
        faults(toy, fault)
    step = toy.runner.drain(ending=True)
    assert step.result == {"abort": "abort", "stale": "stale"}.get(fault, "indeterminate")
    toy.stage.drain = stage_drain  # type: ignore[method-assign]
    toy.run()
    assert toy.answers() == ALL


# ---- condemned messages ----------------------------------------------------------------------------


def test_a_message_that_makes_processing_raise_is_found_by_halving_and_its_neighbours_pass() -> None:
    toy = Toy()
    toy.publish(*[f"k{i} g 1" for i in range(20)], "boom", *[f"l{i} g 1" for i in range(20)])
    toy.run()
    assert toy.answers() == [(0, offset, 0) for offset in range(41)]
    assert [(m["raw_offset"], m["findings"][0]["code"]) for m in toy.dead()] == [(20, "UNPROCESSABLE")]
    assert toy.dead()[0]["original"] == b"boom"


def test_so_many_condemned_in_a_row_stop_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "CONDEMNED_IN_A_ROW", 5)
    toy = Toy()
    toy.publish(*["boom"] * 7)
    with pytest.raises(Fatal, match="5 messages in a row"):
        toy.run()
    assert len(toy.dead()) == 5


def test_condemned_messages_with_good_ones_between_do_not_stop_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "CONDEMNED_IN_A_ROW", 5)
    toy = Toy()
    toy.publish(*["boom", "a g 1"] * 7)
    toy.run()
    assert len(toy.dead()) == 7


def test_records_read_again_do_not_interrupt_a_row_of_condemned_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that reads a window again before each condemned message must be stopped as well."""
    monkeypatch.setattr(runner_module, "CONDEMNED_IN_A_ROW", 5)
    toy = Toy()
    toy.publish("a g 1", *["boom"] * 7)
    restore = toy.stage.restore

    def from_the_first(*args: Any) -> int:
        restore(*args)
        return 0  # as batch does while the first record lies in an open window

    toy.stage.restore = from_the_first  # type: ignore[method-assign, assignment]
    with pytest.raises(Fatal, match="5 messages in a row"):
        toy.run()


# ---- cuts ------------------------------------------------------------------------------------------


def test_after_a_cut_it_goes_on_where_the_stage_was_cut() -> None:
    toy = Toy(small_chunks(3))
    toy.publish(*[f"k{i} g 1" for i in range(10)], "\n".join(f"m{i} g 1" for i in range(10)), "z g 1")
    toy.run()
    assert toy.head()["counter"] > 3
    assert toy.answers() == sorted([(0, i, 0) for i in range(10)] + [(0, 10, i) for i in range(10)] + [(0, 11, 0)])


def test_the_position_after_a_cut_is_the_cut_not_the_end_of_what_was_fetched() -> None:
    toy = Toy(small_chunks(3))
    toy.publish(*[f"k{i} g 1" for i in range(10)])
    toy.runner.step(timeout=0)
    toy.runner.step(timeout=0)
    done = len(toy.answers())
    assert 0 < done < 10
    assert toy.runner.positions == {0: done}


# ---- gaps (TX3) ------------------------------------------------------------------------------------


def worked() -> Toy:
    """A toy that has committed four records, and its worker gone."""
    toy = toy_with_four()
    toy.run()
    toy.runner.close()
    return toy


def drop_head(toy: Toy) -> None:
    toy.broker.partitions("heads")[0].clear()


def drop_offset(toy: Toy) -> None:
    toy.broker._committed.clear()


def beyond_head(toy: Toy) -> None:
    toy.broker._committed[toy.pipeline.group_id("validate"), 0] = 99


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (drop_head, "there is no head"),
        (drop_offset, "no committed offset"),
        (beyond_head, "offset 99 is committed, the head was written with 4"),
    ],
)
def test_tx3_head_and_committed_offset_must_agree(damage: Callable[[Toy], None], words: str) -> None:
    toy = worked()
    damage(toy)
    toy.start()
    with pytest.raises(LogGap, match=words):
        toy.runner.step(timeout=0)


def test_tx3_another_topic_id_stops() -> None:
    toy = worked()
    toy.start()
    toy.log.topic_id = lambda topic: "made-anew"  # type: ignore[method-assign]
    with pytest.raises(LogGap, match="made-anew"):
        toy.runner.step(timeout=0)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(5, 9, "retention has passed it"), (0, 3, "was the topic recreated")],
)
def test_tx3_the_log_must_still_have_the_position(low: int, high: int, words: str) -> None:
    toy = worked()
    toy.start()
    toy.log.bounds = lambda partition: (low, high)  # type: ignore[method-assign]
    with pytest.raises(LogGap, match=words):
        toy.runner.step(timeout=0)


def test_tx3_a_log_that_starts_above_zero_on_the_first_read_stops() -> None:
    toy = Toy()
    toy.log.bounds = lambda partition: (2, 7)  # type: ignore[method-assign]
    with pytest.raises(LogGap, match="the log starts at 2"):
        toy.runner.step(timeout=0)


def test_a_new_partition_starts_at_its_beginning() -> None:
    toy = toy_with_four(broker=MemoryBroker(line_pipeline()))
    toy.runner.step(timeout=0)
    assert toy.runner.positions == {0: 0}


def test_tx3_what_another_member_commits_in_the_middle_of_a_rebuild_is_no_gap() -> None:
    """It was held up between the committed offset and the tables, and lost the partition without knowing it yet."""
    toy = toy_with_four()
    catch_up = toy.log.catch_up

    def held_up(*where: Any) -> None:
        toy.log.catch_up = catch_up  # type: ignore[method-assign]
        other = Toy(toy.pipeline, broker=toy.broker, slot=1)
        toy.broker.rebalance(toy.pipeline.group_id("validate"))  # the partition goes to the other
        other.run()
        toy.broker.leave(toy.pipeline.group_id("validate"), other.log._member)
        catch_up(*where)

    toy.log.catch_up = held_up  # type: ignore[method-assign, assignment]
    toy.run()
    assert toy.answers() == ALL


def test_c1_a_clock_that_is_set_back_or_put_ahead_moves_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits go by the time since the process began; what is stamped goes by the wall clock."""
    wall, since_boot = 1_800_000_000_000, 5_000
    monkeypatch.setattr(time, "time_ns", lambda: wall * 1_000_000)
    monkeypatch.setattr(time, "monotonic_ns", lambda: since_boot * 1_000_000)
    monkeypatch.setattr(runner_module, "_AHEAD", wall - since_boot)
    toy = Toy()
    seen: list[Chunk] = []
    runner = Runner(toy.log, toy.stage, toy.pipeline.chunk, hand_over=lambda chunk: _noted(toy, chunk, seen))
    for hours in (0, -1, 1):
        wall = 1_800_000_000_000 + hours * 3_600_000
        since_boot += 10
        toy.publish("a g 1")
        while len(seen) < since_boot // 10 - 500:
            runner.step(timeout=0)
    assert [chunk.now - seen[0].now for chunk in seen] == [0, 10, 20]
    assert [(chunk.observed_at - seen[0].observed_at) // 3_600_000 for chunk in seen] == [0, -1, 1]


def test_a_stage_rests_when_nothing_goes_on_and_nothing_becomes_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle stage turns every five seconds; it turns often where it could be late for something."""
    toy, waits = Toy(), list[float]()
    due_at = [10**9]
    fetch = toy.log.fetch

    def waited(records: int, size: int, linger: float, timeout: float, held: frozenset[int] = frozenset()) -> Fetched:
        waits.append(timeout)
        return fetch(records, size, linger, timeout, held)

    monkeypatch.setattr(toy.log, "fetch", waited)
    monkeypatch.setattr(toy.stage, "due", lambda now: now >= due_at[0])

    def wait(seconds: float) -> float:
        toy.now += int(seconds * 1000)
        toy.runner.step()
        return waits[-1]

    assert [wait(seconds) for seconds in (0, 1, 3, 4, 9)] == [0.2, 0.2, 0.2, 5.0, 5.0]
    toy.publish("a g 1")
    assert wait(0.5) == 5.0  # the message ends that wait
    assert [wait(seconds) for seconds in (0.5, 4, 1)] == [0.2, 0.2, 5.0]
    due_at = [toy.now + 5_500]
    assert [wait(seconds) for seconds in (0.1, 0.5, 0.8)] == [5.0, 0.2, 0.2]


def _noted(toy: Toy, chunk: Chunk, seen: list[Chunk]) -> Work:
    seen.append(chunk)
    return toy.stage.process(chunk)


def test_the_time_of_a_chunk_begins_with_its_messages_and_not_with_the_wait_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    toy, seconds = Toy(), [0.0]
    monkeypatch.setattr("streams.runtime.runner.time.perf_counter", lambda: seconds[0])
    fetch = toy.log.fetch

    def slow(*asked: Any) -> Fetched:
        seconds[0] += 60
        return fetch(*asked)

    def work(chunk: Chunk) -> Work:
        seconds[0] += 2
        return toy.stage.process(chunk)

    monkeypatch.setattr(toy.log, "fetch", slow)
    toy.publish("a g 1")
    steps = list[Step]()
    runner = Runner(toy.log, toy.stage, toy.pipeline.chunk, hand_over=work, observe=steps.append)
    while not any(step.messages for step in steps):
        runner.step(timeout=0)
    assert [step.seconds for step in steps if step.messages] == [2.0]
