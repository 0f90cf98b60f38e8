"""The pack on real files, against verdicts that came with them."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from typing import Any

import pytest

from schemas.pack import CANONICAL_TYPE, Pack, Record, Refusal, Submission
from schemas.packs.cold_chain.episodes import Point, standing, time_out
from schemas.packs.cold_chain.mkt import mkt
from tests.packs.cold_chain_inputs import pack

pytestmark = pytest.mark.cases

NAB = {"match": "ambient_temperature*.csv", "unit": "FAH", "utc_offset": "-05:00", "sensor_id": "nab-ambient"}


@pytest.fixture
def folder(cases: Path) -> Path:
    return cases / "cold_chain"


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def read(path: Path, by: Pack | None = None) -> list[Record | Refusal]:
    return list((by or pack()).unpack(Submission(path.read_bytes(), None, str(path))).records())


def valid(path: Path, kind: str, by: Pack | None = None) -> list[dict[str, Any]]:
    found = [json.loads(outcome.payload) for outcome in read(path, by) if isinstance(outcome, Record)]
    return [payload for payload in found if payload["kind"] == kind]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as rows:
        return list(csv.DictReader(rows))


def find(folder: Path, name: str) -> Path:
    (path,) = folder.rglob(name)
    return path


def test_over_a_thousand_records_without_configuration(folder: Path) -> None:
    found = Counter(type(outcome) for path in files(folder) for outcome in read(path))
    assert found[Record] > 1000
    assert found[Refusal] > 0


def test_over_eight_thousand_with_the_source_of_the_two_column_file(folder: Path) -> None:
    by = pack(sources=[NAB])
    found = [outcome for path in files(folder) for outcome in read(path, by) if isinstance(outcome, Record)]
    assert len(found) > 8000
    keys = Counter((record.fields["sensor_id"], record.fields["event_time"]) for record in found)
    repeated = [key for key, times in keys.items() if times > 1]
    assert all(key[0] == "nab-ambient" for key in repeated), "only that file repeats moments"


def test_daily_tables_are_read_out_exactly(folder: Path) -> None:
    expected: dict[str, dict[str, dict[str, str]]] = defaultdict(dict)
    for row in table(folder / "EXPECTED_daily.csv"):
        expected[row["file"]][row["date"]] = row
    assert sum(map(len, expected.values())) == 68
    for name, days in expected.items():
        found = {payload["date"]: payload for payload in valid(find(folder, name), "daily_summary")}
        assert found.keys() == days.keys()
        for date, row in days.items():
            day = found[date]
            for field in ("min_c", "max_c", "avg_c", "low_limit_c", "high_limit_c"):
                assert Decimal(day[field]) == Decimal(row[field]), (name, date, field)
            for field in ("low_alarm_minutes", "high_alarm_minutes", "minutes_below", "minutes_above"):
                assert day[field] == int(row[field]), (name, date, field)
            for field in ("low_alarm_at", "high_alarm_at"):
                assert day.get(field, "") == row[field], (name, date, field)


def test_minutes_from_the_log_agree_with_the_device_within_fifteen_a_day(folder: Path) -> None:
    compared = 0
    expected = {(row["file"], row["date"]): row for row in table(folder / "EXPECTED_daily.csv")}
    for name in {file for file, _ in expected}:
        days: dict[str, list[Point]] = defaultdict(list)
        for payload in valid(find(folder, name), "reading"):
            celsius = float(payload["temperature_c"]) if "temperature_c" in payload else None
            days[payload["timestamp"][:10]].append(Point(payload["event_time"], celsius))
        for date, points in days.items():
            row = expected[name, date]
            spans = standing(points, 300_000)
            for field, limit, side in (
                ("minutes_below", "low_limit_c", "low"),
                ("minutes_above", "high_limit_c", "high"),
            ):
                minutes = time_out(points, spans, side, float(row[limit])) / 60_000  # type: ignore[arg-type]
                assert abs(minutes - int(row[field])) <= 15, (name, date, field, minutes)
                compared += 1
    assert compared == 8, "four days, two sides"


def test_mkt_mean_and_extremes_equal_the_devices(folder: Path) -> None:
    (row,) = table(folder / "EXPECTED_mkt.csv")
    path = find(folder, row["file"])
    by = pack(activation_energy=row["activation_energy_kj_mol"])
    readings = [outcome.payload for outcome in read(path, by) if isinstance(outcome, Record)][1:]
    assert len(readings) == int(row["readings"])
    (facts,) = by.summarize(readings)["sensors"]

    def cut(text: str) -> Decimal:
        return Decimal(text).quantize(Decimal("0.1"), rounding=ROUND_DOWN)

    assert cut(facts["mkt_c"]) == Decimal(row["device_mkt_c"])
    assert cut(facts["mean_c"]) == Decimal(row["device_avg_c"])
    assert Decimal(facts["min_c"]) == Decimal(row["device_min_c"])
    assert Decimal(facts["max_c"]) == Decimal(row["device_max_c"])
    (report,) = valid(path, "device_report")
    assert [report[name] for name in ("mkt_c", "avg_c", "min_c", "max_c")] == ["10.5", "5.4", "0.9", "24.3"]
    plain_mkt = mkt([float(json.loads(payload)["temperature_c"]) for payload in readings], None, 83.0)
    assert plain_mkt == pytest.approx(10.584, abs=5e-4)


def test_single_alarms_agree_with_the_devices_own(folder: Path) -> None:
    """The device samples each minute, the log shows every tenth: episodes agree within one logging interval."""
    path = find(folder, "RCPJ00010_02_202211090128.txt")
    alarms = [
        {"side": "high", "limit": 8, "minutes": 30},
        {"side": "low", "limit": 2, "minutes": 60, "mode": "cumulative"},
        {"side": "high", "limit": 8, "minutes": 60, "mode": "cumulative"},
    ]
    by = pack(products={"box": {"low": 2, "high": 8, "alarms": alarms}}, default_product="box")
    readings = [outcome.payload for outcome in read(path, by) if isinstance(outcome, Record)][1:]
    (facts,) = by.summarize(readings)["sensors"]
    stated = ["2022-11-08T22:20", "2022-11-08T07:34", "2022-11-08T22:50"]
    for alarm, device in zip(facts["alarms"], stated, strict=True):
        hour, minute = int(alarm["triggered_at"][11:13]), int(alarm["triggered_at"][14:16])
        assert alarm["triggered_at"][:10] == device[:10]
        assert abs(hour * 60 + minute - int(device[11:13]) * 60 - int(device[14:16])) <= 30
    device_minutes = [219, 598, 219]
    for alarm, minutes in zip(facts["alarms"], device_minutes, strict=True):
        assert abs(Decimal(alarm["minutes"]) - minutes) <= 20
    assert facts["claims_differ"] == [], "the device's own out-of-limits marks are what its limits give"


def test_every_line_of_every_file_is_accounted_for(folder: Path) -> None:
    checked = 0
    for path in files(folder):
        data = path.read_bytes()
        unpacked = pack().unpack(Submission(data))
        if not unpacked.notes:
            continue
        notes = dict(unpacked.notes)
        lines = notes.pop("lines")
        in_blocks = sum(
            isinstance(outcome, Record) and outcome.fields["kind"] != "reading" for outcome in unpacked.records()
        )
        assert unpacked.count - in_blocks + sum(notes.values()) == lines == len(data.splitlines()), path.name
        checked += 1
    assert checked == 6, "four exports, two CSV files"


def test_what_is_no_input_is_refused_with_a_code(folder: Path) -> None:
    for path in files(folder):
        if path.suffix in (".pdf", ".jsonld") or path.name.startswith("EXPECTED"):
            (found,) = read(path)
            assert isinstance(found, Refusal), path.name
            assert found.original == path.read_bytes()
            wanted = {"UNKNOWN_FIELD", "MISSING_FIELD"} if path.suffix == ".jsonld" else {"UNKNOWN_CONTENT"}
            assert {finding.code for finding in found.findings} == wanted


def test_event_rows_and_faults_are_told_apart(folder: Path) -> None:
    hobo = pack().unpack(Submission(find(folder, "hobo_test.csv").read_bytes()))
    assert (hobo.count, hobo.notes["event_rows"]) == (165, 2)
    log = valid(find(folder, "100800001215_202304201410.txt"), "reading")
    assert (len(log), sum("fault" in payload for payload in log)) == (841, 6)


def test_real_records_survive_as_canonical_submissions(folder: Path) -> None:
    by = pack(sources=[NAB])
    for path in files(folder):
        for outcome in read(path, by)[::7]:
            if isinstance(outcome, Record):
                (back,) = by.unpack(Submission(outcome.payload, CANONICAL_TYPE)).records()
                assert isinstance(back, Record)
                assert (back.digest, back.fields) == (outcome.digest, outcome.fields)
