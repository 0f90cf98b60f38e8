"""A partner as a whole: outages that cost no batch its attempts, pauses, alarms, rates; kept over restarts (DI7)."""

from __future__ import annotations

from typing import Any

import pytest

from streams.delivery.protocol import Kept, Outcome, OutcomeKind
from streams.dispatch.agent import PARTNER_KEY
from tests.streams.dispatch_desk import CODEC, Desk, batch_id
from topology.partner import BreakerSettings, HttpPartner, Rate


def desk(**changes: Any) -> Desk:
    """Two partners with breakers as they are by default; three attempts."""
    declared = {"breaker": BreakerSettings(), **changes.pop("partner", {})}
    partners = {
        name: HttpPartner(kind="http", url=f"http://{name}", connections=changes.pop("connections", 2), **declared)
        for name in ("clinic", "lake")
    }
    retry = {"backoff": "inventory", "attempts": 3, "unknown_attempts": 4, **changes.pop("retry", {})}
    return Desk(partners=partners, retry=retry, **changes)


def codes(one: Desk) -> list[str]:
    return [letter["findings"][0]["code"] for letter in one.said("dead-letter")]


def standing(one: Desk, partner: str = "clinic") -> dict[str, Any] | None:
    value = one.tables["delivery"].get(PARTNER_KEY + partner.encode())
    return CODEC.decode(value)[1] if value else None


def state(one: Desk, partner: str = "clinic") -> str:
    return next(view.state for view in one.stage.partners(one.now) if view.partner == partner)


def outage(one: Desk, kind: str, seconds: float) -> None:
    """Every attempt fails for so long."""
    until = one.now + int(seconds * 1000)
    answered = 0
    while one.now < until:
        for envelope in one.sent[answered:]:
            one.answer(kind, envelope)
        answered = len(one.sent)
        one.wait(0.5)
    for envelope in one.sent[answered:]:
        one.answer(kind, envelope)


@pytest.mark.parametrize("kind", ["failed", "unknown"])
@pytest.mark.parametrize("batches", [1, 2, 20])
@pytest.mark.parametrize("seconds", [4, 600])
def test_an_outage_of_a_partner_uses_up_no_attempt_of_any_batch(kind: str, batches: int, seconds: float) -> None:
    one = desk()
    for n in range(batches):
        one.batch(f"b{n}", group=f"g{n}", partner="clinic")
    outage(one, kind, seconds)
    assert codes(one) == []
    assert len(one.sent) <= 20 + 6 + seconds / 20, "one probe at a time, and ever fewer of them"
    one.wait(60)
    for _ in range(200):
        for envelope in {e.batch_id: e for e in one.sent}.values():
            if one.row_of(envelope.batch_id)["state"] == "in_flight":
                one.answer("delivered", envelope)
        one.wait(1)
    assert (len(one.said("sent")), codes(one)) == (batches, [])
    assert (state(one), standing(one)) == ("closed", None)


def test_an_outage_is_over_with_the_first_good_answer_and_what_fails_then_counts() -> None:
    one = desk()
    one.batch("a", group="1", partner="clinic")
    outage(one, "failed", 10)
    assert one.row("a")["budget_used"] == 0
    assert one.row("a")["spared"] == one.row("a")["attempt"] > 3
    for n in range(3):
        one.batch(f"good{n}", group="2", partner="clinic")
        one.wait(40)
        for envelope in one.sent[-2:]:
            if one.row_of(envelope.batch_id)["state"] == "in_flight":
                one.answer("failed" if envelope.batch_id == batch_id("a") else "delivered", envelope)
    one.wait(60)
    assert len(one.said("sent")) >= 2
    assert one.row("a")["budget_used"] >= 1 or codes(one) == ["RETRIES_EXHAUSTED"]


def test_a_batch_that_breaks_its_partner_does_not_stand_before_the_others() -> None:
    one = desk(connections=1)
    one.batch("poison", group="1", partner="clinic")
    outage(one, "unknown", 30)
    for n in range(5):
        one.batch(f"good{n}", group=f"g{n}", partner="clinic")
    for _ in range(300):
        one.wait(1)
        envelope = one.sent[-1]
        if one.row_of(envelope.batch_id)["state"] == "in_flight":
            one.answer("unknown" if envelope.batch_id == batch_id("poison") else "delivered", envelope)
    assert len(one.said("sent")) == 5
    assert codes(one) in ([], ["OUTCOME_UNKNOWN"])


def test_one_partners_outage_is_nothing_to_another() -> None:
    one = desk()
    one.batch("a", partner="clinic")
    outage(one, "failed", 10)
    one.batch("b", group="2", partner="lake")
    assert one.sent[-1].partner == "lake"
    one.answer("delivered")
    assert (state(one), state(one, "lake")) == ("open", "closed")


def test_an_open_breaker_outlives_a_restart() -> None:
    one = desk()
    one.batch("a", partner="clinic")
    outage(one, "failed", 20)
    row = standing(one)
    assert row is not None
    assert (row["state"], row["answer"]) == ("open", "an answer")
    sent = len(one.sent)
    one.start()
    one.turn()
    assert (state(one), len(one.sent)) == ("open", sent)
    one.now = row["until"]
    assert state(one) == "half-open"
    one.turn()
    assert len(one.sent) == sent + 1
    one.answer("failed")
    again = standing(one)
    assert again is not None
    assert again["openings"] == row["openings"] + 1


