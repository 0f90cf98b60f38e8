"""MKT, episodes, alarms and doubts over any sequence of readings, and the summary of a batch."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.pack import Pack, Record, Submission
from schemas.packs.cold_chain import quality
from schemas.packs.cold_chain.episodes import Point, alarm, episodes, standing, time_out, typical_interval
from schemas.packs.cold_chain.mkt import HeatLoad, mkt
from schemas.packs.cold_chain.sample import SHARES, manifest, sample
from tests.packs.cold_chain_inputs import EXPORT, outcomes, pack, reading, record

MINUTE = 60_000


def series(*celsius: float | None, step: int = 10 * MINUTE) -> list[Point]:
    return [Point(place * step, value, place) for place, value in enumerate(celsius)]


# MKT. Golden values computed apart from the code, in 50-digit decimals, from the formula of USP <1079.2>.


@pytest.mark.parametrize(
    ("celsius", "weights", "energy", "expected"),
    [
        ([5.0], None, 83.144, 5.0),
        ([20.0, 30.0], None, 83.144, 26.2598869160034),
        ([2.0, 4.0, 8.0, 25.0], None, 83.144, 15.1449197237442),
        ([20.0, 30.0], [3.0, 1.0], 83.144, 23.6444539343305),
        ([-80.0, -60.0], None, 83.144, -63.069181062493),
        ([2.0, 4.0, 8.0, 25.0], None, 60.0, 13.5648864439169),
    ],
)
def test_mkt_golden_vectors(celsius: list[float], weights: list[float] | None, energy: float, expected: float) -> None:
    found = mkt(celsius, weights, energy)
    assert found == pytest.approx(expected, abs=1e-9)


def test_mkt_of_nothing_is_nothing() -> None:
    assert mkt([]) is None
    assert mkt([5.0], [0.0]) is None


def test_mkt_near_absolute_zero_does_not_underflow() -> None:
    assert mkt([-196.0, -196.0]) == pytest.approx(-196.0)
    assert mkt([-270.0, -270.0]) == pytest.approx(-270.0)


temperatures = st.lists(st.floats(-200, 100), min_size=1, max_size=40)


@given(temperatures)
def test_mkt_lies_between_mean_and_maximum(celsius: list[float]) -> None:
    found = mkt(celsius)
    assert found is not None
    assert min(celsius) - 1e-6 <= found <= max(celsius) + 1e-6
    if min(celsius) > -100:
        # Jensen: the exponential is convex in T below ΔH/2R (4,727 °C), so heat weighs more than cold.
        assert found >= math.fsum(celsius) / len(celsius) - 1e-6


@given(temperatures, temperatures)
def test_heat_loads_join_over_any_edge(first: list[float], second: list[float]) -> None:
    joined = HeatLoad.of(first).merge(HeatLoad.of(second)).celsius()
    assert joined == pytest.approx(mkt([*first, *second]), abs=1e-7)
    assert HeatLoad.of([]).merge(HeatLoad.of(first)).celsius() == pytest.approx(mkt(first), abs=1e-9)


# Time and episodes.


def test_a_reading_stands_until_the_next_but_not_across_a_gap() -> None:
    points = [Point(0, 5), Point(10, 5), Point(24, 5), Point(100, 5)]
    assert standing(points, 10) == [10, 14, 10, 10]
    assert standing(points, None) == [0, 0, 0, 0]
    assert standing([], 10) == []
    assert typical_interval(points) == 14
    assert typical_interval(points[:1]) is None


def test_limits_are_strict_and_faults_count_no_time() -> None:
    points = series(8.0, 8.1, None, 9.0, 2.0, 1.9)
    spans = standing(points, 10 * MINUTE)
    assert time_out(points, spans, "high", 8) == 20 * MINUTE
    assert time_out(points, spans, "low", 2) == 10 * MINUTE


def test_an_episode_ends_with_the_first_reading_within_and_survives_a_fault() -> None:
    points = series(5, 9, None, 12, 8, 10)
    first, second = episodes(points, standing(points, 10 * MINUTE), "high", 8)
    assert (first.start, first.end, first.observed) == (10 * MINUTE, 40 * MINUTE, 20 * MINUTE)
    assert (first.extreme, first.readings) == (12, 2)
    assert (second.start, second.readings) == (50 * MINUTE, 1)


def test_single_and_cumulative_alarms() -> None:
    points = series(9, 9, 5, 9, 9, 9, 5)
    spans = standing(points, 10 * MINUTE)
    assert alarm(points, spans, "high", 8, 30, "single").at == 60 * MINUTE
    assert alarm(points, spans, "high", 8, 31, "single").at is None
    assert alarm(points, spans, "high", 8, 30, "cumulative").at == 40 * MINUTE
    assert alarm(points, spans, "high", 8, 50, "cumulative") == (60 * MINUTE, 50 * MINUTE)
    assert alarm(points, spans, "high", 8, 51, "cumulative").at is None
    assert alarm(points, spans, "high", 8, 0, "single").at == 0
    assert alarm(points, spans, "low", 2, 0, "single").at is None


@given(st.lists(st.one_of(st.none(), st.floats(-50, 50)), max_size=60), st.floats(-50, 50))
def test_episodes_hold_exactly_the_time_out(celsius: list[float | None], limit: float) -> None:
    points = series(*celsius)
    spans = standing(points, 10 * MINUTE)
    for side in ("low", "high"):
        found = episodes(points, spans, side, limit)
        assert sum(episode.observed for episode in found) == time_out(points, spans, side, limit)
        assert all(before.end <= after.start for before, after in itertools.pairwise(found))


def test_gaps_stuck_values_and_jumps() -> None:
    points = [Point(0, 5), Point(10, 5), Point(25, 5), Point(41, 16), Point(51, 5), Point(61, 15.1), Point(71, None)]
    assert quality.gaps(points, 10) == [(25, 41)]
    assert quality.gaps(points, None) == []
    assert quality.stuck(points, 3) == [(0, 25, 5, 3)]
    assert quality.stuck(points, 4) == []
    assert [jump.at for jump in quality.jumps(points, 10, 10)] == [51, 61]


# The summary of a batch.


def summarize(built: Pack, *values: bytes) -> dict[str, Any]:
    facts = built.summarize([record(value, by=built).payload for value in values])
    json.dumps(facts)
    assert "." not in "".join(str(number) for number in numbers(facts)), "no floats"
    return dict(facts)


def numbers(value: Any) -> list[int | float]:
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, int | float) else []


def at(minute: int, celsius: float, **more: str) -> bytes:
    time = f'"2026-03-01T{minute // 60:02}:{minute % 60:02}:00Z"'
    return reading(timestamp_utc=time, temperature_c=str(celsius), product='"refrigerator"', **more)


def test_a_batch_with_one_breach_has_flag_and_offsets() -> None:
    """VAL-10."""
    fine = summarize(pack(), at(0, 4), at(10, 5), at(20, 6))
    assert fine["excursion_flag"] is False
    breach = summarize(pack(), at(0, 4), at(10, 9), at(20, 6))
    assert breach["excursion_flag"] is True
    (sensor,) = breach["sensors"]
    assert sensor["excursion_records"] == [1]
    assert (sensor["min_c"], sensor["max_c"], sensor["mean_c"]) == ("4", "9", "6.333")
    assert (sensor["minutes_below"], sensor["minutes_above"], sensor["minutes_observed"]) == ("0", "10", "30")
    assert sensor["excursions"] == [
        {
            "side": "high",
            "start": "2026-03-01T00:10:00.000Z",
            "end": "2026-03-01T00:20:00.000Z",
            "minutes": "10",
            "extreme_c": "9",
            "readings": 1,
        }
    ]


def test_the_summary_does_not_depend_on_the_order_of_arrival() -> None:
    ordered = summarize(pack(), at(0, 4), at(10, 9), at(20, 6))["sensors"][0]
    mixed = summarize(pack(), at(20, 6), at(0, 4), at(10, 9))["sensors"][0]
    assert mixed.pop("excursion_records") == [2]
    ordered.pop("excursion_records")
    assert mixed == ordered


def test_claims_that_differ_are_listed() -> None:
    facts = summarize(pack(), at(0, 9, compliance_state='"within_spec"'), at(10, 9, compliance_state='"excursion"'))
    assert facts["sensors"][0]["claims_differ"] == [0]


def test_sensors_and_products_are_kept_apart() -> None:
    facts = summarize(pack(), reading(), reading(sensor_id='"OTHER-01"'), at(0, 4))
    assert [(entry["sensor_id"], entry["product"]) for entry in facts["sensors"]] == [
        ("FRIDGE-0017", "refrigerator"),
        ("FRIDGE-0017", "unspecified"),
        ("OTHER-01", "unspecified"),
    ]


def test_a_device_day_stands_in_the_summary_in_its_own_words() -> None:
    payloads = [outcome.payload for outcome in outcomes(EXPORT) if isinstance(outcome, Record)]
    (sensor,) = pack().summarize(payloads)["sensors"]
    assert (sensor["records"], sensor["readings"], sensor["faults"]) == (4, 2, 1)
    assert [day["date"] for day in sensor["device"]] == ["2023-04-20", "2023-04-19"]


def test_a_limit_of_mean_kinetic_temperature_is_judged() -> None:
    def exceeded(celsius: float) -> bool:
        value = reading(temperature_c=str(celsius), product='"controlled-room"')
        return bool(summarize(pack(), value)["sensors"][0]["mkt_exceeded"])

    assert (exceeded(25), exceeded(25.1)) == (False, True)


# The shipped sample.


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_sample_gets_the_answers_of_its_manifest(seed: int) -> None:
    built, answers = pack(), Counter[str]()
    admitted: dict[tuple[str, str], bytes] = {}
    codes = set()
    for key, message in sample(6000, seed):
        unpacked = built.unpack(Submission(message))
        assert unpacked.count == 1
        outcome = next(unpacked.records())
        if not isinstance(outcome, Record):
            answers["dead"] += 1
            codes |= {finding.code for finding in outcome.findings}
            continue
        assert key == outcome.fields["sensor_id"]
        identity = (outcome.fields["sensor_id"], outcome.fields["event_time"])
        first = admitted.setdefault(identity, outcome.digest)
        if first is outcome.digest:
            answers["acknowledged"] += 1
        else:
            answers["duplicate" if first == outcome.digest else "dead"] += 1
    expected = manifest(6000, seed)
    assert answers == Counter(acknowledged=expected.acknowledged, dead=expected.dead, duplicate=expected.duplicate)
    assert sum(answers.values()) == expected.received == 6000
    assert {"good", *SHARES} == set(expected.kinds), "every kind occurs"
    assert len(codes) >= 9


def test_the_sample_is_a_function_of_its_seed() -> None:
    assert list(sample(500, 7)) == list(sample(500, 7))
    assert list(sample(500, 7)) != list(sample(500, 8))
