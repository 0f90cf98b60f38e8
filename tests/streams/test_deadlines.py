"""The total deadline of a batch (`deadline`): what waits is ended at that time, whatever it waits for; what is out is
decided when it ends; and the clock runs through restarts, splits and pauses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from schemas.codec import MARKER, parsed_schema, schema_fingerprint, written
from tests.streams.dispatch_desk import NO_BREAKER, START, Desk, batch_id, batched_again
from topology.partner import BreakerSettings, HttpPartner, ObjectStorePartner, Rate

DEADLINE = 600.0
"""Seconds."""
END = START + 600_000


def desk(retry: dict[str, Any] | None = None, **partner: Any) -> Desk:
    """Two partners, of which the clinic gives a batch ten minutes; retries without end unless told otherwise."""
    declared: dict[str, Any] = {"connections": 2, "breaker": NO_BREAKER, "deadline": DEADLINE, **partner}
    partners = {
        "clinic": HttpPartner(kind="http", url="http://clinic", **declared),
        "lake": HttpPartner(kind="http", url="http://lake", breaker=NO_BREAKER),
    }
    retries = {"backoff": "packets", "attempts": 100, "unknown_attempts": 1000, **(retry or {})}
    return Desk(partners=partners, retry=retries)


def letters(one: Desk) -> list[tuple[str, bool, int]]:
    """Code, whether the outcome is unknown, and attempts of each dead letter."""
    return [
        (letter["findings"][0]["code"], letter["outcome_unknown"], letter["attempts"])
        for letter in one.said("dead-letter")
    ]


def words(one: Desk) -> str:
    return str(one.said("dead-letter")[-1]["findings"][0]["message"])


def released(one: Desk) -> list[str]:
    return [release["key"] for release in one.said("validated", "release")]


def until(one: Desk, at: int) -> None:
    """Time goes on in steps in which the runner looks; every attempt fails at once."""
    answered = 0
    while one.now < at:
        one.now = min(at, one.now + 500)
        if one.stage.due(one.now):
            one.turn()
        while answered < len(one.sent):
            answered += 1
            if one.row_of(one.sent[answered - 1].batch_id)["state"] == "in_flight":
                one.answer("failed", one.sent[answered - 1], answer="503 closed")


# ---- what waits --------------------------------------------------------------------------------------


def after_a_failure(one: Desk) -> None:
    one.batch("a", partner="clinic")
    one.answer("failed", after=599_500)  # and waits for a second at least


def after_a_request_for_patience(one: Desk) -> None:
    one.batch("a", partner="clinic")
    one.answer("paused", retry_after=3_600.0)


def after_a_refusal_of_us(one: Desk) -> None:
    one.batch("a", partner="clinic")
    one.answer("stopped", after=570_000)


def paused_by_command(one: Desk) -> None:
    one.stage.pause({"clinic"})
    one.batch("a", partner="clinic")


def before_the_control_topic_was_read(one: Desk) -> None:
    one.stage.may_send = False
    one.batch("a", partner="clinic")


def behind_another_of_its_group(one: Desk) -> None:
    one.batch("in-flight", partner="clinic")
    one.now += 1
    one.batch("a", partner="clinic")
    one.now -= 1


@pytest.mark.parametrize(
    ("wait", "counted"),
    [
        (after_a_failure, 1),
        (after_a_request_for_patience, 0),
        (after_a_refusal_of_us, 0),
        (paused_by_command, 0),
        (before_the_control_topic_was_read, 0),
        (behind_another_of_its_group, 0),
    ],
)
def test_what_waits_is_ended_at_its_deadline_and_not_at_its_next_attempt(
    wait: Callable[[Desk], None], counted: int
) -> None:
    one = desk()
    wait(one)
    sent, begun = len(one.sent), one.row("a")["begun_at"]
    one.now = begun + 599_999
    assert not one.stage.due(one.now) or one.turn().empty
    one.now += 1
    assert one.stage.due(one.now), "the runner is told that the time has come"
    one.turn()
    assert letters(one) == [("DEADLINE_EXCEEDED", False, counted)]
    assert (one.row("a")["state"], released(one), len(one.sent)) == ("dead", ["a0"], sent)


def test_an_outage_spares_attempts_and_no_time() -> None:
    one = desk(breaker=BreakerSettings())
    one.batch("a", group="1", partner="clinic")
    one.batch("b", group="2", partner="clinic")
    until(one, END - 500)
    assert letters(one) == []
    until(one, END)
    assert [code for code, _, _ in letters(one)] == ["DEADLINE_EXCEEDED"] * 2
    assert not one.stage.deliveries.unsettled
    assert next(view.state for view in one.stage.partners(one.now) if view.partner == "clinic") in ("open", "half-open")


def test_the_dead_letter_says_how_long_how_often_and_what_came_last() -> None:
    one = desk()
    one.batch("a", partner="clinic")
    until(one, END)
    (letter,) = one.said("dead-letter")
    attempts = len(one.sent)
    assert attempts > 10
    assert words(one) == (
        f"no final answer 600 s after its delivery began; attempts: {attempts}, last outcome: 503 closed"
    )
    assert (letter["attempts"], letter["answer"]) == (attempts, "503 closed")
    assert (letter["error_class"], letter["reason"]) == ("RECOVERABLE_TIMEOUT", "transient_failure")


def test_a_batch_that_was_never_attempted_says_so() -> None:
    one = desk(rate=Rate(attempts=1, per=3_600.0))
    one.batch("a", partner="clinic")
    one.wait(DEADLINE)
    assert one.sent == []
    assert words(one) == "no final answer 600 s after its delivery began; attempts: 0, last outcome: none"


def test_di2_one_unknown_attempt_makes_it_unknown_and_frees_no_key() -> None:
    one = desk()
    one.batch("a", partner="clinic")
    one.answer("unknown", answer="500")
    one.wait(60)
    one.answer("failed", after=520_000, answer="503 closed")
    one.now = END
    one.turn()
    assert letters(one) == [("OUTCOME_UNKNOWN", True, 2)]
    assert released(one) == []
    assert "600 s" in words(one)


def test_used_up_attempts_end_a_batch_before_its_deadline() -> None:
    one = desk(retry={"attempts": 2})
    one.batch("a", partner="clinic")
    until(one, END)
    assert letters(one) == [("RETRIES_EXHAUSTED", False, 2)]


def test_without_a_deadline_a_batch_waits_as_before() -> None:
    one = desk(deadline=None)
    one.batch("a", partner="clinic")
    one.answer("paused", retry_after=3_600.0)
    one.wait(3_599)
    assert (letters(one), one.row("a")["state"]) == ([], "pending")
    one.wait(1)
    assert len(one.sent) == 2


def test_rty11_an_object_store_has_its_second_dead_letter() -> None:
    store = ObjectStorePartner(kind="object-store", url="file:x", breaker=NO_BREAKER, deadline=DEADLINE)
    one = Desk(partners={"lake": store}, retry={"attempts": 100})
    one.batch("a")
    until(one, END)
    assert [letter["why"].partition(":")[0] for letter in one.said("review")] == ["DEADLINE_EXCEEDED"]


# ---- what is out -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("failed", [("DEADLINE_EXCEEDED", False, 1)] * 2),
        ("unknown", [("OUTCOME_UNKNOWN", True, 1)] * 2),
        ("paused", [("DEADLINE_EXCEEDED", False, 0)] * 2),
        ("stopped", [("DEADLINE_EXCEEDED", False, 0)] * 2),
        ("refused", [("PARTNER_REFUSED", False, 1)] * 2),
        ("too_large", [("DEADLINE_EXCEEDED", False, 1)] * 2),
        ("invalid", [("DEADLINE_EXCEEDED", False, 1)] * 2),
        ("delivered", []),
    ],
)
def test_an_attempt_in_flight_is_decided_when_it_ends(kind: str, wanted: list[tuple[str, bool, int]]) -> None:
    one = desk()
    one.batch("a", size=2, partner="clinic")
    one.now = END
    if one.stage.due(one.now):
        assert one.turn().empty
    one.answer(kind, after=10_000)
    assert letters(one) == wanted
    assert len(one.said("sent")) == (2 if kind == "delivered" else 0)
    assert (len(one.sent), one.stage.deliveries.unsettled) == (1, 0)


def test_order_is_kept_where_one_behind_the_head_is_given_up() -> None:
    one = desk()
    one.batch("first", partner="clinic")
    one.batch("second", partner="clinic")
    one.now += 1_000
    one.batch("third", partner="clinic")
    one.now = END
    one.turn()
    assert [letter["key"] for letter in one.said("dead-letter")] == ["second0"]
    assert len(one.sent) == 1, "the head is out still"
    one.answer("delivered")
    assert [envelope.batch_id for envelope in one.sent] == [batch_id("first"), batch_id("third")]


# ---- restarts, lives, parts --------------------------------------------------------------------------


def test_rty12_the_clock_runs_through_restarts() -> None:
    one = desk()
    one.batch("a", partner="clinic")
    one.answer("paused", retry_after=3_600.0)
    for _ in range(3):
        one.now += 150_000
        one.start()
        one.turn()
    assert letters(one) == []
    one.now = END
    one.start()
    one.turn()
    assert letters(one) == [("DEADLINE_EXCEEDED", False, 0)]


def test_di2_one_that_was_in_flight_when_its_worker_ended_is_unknown() -> None:
    one = desk()
    one.batch("a", partner="clinic")
    one.now = END
    one.start()
    one.turn()
    assert (letters(one), len(one.sent)) == ([("OUTCOME_UNKNOWN", True, 1)], 1)
    assert words(one).endswith("last outcome: in flight when its worker ended")


def test_a_replay_is_a_new_life_with_a_deadline_of_its_own() -> None:
    one = desk()
    one.batch("a", partner="clinic")
    one.answer("paused", retry_after=3_600.0)
    one.wait(DEADLINE)
    one.wait(DEADLINE / 2)
    again = one.now
    one.read(batched_again(batch_id("a"), 0, 2, partner="clinic"))
    assert one.row("a")["begun_at"] == again
    one.start()
    one.now = again + 599_999
    one.turn()
    assert len(letters(one)) == 1
    one.now += 1
    one.turn()
    assert [code for code, _, _ in letters(one)] == ["DEADLINE_EXCEEDED"] * 2


def test_halves_have_no_more_time_than_the_batch_they_are_of() -> None:
    one = desk()
    one.batch("a", size=2, partner="clinic")
    one.answer("too_large", after=400_000)
    one.answer("failed", after=199_900)  # and waits for a second at least
    one.now = END - 1
    one.start()
    one.turn()
    assert letters(one) == []
    one.now = END
    one.turn()
    assert letters(one) == [("DEADLINE_EXCEEDED", False, 1), ("DEADLINE_EXCEEDED", False, 0)]
    assert released(one) == ["a0", "a1"]


def test_c1_a_row_of_a_clock_that_was_ahead_has_begun_by_ours() -> None:
    one = desk()
    one.batch("a", partner="clinic")
    one.answer("paused", retry_after=3_600.0)
    one.now -= 7 * 86_400_000
    restarted = one.now
    one.start()
    one.now = restarted + 599_999
    one.turn()
    assert letters(one) == []
    one.now += 1
    one.turn()
    assert len(letters(one)) == 1


@pytest.mark.parametrize(("attempted", "begun"), [(0, START - 60_000), (START + 5_000, START + 5_000)])
def test_a_row_of_the_version_before_has_begun_with_its_last_attempt_or_its_first_record(
    attempted: int, begun: int
) -> None:
    one = desk()
    one.stage.pause({"clinic"})
    one.batch("a", partner="clinic", recorded_at=START - 60_000)
    row = one.row("a") | {"last_attempt_at": attempted}
    header = MARKER + schema_fingerprint("delivery-3")
    one.tables["delivery"][batch_id("a")] = written("delivery-3", header, parsed_schema("delivery-3"), row)
    one.now = START + 10_000
    one.start()
    one.stage.pause({"clinic"})
    one.now = begun + 599_999
    one.turn()
    assert letters(one) == []
    one.now += 1
    one.turn()
    assert len(letters(one)) == 1


# ---- many --------------------------------------------------------------------------------------------


def test_many_that_are_overdue_at_once_end_a_few_at_a_time_and_none_is_attempted() -> None:
    one = desk(breaker=BreakerSettings(), connections=1000)
    one.stage.pause({"clinic"})
    for n in range(100):
        one.batch(f"b{n}", group=f"g{n}", partner="clinic")
    one.now = END
    one.start()  # and the pause is forgotten with the process
    turns = 0
    while one.stage.due(one.now):
        one.turn()
        turns += 1
    assert (one.sent, len(letters(one))) == ([], 100)
    assert 3 <= turns <= 5


def test_what_a_turn_gives_up_is_bounded_by_records() -> None:
    """A transaction of all of it would outlast its time-out, be redone, and never get past."""
    one = desk()
    one.stage.pause({"clinic"})
    for n in range(4):
        one.batch(f"b{n}-", 1_500, group=f"g{n}", partner="clinic")
    one.now = END
    ended = []
    while one.stage.due(one.now):
        one.turn()
        ended.append(len(letters(one)))
    assert [letters for letters in ended if letters] == [3_000, 6_000]


def test_the_clock_that_steps_back_while_an_attempt_is_out_leaves_it_its_end() -> None:
    one = desk()
    one.batch("a", partner="clinic")
    one.now = END + 1
    one.turn()
    one.now = END - 60_000
    one.answer("paused", retry_after=3_600.0)
    assert letters(one) == []
    one.wait(120)
    assert len(letters(one)) == 1


def test_the_dead_leave_the_line_of_a_partner_that_is_down() -> None:
    one = desk()
    one.stage.pause({"clinic"})
    for n in range(10):
        one.batch(f"b{n}", group=f"g{n}", partner="clinic")
    one.wait(DEADLINE)
    (gate,) = one.stage.deliveries.gates
    assert (len(gate.ready), len(gate.waiting)) == (0, 0)


def test_who_watches_is_told_how_much_time_is_left() -> None:
    one = desk()
    one.batch("a", group="1", partner="clinic")
    one.batch("other", group="2", partner="lake")
    one.now += 100_000
    one.batch("b", group="3", partner="clinic")
    one.now += 100_000
    left = {view.partner: view.time_left for view in one.stage.partners(one.now)}
    assert left == {"clinic": 400_000, "lake": None}
    one.answer("delivered", one.sent[0])
    one.answer("delivered", one.sent[2])
    left = {view.partner: view.time_left for view in one.stage.partners(one.now)}
    assert left == {"clinic": 600_000, "lake": None}
