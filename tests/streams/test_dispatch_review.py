"""What an object store does not take for good lies on `review` as well, for people to look at (RTY-11)."""

from __future__ import annotations

import pytest

from streams.stage import Output
from tests.streams.dispatch_desk import CODEC, PASSPORT, Desk, batch_id, batched_again, said


def values(outputs: list[Output], topic: str) -> list[bytes | None]:
    return [output.value for output in outputs if output.topic == topic]


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        (["failed"] * 3, "RETRIES_EXHAUSTED"),
        (["unknown"] * 4, "OUTCOME_UNKNOWN"),
        (["refused"], "PARTNER_REFUSED"),
        (["conflict"], "STORED_OBJECT_DIFFERS"),
    ],
)
def test_rty11_each_record_a_store_did_not_take_has_a_second_dead_letter_in_the_same_transaction(
    kinds: list[str], code: str
) -> None:
    desk = Desk()
    desk.batch("a", size=2)
    for kind in kinds:
        assert desk.said("review") == [], "not before the store has failed for good"
        work = desk.answer(kind, answer="the disk is full")
        desk.wait(60)
    letters = [output for output in work.outputs if output.topic == "dead-letter"]
    seconds = [output for output in work.outputs if output.topic == "review"]
    assert [(one.partition, one.key) for one in seconds] == [(one.partition, one.key) for one in letters]
    assert [said([one], "review")[0]["dead_letter"] for one in seconds] == [one.value for one in letters]
    assert {(one["why"], one["attempts"]) for one in said(seconds, "review")} == {
        (f"{code}: lake: the disk is full", len(kinds))
    }
    kind, letter = CODEC.decode(said(seconds, "review")[0]["dead_letter"])
    assert (kind, letter["key"], letter["partner"], letter["original"]) == (
        "dead_letter",
        "a0",
        "lake",
        b'{"key":"a0"}',
    )
    assert len(values(desk.outputs, "dead-letter")) == len(values(desk.outputs, "review")) == 2


def test_rty11_what_another_kind_of_partner_refused_or_a_store_took_is_not_for_review() -> None:
    desk = Desk()
    desk.batch("a", partner="clinic")
    desk.answer("refused")
    desk.batch("b")
    desk.answer("delivered")
    assert len(desk.said("dead-letter")) == 1
    assert desk.said("review") == []


def test_rty11_a_batch_that_is_no_longer_what_it_was_is_our_fault_and_not_the_stores() -> None:
    desk = Desk()
    desk.batch("a")
    desk.answer("failed")
    desk.log.clear()  # its frozen body is gone
    desk.wait(10)
    assert desk.said("review") == []


def test_rty11_each_life_that_ends_at_the_store_is_one_more_review() -> None:
    desk = Desk()
    desk.batch("a")
    desk.answer("refused")
    desk.read(batched_again(batch_id("a"), 0, 2))
    desk.answer("refused")
    lives = [CODEC.decode(one["dead_letter"])[1]["passport"] for one in desk.said("review")]
    assert lives == [None, PASSPORT]
