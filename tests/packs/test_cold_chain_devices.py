"""What a logger says about itself, and exports that were cut off."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.pack import Record, Refusal, Submission
from tests.packs.cold_chain_inputs import EXPORT, TRANSPORT, codes_of, outcomes, pack

exports = pytest.mark.parametrize("export", [EXPORT, TRANSPORT], ids=["history", "transport"])


def valid(export: bytes) -> dict[tuple[str, str], bytes]:
    """The digests of an export's valid records by sensor and event time."""
    found = [outcome for outcome in outcomes(export) if isinstance(outcome, Record)]
    return {(record.fields["sensor_id"], record.fields["event_time"]): record.digest for record in found}


def first(export: bytes, profile: str = "strict", **options: Any) -> Record | Refusal:
    return outcomes(export, by=pack(profile, **options))[0]


@exports
def test_no_cut_gives_a_record_that_the_whole_export_does_not_give(export: bytes) -> None:
    whole = valid(export)
    assert len(whole) == len(outcomes(export))
    for end in range(len(export)):
        cut = export[:end]
        found = valid(cut)
        assert all(whole.get(key) == digest for key, digest in found.items()), cut
        missed = any(isinstance(outcome, Refusal) for outcome in outcomes(cut))
        assert missed or found == whole, f"something is gone, and nobody is told: {cut!r}"


@exports
def test_an_export_without_its_signature_is_refused_as_a_whole(export: bytes) -> None:
    cut = export[: export.index(b"Sig:")]
    (found,) = outcomes(cut)
    assert isinstance(found, Refusal)
    assert codes_of(found) == ["MALFORMED_EXPORT"]
    assert "cut off" in found.findings[0].message
    assert found.original == cut


@exports
def test_a_refused_part_keeps_the_signature_and_can_be_corrected_alone(export: bytes) -> None:
    whole = valid(export)
    for stated in (b" Avrg T: ", b"\t202"):
        before, after = export.rsplit(stated, 1)
        (refusal,) = [o for o in outcomes(before + stated + b"?" + after) if isinstance(o, Refusal)]
        (corrected,) = outcomes(refusal.original.replace(stated + b"?", stated))
        assert isinstance(corrected, Record)
        assert corrected.digest in whole.values()


@exports
@pytest.mark.parametrize("name", ["Min T", "Max T", "Avrg T"])
def test_a_day_or_report_without_its_extremes_or_mean_is_refused(export: bytes, name: str) -> None:
    value = next(line for line in export.splitlines() if line.strip().startswith(f"{name}:".encode()))
    indent = value[: value.index(name.encode())]
    for missing in (indent + b"Else: 1", indent + f"{name}:".encode()):
        found = first(export.replace(value, missing, 1))
        assert isinstance(found, Refusal)
        assert found.findings[-1][:2] == ("MISSING_FIELD", name)
    faulty = first(export.replace(value, indent + f"{name}: --.-".encode(), 1))
    assert isinstance(faulty, Record), "the device itself says that it measured nothing"


@pytest.mark.parametrize("index", [0, 1])
def test_a_day_without_the_time_of_a_configured_alarm_is_refused(index: int) -> None:
    stated = b"   %d:\r\n    t Acc: " % index
    found = first(EXPORT.replace(stated, stated.replace(b"t Acc", b"t Off"), 1))
    assert [(code, path) for code, path, _ in getattr(found, "findings", ())] == [
        ("MISSING_FIELD", f"Alarm.{index}.t Acc")
    ]
    nothing = first(EXPORT.replace(stated, stated + b"--.-, Was: ", 1))
    assert isinstance(nothing, Record)
    assert ("minutes_below", "minutes_above")[index] not in json.loads(nothing.payload)


def test_each_of_any_number_of_alarms_has_its_time() -> None:
    """With one alarm or three no one is the low or the high one; what was configured is asked for all the same."""
    for alarms, asked in ((b" Alarm:\r\n  0:\r\n   T AL: -0.5\r\n", 1), (b"  2:\r\n   T AL: +9.0, t AL: 1\r\n", 3)):
        start, end = EXPORT.index(b" Alarm:"), EXPORT.index(b" Logging")
        configured = alarms if asked == 1 else EXPORT[start:end] + alarms
        export = EXPORT[:start] + configured + EXPORT[end:]
        codes = codes_of(first(export.replace(b"t Acc", b"t Off")))
        assert codes == ["MISSING_FIELD"] * asked


