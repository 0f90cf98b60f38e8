"""Caps at the dispatch stage (DI7, BAT-07): what answers teach is told to every partition of `validated` in the
transaction that settles, kept in the partner's row, and believed only once it has committed."""

from __future__ import annotations

from typing import Any

from streams.dispatch.agent import PARTNER_KEY
from streams.dispatch.sizing import CALM, HOLD
from tests.streams.dispatch_desk import CODEC, NO_BREAKER, Desk, outcome, said
from topology.partner import Adaptive, HttpPartner
from topology.sections import Batching


def desk(most: int = 8, **bounds: Any) -> Desk:
    """A partner whose batches have between one and `most` records."""
    bounds = {"connections": 1, "breaker": NO_BREAKER, "adaptive": Adaptive(min_records=1, step=3, sla=5)} | bounds
    partners = {"clinic": HttpPartner(kind="http", url="http://clinic", **bounds)}
    return Desk(partners=partners, partner="clinic", batching=Batching(max_records=most))


def told(one: Desk) -> list[tuple[int, str]]:
    """The caps told so far; fails unless each partition was told the same."""
    outputs = [[o for o in one.outputs if o.topic == "validated" and o.partition == p] for p in range(2)]
    caps = [[(m["partner"], m["records"], m["reason"]) for m in said(o, "validated", "cap")] for o in outputs]
    assert caps[0] == caps[1]
    assert {partner for partner, _, _ in caps[0]} <= {"clinic"}
    return [(records, reason) for _, records, reason in caps[0]]


def row(one: Desk) -> dict[str, Any] | None:
    value = one.tables["delivery"].get(PARTNER_KEY + b"clinic")
    return CODEC.decode(value)[1] if value else None


def cap(one: Desk) -> int | None:
    return one.stage.partners(one.now)[0].cap


def deliver(one: Desk, name: str, size: int) -> None:
    """A batch that is taken, slowly enough for the cap to grow."""
    one.batch(name, size, group=name, partner="clinic")
    one.answer("delivered", after=HOLD)


def test_a_429_is_told_with_its_pause_and_growth_when_full_batches_are_taken_again() -> None:
    one = desk()
    one.batch("a", size=8, partner="clinic")
    assert (cap(one), row(one)) == (8, None)
    work = one.answer("paused", retry_after=2)
    assert {output.topic for output in work.outputs} >= {"validated", "delivery", "heads"}, "one transaction"
    assert (told(one), cap(one)) == ([(4, "busy")], 4)
    kept = row(one)
    assert kept is not None
    assert (kept["state"], kept["sizing"]["records"]) == ("paused", 4)
    one.wait(3)
    one.answer("delivered")
    kept = row(one)
    assert kept is not None
    assert (kept["state"], kept["sizing"]["records"], told(one)) == ("well", 4, [(4, "busy")])
    assert one.stage.partners(one.now)[0].state == "closed"
    for n in range(CALM):
        deliver(one, f"full{n}", 4)
    assert told(one) == [(4, "busy"), (7, "well")]


def test_a_token_that_was_renewed_while_a_batch_was_out_says_nothing_of_its_size() -> None:
    one = desk()
    one.batch("a", size=8, partner="clinic")
    one.answer("paused", retry_after=0.0)  # as the sink says it after a 401 that another token will mend
    assert (told(one), cap(one), len(one.sent)) == ([], 8, 2)


def test_the_parts_of_a_split_batch_say_nothing_of_the_cap() -> None:
    one = desk()
    one.batch("a", size=8, partner="clinic")
    for _ in range(4):
        one.answer("too_large")  # the whole, then the first half of each
    assert told(one) == [(4, "too_large")]


def test_a_few_large_records_say_nothing_of_how_many_there_may_be() -> None:
    one = desk(adaptive=Adaptive(min_records=2, step=3))
    for name, size in ("one", 1), ("two", 2):
        one.batch(name, size, group=name, partner="clinic")
        one.answer("too_large")
    assert (told(one), cap(one)) == ([], 8)


def test_a_batch_above_max_bytes_counts_as_refused_though_it_is_not_sent() -> None:
    one = desk(max_bytes=1_500)
    one.batch("a", size=8, partner="clinic")
    assert told(one) == [(4, "too_large")]


def test_a_cap_outlives_a_restart_and_stays_within_todays_bounds() -> None:
    one = desk()
    one.batch("a", size=8, partner="clinic")
    one.answer("paused", retry_after=1)
    one.start()
    assert (cap(one), one.stage.partners(one.now)[0].state) == (4, "paused")
    one.pipeline = desk(max_records=3).pipeline
    one.start()
    assert cap(one) == 3


def test_a_cap_that_did_not_commit_was_never_decided() -> None:
    one = desk()
    one.batch("a", size=8, partner="clinic")
    one.turn(answers=[(one.sent[-1], outcome("paused"))], commit=False)
    one.stage.forget(0)
    one.restore()
    assert (cap(one), told(one)) == (8, [])
    one.wait(6)
    one.answer("paused")
    assert told(one) == [(4, "busy")]


def test_an_answer_later_than_the_sla_and_one_of_a_partner_that_is_down() -> None:
    one = desk()
    one.batch("a", size=8, partner="clinic")
    slow = outcome("delivered")._replace(seconds=5.1)
    one.turn(answers=[(one.sent[-1], slow)])
    assert told(one) == [(4, "slow")]
    down = desk(breaker={"failures": 1})
    down.batch("a", size=8, partner="clinic")
    for _ in range(3):
        down.turn(answers=[(down.sent[-1], outcome("unknown")._replace(seconds=30.0))])
        down.wait(40)
    assert (told(down), len(down.sent)) == ([], 4), "an outage says nothing of sizes"


def test_without_adaptive_nothing_is_told_and_nothing_kept() -> None:
    one = desk(adaptive=None)
    one.batch("a", size=8, partner="clinic")
    one.answer("too_large")
    assert (told(one), row(one), cap(one)) == ([], None, None)
