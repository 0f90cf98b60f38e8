"""Lanes: whose turn it is, and the whole way in memory (ING-17)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.packs.cold_chain.sample import sample
from streams.delivery.bucket import RateTerms
from streams.delivery.protocol import Envelope, Outcome, OutcomeKind
from streams.dispatch.allowance import ASKED, Allowance
from streams.dispatch.attempts import PartnerTerms
from streams.driver import LanesDriver, TopologyDriver
from streams.lanes import WEIGHTS, Arbiter
from topology.load import load_pipeline
from topology.model import LANES, Lane, Pipeline

DELIVERED = Outcome(OutcomeKind.DELIVERED, "201", None)
ROUND = sum(WEIGHTS.values())


# ---- whose turn it is --------------------------------------------------------------------------------


def test_a_higher_lane_that_has_been_idle_goes_next() -> None:
    arbiter = Arbiter()
    for _ in range(1000):
        arbiter.took("low")
    assert arbiter.next(["low", "high"]) == "high"


@given(st.lists(st.sets(st.sampled_from(LANES), min_size=1), max_size=60))
def test_whatever_lanes_want_a_low_one_that_wants_a_round_long_gets_a_turn(wants: list[set[Lane]]) -> None:
    arbiter = Arbiter()
    for wanting in wants:
        arbiter.took(arbiter.next(wanting))
    turns = Counter[Lane]()
    for _ in range(2 * ROUND):
        turn = arbiter.next(LANES)
        arbiter.took(turn)
        turns[turn] += 1
    assert turns["low"] >= 1
    assert turns["high"] > turns["standard"] > turns["low"]


def test_lanes_that_always_want_get_what_they_weigh() -> None:
    arbiter, turns = Arbiter(), Counter[Lane]()
    for _ in range(10 * ROUND):
        turn = arbiter.next(LANES)
        arbiter.took(turn)
        turns[turn] += 1
    assert turns == {lane: 10 * weight for lane, weight in WEIGHTS.items()}


# ---- what a partner allows ---------------------------------------------------------------------------


def allowance(connections: int, interval: float = 0.0) -> Allowance:
    made = Allowance(PartnerTerms(connections=connections, rate=RateTerms(interval)))
    for lane in LANES:
        made.enter(lane)
    return made


def test_a_partner_has_one_limit_for_all_lanes_and_a_free_place_goes_to_the_higher_one() -> None:
    shared = allowance(connections=2)
    for _ in range(2):
        assert shared.free("low", 0)
        shared.begin("low")
    assert not shared.free("low", 0)
    assert not shared.free("high", 0)
    shared.end("low")
    assert not shared.free("low", 0)
    assert shared.free("high", 0)


def test_the_rate_is_one_for_all_lanes() -> None:
    shared = allowance(connections=10, interval=100.0)
    assert not shared.free("low", 0)
    assert shared.free("low", 100)
    shared.begin("low")
    assert not shared.free("high", 100)
    assert shared.free("high", 200)


def test_a_pause_that_one_lane_was_asked_for_holds_for_all() -> None:
    shared = allowance(connections=1)
    shared.put_off(500)
    assert not shared.free("high", 499)
    assert shared.free("high", 500)


@pytest.mark.parametrize("leave", [lambda shared: shared.rest("high"), lambda shared: None], ids=["rests", "is gone"])
def test_a_lane_that_wants_nothing_any_more_holds_nobody_up(leave: Any) -> None:
    shared = allowance(connections=1)
    shared.free("high", 0)
    assert not shared.free("low", 0)
    leave(shared)
    assert shared.free("low", ASKED + 1)


# ---- the whole way -----------------------------------------------------------------------------------


class OneAtATime:
    """A partner that answers an attempt when told to, and remembers which lane each came from."""

    def __init__(self) -> None:
        self.open: list[tuple[Lane, Envelope]] = []
        self.sent: list[Lane] = []
        self.answers: dict[Lane, list[tuple[Envelope, Outcome]]] = {lane: [] for lane in LANES}

    def answer(self) -> None:
        """Takes the attempt that is out."""
        ((lane, envelope),) = self.open
        self.open.clear()
        self.answers[lane].append((envelope, DELIVERED))


class OneLane:
    """What one lane's dispatch sees of it."""

    def __init__(self, partner: OneAtATime, lane: Lane) -> None:
        self._partner, self._lane = partner, lane

    def launch(self, effects: Sequence[Envelope]) -> None:
        self._partner.open += [(self._lane, envelope) for envelope in effects]
        self._partner.sent += [self._lane] * len(effects)

    def poll(self) -> list[tuple[Envelope, Outcome]]:
        answers, self._partner.answers[self._lane] = self._partner.answers[self._lane], []
        return answers

    def busy(self) -> bool:
        return bool(self._partner.answers[self._lane])


