"""CSV and logger exports, made here: layout, accounting of lines, what comes from where."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.pack import Record, Refusal, Submission
from tests.packs.cold_chain_inputs import CSV, EXPORT, HOBO, codes_of, outcomes, pack, refused


def payloads(value: bytes, **options: Any) -> list[dict[str, Any]]:
    found = outcomes(value, source="file", by=pack(**options))
    assert all(isinstance(outcome, Record) for outcome in found), found
    return [json.loads(outcome.payload) for outcome in found if isinstance(outcome, Record)]


def test_hobo_states_zone_unit_and_sensor_in_its_header() -> None:
    first, second = payloads(HOBO)
    assert (first["sensor_id"], first["unit"], first["value"], first["temperature_c"]) == (
        "1042",
        "°F",
        "69.771",
        "20.984",
    )
    assert (first["timestamp"], first["utc_offset"]) == ("10/09/16 12:00:00 AM", "-05:00")
    assert first["event_time"] == 1_475_989_200_000  # 2016-10-09T05:00:00Z
    assert second["event_time"] - first["event_time"] == 12.5 * 3_600_000


def test_a_file_exported_again_with_another_offset_holds_other_versions_of_the_same_readings() -> None:
    """As with another spelling in JSON: the moment is the same, what the file says is not."""
    again = HOBO.replace(b"GMT-05:00", b"GMT-04:00").replace(b"12:00:00 AM", b"01:00:00 AM")
    one, other = outcomes(HOBO)[0], outcomes(again)[0]
    assert isinstance(one, Record)
    assert isinstance(other, Record)
    assert one.fields == other.fields
    assert one.digest != other.digest


def test_event_rows_are_counted_and_are_no_records() -> None:
    unpacked = pack().unpack(Submission(HOBO))
    assert unpacked.count == 2
    assert unpacked.notes == {"header_lines": 2, "event_rows": 1, "blank_lines": 1, "lines": 6}


def test_a_row_without_temperature_and_without_event_is_refused_not_skipped() -> None:
    found = outcomes(HOBO.replace(b"AM,69.771,", b"AM,,"))
    assert [codes_of(outcome) for outcome in found] == [["MISSING_FIELD"], []]


HUMID = (
    b'"#","Date Time, GMT-05:00","Temp, \xc2\xb0F (LGR S/N: 1041, SEN S/N: 1042)",'
    b'"RH, % (LGR S/N: 1041, SEN S/N: 1042, LBL: RH)","Stopped (LGR S/N: 1041)"\r\n'
    b"1,10/09/16 12:00:00 AM,,,Logged\r\n"
    b"2,10/09/16 12:00:00 AM,69.771,41.2,\r\n"
    b"3,10/09/16 12:30:00 AM,,41.3,\r\n"
    b"4,10/09/16 01:00:00 AM,,41.3,Logged\r\n"
)
"""A HOBO file of a logger that measures humidity too; rows 3 and 4 lack a temperature."""


@pytest.mark.parametrize(("profile", "code"), [("strict", "UNKNOWN_FIELD"), ("lenient", "UNKNOWN_FIELD_IGNORED")])
def test_another_channel_of_a_hobo_logger_is_an_unknown_column_and_no_event(profile: str, code: str) -> None:
    by = pack(profile)
    found = outcomes(HUMID, by=by)
    assert [codes_of(outcome) for outcome in found] == [[code], [code, "MISSING_FIELD"], [code, "MISSING_FIELD"]]
    assert [isinstance(outcome, Record) for outcome in found] == [profile == "lenient", False, False]
    assert by.unpack(Submission(HUMID)).notes["event_rows"] == 1


@pytest.mark.parametrize("name", ["RH, %", "Intensity, lum/ft²", "Batt, V", "Batt"])
@pytest.mark.parametrize("serials", ["LGR S/N: 1041, SEN S/N: 1042", "LGR S/N: 1041, LBL: x", "LGR S/N: 1041"])
def test_only_a_column_without_unit_sensor_and_label_holds_events(name: str, serials: str) -> None:
    found = outcomes(HOBO.replace(b"Stopped (LGR S/N: 1041)", f"{name} ({serials})".encode()))
    if f"{name} ({serials})" == "Batt (LGR S/N: 1041)":
        assert [codes_of(outcome) for outcome in found] == [[], []], "as event columns are named: its cells decide"
    else:
        unknown = ["UNKNOWN_FIELD"]
        assert [codes_of(outcome) for outcome in found] == [[*unknown, "MISSING_FIELD"], unknown, unknown]


def test_a_number_in_an_event_column_is_no_event() -> None:
    """A channel whose column looks like one of events: neither its rows nor its values vanish."""
    numbers = HOBO.replace(b",,Logged", b",,41.2").replace(b"AM,69.771,", b"AM,69.771,41.2")
    found = outcomes(numbers)
    assert [codes_of(outcome) for outcome in found] == [["UNKNOWN_FIELD", "MISSING_FIELD"], ["UNKNOWN_FIELD"], []]
    lenient = outcomes(numbers, by=pack("lenient"))
    assert [isinstance(outcome, Record) for outcome in lenient] == [False, True, True]
    assert codes_of(lenient[1]) == ["UNKNOWN_FIELD_IGNORED"]


def test_a_csv_may_name_sensor_and_unit_per_row() -> None:
    first, second = payloads(CSV.replace(b"5,C", b"278.15,KEL"))
    assert (first["temperature_c"], second["temperature_c"]) == ("5", "5")
    assert first["sensor_id"] == "probe-1"


def test_a_two_column_file_needs_a_source_rule() -> None:
    bare = b"timestamp,value\n2013-07-04 00:00:00,69.88083514\n"
    assert sorted(refused(bare)) == ["MISSING_FIELD", "MISSING_FIELD", "NAIVE_TIMESTAMP"]
    (found,) = payloads(bare, sources=[{"match": "f*", "unit": "FAH", "utc_offset": "-04:00", "sensor_id": "room-1"}])
    assert found["temperature_c"] == "21.045"
    assert found["event_time"] == 1_372_910_400_000  # 04:00 UTC
    assert found["value"] == "69.88083514"


def test_a_broken_row_refuses_itself_and_not_its_neighbours() -> None:
    rows = [
        (b"2026-03-01T00:00:00Z,4,C", "MALFORMED_CSV"),
        (b"2026-03-01T00:00:00Z,4,C,probe-1,x", "MALFORMED_CSV"),
        (b'2026-03-01T00:00:00Z,"4,C,probe-1', "MALFORMED_CSV"),
        (b"2026-03-01T00:00:00Z,warm,C,probe-1", "WRONG_TYPE"),
        (b"2026-03-01T00:00:00Z,1e3,C,probe-1", "WRONG_TYPE"),
        (b"2026-03-01T00:00:00Z,4,R,probe-1", "UNKNOWN_UNIT"),
        (b"2026-03-01T00:00:00,4,C,probe-1", "NAIVE_TIMESTAMP"),
        (b"2026-02-30T00:00:00Z,4,C,probe-1", "IMPOSSIBLE_DATE"),
        (b"2026-03-01T00:00:00Z,4,C,pr\0be-1", "NUL_CHARACTER"),
        (b"2026-03-01T00:00:00Z,4,C,pr\xff\xff-1", "NOT_UTF8"),
    ]
    found = outcomes(CSV + b"".join(row + b"\n" for row, _ in rows) + CSV.splitlines(keepends=True)[1])
    assert [codes_of(outcome) for outcome in found] == [[], [], *[[code] for _, code in rows], []]
    header = CSV.splitlines(keepends=True)[0]
    assert [outcome.original for outcome in found if isinstance(outcome, Refusal)] == [header + row for row, _ in rows]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("blank", [b"\n", b"\r\n \t\r\n\n"])
def test_blank_lines_before_a_header_do_not_hide_it(mark: bytes, blank: bytes) -> None:
    header, row, _ = CSV.splitlines(keepends=True)
    titled = mark + blank + b"a title\n" + blank + header + blank + row + b"no row\n"
    unpacked = pack().unpack(Submission(titled))
    good, bad = unpacked.records()
    assert isinstance(good, Record)
    assert isinstance(bad, Refusal)
    assert codes_of(bad) == refused(bad.original) == ["MALFORMED_CSV"]
    assert bad.original == mark + b"a title\n" + header + b"no row"
    assert unpacked.notes == {
        "header_lines": 2, "event_rows": 0, "blank_lines": 3 * blank.count(b"\n"), "lines": titled.count(b"\n"),
    }  # fmt: skip
    assert refused(b"a title\n" + blank + b"another\n" + header + row) == ["UNKNOWN_CONTENT"]


def test_a_header_that_lies_is_refused() -> None:
    twice = b"timestamp,value,value\n2026-03-01T00:00:00Z,4,5\n"
    assert "MALFORMED_CSV" in refused(twice)
    beside = b"timestamp,temperature_c,unit,sensor_id\n2026-03-01T00:00:00Z,4,F,probe-1\n"
    assert refused(beside) == ["CONTRADICTORY_FIELDS"]
    assert refused(
        CSV.replace(b"unit", b"colour").splitlines(keepends=True)[0] + b"2026-03-01T00:00:00Z,4,C,probe-1"
    ) == [
        "UNKNOWN_FIELD",
        "MISSING_FIELD",
    ]
    assert refused(b"a,b\n1,2\n", "text/csv") == ["UNKNOWN_CONTENT"]
    assert refused(CSV.splitlines(keepends=True)[0]) == ["EMPTY_SUBMISSION"]


@pytest.mark.parametrize(
    ("value", "content_type", "seen", "advice"),
    [
        (b"%PDF-1.7\n", None, "a PDF: ", "export the readings from the logger's software as CSV or text"),
        (b"%PDF-1.7\n", "application/pdf", "the content type 'application/pdf' over a PDF: ", "export the readings"),
        (
            CSV.replace(b",", b";"),
            None,
            "a table separated by semicolons: ",
            "save it separated by commas, with a point",
        ),
        (
            CSV.replace(b",", b"\t"),
            "text/csv",
            "the content type 'text/csv' over a table separated by tabs: ",
            "commas",
        ),
        (HOBO.replace(b'","', b'";"'), None, "a table separated by semicolons: ", "commas"),
        (
            b"PK\x03\x04rest",
            None,
            "a ZIP archive or an Office file (xlsx, docx): ",
            "save the sheet as comma-separated",
        ),
        (CSV.decode().encode("utf-16"), None, "text in UTF-16: ", "save it as UTF-8"),
        (b"<html>", None, "XML or HTML: ", "export the readings as CSV or JSON"),
        (
            b"a,b\n1,2\n",
            None,
            "text that begins with 'a,b': ",
            "a CSV needs a header such as `timestamp,temperature_c`",
        ),
        (b"\x00\x01\x02", None, "bytes that begin with 00 01 02: ", "is this the right file?"),
        (CSV, "image/png", "the content type 'image/png' over text that begins with ", "send it as application/json"),
    ],
)
def test_what_is_not_read_says_what_was_seen_what_is_read_and_what_to_do(
    value: bytes, content_type: str | None, seen: str, advice: str
) -> None:
    (refusal,) = outcomes(value, content_type)
    assert isinstance(refusal, Refusal)
    (finding,) = refusal.findings
    assert finding.code == "UNKNOWN_CONTENT"
    assert finding.message.startswith(seen)
    assert "read are JSON readings (object, array or lines), comma-separated CSV" in finding.message
    assert advice in finding.message.rpartition("; ")[2]


def test_an_export_gives_a_record_per_row_and_per_day() -> None:
    today, yesterday, first, second = payloads(EXPORT)
    assert [found["kind"] for found in (today, yesterday, first, second)] == ["daily_summary"] * 2 + ["reading"] * 2
    assert (first["timestamp"], first["utc_offset"], first["interval_s"]) == ("2023-04-20 00:00", "-05:00", 300)
    assert first["event_time"] == 1_681_966_800_000  # 2023-04-20T05:00:00Z
    assert (second["fault"], second["value"]) == ("no_value", "--.-")
    assert "temperature_c" not in second
    facts = {name: today[name] for name in today if name not in ("stated", "conf", "kind", "event_time", "product")}
    assert facts == {
        "sensor_id": "130400191544", "date": "2023-04-20", "until": "15:14", "utc_offset": "-05:00", "unit": "C",
        "state": "unknown", "min_c": "2", "max_c": "8.5", "avg_c": "4.6",
        "low_limit_c": "-0.5", "low_alarm_minutes": 60, "minutes_below": 0,
        "high_limit_c": "8", "high_alarm_minutes": 600, "minutes_above": 7, "high_alarm_at": "00:00",
    }  # fmt: skip
    assert today["stated"]["Min T"] == "+2.0"
    assert "avg_c" not in yesterday


def test_a_day_and_a_reading_at_midnight_never_share_a_key() -> None:
    found = [outcome for outcome in outcomes(EXPORT) if isinstance(outcome, Record)]
    today, yesterday, midnight, _ = found
    assert today.event_time == midnight.event_time
    keys = {(record.fields["sensor_id"], record.fields["event_time"]) for record in found}
    assert len(keys) == len(found)
    assert today.fields["event_time"] == "2023-04-20/daily-until-15:14"
    assert yesterday.fields["event_time"] == "2023-04-19/daily"


def test_a_later_export_repeats_whole_days_and_readings_byte_for_byte() -> None:
    later = EXPORT.replace(b"Creation: 2023-04-20 15:14", b"Creation: 2023-04-21 09:00")
    early = {found.fields["event_time"]: found.digest for found in outcomes(EXPORT) if isinstance(found, Record)}
    late = {found.fields["event_time"]: found.digest for found in outcomes(later) if isinstance(found, Record)}
    shared = early.keys() & late.keys()
    assert len(shared) == 3
    assert all(early[key] == late[key] for key in shared)


def test_a_broken_row_or_day_of_an_export_refuses_itself() -> None:
    broken = (
        EXPORT.replace(b"\t4.5\t", b"\tcold\t")
        .replace(b"Min T: +1.5", b"Min T: low")
        .replace(b"2023-04-20 00:05", b"2023-04-31 00:05")
    )
    found = outcomes(broken)
    assert [codes_of(outcome) for outcome in found] == [[], ["WRONG_TYPE"], ["WRONG_TYPE"], ["IMPOSSIBLE_DATE"]]


@pytest.mark.parametrize(
    ("zone", "offset"),
    [(b"0.00", "+00:00"), (b"-5.00", "-05:00"), (b"+5.50", "+05:30"), (b"5.30", "+05:30"), (b"12.75", "+12:45")],
)
def test_zones_of_exports(zone: bytes, offset: str) -> None:
    assert {found["utc_offset"] for found in payloads(EXPORT.replace(b"-5.00", zone))} == {offset}


def test_an_export_without_serial_zone_or_unit_takes_them_from_its_source_or_is_refused() -> None:
    bare = EXPORT.replace(b" Serial: 130400191544\r\n", b"").replace(b" Zone: -5.00\r\n", b"")
    bare = bare.replace(b" Temp unit: C\r\n", b"")
    for outcome in outcomes(bare):
        wanted = {"MISSING_FIELD", "NAIVE_TIMESTAMP"}
        assert set(codes_of(outcome)) == wanted
    rule = {"match": "fi*", "sensor_id": "tag-1", "unit": "C", "utc_offset": "-05:00"}
    assert {found["sensor_id"] for found in payloads(bare, sources=[rule])} == {"tag-1"}


def test_a_canonical_daily_summary_cannot_be_forged() -> None:
    stored = payloads(EXPORT)[0]
    for change in ({"min_c": "3"}, {"minutes_above": 0}, {"until": "16:00", "date": "2023-04-21"}):
        forged = json.dumps(stored | change).encode()
        assert set(refused(forged, "application/vnd.waybill.record+json")) == {"DERIVED_VALUE_DIFFERS"}
