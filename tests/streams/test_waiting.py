"""Records that wait for what must come before them (ADR 22): random histories with crashes, lost commits, rebalances,
releases and replays, judged by `waiting_world`; one example for each promise; and each rule seen to matter."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

from schemas.canonical import RawPosition
from schemas.errors import OUT_OF_RANGE, TOO_MANY_WAITING
from streams.batch import waiting
from streams.batch.items import Case, Items, Returned
from streams.batch.precedence import Precedence
from streams.batch.waiting import Wait, Waiting
from streams.runtime.log import LogGap
from streams.stage import Message, Output, Work
from tests.streams.batch_world import CODEC, GARBLED, failures
from tests.streams.things_world import OnDisk
from tests.streams.waiting_world import WaitingDesk, WaitingWorld
from topology.sections import ItemHistory

HISTORIES = 250


def test_no_history_breaks_a_rule_of_waiting() -> None:
    broken = failures(range(HISTORIES), WaitingWorld)
    assert not broken, "\n".join([f"{len(broken)} of {HISTORIES} histories:", *broken[:10]])


def test_the_histories_reach_what_they_are_for() -> None:
    seen: dict[str, int] = {}
    for seed in range(60):
        world = WaitingWorld(seed)
        world.run()
        for kind, number in world.reached.items():
            seen[kind] = seen.get(kind, 0) + number
    for kind in ("waits", "behind", "called", "over"):
        assert seen.get(f"RETAIN {kind}", 0) > 20, seen
    assert {"ADMIT ", f"REJECT {OUT_OF_RANGE}", "DUPLICATE ", "RELEASE "} <= seen.keys()


class WaitingOnDisk(OnDisk, WaitingWorld):
    """The same, in RocksDB."""


def test_histories_with_tables_on_disk(tmp_path: Path) -> None:
    WaitingOnDisk.folders = (tmp_path / str(number) for number in count())
    broken = failures([seed for seed in range(60) if WaitingWorld(seed).partitions == 1][:12], WaitingOnDisk)
    assert not broken, broken


# ---- what breaks without a rule --------------------------------------------------------------------

Off = Callable[[pytest.MonkeyPatch], None]


def nobody_behind(patch: pytest.MonkeyPatch) -> None:
    """Later records about the same things overtake."""
    patch.setattr(Waiting, "before", lambda self, touches, offset: [])


def own_things_only(patch: pytest.MonkeyPatch) -> None:
    """Whoever stands behind others is not about their things, and so does not stand behind whom they stand behind."""
    behind = Precedence.behind
    patch.setattr(Precedence, "held", lambda self, at: any(one.still for one in self._places[at].below))
    patch.setattr(Precedence, "behind", lambda self, at: islice(behind(self, at), 1))


def seen_before(patch: pytest.MonkeyPatch) -> None:
    """What comes back is taken for what validate wrote twice (BA4)."""
    patch.setattr(Items, "returned", lambda self, work, message, raw: None)


def at_once(patch: pytest.MonkeyPatch) -> None:
    """Its row goes when it is called, and not when it is read: what comes before it meanwhile overtakes."""
    called = Waiting.called

    def gone(self: Waiting, work: Work, wait: Wait) -> None:
        called(self, work, wait)
        self._order.leave(wait.offset)
        self._order.enter(wait.offset, frozenset(), frozenset(), still=False)

    patch.setattr(Waiting, "called", gone)


def forgotten(patch: pytest.MonkeyPatch) -> None:
    """A new owner does not look into the table."""
    patch.setattr(Waiting, "__init__", lambda self, *of: _init(self, *of[:-1], _NoRows()))


def for_ever(patch: pytest.MonkeyPatch) -> None:
    """No wait is ever over."""
    patch.setattr(Waiting, "overdue", lambda self, stream_time, now: None)


def too_early(patch: pytest.MonkeyPatch) -> None:
    """A wait is over as soon as somebody looks."""
    patch.setattr(Waiting, "overdue", lambda self, stream_time, now: next(iter(self.lacking()), None))


def never_called(patch: pytest.MonkeyPatch) -> None:
    """Only time ends a wait."""
    patch.setattr(Items, "passed", lambda self, work: None)


def new_place(patch: pytest.MonkeyPatch) -> None:
    """Whoever waits again stands at the end."""
    judge = Items.judge

    def moved(self: Items, work: Work, case: Case) -> Any:
        if case.returned is not None:
            case.returned.wait.offset = case.message.offset
        return judge(self, work, case)

    patch.setattr(Items, "judge", moved)


def twice(patch: pytest.MonkeyPatch) -> None:
    """The row of what came back stays."""

    def stays(self: Items, work: Work, message: Message, raw: RawPosition) -> Returned | None:
        there = len(work.outputs)
        found = _returned(self, work, message, raw)
        del work.outputs[there : there + 1]
        return found

    patch.setattr(Items, "returned", stays)


def old_offset(patch: pytest.MonkeyPatch) -> None:
    """It is written where it lay, so to say: not at all, and admitted where it came first."""
    patch.setattr(Items, "_call", _admit_in_place)


def restart(patch: pytest.MonkeyPatch) -> None:
    """A new owner takes all of what is lacking for lacking still."""
    from streams.batch.items import _row_key

    def all_of_it(self: Items, wait: Wait) -> set[bytes]:
        return {_row_key(self._domain(wait.key).value, key) for key in wait.lacks}

    patch.setattr(Items, "_left", all_of_it)


_init: Any = Waiting.__init__
_returned = Items.returned


def _admit_in_place(self: Items, work: Work, wait: Wait, why: str) -> None:
    self._progress.note("RETAIN", why, wait.raw, wait.digest)
    self.waiting.lack(wait, set())
    self.waiting.leave(work, wait, wait.offset)


class _NoRows:
    def items(self) -> list[tuple[bytes, bytes]]:
        return []


OFF: dict[str, Off] = {
    off.__name__: off
    for off in (
        nobody_behind, own_things_only, seen_before, at_once, forgotten, for_ever, too_early, never_called, new_place,
        twice, old_offset, restart,
    )
}  # fmt: skip


@pytest.mark.parametrize("rule", OFF)
def test_without_the_rule_some_history_breaks_a_law(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    OFF[rule](monkeypatch)
    for seed in range(HISTORIES):
        if broken := failures([seed], WaitingWorld):
            print(f"without {rule}, {broken[0]}")
            return
    pytest.fail(f"{HISTORIES} histories went well without {rule}: the rule does nothing, or the judge is blind")


# ---- examples --------------------------------------------------------------------------------------


def test_an_early_record_waits_and_passes_behind_what_it_lacked() -> None:
    d = WaitingDesk()
    d.tell_of("use a")
    d.run()
    assert (d.told(), d.stage.waits) == (["RETAIN waits 0"], {0: 1})
    assert d.committed == d.lot.progress.processed_through + 1, "the committed offset waits too"
    d.tell_of("make a")
    d.run()
    assert d.told() == ["RETAIN waits 0", "ADMIT 1", "RETAIN called 0", "ADMIT 0"]
    assert (d.stage.waits, d.table("waiting"), d.letters()) == ({0: 0}, {}, [])
    d.runner.drain(ending=True)
    assert d.offsets() == [[1, 0]]


@pytest.mark.parametrize("way", ["stream", "wall"])
def test_a_wait_that_is_over_is_a_dead_letter_that_says_how_long_it_was(way: str) -> None:
    d = WaitingDesk()
    d.tell_of("use a", at=100)
    d.run()
    if way == "stream":
        d.tell_of("make b", at=109.999)
        d.run()
        assert d.letters() == []
        d.tell_of("make c", at=110)
    else:
        d.wall += 19_999
        assert not d.stage.due(d.wall)
        d.wall += 1
    d.run()
    d.run()
    (letter,) = d.letters()
    assert (letter["raw_offset"], letter["stage"], letter["original"]) == (0, "batch", b"")
    assert [f["message"] for f in letter["findings"]] == ["it is not there; it waited 10 s for that"]
    assert [entry for entry in d.told() if entry.endswith(" 0")] == [
        "RETAIN waits 0", "RETAIN over 0", "REJECT OUT_OF_RANGE 0",
    ]  # fmt: skip
    assert d.table("waiting") == {}


def test_a_stop_longer_than_the_wait_ends_none_before_what_was_published_meanwhile_is_read() -> None:
    d = WaitingDesk()
    d.tell_of("use a", at=100)
    d.run()
    d.wall += 600_000
    d.start()
    d.run()
    assert d.letters() == []
    d.tell_of("make a", at=105)
    d.run()
    assert (d.letters(), d.told()[-1]) == ([], "ADMIT 0")
    d.tell_of("use b", at=106)
    d.run()
    d.wall += 20_000
    d.run()
    assert len(d.letters()) == 1, "the clock counts again"


@pytest.mark.parametrize("ahead", [1_000_000_000, -1_000_000_000])
@pytest.mark.parametrize("wait", [10, 2, 0])
def test_a_wait_ends_by_the_clock_of_the_new_owner_whatever_that_of_the_first_said(ahead: int, wait: int) -> None:
    """And as late as it was told at first, also where `wait` was made shorter or taken away."""
    d = WaitingDesk()
    d.wall = ahead
    d.tell_of("use a")
    d.run()
    d.wall = 0
    d.pipeline = d.pipeline.model_copy(update={"items": ItemHistory(domain="k", wait=wait)})
    d.start()
    d.run()
    d.wall += 19_999
    assert not d.stage.due(d.wall)
    d.wall += 1
    assert d.stage.due(d.wall)
    d.run()
    assert d.told() == ["RETAIN waits 0", "RETAIN over 0", "REJECT OUT_OF_RANGE 0"]


def test_a_wait_that_is_over_ends_also_behind_a_longer_one() -> None:
    """`wait` was made shorter."""
    d = WaitingDesk()
    d.tell_of("use a", at=100)
    d.run()
    d.pipeline = d.pipeline.model_copy(update={"items": ItemHistory(domain="k", wait=2)})
    d.start()
    d.tell_of("use c", at=101)
    d.tell_of("make d", at=103)
    d.run()
    assert d.told()[-4:] == ["RETAIN waits 1", "RETAIN over 1", "ADMIT 2", "REJECT OUT_OF_RANGE 1"]
    assert d.stage.waits == {0: 1}


def test_later_records_about_the_same_things_stand_behind_it_and_keep_their_order() -> None:
    d = WaitingDesk()
    for facts in ("make b", "use a b", "end b", "use b c", "use d"):
        d.tell_of(facts)
    d.tell_of("make c")
    d.run()
    assert d.told() == [
        "ADMIT 0", "RETAIN waits 1", "RETAIN behind 2", "RETAIN behind 3", "RETAIN waits 4", "ADMIT 5",
    ]  # fmt: skip
    d.tell_of("make a")
    d.run()
    assert d.told()[6:] == [
        "ADMIT 6", "RETAIN called 1", "RETAIN called 2", "RETAIN called 3", "ADMIT 1", "ADMIT 2",
        "REJECT OUT_OF_RANGE 3",
    ]  # fmt: skip


@pytest.mark.parametrize("restarted", [False, True])
def test_who_stood_behind_a_record_is_about_its_things_after_it_went(restarted: bool) -> None:
    d = WaitingDesk()
    for facts in ("use a c", "use d", "use a d", "make a", "make c"):
        d.tell_of(facts)
    d.run()
    assert d.told()[-2:] == ["RETAIN called 0", "ADMIT 0"]
    if restarted:
        d.start()
    d.tell_of("use c")
    d.run()
    assert d.told()[-1] == "RETAIN behind 5", "the third may be about c, too: it stood behind the first"
    d.tell_of("make d")
    d.run()
    assert d.told()[-3:] == ["ADMIT 1", "ADMIT 2", "ADMIT 5"]
    assert d.table("waiting") == {}


def test_a_repeat_of_a_record_that_waits_is_a_duplicate_once_that_is_admitted() -> None:
    d = WaitingDesk()
    first = d.tell_of("use a", "one")
    d.tell_of("use a", "one")
    d.run()
    assert not d.broker.all("sent")
    d.tell_of("make a")
    d.run()
    (ack,) = [CODEC.decode(m.value or b"")[1] for m in d.broker.all("sent")]
    assert (ack["outcome"], ack["raw_offset"], ack["duplicate_of"]["raw_offset"]) == ("duplicate", 1, first.offset)


def test_a_repeat_of_a_record_whose_wait_was_for_nothing_waits_itself() -> None:
    d = WaitingDesk()
    d.tell_of("use a", "one", at=100)
    d.tell_of("use a", "one", at=105)
    d.tell_of("make b", at=110)
    d.run()
    assert [letter["raw_offset"] for letter in d.letters()] == [0]
    d.tell_of("make a", at=111)
    d.run()
    assert d.told()[-1] == "ADMIT 1"


def test_who_waits_is_known_to_the_next_worker() -> None:
    d = WaitingDesk()
    for facts in ("use a b", "use a", "make a"):
        d.tell_of(facts)
        d.run()
        d.start()
    d.run()
    assert d.stage.waits == {0: 2}
    d.tell_of("make b")
    d.run()
    d.start()
    d.run()
    assert d.told()[3:] == ["ADMIT 3", "RETAIN called 0", "RETAIN called 1", "ADMIT 0", "ADMIT 1"]


def test_what_was_made_and_died_before_the_wait_was_over_is_waited_for_again() -> None:
    d = WaitingDesk()
    d.tell_of("use a b")
    made = d.tell_of("make a", "made")
    d.run()
    d.release(made, "made")
    d.tell_of("make b")
    d.run()
    assert d.told() == ["RETAIN waits 0", "ADMIT 1", "RELEASE 1", "ADMIT 2"]
    d.tell_of("make a")
    d.run()
    assert d.told()[-1] == "ADMIT 0"


def test_where_no_more_may_wait_a_record_is_refused_and_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MOST_RECORDS", 1)
    d = WaitingDesk()
    d.tell_of("use a")
    d.tell_of("use b")
    d.tell_of("use a")
    d.run()
    codes = [[finding["code"] for finding in letter["findings"]] for letter in d.letters()]
    assert codes == [[OUT_OF_RANGE, TOO_MANY_WAITING], [TOO_MANY_WAITING]]
    assert d.letters()[1]["reason"] == "transient_failure"
    assert "1 records of its partition wait already" in d.letters()[1]["findings"][0]["message"]
    d.tell_of("make a")
    d.run()
    assert d.told()[-1] == "ADMIT 0"


@pytest.mark.parametrize("bound", ["LARGEST", "MOST_BYTES"])
def test_bytes_bound_who_waits_too(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, bound, 6000)
    d = WaitingDesk()
    d.tell_of("use a")
    d.tell_of("use b", size=8000)
    d.run()
    assert [letter["raw_offset"] for letter in d.letters()] == [1]
    assert d.stage.waits == {0: 1}


def test_without_wait_an_early_record_is_refused_at_once_and_those_that_wait_go_on() -> None:
    """The setting was taken away while a record waited."""
    d = WaitingDesk()
    d.tell_of("use a")
    d.run()
    d.pipeline = d.pipeline.model_copy(update={"items": ItemHistory(domain="k")})
    d.start()
    d.tell_of("use b")
    d.tell_of("make a")
    d.run()
    assert d.told() == ["RETAIN waits 0", "REJECT OUT_OF_RANGE 1", "ADMIT 2", "RETAIN called 0", "ADMIT 0"]


def test_a_record_that_cannot_be_worked_when_it_comes_back_waits_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    d = WaitingDesk()
    d.tell_of("use a")
    d.run()
    judge = Items.judge

    def raises(self: Items, work: Work, case: Case) -> Any:
        if case.returned is not None and case.raw.offset == 0:
            raise ValueError("at this one")
        return judge(self, work, case)

    monkeypatch.setattr(Items, "judge", raises)
    d.tell_of("make a")
    d.tell_of("use a")
    d.run()
    assert (d.stage.waits, d.table("waiting")) == ({0: 0}, {})
    (letter,) = d.letters()
    assert letter["raw_topic"] == d.pipeline.topic("validated")
    assert "ADMIT 2" in d.told()


def test_a_row_that_cannot_be_read_ends_the_stage() -> None:
    d = WaitingDesk()
    d.broker.append("waiting", 0, b"raw/0/0/0", GARBLED[0])
    with pytest.raises(LogGap, match=r"waiting.*cannot be read"):
        d.run()


def test_a_message_that_says_it_waited_where_nobody_does_is_one_that_was_seen_before() -> None:
    d = WaitingDesk()
    d.tell_of("use a")
    d.tell_of("make a")
    d.run()
    before = d.told()
    for message in d.broker.all("validated")[:]:
        d.broker.append("validated", 0, message.key, message.value, message.headers)
    d.run()
    assert d.told() == before


def test_an_output_of_a_called_record_keeps_bytes_and_facts() -> None:
    d = WaitingDesk()
    d.tell_of("use a")
    d.tell_of("make a")
    d.run()
    first, _, back = d.broker.all("validated")
    assert (back.key, back.value) == (first.key, first.value)
    assert back.headers == (*first.headers, ("waybill-waited", b"called raw/0/0/0"))
    assert isinstance(Output("validated", 0, back.key, back.value, back.headers), Output)