def day(low: str = "+2.0", high: str = "+8.5", mean: str = "+4.6", minutes: str = "7") -> bytes:
    export = EXPORT.replace(b"Min T: +2.0", f"Min T: {low}".encode()).replace(b"Max T: +8.5", f"Max T: {high}".encode())
    return export.replace(b"Avrg T: +4.6", f"Avrg T: {mean}".encode()).replace(
        b"t Acc: 7", f"t Acc: {minutes}".encode()
    )


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({"low": "-100.0"}, []),
        ({"low": "-100.1"}, ["Min T"]),
        ({"low": "-300.0"}, ["Min T"]),
        ({"high": "+100.0"}, []),
        ({"high": "+100.1"}, ["Max T"]),
        ({"mean": "+2.0"}, []),
        ({"mean": "+1.9"}, ["Avrg T"]),
        ({"mean": "+8.5"}, []),
        ({"mean": "+8.6"}, ["Avrg T"]),
        ({"low": "+8.6", "mean": "--.-"}, ["Min T"]),
        ({"low": "+8.5", "mean": "+8.5"}, []),
        ({"low": "--.-", "mean": "+8.6"}, ["Avrg T"]),
        ({"minutes": "1440"}, []),
        ({"minutes": "1500"}, []),
        ({"minutes": "1501"}, ["Alarm.1.t Acc"]),
    ],
)
def test_a_day_is_as_plausible_as_a_reading(changes: dict[str, str], paths: list[str]) -> None:
    """VAL-06. A day has 1,440 minutes, or 1,500 where a clock is put back by an hour."""
    found = first(day(**changes))
    assert isinstance(found, Refusal) == bool(paths)
    assert [finding.path for finding in getattr(found, "findings", ())] == paths
    assert set(codes_of(found)) <= {"OUT_OF_RANGE"}


def test_a_report_is_as_plausible_as_a_reading() -> None:
    for change, path in (
        ((b"Max T: 24.3", b"Max T: 451"), "Max T"),
        ((b"Avrg T: 5.4", b"Avrg T: 0.8"), "Avrg T"),
        ((b"MKT: 10.5", b"MKT: 24.4"), "MKT"),
        ((b"Min T: 0.9", b"Min T: 24.4"), "Min T"),
    ):
        found = first(TRANSPORT.replace(*change))
        assert isinstance(found, Refusal)
        assert ("OUT_OF_RANGE", path) in [(finding.code, finding.path) for finding in found.findings]


def test_the_bounds_of_a_day_are_those_of_its_product_and_profile() -> None:
    cold = day(low="-150.0")
    rule = {"match": "*", "product": "vapour"}
    found = outcomes(cold, source="x", by=pack(sources=[rule]))[0]
    assert isinstance(found, Record)
    assert isinstance(first(cold, "schema"), Record), "not judged in this profile"
    assert isinstance(first(cold, "lenient"), Refusal)
    assert isinstance(first(day(low="-273.15"), "schema"), Refusal), "absolute zero is no temperature in any profile"
    fahrenheit = EXPORT.replace(b"Temp unit: C", b"Temp unit: F")
    assert isinstance(first(fahrenheit.replace(b"Max T: +8.5", b"Max T: +212.0")), Record)
    assert codes_of(first(fahrenheit.replace(b"Max T: +8.5", b"Max T: +212.1"))) == ["OUT_OF_RANGE"]


@pytest.mark.parametrize("where", [b"Vers: ", b"Sig: "])
def test_a_small_export_does_not_become_gigabytes_of_dead_letters(where: bytes) -> None:
    """Each refused row is kept with head and signature: much of these over many short rows is refused as a whole."""
    rows = EXPORT.replace(b"Cert:", b"\tx\n" * 100_000 + b"Cert:")
    assert pack().unpack(Submission(rows)).count == 100_004
    unpacked = pack().unpack(Submission(rows.replace(where, where + b"x" * 1_000_000, 1)))
    assert unpacked.count == 1
    (found,) = unpacked.records()
    assert codes_of(found) == ["MALFORMED_EXPORT"]


@exports
def test_lines_of_an_export_are_accounted_for(export: bytes) -> None:
    unpacked = pack().unpack(Submission(export))
    notes = dict(unpacked.notes)
    rows = sum(outcome.fields["kind"] == "reading" for outcome in unpacked.records() if isinstance(outcome, Record))
    lines = notes.pop("lines")
    assert rows + sum(notes.values()) == lines == len(export.splitlines())
