"""Law 1 as the books see it: every record received has one answer or is in flight, and what is broken is named."""

from __future__ import annotations

from typing import Any

import pytest

from waybill.books import Books, Half, Progress, Tally
from waybill.commands.reconcile import sums
from waybill.moments import Window

RAW, VALIDATED, BATCHED = "p.raw", "app.p.validated", "app.p.batched"
BATCH = bytes([7]) * 32
PASSPORT = {"reason": "fixed", "approver": "qa", "attempt": 1, "original_position": f"{RAW}/0/0/0"}


def record(offset: int, index: int = 0, **more: Any) -> dict[str, Any]:
    """The fields every message about a record has."""
    position = {"raw_topic": RAW, "raw_incarnation": 0, "raw_partition": 0, "raw_offset": offset, "raw_index": index}
    return {**position, "count": 1, "passport": None, "batch_id": None, "recorded_at": 1000 * offset, **more}


class World:
    """A log to be filled by hand; `balance` reads it in the order the books ask for. The broker took in submission n
    at n seconds."""

    def __init__(self, raw: int = 0) -> None:
        self.raw = raw
        self.window: Window | None = None
        self.dead: list[dict[str, Any]] = []
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.validated: list[tuple[str, dict[str, Any]]] = []
        self.batches: list[tuple[bytes, list[dict[str, Any]]]] = []
        self.again: list[dict[str, Any]] = []
        self.read_by: dict[str, int | None] = {"validate": None, "batch": None, "dispatch": None}
        self.processed = -1
        self.settled: dict[bytes, str] = {}
        self.halves: dict[bytes, list[Half]] = {}
        self.trimmed = False

    def validate(self, *records: dict[str, Any]) -> None:
        self.validated += [("validated", item) for item in records]

    def ack(self, offset: int, index: int = 0, **more: Any) -> None:
        self.sent.append(("sent", record(offset, index, outcome="delivered", duplicate_of=None, **more)))

    def duplicate(self, offset: int, of: dict[str, Any] | None) -> None:
        self.sent.append(("sent", record(offset, outcome="duplicate", duplicate_of=of)))

    def refuse(self, offset: int, index: int = 0, stage: str = "validate", **more: Any) -> None:
        self.dead.append(record(offset, index, stage=stage, **more))

    def balance(self) -> Tally:
        by = {stage: {0: offset} for stage, offset in self.read_by.items()}
        progress = Progress(by["validate"], by["batch"], {0: self.processed}, by["dispatch"], self.settled, self.halves)
        books = Books("p", RAW, VALIDATED, BATCHED, progress, self.window)
        for letter in self.dead:
            books.dead_letter(letter)
        for name, message in self.sent:
            books.sent(name, message)
        for offset, (name, message) in enumerate(self.validated):
            books.validated(0, offset, name, message)
        if books.needs_batches:
            for offset, (batch_id, members) in enumerate(self.batches):
                books.batched(0, offset, batch_id, members)
            for message in self.again:
                books.batched_again(message)
        for offset in range(self.raw):
            books.raw(0, offset, 1000 * offset)
        return books.balance(complete=not self.trimmed)


def done(raw: int) -> World:
    """A log whose stages have read everything."""
    world = World(raw)
    world.read_by = {"validate": raw, "batch": 10**6, "dispatch": 10**6}
    world.processed = 10**6
    return world


def problem(tally: Tally) -> str:
    """The only problem."""
    assert not tally.holds
    (found,) = tally.problems
    return f"{found.id}: {found.what}"


def test_every_kind_of_answer_is_counted_and_the_sum_holds() -> None:
    world = done(4)
    world.validate(record(0), record(1), record(2))
    world.ack(0)
    world.duplicate(1, record(0))
    world.refuse(2, stage="dispatch")
    world.refuse(3)
    tally = world.balance()
    assert str(tally) == "conservation: received=4 acknowledged=1 dead=2 duplicate=1 in-flight=0"
    assert tally.holds


def test_an_empty_log_holds() -> None:
    assert str(World().balance()) == "conservation: received=0 acknowledged=0 dead=0 duplicate=0 in-flight=0"


