"""Splitting at the stage itself (DI4): a batch that a partner does not take whole goes on in halves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from audit.block import read_block
from schemas.canonical import sha256
from schemas.members import member_of
from schemas.messages import position_of
from streams.delivery.protocol import Envelope
from streams.dispatch.parts import find_part, part_id
from tests.streams.dispatch_desk import (
    NO_BREAKER,
    PASSPORT,
    Desk,
    batch_id,
    batched_again,
    outcome,
    pipeline,
    record,
)
from topology.partner import HttpPartner

HOUR = 3600.0


def names(envelope: Envelope) -> list[str]:
    """The keys of the records that an attempt carries."""
    return [one["key"] for one in json.loads(envelope.body)["records"]]


def manifest_id(records: list[dict[str, Any]]) -> bytes:
    """BA7, written down once more."""
    members = [{"digest": one["digest"].hex(), "raw": list(position_of(one))} for one in records]
    whole = {"date": "2026-03-01", "group": "g", "partition": 1, "pipeline": "plain", "records": members}
    return sha256(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode())


class Partner:
    """Takes so many records at a time, and never those that are poison."""

    def __init__(self, most: int = 100, poison: tuple[str, ...] = ()) -> None:
        self.most, self.poison = most, set(poison)
        self.took: dict[bytes, list[str]] = {}

    def says(self, envelope: Envelope) -> str:
        keys = names(envelope)
        if envelope.batch_id in self.took:
            return "delivered"
        if len(keys) > self.most:
            return "too_large"
        if self.poison & set(keys):
            return "invalid"
        self.took[envelope.batch_id] = keys
        return "delivered"


def settle(desk: Desk, partner: Partner, restart: bool = False) -> Iterator[Envelope]:
    """Answers attempts until there are none; with `restart` a new process takes over between an answer and the next
    attempt."""
    answered = 0
    while answered < len(desk.sent):
        envelope = desk.sent[answered]
        answered += 1
        desk.stage.draining = restart
        desk.answer(partner.says(envelope), envelope)
        yield envelope
        if restart:
            desk.start()
            desk.turn()


def answers(desk: Desk) -> dict[str, str]:
    """What became of each record; fails if one has two answers."""
    found = [(ack["key"], "sent") for ack in desk.said("sent")]
    found += [(letter["key"], letter["findings"][0]["code"]) for letter in desk.said("dead-letter")]
    assert len(dict(found)) == len(found), "two answers"
    return dict(found)


def test_413_halves_a_batch_under_ids_of_their_own_until_it_fits() -> None:
    desk, partner = Desk(), Partner(most=2)
    desk.batch("a", size=5)
    sent = [names(envelope) for envelope in settle(desk, partner)]
    assert sent == [["a0", "a1", "a2", "a3", "a4"], ["a0", "a1"], ["a2", "a3", "a4"], ["a2"], ["a3", "a4"]]
    assert answers(desk) == {f"a{n}": "sent" for n in range(5)}
    records = [record(f"a{n}", n) for n in range(5)]
    assert list(partner.took) == [manifest_id(records[:2]), manifest_id(records[2:3]), manifest_id(records[3:])]
    assert {ack["batch_id"] for ack in desk.said("sent")} == set(partner.took)
    row = desk.row_of(manifest_id(records[3:]))
    assert (row["parent"], row["first"], row["count"]) == (manifest_id(records[2:]), 3, 2)
    assert desk.row("a")["state"] == "split"


def test_a_split_and_its_halves_are_one_transaction_that_comes_before_they_are_sent() -> None:
    desk = Desk()
    desk.batch("a", size=2)
    work = desk.answer("too_large")
    rows = [output.key for output in work.outputs if output.topic == "delivery"]
    left, right = (manifest_id([record(f"a{n}", n)]) for n in range(2))
    assert rows == [batch_id("a"), left, right], "the parent's row stands first"
    assert [envelope.batch_id for envelope in work.effects] == [left]
    assert [desk.row_of(one)["state"] for one in (left, right)] == ["in_flight", "pending"]
    assert answers(desk) == {}


def test_a_split_that_did_not_commit_sends_nothing_and_what_was_in_flight_is_unknown() -> None:
    desk = Desk()
    desk.batch("a", size=2)
    desk.turn(answers=[(desk.sent[-1], outcome("too_large"))], commit=False)
    desk.restore()
    desk.turn()
    assert [envelope.batch_id for envelope in desk.sent] == [batch_id("a")] * 2


@pytest.mark.parametrize("kind", ["too_large", "invalid"])
def test_di2_a_batch_that_may_have_taken_effect_is_not_split(kind: str) -> None:
    desk = Desk()
    desk.batch("a", size=2)
    desk.answer("unknown")
    desk.wait(10)
    desk.answer(kind)
    assert answers(desk) == {"a0": "OUTCOME_UNKNOWN", "a1": "OUTCOME_UNKNOWN"}
    assert desk.row("a")["state"] == "dead"


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("acks", ["record", "batch"])
def test_400_finds_the_poison_record_and_delivers_the_others(restart: bool, acks: str) -> None:
    desk, partner = Desk(acks=acks), Partner(poison=("a2", "a6"))
    desk.batch("a", size=8)
    attempts = sum(1 for _ in settle(desk, partner, restart))
    if acks == "record":
        assert answers(desk) == {
            f"a{n}": "PARTNER_REFUSED" if n in (2, 6) else "sent" for n in range(8)
        }  # fmt: skip
    assert sorted(key for keys in partner.took.values() for key in keys) == ["a0", "a1", "a3", "a4", "a5", "a7"]
    assert [message["key"] for message in desk.said("validated", "release")] == ["a2", "a6"]
    assert attempts == 11


def test_a_restart_between_any_two_steps_finds_the_same_halves() -> None:
    def run(restart: bool) -> tuple[list[tuple[bytes, bytes]], dict[str, str]]:
        desk, partner = Desk(), Partner(most=2, poison=("a3",))
        desk.batch("a", size=7)
        return [(one.batch_id, one.body) for one in settle(desk, partner, restart)], answers(desk)

    assert run(True) == run(False)
    assert run(False)[1] == {f"a{n}": "sent" for n in range(7)} | {"a3": "PARTNER_REFUSED"}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_every_part_of_a_batch_is_found_by_its_id_and_nothing_else_is(size: int) -> None:
    records = [member_of(record(f"a{n}", n)) for n in range(size)]
    whole = {"batch_id": batch_id("a"), "pipeline": "plain", "partition": 1, "group": "g", "date": "2026-03-01"}

    def tree(first: int, count: int) -> Iterator[tuple[int, int]]:
        yield first, count
        if count > 1:
            yield from tree(first, count // 2)
            yield from tree(first + count // 2, count - count // 2)

    parts = list(tree(0, size))[1:]
    for first in range(size):
        for count in range(1, size - first + 1):
            found = find_part(whole, records, part_id(whole, records[first : first + count]))
            assert (found is not None) == ((first, count) in parts)
            assert found is None or (found.first, found.count) == (first, count)
    assert find_part(whole, records, batch_id("a")) == (batch_id("a"), None, 0, size)


def test_a_record_too_large_by_itself_dies_with_what_the_partner_said() -> None:
    desk = Desk()
    desk.batch("a", size=2)
    desk.answer("too_large")
    desk.answer("too_large", answer="413 at most 1 kB")
    desk.answer("delivered")
    assert answers(desk) == {"a0": "PARTNER_TOO_LARGE", "a1": "sent"}
    (letter,) = desk.said("dead-letter")
    assert (letter["answer"], letter["attempts"], letter["outcome_unknown"]) == ("413 at most 1 kB", 1, False)
    assert letter["batch_id"] == manifest_id([record("a0", 0)])


def test_order_halves_come_before_the_next_batch_of_their_group_and_hold_no_other() -> None:
    desk = Desk()
    desk.batch("a", size=2)
    desk.batch("b")
    desk.batch("c", group="h")
    first = desk.sent[0]
    desk.answer("too_large", first)
    assert [names(envelope) for envelope in desk.sent[1:]] == [["c0"], ["a0"]]
    desk.answer("delivered", desk.sent[1])
    desk.answer("failed", desk.sent[2])
    desk.start()  # the left half waits; the right one and the next batch wait for it
    desk.wait(10)
    assert names(desk.sent[-1]) == ["a0"]
    desk.answer("delivered")
    desk.start()
    desk.turn()
    assert names(desk.sent[-1]) == ["a1"]
    desk.answer("delivered")
    assert names(desk.sent[-1]) == ["b0"]


def test_without_ordering_both_halves_are_sent_at_once() -> None:
    desk = Desk(ordering="none")
    desk.batch("a", size=2)
    desk.answer("too_large")
    assert [names(envelope) for envelope in desk.sent] == [["a0", "a1"], ["a0"], ["a1"]]


def test_what_a_partner_sees_of_a_half() -> None:
    desk = Desk(partner="clinic")
    desk.batch("a", size=3, partner="clinic")
    desk.answer("too_large")
    half = desk.sent[-1]
    body = json.loads(half.body)
    assert half.idempotency_key == half.batch_id.hex() == body["batch_digest"]
    assert (half.metadata["parent"], half.metadata["record_count"]) == (batch_id("a").hex(), "1")
    assert (body["record_count"], body["summary"]) == (1, {"records": 1})
    assert "parent" not in desk.sent[0].metadata


def test_di6_a_half_that_died_lives_again_and_the_split_batch_does_not() -> None:
    desk = Desk()
    desk.batch("a", size=2)
    desk.answer("too_large")
    left = desk.sent[-1].batch_id
    desk.answer("refused")
    desk.answer("delivered")
    desk.read(batched_again(batch_id("a"), 0, 2))
    desk.read(batched_again(left, 0, 2))
    assert [(envelope.batch_id, envelope.life) for envelope in desk.sent[3:]] == [(left, 2)]
    desk.answer("delivered")
    assert [(ack["key"], ack["passport"]) for ack in desk.said("sent")] == [("a1", None), ("a0", PASSPORT)]


def test_di6_a_half_whose_row_is_gone_by_age_is_found_in_its_batch_and_counts_as_unknown() -> None:
    desk = Desk()
    desk.batch("a", size=3)
    desk.answer("too_large")
    desk.answer("delivered")
    right = desk.sent[-1].batch_id
    desk.answer("refused")
    desk.tables["delivery"].clear()
    desk.start()
    desk.read(batched_again(right, 0, 2))
    assert names(desk.sent[-1]) == ["a1", "a2"]
    row = desk.row_of(right)
    assert (row["parent"], row["first"], row["unknown"]) == (batch_id("a"), 1, True)
    desk.answer("too_large")
    assert [letter["findings"][0]["code"] for letter in desk.said("dead-letter")][2:] == ["OUTCOME_UNKNOWN"] * 2


def test_a_half_of_another_life_carries_its_passport() -> None:
    desk = Desk()
    desk.batch("a", size=2)
    desk.answer("refused")
    desk.read(batched_again(batch_id("a"), 0, 2))
    desk.answer("too_large")
    assert desk.sent[-1].life == 2
    desk.answer("delivered")
    assert [ack["passport"] for ack in desk.said("sent")] == [PASSPORT]


def test_ba9_halves_of_a_retained_batch_end_their_own_retains() -> None:
    desk = Desk(keep=4 * HOUR)
    desk.batch("a", size=2)
    desk.answer("paused", retry_after=3 * HOUR)
    desk.wait(3 * HOUR)
    desk.answer("too_large")
    desk.answer("delivered")
    desk.answer("delivered")
    said = [(one["begin"], [key["key"] for key in one["keys"]]) for one in desk.said("validated", "retain")]
    assert said == [(True, ["a0", "a1"]), (False, ["a0"]), (False, ["a1"])]


def test_the_row_of_a_split_batch_goes_after_those_of_its_halves() -> None:
    desk = Desk(keep=4 * HOUR)
    desk.batch("a", size=2)
    desk.answer("too_large")
    desk.answer("paused", retry_after=3 * HOUR)
    desk.wait(3 * HOUR)
    desk.answer("delivered")
    desk.answer("delivered")
    desk.start()
    desk.wait(1.5 * HOUR)
    assert batch_id("a") in desk.tables["delivery"], "its own time is over, its halves' is not"
    desk.wait(3 * HOUR)
    desk.wait(0)
    assert desk.tables["delivery"] == {}


def test_the_audit_tells_the_split_and_its_halves() -> None:
    desk = Desk()
    desk.batch("a", size=2)
    desk.answer("too_large")
    blocks = [read_block(output.value) for output in desk.outputs if output.topic == "audit" and output.value]
    entries = [(e.action, e.code, e.raw_offset, e.digest) for block in blocks for e in block.entries]
    left, right = (manifest_id([record(f"a{n}", n)]) for n in range(2))
    assert entries == [
        ("ATTEMPT", "1.1", 0, batch_id("a")), ("BATCH", "split", 0, batch_id("a")), ("BATCH", "half", 0, left),
        ("BATCH", "half", 1, right), ("ATTEMPT", "1.1", 0, left),
    ]  # fmt: skip


def test_after_a_restart_the_records_of_halves_are_read_again_by_the_position_of_their_batch() -> None:
    desk = Desk()
    desk.batch("a", size=4)
    desk.answer("too_large")
    desk.fetched.clear()
    desk.start()
    desk.turn()
    assert names(desk.sent[-1]) == ["a0", "a1"]
    assert desk.fetched == [0]


# ---- what the partner says beforehand ------------------------------------------------------------------


def limited(**limits: Any) -> Desk:
    """A desk whose partner has limits."""
    partners = {"lake": HttpPartner(kind="http", url="http://lake", breaker=NO_BREAKER, **limits)}
    return Desk(partners=partners)


def test_bat07_a_batch_of_more_records_than_the_partner_takes_is_split_before_it_is_sent() -> None:
    desk = limited(max_records=2)
    desk.batch("a", size=5)
    desk.batch("b", size=2)
    sent = [names(envelope) for envelope in settle(desk, Partner(most=2))]
    assert sent == [["a0", "a1"], ["a2"], ["a3", "a4"], ["b0", "b1"]]
    assert set(answers(desk).values()) == {"sent"}
    assert desk.row("a")["answer"] == "not sent: 5 records, the partner takes 2"
    assert desk.row("a")["attempt"] == 0


def test_bat07_a_body_of_more_bytes_than_the_partner_takes_is_split_and_a_record_alone_dies_unsent() -> None:
    one = limited()
    one.batch("a", size=1)
    desk = limited(max_bytes=len(one.sent[0].body))
    desk.batch("a", size=2)
    desk.batch("b" * 100, group="h")
    assert [names(envelope) for envelope in settle(desk, Partner())] == [["a0"], ["a1"]]
    assert answers(desk) == {"a0": "sent", "a1": "sent", "b" * 100 + "0": "PARTNER_TOO_LARGE"}
    (letter,) = desk.said("dead-letter")
    assert letter["answer"].startswith("not sent: ")
    assert (letter["attempts"], letter["outcome_unknown"]) == (0, False)


def test_di2_a_batch_that_may_have_taken_effect_is_sent_again_whole_whatever_the_limit() -> None:
    desk = limited()
    desk.batch("a", size=2)
    desk.answer("unknown")
    desk.pipeline = pipeline({"lake": HttpPartner(kind="http", url="http://lake", max_records=1)})
    desk.start()
    desk.wait(10)
    assert [names(envelope) for envelope in desk.sent] == [["a0", "a1"]] * 2
