"""MKT, episodes, alarms and doubts over any sequence of readings, and the summary of a batch."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.pack import Pack, Record, Submission
from schemas.packs.cold_chain import episodes as ep
from schemas.packs.cold_chain import quality
from schemas.packs.cold_chain.episodes import Point, alarm, episodes, standing, time_out, typical_interval
from schemas.packs.cold_chain.mkt import HeatLoad, mkt
from schemas.packs.cold_chain.sample import SHARES, manifest, sample
from schemas.packs.cold_chain.times import iso_text
from schemas.packs.cold_chain.units import plain
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
    assert standing(points, 10, stated=False) == [10, 14, 0, 0], "nobody says how long a reading alone stands"
    assert standing(points, None) == [0, 0, 0, 0]
    assert standing([], 10) == []


def test_an_interval_that_nobody_states_is_the_median_distance_but_an_hour_at_most() -> None:
    assert typical_interval([Point(0, 5), Point(10, 5), Point(24, 5), Point(100, 5)]) == 14
    assert typical_interval([Point(0, 5)]) is None
    assert typical_interval([Point(0, 5), Point(0, 6)]) is None
    for minutes, expected in ((59, 59), (60, 60), (61, 60), (1200, 60)):
        assert typical_interval(series(5, 5, 5, step=minutes * MINUTE)) == expected * MINUTE


def test_limits_are_strict_and_faults_count_no_time() -> None:
    points = series(8.0, 8.1, None, 9.0, 2.0, 1.9)
    spans = standing(points, 10 * MINUTE)
    assert time_out(points, spans, "high", 8) == 20 * MINUTE
    assert time_out(points, spans, "low", 2) == 10 * MINUTE


def test_an_episode_ends_with_the_first_reading_within_and_survives_a_fault() -> None:
    points = series(5, 9, None, 12, 8, 10)
    first, second = episodes(points, standing(points, 10 * MINUTE), "high", 8, 10 * MINUTE)
    assert (first.start, first.end, first.observed) == (10 * MINUTE, 40 * MINUTE, 20 * MINUTE)
    assert (first.extreme, first.readings) == (12, 2)
    assert (second.start, second.readings) == (50 * MINUTE, 1)


def test_an_episode_and_a_single_alarm_end_at_a_gap() -> None:
    points = [Point(minute * MINUTE, 9) for minute in (0, 10, 20, 600, 610)]
    spans = standing(points, 10 * MINUTE)
    found = episodes(points, spans, "high", 8, 10 * MINUTE)
    assert [(episode.start, episode.end) for episode in found] == [(0, 30 * MINUTE), (600 * MINUTE, 620 * MINUTE)]
    assert [episode.observed for episode in found] == [30 * MINUTE, 20 * MINUTE]

    def reached(minutes: int, mode: Any) -> bool:
        return alarm(points, spans, "high", 8, minutes, mode, 10 * MINUTE).at is not None

    assert (reached(30, "single"), reached(31, "single")) == (True, False)
    assert (reached(50, "cumulative"), reached(51, "cumulative")) == (True, False)


def test_single_and_cumulative_alarms() -> None:
    points = series(9, 9, 5, 9, 9, 9, 5)
    spans, alarm = standing(points, 10 * MINUTE), partial(ep.alarm, interval=10 * MINUTE)
    assert alarm(points, spans, "high", 8, 30, "single").at == 60 * MINUTE
    assert alarm(points, spans, "high", 8, 31, "single").at is None
    assert alarm(points, spans, "high", 8, 30, "cumulative").at == 40 * MINUTE
    assert alarm(points, spans, "high", 8, 50, "cumulative") == (60 * MINUTE, 50 * MINUTE)
    assert alarm(points, spans, "high", 8, 51, "cumulative").at is None
    assert alarm(points, spans, "high", 8, 0, "single").at == 0
    assert alarm(points, spans, "low", 2, 0, "single").at is None


@given(st.lists(st.tuples(st.integers(0, 2000), st.floats(-50, 50)), min_size=1, max_size=20), st.floats(-50, 50))
def test_without_a_stated_interval_no_more_is_counted_than_was_observed(
    steps: list[tuple[int, float]], limit: float
) -> None:
    times = itertools.accumulate(step for step, _ in steps)
    points = [Point(time * MINUTE, celsius) for time, (_, celsius) in zip(times, steps, strict=True)]
    interval = typical_interval(points)
    spans = standing(points, interval, stated=False)
    assert sum(spans) <= points[-1].at - points[0].at
    assert max(spans) <= 90 * MINUTE
    for episode in episodes(points, spans, "high", limit, interval):
        assert episode.observed <= episode.end - episode.start <= points[-1].at - points[0].at


@given(st.lists(st.one_of(st.none(), st.floats(-50, 50)), max_size=60), st.floats(-50, 50))
def test_episodes_hold_exactly_the_time_out(celsius: list[float | None], limit: float) -> None:
    points = series(*celsius)
    spans = standing(points, 10 * MINUTE)
    for side in ("low", "high"):
        found = episodes(points, spans, side, limit, 10 * MINUTE)
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
    assert (sensor["minutes_below"], sensor["minutes_above"], sensor["minutes_observed"]) == ("0", "10", "20")
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


HELD = st.one_of(st.none(), st.integers(-20, 120).map(lambda tenths: tenths / 10), st.just(5.0))
STEPS = st.one_of(st.just(10), st.just(10), st.integers(0, 40))


@given(st.lists(st.tuples(STEPS, HELD), min_size=1, max_size=80), st.none() | st.just(600))
def test_the_summary_says_what_a_walk_over_every_reading_says(
    steps: list[tuple[int, float | None]], interval_s: int | None
) -> None:
    """Whatever it passes over because no reading can have to do with it."""
    times = list(itertools.accumulate(step * MINUTE for step, _ in steps))
    points = [Point(time, held, place) for place, (time, (_, held)) in enumerate(zip(times, steps, strict=True))]
    alike: dict[str, Any] = {"kind": "reading", "sensor_id": "s", "product": "refrigerator", "state": "unknown"}
    alike |= {"compliance_state": "unknown"} | ({} if interval_s is None else {"interval_s": interval_s})
    values = [{} if point.celsius is None else {"temperature_c": str(point.celsius)} for point in points]
    payloads = [
        json.dumps({**alike, "event_time": point.at, **value}).encode()
        for point, value in zip(points, values, strict=True)
    ]
    built = pack(stuck_readings=3, jump_c="6")
    (found,) = built.summarize(payloads)["sensors"]
    interval = typical_interval(points) if interval_s is None else interval_s * 1000
    spans = standing(points, interval, interval_s is not None)
    known = [(point.celsius, span) for point, span in zip(points, standing(points, interval), strict=True)]
    weighed = [(celsius, span) for celsius, span in known if celsius is not None]
    kinetic = mkt([c for c, _ in weighed], [span for _, span in weighed] if any(s for _, s in weighed) else None)
    assert found.get("mkt_c") == (None if kinetic is None else text(kinetic))
    limits: list[tuple[ep.Side, float, str]] = [("low", 2, "minutes_below"), ("high", 8, "minutes_above")]
    assert [found[name] for _, _, name in limits] == [
        minutes(time_out(points, spans, side, limit)) for side, limit, _ in limits
    ]
    out = [one for side, limit, _ in limits for one in episodes(points, spans, side, limit, interval)]
    assert [(one["side"], one["start"], one["readings"]) for one in found["excursions"]] == [
        (one.side, iso_text(one.start), one.readings) for one in sorted(out, key=lambda one: (one.start, one.side))
    ]
    for told in found["alarms"]:
        rule = told["side"], float(told["limit_c"]), told["after_minutes"], told["mode"]
        hit = alarm(points, spans, *rule, interval)
        at = None if hit.at is None else iso_text(hit.at)
        assert (told["triggered_at"], told["minutes"]) == (at, minutes(hit.observed))
    assert [gap["after"] for gap in found["gaps"]] == [iso_text(gap.after) for gap in quality.gaps(points, interval)]
    assert [run["readings"] for run in found["stuck"]] == [run.readings for run in quality.stuck(points, 3)]
    assert [jump["at"] for jump in found["jumps"]] == [iso_text(j.at) for j in quality.jumps(points, interval, 6)]


def text(number: float) -> str:
    return plain(Decimal(number).quantize(Decimal("0.001")))


def minutes(milliseconds: int) -> str:
    return text(milliseconds / MINUTE)


def test_two_readings_far_apart_observe_nothing_between_them() -> None:
    (sensor,) = summarize(pack(), at(0, 9), at(20 * 60, 9))["sensors"]
    assert (sensor["minutes_above"], sensor["minutes_observed"]) == ("0", "0")
    assert [gap["minutes"] for gap in sensor["gaps"]] == ["1200"]
    assert [(episode["readings"], episode["minutes"]) for episode in sensor["excursions"]] == [(1, "0"), (1, "0")]
    assert [alarm["triggered_at"] for alarm in sensor["alarms"]] == [None] * 4
    assert sensor["excursion_records"] == [0, 1]


def test_a_long_interval_that_is_stated_is_believed() -> None:
    twice_a_day = {"match": "*", "logging_interval": 12 * 3600}
    by = pack(sources=[twice_a_day])
    found = [outcomes(at(minute, 9), source="x", by=by)[0] for minute in (0, 12 * 60)]
    (sensor,) = by.summarize([outcome.payload for outcome in found if isinstance(outcome, Record)])["sensors"]
    assert (sensor["minutes_above"], sensor["gaps"]) == ("1440", [])


def test_the_last_reading_weighs_in_the_mean_kinetic_temperature() -> None:
    """Its share of a mean is no claim about time."""
    (sensor,) = summarize(pack(), at(0, 2), at(10, 4), at(20, 25))["sensors"]
    assert float(sensor["mkt_c"]) == pytest.approx(mkt([2, 4, 25]), abs=5e-4)


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