def laned(**batching: Any) -> Pipeline:
    """The shipped pipeline with three lanes and one partner that takes one batch at a time."""
    shipped = load_pipeline("cold-chain")
    clinic = shipped.partners["clinic-api"].model_copy(update={"connections": 1})
    changes = {
        "lanes": list(LANES),
        "partner": "clinic-api",
        "partners": {"clinic-api": clinic},
        "ordering": "none",
        "batching": shipped.batching.model_copy(update=batching),
    }
    return shipped.model_copy(update=changes)


def publish(driver: LanesDriver, lane: Lane, number: int) -> None:
    for key, value in sample(number):
        driver.lanes[lane].publish(key, value)


def test_a_high_record_behind_ten_thousand_low_ones_is_sent_next_and_every_low_one_is_sent() -> None:
    partner = OneAtATime()
    driver = LanesDriver(laned(max_records=100), exchange=lambda lane: OneLane(partner, lane))
    publish(driver, "low", 10_000)
    driver.run()
    driver.advance(60)  # idle windows are closed
    publish(driver, "high", 1)
    driver.run()
    driver.advance(60)
    waiting = len({message.value for message in driver.lanes["low"].messages("batched")})
    assert partner.sent == ["low"]
    assert waiting > 50
    while partner.open:
        partner.answer()
        driver.run()
    assert partner.sent[:2] == ["low", "high"]
    assert Counter(partner.sent) == {"low": waiting, "high": 1}
    answered = {lane: len(one.read("sent")) + len(one.read("dead-letter")) for lane, one in driver.lanes.items()}
    assert answered == {"high": 1, "standard": 0, "low": 10_000}


def test_lower_lanes_are_served_while_higher_ones_have_batches_waiting() -> None:
    partner = OneAtATime()
    driver = LanesDriver(laned(max_records=5), exchange=lambda lane: OneLane(partner, lane))
    publish(driver, "high", 280)
    publish(driver, "standard", 80)
    publish(driver, "low", 40)
    driver.finish()
    while partner.open:
        partner.answer()
        driver.run()
    rounds = Counter(partner.sent[: 3 * ROUND])
    assert {lane: round(rounds[lane] / 3) for lane in LANES} == WEIGHTS


def test_in_a_bounded_run_the_higher_lane_is_sent_first() -> None:
    partner = OneAtATime()
    driver = LanesDriver(laned(), exchange=lambda lane: OneLane(partner, lane))
    publish(driver, "low", 200)
    publish(driver, "high", 1)
    driver.finish()
    assert [lane for lane, _ in partner.open] == ["high"]


def test_duplicates_are_judged_within_a_lane() -> None:
    driver = LanesDriver(laned())
    for lane in ("high", "low", "low"):
        publish(driver, lane, 1)
    driver.finish()
    outcomes = {lane: [ack["outcome"] for ack in one.read("sent")] for lane, one in driver.lanes.items()}
    assert {lane: sorted(found) for lane, found in outcomes.items()} == {
        "high": ["delivered"], "standard": [], "low": ["delivered", "duplicate"],
    }  # fmt: skip


def test_a_pipeline_of_lanes_is_no_matter_for_one_driver() -> None:
    with pytest.raises(ValueError, match="LanesDriver"):
        TopologyDriver(laned())