def test_a_probe_that_was_forgotten_lets_another_go() -> None:
    one = desk()
    one.batch("a", group="1", partner="clinic")
    one.batch("b", group="2", partner="clinic")
    outage(one, "failed", 10)
    one.wait(40)
    sent = len(one.sent)
    one.stage.forget(0)
    one.restore()
    one.wait(40)
    assert len(one.sent) > sent


def test_a_partner_that_stays_away_longer_than_a_batch_may_wait_costs_attempts_again() -> None:
    one = desk(retry={"outage": 600.0})
    one.batch("a", partner="clinic")
    outage(one, "failed", 1_000)
    assert codes(one) == ["RETRIES_EXHAUSTED"]
    assert not one.said("dead-letter")[0]["outcome_unknown"]


def test_di3_what_is_unknown_does_not_wait_longer_than_the_partner_remembers() -> None:
    one = desk(partner={"key_retention": 300.0})
    one.batch("a", group="1", partner="clinic")
    one.batch("never-sent", group="1", partner="clinic")
    outage(one, "unknown", 2_000)
    assert codes(one)[:1] == ["OUTCOME_UNKNOWN"]


def test_a_partner_that_refuses_us_is_left_alone_with_an_alarm_and_nothing_dies() -> None:
    one = desk()
    one.batch("a", group="1", partner="clinic")
    one.answer("stopped", answer="401 who are you")
    one.batch("b", group="2", partner="clinic")
    row = standing(one)
    assert row is not None
    assert (row["state"], row["answer"], state(one)) == ("stopped", "401 who are you", "stopped")
    assert len(one.sent) == 1
    one.start()
    one.wait(30)
    assert (len(one.sent), state(one)) == (1, "stopped"), "also after a restart"
    for _ in range(100):
        one.wait(61)
        for envelope in one.sent[-2:]:
            if one.row_of(envelope.batch_id)["state"] == "in_flight":
                one.answer("stopped", envelope)
    assert codes(one) == []
    assert one.row("a")["attempt"] == 0


def test_a_pause_outlives_a_restart() -> None:
    one = desk()
    one.batch("a", partner="clinic")
    one.answer("paused", retry_after=100.0)
    one.start()
    one.wait(99)
    assert len(one.sent) == 1
    one.wait(2)
    one.answer("delivered")
    assert standing(one) is None


def test_a_rate_is_kept() -> None:
    one = desk(partner={"rate": Rate(attempts=2, per=10.0)}, connections=50)
    for n in range(10):
        one.batch(f"b{n}", group=f"g{n}", partner="clinic")
    assert one.sent == [], "a bucket starts empty"
    for seconds in range(1, 31):
        one.wait(1)
        assert len(one.sent) == seconds // 5


def test_the_age_of_a_queue_is_that_of_its_oldest_batch() -> None:
    one = desk()
    one.batch("a", partner="clinic")
    one.batch("b", partner="clinic")
    one.now += 7_000
    (view,) = one.stage.partners(one.now)
    assert (view.unsettled, view.age) == (2, 7_000)
    one.answer("delivered", one.sent[0])
    one.answer("delivered", one.sent[1])
    assert [(view.unsettled, view.age) for view in one.stage.partners(one.now)] == [(0, 0)]


def test_what_a_partner_said_is_kept_with_the_attempt_unless_it_took_the_batch() -> None:
    one = desk()
    one.batch("a", partner="clinic")
    said = Outcome(OutcomeKind.UNKNOWN, "500", kept=Kept("a long page", bytes(32)))
    one.turn(answers=[(one.sent[-1], said)])
    assert (one.row("a")["excerpt"], one.row("a")["answer_digest"]) == ("a long page", bytes(32))
    one.wait(60)
    one.turn(answers=[(one.sent[-1], said._replace(kind=OutcomeKind.DELIVERED))])
    assert (one.row("a")["excerpt"], one.row("a")["answer_digest"]) == (None, bytes(32))


def test_a_partner_paused_by_command_is_sent_nothing_and_loses_nothing() -> None:
    one = desk()
    one.batch("out", group="0", partner="clinic")
    one.stage.pause({"clinic"})
    one.answer("failed")  # what was out stays out, and counts
    for n in range(5):
        one.batch(f"b{n}", group=f"g{n}", partner="clinic")
    one.batch("other", group="h", partner="lake")
    assert one.sent[-1].partner == "lake"
    one.answer("delivered")
    for _ in range(100):
        one.wait(3600)
    assert (len(one.sent), codes(one)) == (2, [])
    assert not one.stage.due(one.now), "a paused partner must not keep its worker busy"
    assert [view.paused for view in one.stage.partners(one.now)] == [True, False]
    assert {one.row(f"b{n}")["attempt"] for n in range(5)} == {0}
    one.stage.pause(())
    for _ in range(20):
        one.wait(1)
        for envelope in one.sent[2:]:
            if one.row_of(envelope.batch_id)["state"] == "in_flight":
                one.answer("delivered", envelope)
    assert (len(one.said("sent")), codes(one)) == (7, [])


def test_a_pause_by_command_holds_for_batches_that_come_after_a_restart() -> None:
    one = desk(may_send=False)
    one.stage.pause({"clinic"})
    one.stage.may_send = True
    one.batch("a", partner="clinic")
    assert one.sent == []