def test_what_no_stage_has_read_yet_is_in_flight_by_submission() -> None:
    world = World(2)
    world.read_by["validate"] = 1
    world.refuse(0)
    tally = world.balance()
    assert (tally.received, tally.in_flight, tally.holds) == (2, 1, True)
    assert [item.id for item in tally.flying] == [f"{RAW}/0/1"]


def test_a_submission_that_spans_chunks_is_in_flight_for_what_is_left() -> None:
    world = World(1)
    world.read_by["validate"] = 0
    world.validate(record(0, 0, count=5), record(0, 1, count=5))
    tally = world.balance()
    assert (tally.received, tally.in_flight, tally.holds) == (5, 5, True)


@pytest.mark.parametrize("state", [None, "pending", "in_flight"])
def test_a_record_in_an_unsettled_batch_is_in_flight_and_says_where(state: str | None) -> None:
    world = done(1)
    world.validate(record(0))
    world.batches.append((BATCH, [record(0)]))
    world.read_by["dispatch"] = 0
    world.settled = {BATCH: state} if state else {}
    tally = world.balance()
    assert tally.holds
    (flying,) = tally.flying
    assert flying.id == f"{RAW}/0/0/0"
    assert BATCH.hex() in flying.what


LEFT, RIGHT = b"l" * 32, b"r" * 32


@pytest.mark.parametrize("state", ["pending", "in_flight"])
def test_a_record_in_an_unsettled_part_of_a_split_batch_is_in_flight_and_says_where(state: str) -> None:
    world = split("sent", state)
    (flying,) = world.balance().flying
    assert flying.id == f"{RAW}/0/2/0"
    assert RIGHT.hex() in flying.what


@pytest.mark.parametrize("states", [("sent", "sent"), ("sent", "dead"), ("sent",), ("split", "split")])
def test_a_record_of_a_split_batch_whose_part_is_settled_without_an_answer_is_lost(states: tuple[str, ...]) -> None:
    assert "has no answer" in problem(split(*states).balance())


def split(*states: str) -> World:
    """Three records in a batch that was split; the first is answered, and the second, and the third is not."""
    world = done(3)
    world.validate(*map(record, range(3)))
    world.batches.append((BATCH, [record(n) for n in range(3)]))
    world.ack(0)
    world.refuse(1, stage="dispatch")
    world.settled = {BATCH: "split"} | dict(zip((LEFT, RIGHT), states, strict=False))
    halves = [Half(LEFT, 0, 1), Half(RIGHT, 1, 2)]
    world.halves = {BATCH: halves[: len(states)]}
    return world


def test_a_record_in_an_open_window_is_in_flight() -> None:
    world = done(1)
    world.read_by["batch"] = 0
    world.validate(record(0))
    tally = world.balance()
    assert (tally.in_flight, tally.holds) == (1, True)
    assert "window" in tally.flying[0].what


def test_a_submission_that_validate_read_and_nobody_answered_is_lost() -> None:
    assert problem(done(1).balance()) == f"{RAW}/0/0: was read by validate, and no record of it is there"


def test_a_record_missing_inside_a_submission_is_lost() -> None:
    world = done(1)
    world.refuse(0, 0, count=2)
    assert problem(world.balance()) == f"{RAW}/0/0: 1 records missing"


def test_a_record_that_batch_passed_without_a_batch_or_answer_is_lost() -> None:
    world = done(1)
    world.validate(record(0))
    assert "is in no batch" in problem(world.balance())


@pytest.mark.parametrize("state", ["sent", "dead", None])
def test_a_record_of_a_settled_batch_without_an_answer_is_lost(state: str | None) -> None:
    world = done(1)
    world.validate(record(0))
    world.batches.append((BATCH, [record(0)]))
    world.settled = {BATCH: state} if state else {}  # None: the row was tidied away long after it was settled
    assert "has no answer" in problem(world.balance())


def test_two_answers_are_one_too_many() -> None:
    world = done(1)
    world.validate(record(0))
    world.ack(0)
    world.refuse(0, stage="dispatch")
    assert problem(world.balance()) == f"{RAW}/0/0/0: has two answers: dead-lettered and acknowledged"


