"""How growth is judged, what a stopped run need not measure again, and what the page says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.idle import kind_of
from bench.restart import readings
from bench.scale import points, report
from bench.scale.axes import AXES, MEMORY, ROCKSDB, Point, planned
from bench.scale.fit import exponent, faster_than_linear
from schemas.pack import Record, Submission
from schemas.packs import load_pack
from topology.load import load_pipeline

ABOUT: dict[str, Any] = {"load": 1.5, "at": "2026-01-02T03:04:05Z", "machine": {"cores": 2}}


@pytest.mark.parametrize(("power", "factor"), [(1.0, 3.0), (2.0, 0.1), (0.5, 7.0), (0.0, 4.0)])
def test_the_exponent_of_a_power_is_found_whatever_its_factor(power: float, factor: float) -> None:
    pairs = [(x, factor * x**power) for x in (10.0, 1_000.0, 100_000.0)]
    assert exponent(pairs) == pytest.approx(power)


def test_nothing_is_said_of_one_point_or_of_nothing() -> None:
    assert exponent([(1.0, 2.0)]) is None
    assert exponent([(1.0, 2.0), (1.0, 3.0)]) is None
    assert exponent([(1.0, 0.0), (2.0, 3.0)]) is None


def test_fixed_costs_do_not_hide_a_last_step_that_is_too_steep() -> None:
    quadratic = [(x, 1_000 + x * x) for x in (1.0, 10.0, 100.0)]
    power = exponent(quadratic)
    assert power is not None
    assert power < 1
    assert faster_than_linear([*quadratic, (1_000.0, 1_001_000.0)]) == [((100.0, 11_000.0), (1_000.0, 1_001_000.0))]


def test_noise_is_no_growth() -> None:
    assert faster_than_linear([(1.0, 1.0), (2.0, 2.2), (4.0, 4.4)]) == []
    assert faster_than_linear([(1.0, 1.0), (2.0, 2.4)]) == [((1.0, 1.0), (2.0, 2.4))]


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "results" / "points.jsonl"
    wanted = planned(["keys"], limit=1_000_000)
    assert len(wanted) == 4
    points.add(file, wanted[0], {"seconds": 1.0}, ABOUT)
    points.add(file, wanted[1], {"seconds": 2.0}, ABOUT)
    assert points.missing(wanted, points.read(file)) == wanted[2:]
    other_size = wanted[0]._replace(records=7)
    assert points.missing([other_size], points.read(file)) == [other_size]


def test_a_line_that_was_cut_off_is_measured_again_and_spoils_none(tmp_path: Path) -> None:
    file = tmp_path / "points.jsonl"
    first, second = Point("groups", 10), Point("groups", 1_000)
    points.add(file, first, {"seconds": 1.0}, ABOUT)
    with file.open("a") as out:
        out.write('{"axis": "groups", "x": 1000, "sto')
    assert points.missing([first, second], points.read(file)) == [second]
    points.add(file, second, {"seconds": 5.0}, ABOUT)
    assert points.missing([first, second], points.read(file)) == []


def test_a_point_measured_twice_counts_as_it_was_last(tmp_path: Path) -> None:
    file = tmp_path / "points.jsonl"
    for seconds in (9.0, 4.0):
        points.add(file, Point("bytes", 150), {"seconds": seconds}, ABOUT)
    assert [line["figures"]["seconds"] for line in points.read(file)] == [4.0]


def test_the_page_names_the_step_that_is_too_steep(tmp_path: Path) -> None:
    file = tmp_path / "points.jsonl"
    for keys, seconds in ((10**5, 1.0), (10**6, 10.5), (10**7, 300.0)):
        points.add(file, Point("keys", keys, ROCKSDB, keys), {"seconds": seconds, "peak_mib": 100.0}, ABOUT)
        points.add(file, Point("keys", keys, MEMORY, keys), {"seconds": seconds / 2}, ABOUT)
    page = report.page(points.read(file))
    assert "| rocksdb | 1.24 | **faster than linearly**: from 1,000,000 to 10,000,000 by a factor of 28.6 |" in page
    assert "| rocksdb | 0.00 | at most linearly |" in page
    assert "- cores: 2" in page
    assert "(groups.svg)" not in page


def test_every_axis_begins_at_the_base_point_or_says_what_differs() -> None:
    from bench.scale.axes import BASE

    for name in ("processes", "partitions", "bytes"):
        assert AXES[name].points[0].x == BASE[name]


def test_readings_of_every_size_pass_validation_and_differ() -> None:
    made = load_pipeline("cold-chain")
    pack = load_pack(made.pack, made.options, made.profile)
    for size in (150, 1_000, 10_000):
        values = [value for _, value in readings(20, 1, 10, size, 1_000)]
        assert len(set(values)) == 20
        assert all(size - 2 <= len(value) < size + 40 for value in values)
        answers = [item for value in values for item in pack.unpack(Submission(value)).records()]
        items = [item for item in answers if isinstance(item, Record)]
        assert len(items) == len(answers)
        assert len({tuple(item.fields[name] for name in made.idempotency) for item in items}) == 20


def test_threads_are_told_apart_by_their_names() -> None:
    assert kind_of("rdk:broker-1") == kind_of("rdk:broker12") == "client broker"
    assert kind_of("python3.11") == "python"
