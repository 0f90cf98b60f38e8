"""How many records a batch may have, learnt from what a partner answers (BAT-07). Pure: answers in, caps out."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.messages import CapReason
from streams.delivery.protocol import Outcome, OutcomeKind
from streams.dispatch.sizing import CALM, HOLD, RECALL, Sent, Size, SizeTerms, heard, restored

TERMS = SizeTerms(least=50, most=1000, step=100, sla=5_000)
Kind = OutcomeKind


def answer(kind: Kind, seconds: float | None = 0.1) -> Outcome:
    return Outcome(kind, "an answer", seconds=seconds)


class Run:
    """One partner whose batches are all as large as the cap."""

    def __init__(self, terms: SizeTerms = TERMS, records: int | None = None) -> None:
        self.terms, self.size, self.now = terms, Size(records or terms.most), 1_000_000
        self.told: list[tuple[int, CapReason]] = []

    def hear(self, kind: Kind, count: int | None = None, seconds: float = 0.1, began: int | None = None) -> None:
        self.now += 1_000
        sent = Sent(self.size.records if count is None else count, self.now - 500 if began is None else began)
        self.size, reason = heard(self.size, self.terms, sent, answer(kind, seconds), self.now)
        if reason is not None:
            self.told.append((self.size.records, reason))

    def well(self, times: int = CALM) -> None:
        for _ in range(times):
            self.hear(Kind.DELIVERED)


def test_429s_shrink_it_to_the_least_and_recovery_grows_it_to_the_most_and_no_further() -> None:
    run = Run()
    for _ in range(8):
        run.hear(Kind.PAUSED)
    assert run.told == [(500, "busy"), (250, "busy"), (125, "busy"), (62, "busy"), (50, "busy")]
    run.told.clear()
    run.well(times=300)
    assert run.told == [(n, "well") for n in [*range(150, 1000, 100), 1000]]


def test_an_answer_above_the_sla_halves_it_whatever_it_says_and_a_known_failure_does_not() -> None:
    run = Run()
    for kind in (Kind.DELIVERED, Kind.PARTIAL, Kind.UNKNOWN):
        run.hear(kind, seconds=5.001)
    assert run.told == [(500, "slow"), (250, "slow"), (125, "slow")]
    run.hear(Kind.FAILED, seconds=30)
    run.hear(Kind.UNKNOWN, seconds=5.0)
    assert run.size.records == 125
    free = Run(TERMS._replace(sla=None))
    free.hear(Kind.DELIVERED, seconds=1e6)
    assert free.told == []


def test_413_halves_what_was_refused_and_the_cap_stays_below_it_for_a_while() -> None:
    run = Run()
    run.hear(Kind.TOO_LARGE, count=600)
    assert run.told == [(300, "too_large")]
    run.well(times=200)
    assert run.size.records == 500, "600 would be refused again"
    run.now += RECALL
    run.well()
    assert run.size.records == 600


def test_what_was_frozen_by_an_earlier_cap_says_nothing_of_this_one() -> None:
    run = Run(records=400)
    for kind in (Kind.TOO_LARGE, Kind.PAUSED, Kind.DELIVERED):
        run.hear(kind, count=401, seconds=60)
    assert (run.told, run.size) == ([], Size(400))


def test_many_answers_at_once_halve_it_once() -> None:
    run = Run()
    began = run.now
    for _ in range(8):
        run.hear(Kind.PAUSED, count=100, began=began)
    assert run.told == [(500, "busy")]


def test_only_full_batches_in_a_row_let_it_grow_and_not_too_often() -> None:
    run = Run(records=100)
    for _ in range(10 * CALM):
        run.hear(Kind.DELIVERED, count=99)
    assert run.told == [], "what was not used proves nothing"
    run.well(CALM - 1)
    run.hear(Kind.FAILED)
    run.well(CALM - 1)
    assert run.told == []
    run.well(1)
    assert run.told == [(200, "well")]
    before = run.now
    for _ in range(50):
        run.now -= 999
        run.hear(Kind.DELIVERED)
    assert run.now - before < HOLD
    assert run.told == [(200, "well")]


def test_what_a_row_says_is_taken_within_todays_bounds_and_none_of_its_times_is_ahead() -> None:
    size = Size(700, 900, 800, 950, calm=3)
    assert restored(size.message(), TERMS, 1_000) == size._replace(calm=0)
    assert restored(size.message(), TERMS._replace(most=600), 1_000).records == 600
    assert restored(size.message(), TERMS._replace(least=750), 1_000).records == 750
    assert restored(size.message(), TERMS, 10) == Size(700, 10, 800, 10)


class Said(NamedTuple):
    """One answer of any kind, to a batch of any size."""

    kind: Kind
    share: float
    seconds: float | None
    age: int
    wait: int


SAID = st.builds(
    Said, st.sampled_from(Kind), st.floats(0, 1.3), st.sampled_from([None, 0.1, 9.0]), st.integers(0, 20_000),
    st.sampled_from([0, 10, 3_000, 11_000, RECALL]),
)  # fmt: skip


@given(
    st.lists(SAID, max_size=80),
    st.integers(1, 60), st.integers(0, 2_000), st.integers(1, 300), st.sampled_from([None, 1_000]),
)  # fmt: skip
def test_whatever_is_answered_the_cap_keeps_its_bounds_and_every_change_has_a_reason(
    answers: list[Said], least: int, above: int, step: int, sla: int | None
) -> None:
    terms = SizeTerms(least, least + above, step, sla)
    size, now = Size(terms.most), 1_000_000
    for kind, share, seconds, age, wait in answers:
        now += wait
        sent = Sent(max(1, round(size.records * share)), now - age)
        before = size
        size, reason = heard(size, terms, sent, answer(kind, seconds), now)
        assert terms.least <= size.records <= terms.most
        assert (reason is None) == (size.records == before.records)
        if size.records > before.records:
            assert (kind in (Kind.DELIVERED, Kind.PARTIAL), size.records - before.records <= step) == (True, True)
        elif size.records < before.records:
            assert size.records >= min(before.records, sent.count) // 2
        assert heard(before, terms, sent, answer(kind, seconds), now) == (size, reason)


@pytest.mark.parametrize("limit", [60, 130, 700, 5000])
def test_it_settles_below_a_limit_with_few_messages(limit: int) -> None:
    run = Run(SizeTerms(50, 5000, 100))
    for _ in range(1_000):
        run.hear(Kind.TOO_LARGE if run.size.records > limit else Kind.DELIVERED)
    assert limit / 2 - 1 <= run.size.records <= limit
    assert len(run.told) < 20