def test_the_same_answer_twice_is_one_too_many() -> None:
    world = done(1)
    world.validate(record(0))
    world.ack(0)
    world.ack(0)
    assert "two answers" in problem(world.balance())


def test_an_answer_without_a_record_is_named() -> None:
    world = done(0)
    world.ack(3)
    assert problem(world.balance()) == f"{RAW}/0/3/0: was acknowledged, and was never received"


def test_an_answer_whose_record_was_trimmed_from_the_log_is_no_fault() -> None:
    world = done(0)
    world.ack(3)
    world.trimmed = True
    assert world.balance().holds


def test_a_duplicate_must_be_of_a_record_that_was_received() -> None:
    world = done(1)
    world.validate(record(0))
    world.duplicate(0, record(99))
    assert "duplicate, but not of a record" in problem(world.balance())


def test_a_record_that_validate_wrote_twice_is_received_once() -> None:
    world = done(1)
    world.validate(record(0), record(0))
    world.ack(0)
    tally = world.balance()
    assert (tally.received, tally.holds) == (1, True)


def test_a_batch_ack_answers_each_of_its_records() -> None:
    world = done(2)
    world.validate(record(0), record(1))
    world.sent.append(("sent_batch", {"batch_id": BATCH, "records": [record(0), record(1)]}))
    assert str(world.balance()).endswith("received=2 acknowledged=2 dead=0 duplicate=0 in-flight=0")
    world.refuse(1, stage="dispatch")
    assert "two answers" in problem(world.balance())


def replayed() -> World:
    """Record 0 died in a batch, which was admitted to another life."""
    world = done(1)
    world.refuse(0, stage="dispatch", batch_id=BATCH)
    world.validate(record(0))
    world.validated.append(("replay", {"batch_id": BATCH, "passport": PASSPORT, "records": [record(0)]}))
    world.again.append({"batch_id": BATCH, "passport": PASSPORT})
    return world


def test_a_replayed_batch_is_in_flight_until_its_new_life_is_answered() -> None:
    world = replayed()
    tally = world.balance()
    assert (tally.received, tally.dead, tally.in_flight, tally.holds) == (1, 0, 1, True)
    world.ack(0, batch_id=BATCH, passport=PASSPORT)
    tally = world.balance()
    assert str(tally) == "conservation: received=1 acknowledged=1 dead=0 duplicate=0 in-flight=0"
    assert tally.holds


def test_a_replay_that_was_refused_leaves_the_dead_letter_as_the_answer() -> None:
    world = replayed()
    world.again.clear()
    tally = world.balance()
    assert (tally.dead, tally.in_flight, tally.holds) == (1, 0, True)


def test_a_replayed_record_counts_once_under_the_outcome_of_its_last_life() -> None:
    world = done(2)
    world.refuse(0)
    world.validate(record(1, passport=PASSPORT))
    world.ack(1, passport=PASSPORT)
    tally = world.balance()
    assert str(tally) == "conservation: received=1 acknowledged=1 dead=0 duplicate=0 in-flight=0"
    assert tally.holds


def test_answers_of_several_lives_may_be_read_in_any_order() -> None:
    world = done(2)
    world.refuse(1, passport=PASSPORT)  # from another partition of the topic, so it is met first
    world.refuse(0)
    tally = world.balance()
    assert (tally.received, tally.dead, tally.holds) == (1, 1, True)
    world.ack(1, passport=PASSPORT)
    assert "two answers" in problem(world.balance()), "both are of the last life"


def test_a_message_that_could_not_be_worked_is_its_records_dead_letter() -> None:
    world = done(2)
    world.validate(record(0), record(1))
    world.dead.append({**record(0, stage="batch"), "raw_topic": VALIDATED})
    world.dead.append({**record(0, stage="dispatch"), "raw_topic": BATCHED})
    world.batches.append((BATCH, [record(1)]))
    tally = world.balance()
    assert (tally.received, tally.dead, tally.in_flight, tally.holds) == (2, 2, 0, True)


