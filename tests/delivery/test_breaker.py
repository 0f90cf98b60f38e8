"""Breaker and token bucket on a clock that the test moves."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.delivery.breaker import OFF, Breaker, BreakerTerms
from streams.delivery.bucket import FREE, Bucket, RateTerms

RNG = Random(1)
TERMS = BreakerTerms(failures=3, first=1_000, longest=30_000)


def opened(now: int = 0) -> Breaker:
    breaker = Breaker(TERMS)
    assert [breaker.failed(now, False, RNG) for _ in range(3)] == [False, False, True]
    return breaker


def test_it_opens_after_failures_in_a_row_and_not_before() -> None:
    breaker = Breaker(TERMS)
    for _ in range(10):
        assert not breaker.failed(0, False, RNG)
        assert not breaker.failed(0, False, RNG)
        breaker.succeeded()
    assert breaker.allows(0, False)
    assert not opened().allows(0, False)


def test_after_the_wait_one_probe_may_go_and_decides() -> None:
    breaker = opened()
    assert 800 <= breaker.until <= 1_200
    assert not breaker.allows(breaker.until - 1, False)
    assert breaker.allows(breaker.until, False)
    assert not breaker.allows(breaker.until, True), "one at a time"
    assert breaker.failed(5_000, True, RNG)
    assert 6_600 <= breaker.until <= 7_400, "twice as long"
    breaker.succeeded()
    assert breaker.closed
    assert not breaker.failed(9_000, False, RNG), "it takes a row of failures again"


def test_the_wait_doubles_up_to_its_bound() -> None:
    breaker = opened()
    for _ in range(200):
        breaker.failed(0, True, RNG)
    assert 24_000 <= breaker.until <= 36_000


def test_answers_to_attempts_from_before_do_not_prolong_an_outage() -> None:
    breaker = opened()
    until = breaker.until
    assert not breaker.failed(900, False, RNG)
    assert breaker.until == until


def test_a_breaker_that_is_off_never_opens() -> None:
    breaker = Breaker(OFF)
    assert not any(breaker.failed(0, False, RNG) for _ in range(1_000))
    assert breaker.allows(0, True)


def test_a_partner_at_a_tenth_of_its_capacity_meets_an_open_breaker_within_30_seconds() -> None:
    """RTY-08, with one attempt a second of which one in ten gets through."""
    for seed in range(200):
        r, breaker = Random(seed), Breaker(TERMS)
        for now in range(0, 30_000, 1_000):
            if r.random() < 0.1:
                breaker.succeeded()
            elif breaker.failed(now, False, r):
                break
        assert not breaker.closed, seed


@given(interval=st.floats(1, 5_000), burst=st.integers(1, 20), steps=st.lists(st.integers(0, 3_000), max_size=100))
def test_never_more_tokens_than_the_rate_and_the_burst_allow(interval: float, burst: int, steps: list[int]) -> None:
    bucket, now, taken = Bucket(RateTerms(interval, burst)), 0, 0
    for step in steps:
        now += step
        if bucket.ready(now):
            bucket.take()
            taken += 1
        assert taken <= now / interval + 1e-6


def test_a_bucket_starts_empty_saves_up_to_its_burst_and_takes_no_harm_from_a_clock_that_goes_back() -> None:
    bucket = Bucket(RateTerms(1_000, 2))
    assert not bucket.ready(0)
    assert bucket.ready(1_000)
    bucket.take()
    assert not bucket.ready(-5_000)
    assert not bucket.ready(1_999)
    assert bucket.ready(100_000)
    bucket.take()
    assert bucket.ready(100_000)
    bucket.take()
    assert not bucket.ready(100_000)


@pytest.mark.parametrize("now", [0, 10**15])
def test_without_a_rate_there_is_always_a_token(now: int) -> None:
    bucket = Bucket(FREE)
    for _ in range(5):
        assert bucket.ready(now)
        bucket.take()
