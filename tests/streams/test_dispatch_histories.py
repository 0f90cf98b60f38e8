"""Random histories of dispatch: with every rule on no law breaks; with one rule off some history breaks the law."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from schemas.delivery import Row
from schemas.messages import PartnerState, PassportPart
from streams.delivery.protocol import Outcome, OutcomeKind
from streams.dispatch import attempts
from streams.dispatch.agent import DispatchStage
from streams.dispatch.attempts import Name, Settled, Terms
from streams.dispatch.changes import Changes, Event, What
from streams.dispatch.deliveries import Deliveries
from streams.dispatch.gate import Batch
from streams.stage import Chunk, Work
from tests.streams.dispatch_member import StageMember
from tests.streams.dispatch_world import SWITCHES, Bad, CoreMember, Entry, Launched, Turn, World, histories

HISTORIES = int(os.environ.get("WAYBILL_SIM", "20000"))
WITH_RULE_OFF = 4_000
"""Histories after which a rule that is off must have shown; each test stops at the first that breaks."""


@pytest.mark.timeout(900)
def test_histories_of_the_core_keep_every_law() -> None:
    assert histories(HISTORIES) == []


@pytest.mark.timeout(900)
def test_histories_of_the_whole_stage_keep_every_law() -> None:
    assert histories(max(HISTORIES // 40, 1), StageMember) == []


def test_histories_are_worth_something() -> None:
    """Every kind of end, every kind of life, and unknown ones that took effect are among them."""
    worlds = [World(seed).run() for seed in range(1, 301)]
    ends = Counter(answer for world in worlds for answers in world.told.values() for answer in answers)
    assert min(ends["ack"], ends["dead"], ends["dead?"]) > 50
    assert sum(max(world.lives.values()) > 1 for world in worlds) > 20
    hidden = [b for world in worlds for b, life in world.lives.items()
              if world.told[b, life] == ["dead?"] and b in world.effects]  # fmt: skip
    assert len(hidden) > 10
    parts = [records for world in worlds for records in world.ids
             if len(records) < world.specs[records[0][:2]].size and records[0] in world.effects]  # fmt: skip
    assert len(parts) > 50, "parts of batches took effect"
    again = [told for world in worlds for told in world.died.values()
             if told.unit.parent is not None and told.life < world.lives[told.records[0]]]  # fmt: skip
    assert len(again) > 5, "parts that died were delivered again"


# ---- rules that Kafka and the runner keep --------------------------------------------------------------


@pytest.mark.parametrize("switch", SWITCHES)
def test_without_what_kafka_and_the_runner_do_a_law_breaks(switch: str) -> None:
    assert histories(WITH_RULE_OFF, off={switch}, stop_at=1), SWITCHES[switch]


# ---- rules that dispatch keeps -------------------------------------------------------------------------


def broken(member: type[CoreMember] | type[StageMember] = CoreMember, **functions: Callable[..., Any]) -> str:
    """What the first history breaks once functions of the core are replaced; fails if none does."""
    with ExitStack() as stack:
        for name, function in functions.items():
            stack.enter_context(patch(f"streams.dispatch.deliveries.{name}", function))
        failures = histories(WITH_RULE_OFF, member, stop_at=1)
    assert failures, "no history noticed that the rule is off"
    return failures[0]


def member_with(deliveries: type[Deliveries]) -> type[CoreMember]:
    return type("Member", (CoreMember,), {"deliveries": deliveries})


def test_di1_without_offsets_in_the_write_ahead_a_worker_that_lost_the_partition_sends() -> None:
    class Stage(DispatchStage):
        def process(self, chunk: Chunk) -> Work:
            work = super().process(chunk)
            if not chunk.messages and not chunk.answers:
                work.offsets.clear()
            return work

    class Member(StageMember):
        stage_type = Stage

    assert "DI1" in broken(Member)


def test_di1_without_forgetting_answers_are_given_twice() -> None:
    class Unforgetting(Deliveries):
        def __init__(self, *rest: Any) -> None:
            super().__init__(*rest)
            self.lost: dict[bytes, Batch] = {}

        def forget(self, partition: int) -> None:
            self.lost |= {b: batch for b, batch in self._open.items() if batch.partition == partition}
            super().forget(partition)

        def answer(
            self, changes: Changes, batch_id: bytes, life: int, attempt: int, outcome: Outcome, now: int
        ) -> bool:  # fmt: skip
            batch = self.lost.pop(batch_id, None)
            if super().answer(changes, batch_id, life, attempt, outcome, now) or batch is None:
                return True
            row, code, refused, _ = attempts.settle(batch.row, outcome, now, self.terms, self._rng)
            changes.rows[batch.partition, batch_id] = row
            what = {"sent": What.DELIVERED, "dead": What.DEAD}.get(row.state, What.WAIT)
            changes.events.append(Event(what, batch.partition, row, code, refused))
            return True

    assert "law" in broken(member_with(Unforgetting))


def test_di2_an_attempt_found_in_flight_must_count_as_unknown() -> None:
    assert "law" in broken(found_in_flight=lambda row: row)


def test_di2_unknown_must_be_sticky() -> None:
    def forgetful(row: Row, *rest: Any) -> Settled:
        return attempts.settle(row._replace(unknown=False), *rest)

    assert "law" in broken(settle=forgetful)


def test_di2_unknown_must_be_sticky_over_lives() -> None:
    def reborn(row: Row, *rest: Any) -> Row:
        return attempts.next_life(row, *rest)._replace(unknown=False)

    assert "law" in broken(next_life=reborn)


def test_di3_an_unknown_attempt_older_than_the_partners_memory_must_not_be_retried() -> None:
    def stubborn(row: Row, now: int, terms: Terms) -> str:
        return attempts.spent(row._replace(first_attempt_at=now), now, terms)

    assert "law 7" in broken(spent=stubborn)


def test_di5_nothing_may_be_sent_before_the_control_topic_was_read() -> None:
    class Eager(Deliveries):
        @property
        def _sending(self) -> bool:
            return not self.draining

    assert "DI5" in broken(member_with(Eager))


def test_di6_a_passport_must_admit_once() -> None:
    class Generous(Deliveries):
        def again(self, changes: Changes, partition: int, row: Row, life: int, passport: PassportPart) -> bool:
            old = self._parts[partition].settled.get(row.batch_id)
            if old is not None and old.life == life:
                self._parts[partition].settled[row.batch_id] = old._replace(life=life - 1, state="dead")
            return super().again(changes, partition, row, life, passport)

    assert "law 1" in broken(member_with(Generous))


def test_di2_a_batch_that_may_have_taken_effect_must_not_be_split() -> None:
    def hopeful(row: Row, outcome: Outcome, *rest: Any) -> Settled:
        if outcome.kind in (OutcomeKind.TOO_LARGE, OutcomeKind.INVALID):
            row = row._replace(unknown=False)
        return attempts.settle(row, outcome, *rest)

    assert "law" in broken(settle=hopeful)


def test_di4_a_split_must_be_in_the_table_before_its_halves_are_sent() -> None:
    class Unwritten(CoreMember):
        """Remembers halves, and writes down what became of them."""

        def process(
            self, entries: list[tuple[int, int, Entry]], answers: list[tuple[Launched, Outcome]], now: int,
            may_send: bool,
        ) -> Turn:  # fmt: skip
            turn = super().process(entries, answers, now, may_send)
            rows = {
                key: row for key, row in turn.rows.items()
                if not isinstance(row, Row) or not (row.state == "split" or (row.parent and not row.settled))
            }  # fmt: skip
            return turn._replace(rows=rows)

    assert "law" in broken(Unwritten)


def test_di4_halves_must_be_sent_in_the_order_of_their_records() -> None:
    assert "order" in broken(halves=lambda row, name: attempts.halves(row, name)[::-1])


def test_ba8_only_a_death_known_to_have_had_no_effect_may_release() -> None:
    def hopeful(row: Row, code: str, answer: str | None) -> Settled:
        return Settled(row._replace(state="dead", unknown=False, answer=answer), code)

    with patch("streams.dispatch.attempts.dead", hopeful):
        assert "law 4" in broken(dead=hopeful)


def test_law4_unknown_must_not_be_taken_for_success() -> None:
    def trusting(row: Row, outcome: Outcome, *rest: Any) -> Settled:
        if outcome.kind is OutcomeKind.UNKNOWN:
            outcome = outcome._replace(kind=OutcomeKind.DELIVERED)
        return attempts.settle(row, outcome, *rest)

    assert "took effect 0 times" in broken(settle=trusting)


def test_law4_unknown_must_not_be_taken_for_failure() -> None:
    def doubting(row: Row, outcome: Outcome, *rest: Any) -> Settled:
        if outcome.kind is OutcomeKind.UNKNOWN:
            outcome = outcome._replace(kind=OutcomeKind.FAILED)
        return attempts.settle(row, outcome, *rest)

    assert "law" in broken(settle=doubting)


def test_deadline_what_is_overdue_must_not_wait_or_be_attempted() -> None:
    assert "deadline" in broken(overdue=lambda row, now, terms: False)


def test_deadline_it_must_be_looked_at_when_an_attempt_ends() -> None:
    with patch("streams.dispatch.attempts.overdue", lambda row, now, terms: False):
        assert "deadline" in broken()


def test_deadline_a_restart_must_not_wind_the_clock_back() -> None:
    class Afresh(Deliveries):
        def restore(
            self, partition: int, rows: Iterable[Row], partners: Iterable[PartnerState] = (), now: int = 0
        ) -> None:
            super().restore(partition, [row._replace(begun_at=now) for row in rows], partners, now)

    assert "deadline" in broken(member_with(Afresh))


def test_deadline_halves_must_not_have_more_time_than_the_whole() -> None:
    def generous(row: Row, name: Name) -> tuple[Row, ...]:
        return tuple(half._replace(begun_at=half.begun_at + 30_000) for half in attempts.halves(row, name))

    assert "deadline" in broken(halves=generous)


def test_order_an_unsettled_batch_must_hold_its_group() -> None:
    class Impatient(Deliveries):
        def __init__(self, terms: Terms, *rest: Any) -> None:
            super().__init__(replace(terms, ordered=False), *rest)

    assert "order" in broken(member_with(Impatient))


def test_law3_every_attempt_must_send_the_same_bytes() -> None:
    calls: Iterator[int] = iter(range(10**9))

    class Careless(CoreMember):
        def process(
            self, entries: list[tuple[int, int, Entry]], answers: list[tuple[Launched, Outcome]], now: int,
            may_send: bool,
        ) -> Turn:  # fmt: skip
            turn = super().process(entries, answers, now, may_send)
            other = [sent._replace(body_digest=next(calls).to_bytes(32, "big")) for sent in turn.launches]
            return turn._replace(launches=other)

    assert "law 3" in broken(Careless)


def test_a_history_is_the_same_twice() -> None:
    first, second = World(7).run(), World(7).run()
    assert (first.told, first.effects) == (second.told, second.effects)


def test_a_world_that_cannot_settle_is_noticed() -> None:
    class Mute(CoreMember):
        def process(
            self, entries: list[tuple[int, int, Entry]], answers: list[tuple[Launched, Outcome]], now: int,
            may_send: bool,
        ) -> Turn:  # fmt: skip
            return super().process(entries, answers, now, False)

    with pytest.raises(Bad, match="no answer"):
        World(1, Mute).run()