def test_a_window_holds_the_records_that_the_broker_took_in_within_it() -> None:
    world = done(5)
    world.validate(*(record(offset) for offset in range(4)))
    world.ack(0)
    world.duplicate(1, record(0))
    world.refuse(2, stage="dispatch")
    world.ack(3)
    world.refuse(4)
    assert (world.balance().outside, world.balance().received) == (0, 5)
    world.window = Window(1000, 4000)
    tally = world.balance()
    assert str(tally) == "conservation: received=3 acknowledged=1 dead=1 duplicate=1 in-flight=0"
    assert (tally.holds, tally.outside) == (True, 2)
    for window, received in ((Window(4000, None), 1), (Window(4001, None), 0), (Window(1000, 1001), 1)):
        world.window = window
        tally = world.balance()
        assert (tally.received, tally.outside, tally.holds) == (received, 5 - received, True)


def test_what_is_in_flight_or_lost_outside_the_window_is_not_the_windows() -> None:
    world = World(4)
    world.read_by = {"validate": 3, "batch": 10**6, "dispatch": 10**6}
    world.processed = 10**6
    world.validate(record(0), record(1))  # both lost by batch; 2 is lost by validate, 3 is not validated yet
    for second, expected in ((0, "is in no batch"), (1, "is in no batch"), (2, "was read by validate")):
        world.window = Window(1000 * second, 1000 * (second + 1))
        tally = world.balance()
        (found,) = tally.problems
        assert (found.id.split("/")[2], tally.received, tally.in_flight) == (str(second), 1, 0)
        assert expected in found.what
    world.window = Window(3000, None)
    tally = world.balance()
    assert (tally.received, tally.in_flight, tally.holds, tally.outside) == (1, 1, True, 3)
    assert [item.id for item in tally.flying] == [f"{RAW}/0/3"]


def test_a_second_answer_counts_for_the_window_of_its_record_wherever_it_lies() -> None:
    world = done(2)
    world.validate(record(0), record(1))
    world.ack(0)
    world.ack(1)
    world.refuse(1, stage="dispatch")
    world.window = Window(0, 1000)
    assert world.balance().holds
    world.window = Window(1000, 2000)
    assert problem(world.balance()) == f"{RAW}/0/1/0: has two answers: dead-lettered and acknowledged"


def test_a_replayed_record_belongs_to_the_window_of_its_first_life() -> None:
    world = done(2)
    world.refuse(0)
    world.validate(record(1, passport=PASSPORT))
    world.ack(1, passport=PASSPORT)
    for window, counts in ((Window(0, 1000), "received=1 acknowledged=1"), (Window(1000, None), "received=0 ackn")):
        world.window = window
        tally = world.balance()
        assert counts in str(tally)
        assert tally.holds


def test_an_answer_whose_record_has_no_known_time_is_in_every_window() -> None:
    world = done(0)
    world.sent.append(("sent_batch", {"batch_id": BATCH, "records": [record(3)]}))
    world.window = Window(0, 1)
    assert "was never received" in problem(world.balance())


def test_a_record_in_an_open_window_of_batch_is_in_flight_in_its_own_span_alone() -> None:
    world = done(2)
    world.read_by["batch"] = 0
    world.validate(record(0), record(1))
    world.window = Window(1000, None)
    tally = world.balance()
    assert (tally.received, tally.in_flight, tally.outside, tally.holds) == (1, 1, 1, True)
    assert [item.id for item in tally.flying] == [f"{RAW}/0/1/0"]


def test_an_ack_without_a_record_belongs_where_the_ack_says_it_was_taken_in() -> None:
    world = done(0)
    world.ack(3)
    world.window = Window(0, 3000)
    assert world.balance().holds
    world.window = Window(3000, None)
    assert "was never received" in problem(world.balance())


def test_several_pipelines_have_a_line_each_before_the_sum() -> None:
    one, other = Tally("one", received=3, acknowledged=2, dead=1), Tally("other", received=1, duplicate=1)
    assert sums([one, other]) == [
        "one: conservation: received=3 acknowledged=2 dead=1 duplicate=0 in-flight=0",
        "other: conservation: received=1 acknowledged=0 dead=0 duplicate=1 in-flight=0",
        "conservation: received=4 acknowledged=2 dead=1 duplicate=1 in-flight=0",
    ]
    assert sums([one]) == ["conservation: received=3 acknowledged=2 dead=1 duplicate=0 in-flight=0"]
