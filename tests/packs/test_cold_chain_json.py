"""JSON readings: VAL-01..VAL-10, ING-15, and every kind of bad input with its code."""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import product, takewhile
from typing import Any, cast
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.pack import CANONICAL_TYPE, Record, Refusal, Submission
from schemas.packs import jsontext
from schemas.packs.cold_chain.engine import ColdChainPack
from schemas.packs.cold_chain.judge import Rules
from schemas.packs.cold_chain.options import NO_SOURCE, Options, Source
from schemas.packs.cold_chain.plain import PlainReader, columns
from schemas.packs.cold_chain.reading import Reading, read_thoroughly
from streams.driver import TopologyDriver
from tests.packs.cold_chain_inputs import READING, codes_of, only, outcomes, pack, reading, record, refused
from topology.load import load_pipeline


def test_a_reading_becomes_a_record() -> None:
    found = record(READING)
    assert found.fields == {
        "sensor_id": "FRIDGE-0017",
        "event_time": "2026-03-01T08:15:00.250Z",
        "product": "refrigerator",
        "zone_id": "WH-A-12",
        "kind": "reading",
        "day": "2026-03-01",
    }
    assert found.event_time == 1_772_352_900_250
    assert json.loads(found.payload) == {
        "kind": "reading",
        "sensor_id": "FRIDGE-0017",
        "timestamp_utc": "2026-03-01T08:15:00.250Z",
        "event_time": 1_772_352_900_250,
        "temperature_c": "4.73",
        "product": "refrigerator",
        "zone_id": "WH-A-12",
        "compliance_state": "within_spec",
        "state": "within_spec",
    }
    assert found.warnings == ()


def test_golden_digest() -> None:
    """Digests of shipped records must never change."""
    assert record(READING).digest.hex() == "40257b5521436e6d5d505ce9ef5e880ddbfafca90bb65f5018298d7571431755"


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"sensor_id": '"abc"'}, ["OUT_OF_RANGE"]),
        ({"sensor_id": '"abcd"'}, []),
        ({"sensor_id": f'"{"x" * 64}"'}, []),
        ({"sensor_id": f'"{"x" * 65}"'}, ["OUT_OF_RANGE"]),
        ({"sensor_id": '"ab\\ncd"'}, ["BAD_FORMAT"]),
        ({"sensor_id": None}, ["MISSING_FIELD"]),
        ({"sensor_id": "17"}, ["WRONG_TYPE"]),
        ({"sensor_id": "null"}, ["WRONG_TYPE"]),
        ({"temperature_c": "-100"}, []),
        ({"temperature_c": "100.0"}, []),
        ({"temperature_c": "-100.001"}, ["OUT_OF_RANGE"]),
        ({"temperature_c": "100.001"}, ["OUT_OF_RANGE"]),
        ({"temperature_c": "NaN"}, ["NOT_A_NUMBER"]),
        ({"temperature_c": "-Infinity"}, ["NOT_A_NUMBER"]),
        ({"temperature_c": "1e400"}, ["NOT_A_NUMBER"]),
        ({"temperature_c": "9007199254740993"}, ["UNSAFE_INTEGER"]),
        ({"temperature_c": "9" * 5000}, ["UNSAFE_INTEGER"]),
        ({"temperature_c": '"4.7"'}, ["WRONG_TYPE"]),
        ({"temperature_c": "true"}, ["WRONG_TYPE"]),
        ({"temperature_c": "null"}, ["WRONG_TYPE"]),
        ({"temperature_c": "[4.7]"}, ["WRONG_TYPE"]),
        ({"temperature_c": None}, ["MISSING_FIELD"]),
        ({"temperature_c": None, "temperature": "4", "unit": '"C"'}, []),
        ({"temperature_c": None, "temperature": "4"}, ["MISSING_FIELD"]),
        ({"temperature_c": None, "temperature": "4", "unit": '"R"'}, ["UNKNOWN_UNIT"]),
        ({"temperature": "4"}, ["CONTRADICTORY_FIELDS"]),
        ({"zone_id": '"A-9"'}, []),
        ({"zone_id": '"a-9"'}, ["BAD_FORMAT"]),
        ({"zone_id": '"A 9"'}, ["BAD_FORMAT"]),
        ({"zone_id": '""'}, ["BAD_FORMAT"]),
        ({"zone_id": '"A-9\\n"'}, ["BAD_FORMAT"]),
        ({"compliance_state": '"excursion"'}, []),
        ({"compliance_state": '"fine"'}, ["BAD_FORMAT"]),
        ({"product": '"plutonium"'}, ["UNKNOWN_PRODUCT"]),
        ({"firmware": '"4.0"'}, ["UNKNOWN_FIELD"]),
        ({"zone_id": '"\\u0000"'}, ["NUL_CHARACTER"]),
        ({"product": '"\\ud800"'}, ["LONE_SURROGATE"]),
        ({"timestamp_utc": '"2026-03-01T08:15:00"'}, ["NAIVE_TIMESTAMP"]),
        ({"timestamp_utc": '"2026-03-01T08:15:00+02:00"'}, ["NOT_UTC"]),
        ({"timestamp_utc": '"2026-03-01T08:15:00+00:00"'}, []),
        ({"timestamp_utc": '"2026-02-29T08:15:00Z"'}, ["IMPOSSIBLE_DATE"]),
        ({"timestamp_utc": '"2024-02-29T08:15:00Z"'}, []),
        ({"timestamp_utc": '"2026-03-01T24:00:00Z"'}, ["IMPOSSIBLE_DATE"]),
        ({"timestamp_utc": '"2026-03-01T08:15:60Z"'}, ["IMPOSSIBLE_DATE"]),
        ({"timestamp_utc": '"1 March 2026"'}, ["BAD_FORMAT"]),
        ({"timestamp_utc": '"1969-12-31T23:59:59Z"'}, ["OUT_OF_RANGE"]),
        ({"timestamp_utc": "1772352900"}, ["WRONG_TYPE"]),
        ({"timestamp_utc": None}, ["MISSING_FIELD"]),
    ],
)
def test_rules_of_the_fields(changes: dict[str, Any], codes: list[str]) -> None:
    found = only(reading(**changes))
    assert codes_of(found) == codes
    assert isinstance(found, Refusal) == bool(codes)


@pytest.mark.parametrize(
    ("value", "content_type", "codes"),
    [
        (None, None, ["TOMBSTONE"]),
        (b"", None, ["EMPTY_MESSAGE"]),
        (b" \r\n", "application/json", ["EMPTY_MESSAGE"]),
        (b"\xff\xfe\x00", None, ["UNKNOWN_CONTENT"]),
        (READING.replace(b"FRIDGE", b"\xff\xfe"), None, ["NOT_UTF8"]),
        (READING.replace(b"FRIDGE", b"FR\0DGE"), None, ["NUL_CHARACTER"]),
        (READING[:-1], None, ["MALFORMED_JSON"]),
        (READING + b"}", None, ["MALFORMED_JSON"]),
        (b"[" + READING, None, ["MALFORMED_JSON"]),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, None, ["NESTED_TOO_DEEP"]),
        (b"[" * 100_000, "application/json", ["MALFORMED_JSON"]),
        (b"[]", None, ["EMPTY_SUBMISSION"]),
        (b"17", "application/json", ["WRONG_TYPE"]),
        (b"17", None, ["UNKNOWN_CONTENT"]),
        (READING, "image/png", ["UNKNOWN_CONTENT"]),
        (READING, "text/csv", ["UNKNOWN_CONTENT"]),
        (b"%PDF-1.7\n", None, ["UNKNOWN_CONTENT"]),
        (b"%PDF-1.7\n", "application/json", ["MALFORMED_JSON"]),
        (reading()[:-1] + b',"sensor_id":"OTHER-01"}', None, ["DUPLICATE_JSON_KEY"]),
        (reading()[:-1] + b',"sensor_i\\u0064":"OTHER-01"}', None, ["DUPLICATE_JSON_KEY"]),
    ],
)
def test_bad_input_has_a_code(value: bytes | None, content_type: str | None, codes: list[str]) -> None:
    assert refused(value, content_type) == codes


def test_twenty_megabytes_are_read_or_refused_by_size() -> None:
    big = b"[" + b",".join([READING] * 120_000) + b"]"
    unpacked = pack().unpack(Submission(big))
    assert len(big) > 20_000_000
    assert unpacked.count == 120_000
    assert isinstance(next(unpacked.records(119_999)), Record)
    assert refused(big, by=pack(max_bytes=10_000_000)) == ["TOO_LARGE"]


def test_hostile_texts_take_one_pass() -> None:
    """Each would take hours if reading it again from every place were possible; the suite's time-out would say so."""
    assert refused(b"[" + b'"' + b'\\"' * 1_000_000) == ["MALFORMED_JSON"]
    assert refused(b'{"a":"' + b'\\"' * 1_000_000) == ["TOO_LARGE"]
    assert refused(b'{"a":"' + b'\\"' * 30_000) == ["MALFORMED_JSON"]
    assert refused(b"[" + b"," * 4_000_000 + b"]") == ["MALFORMED_JSON"]
    names = b",".join(b'"%d":1' % (number // 2) for number in range(6_000))
    found = only(b"{" + names + b"}")
    assert set(codes_of(found)) == {"DUPLICATE_JSON_KEY"}
    assert len(codes_of(found)) == 100, "a dead letter has room for so many"
    fields = b",".join(b'"x%d":1' % number for number in range(1000))
    found = only(b"{" + fields + b',"zone_id":"low"}', by=pack("lenient"))
    assert isinstance(found, Refusal), "what refuses it is kept before a thousand warnings"
    assert "BAD_FORMAT" in codes_of(found)
    assert refused(b"Temp, C" + b"(LGR S/N: " * 200_000 + b"\n1\n") == ["UNKNOWN_CONTENT"]


def test_a_plain_reading_is_held_to_the_size_that_was_set() -> None:
    padded = b"{" + b" " * 2000 + READING[1:]
    assert record(padded)
    assert refused(padded, by=pack(max_bytes=1024)) == ["TOO_LARGE"]


@pytest.mark.parametrize("profile", ["strict", "lenient", "schema"])
@pytest.mark.parametrize("product", ["unspecified", "vapour"])
def test_absolute_zero_is_no_temperature_in_any_profile(profile: str, product: str) -> None:
    by = pack(profile, products={"vapour": {"bounds": [-274, 100]}})
    for celsius in ("-273.15", "-1e11"):
        assert refused(reading(temperature_c=celsius, product=f'"{product}"'), by=by) == ["OUT_OF_RANGE"]
    barely = record(reading(temperature_c="-273.149", product='"vapour"'), by=by)
    assert by.summarize([barely.payload])["sensors"][0]["mkt_c"] == "-273.149"


@pytest.mark.parametrize("pattern", ["%Y%Y", "%Q", "%", "%d/%m/%Y"])
def test_a_canonical_record_with_a_strange_pattern_is_refused(pattern: str) -> None:
    stored = json.loads(record(reading()).payload)
    stored["timestamp"] = stored.pop("timestamp_utc").replace("T", " at ")
    assert refused(json.dumps(stored | {"timestamp_format": pattern}).encode(), CANONICAL_TYPE) == ["BAD_FORMAT"]


def test_every_finding_is_reported_not_the_first() -> None:
    bad = reading(
        sensor_id='"x"', temperature_c="451", zone_id='"low case"', extra="1", timestamp_utc='"2026-13-01T00:00Z"'
    )
    assert sorted(refused(bad)) == sorted(
        ["OUT_OF_RANGE", "OUT_OF_RANGE", "BAD_FORMAT", "UNKNOWN_FIELD", "IMPOSSIBLE_DATE"]
    )


def test_a_broken_element_refuses_itself_and_not_its_neighbours() -> None:
    broken = [b"NaN", b"[" + READING + b"]", READING[:-1].replace(b":", b"=") + b"}", b"\xff", b"{}"]
    for sep, start, end in ((b",", b"[", b"]"), (b"\n", b"", b"\n")):
        whole = start + sep.join([READING, *broken, READING]) + end
        found = outcomes(whole)
        assert [isinstance(outcome, Record) for outcome in found] == [True, *[False] * len(broken), True]
        originals = [outcome.original for outcome in found if isinstance(outcome, Refusal)]
        assert originals == broken, "each refusal keeps its own bytes"


@pytest.mark.parametrize(
    "first", [READING[:40], READING[:-1], READING[1:], b"2026-03-01 logger restarted", b"{} {}", b"[" + READING]
)
@pytest.mark.parametrize("good", [2, 5])
def test_a_broken_first_line_refuses_itself_and_not_the_lines_behind_it(first: bytes, good: int) -> None:
    rest = [reading(timestamp_utc=f'"2026-03-01T0{hour}:00:00Z"') for hour in range(good)]
    found = outcomes(b"\n".join([first, *rest]) + b"\n", "application/x-ndjson" if first[:1] == b"[" else None)
    assert [isinstance(outcome, Record) for outcome in found] == [False] + [True] * good
    assert isinstance(found[0], Refusal)
    assert found[0].original == first


@pytest.mark.parametrize("inner", [b'{"a": 1}', READING])
def test_one_json_text_over_many_lines_is_one_refusal(inner: bytes) -> None:
    spread = json.dumps(json.loads(READING), indent=1).encode()
    assert isinstance(only(spread), Record)
    assert refused(spread[:-2]) == ["MALFORMED_JSON"]
    assert "UNKNOWN_FIELD" in refused(b'{"readings": [\n' + b",\n".join([inner] * 5) + b"\n]}")


def test_the_original_of_a_refusal_is_the_publishers_bytes() -> None:
    bad = b" " + reading(temperature_c="451") + b"\n"
    found = only(bad)
    assert isinstance(found, Refusal)
    assert (found.original, found.canonical) == (bad, False)


# VAL-02: unknown fields.


def test_unknown_fields_are_refused_in_strict_and_ignored_with_a_warning_in_lenient() -> None:
    odd = reading(firmware='"4.0"')
    assert refused(odd) == ["UNKNOWN_FIELD"]
    found = record(odd, by=pack("lenient"))
    assert codes_of(found) == ["UNKNOWN_FIELD_IGNORED"]
    assert found.digest == record(reading()).digest, "an ignored field is in no digest"


def test_models_are_immutable() -> None:
    """VAL-03."""
    model = Reading.model_validate_json(READING)
    with pytest.raises(ValidationError):
        model.sensor_id = "other"  # type: ignore[misc]


# VAL-09, ING-15: time.


@pytest.mark.parametrize(
    "text",
    ["2026-03-01T08:15:00Z", "2026-03-01T08:15:00.000Z", "2026-03-01 08:15:00+00:00", "2026-03-01t08:15:00.0004z"],
)
def test_the_timestamp_is_kept_verbatim_beside_the_parsed_value(text: str) -> None:
    found = record(reading(timestamp_utc=f'"{text}"'))
    assert json.loads(found.payload)["timestamp_utc"] == text
    assert found.event_time == 1_772_352_900_000
    assert found.fields["event_time"] == "2026-03-01T08:15:00.000Z"


@pytest.mark.parametrize("text", ["2026-03-01T08:15:00.000Z", "2026-03-01T08:15:00+00:00", "2026-03-01 08:15:00Z"])
def test_another_spelling_of_the_same_instant_is_another_version_of_the_same_reading(text: str) -> None:
    """The text is a part of the record (ING-15), the digest is of the whole record: not equal, so a conflict (T4)."""
    one, other = record(reading()), record(reading(timestamp_utc=f'"{text}"'))
    assert one.fields == other.fields
    assert one.digest != other.digest
    driver = TopologyDriver(load_pipeline("cold-chain"))
    for value in (reading(), reading(timestamp_utc=f'"{text}"'), reading()):
        driver.publish("p", value)
    driver.finish()
    (letter,) = driver.read("dead-letter")
    assert (letter["raw_offset"], letter["findings"][0]["code"]) == (1, "CONFLICTING_VERSION")
    assert sorted((ack["raw_offset"], ack["outcome"]) for ack in driver.read("sent")) == [
        (0, "delivered"),
        (2, "duplicate"),
    ]


def test_an_offset_is_refused_in_strict_and_normalised_in_lenient() -> None:
    odd = reading(timestamp_utc='"2026-03-01T00:15:00+02:00"')
    found = record(odd, by=pack("lenient"))
    assert codes_of(found) == ["OFFSET_NORMALISED"]
    assert (found.fields["event_time"], found.fields["day"]) == ("2026-02-28T22:15:00.000Z", "2026-02-28")
    assert json.loads(found.payload)["timestamp_utc"] == "2026-03-01T00:15:00+02:00"


def test_a_naive_time_is_read_by_the_rule_of_its_source_and_never_guessed() -> None:
    naive = reading(timestamp_utc='"2026-03-01T08:15:00"')
    for profile in ("strict", "lenient", "schema"):
        assert refused(naive, by=pack(profile)) == ["NAIVE_TIMESTAMP"]
    found = outcomes(naive, source="plant/a7.json", by=pack(sources=[{"match": "a7*", "utc_offset": "-05:30"}]))[0]
    assert isinstance(found, Record)
    assert found.fields["event_time"] == "2026-03-01T13:45:00.000Z"
    assert codes_of(found) == ["ZONE_BY_RULE"]


# Units, products, states.


@pytest.mark.parametrize(
    ("value", "unit", "celsius"),
    [("69.771", "F", "20.984"), ("-40", "FAH", "-40"), ("32", "°F", "0"), ("277.15", "K", "4"), ("4.10", "CEL", "4.1")],
)
def test_units_are_converted_exactly_and_kept_as_sent(value: str, unit: str, celsius: str) -> None:
    found = json.loads(record(reading(temperature_c=None, temperature=value, unit=f'"{unit}"')).payload)
    assert (found["temperature_c"], found["unit"]) == (celsius, unit)
    assert float(found["value"]) == float(value)


def test_equal_json_numbers_give_equal_digests() -> None:
    same = {record(reading(temperature_c=text)).digest for text in ("4", "4.0", "4.00", "40e-1")}
    assert len(same) == 1
    assert record(reading(temperature_c="-0.0")).digest == record(reading(temperature_c="0")).digest


@pytest.mark.parametrize(
    ("product", "celsius", "state"),
    [
        ("refrigerator", "2", "within_spec"),
        ("refrigerator", "8.0", "within_spec"),
        ("refrigerator", "8.001", "excursion"),
        ("refrigerator", "1.999", "excursion"),
        ("freezer", "-25.1", "excursion"),
        ("cool", "15", "within_spec"),
        ("controlled-room", "26", "excursion"),
        ("ultra-low", "-59.9", "excursion"),
        ("vapour", "-196", "within_spec"),
        ("vapour", "-149", "excursion"),
        ("unspecified", "50", "unknown"),
    ],
)
def test_the_state_follows_the_products_limits_and_refuses_nothing(product: str, celsius: str, state: str) -> None:
    found = record(reading(product=f'"{product}"', temperature_c=celsius))
    assert json.loads(found.payload)["state"] == state


def test_bounds_are_those_of_the_product() -> None:
    assert refused(reading(temperature_c="-196")) == ["OUT_OF_RANGE"]
    assert refused(reading(temperature_c="-201", product='"vapour"')) == ["OUT_OF_RANGE"]


def test_products_can_be_added_and_changed() -> None:
    mine = pack(products={"plasma": {"high": "-25"}}, default_product="plasma")
    assert json.loads(record(reading(temperature_c="-24.9"), by=mine).payload)["state"] == "excursion"


def test_the_senders_claim_is_compared_with_the_computed_state() -> None:
    """VAL-10."""
    found = record(reading(product='"refrigerator"', temperature_c="9", compliance_state='"within_spec"'))
    assert codes_of(found) == ["COMPLIANCE_CLAIM_DIFFERS"]
    stored = json.loads(found.payload)
    assert (stored["temperature_c"], stored["compliance_state"], stored["state"]) == ("9", "within_spec", "excursion")


def test_a_sentinel_is_an_accepted_record_with_a_fault_and_no_temperature() -> None:
    mine = pack(sources=[{"match": "*", "sentinels": ["-127", "85"]}])
    found = outcomes(reading(temperature_c="-127"), source="x", by=mine)[0]
    assert isinstance(found, Record)
    stored = json.loads(found.payload)
    assert stored["fault"] == "sentinel"
    assert "temperature_c" not in stored
    assert stored["value"] == "-127"
    assert isinstance(outcomes(reading(temperature_c="84.9"), source="x", by=mine)[0], Record)


def test_the_schema_profile_judges_structure_only() -> None:
    found = record(reading(temperature_c="451", product='"plutonium"'), by=pack("schema"))
    assert json.loads(found.payload)["state"] == "unknown"
    assert refused(reading(temperature_c='"hot"'), by=pack("schema")) == ["WRONG_TYPE"]


def test_a_source_rule_fills_in_what_a_record_does_not_say() -> None:
    rule = {"match": "*/fridge-*", "sensor_id": "probe-77", "product": "refrigerator", "zone_id": "Z1", "unit": "F"}
    mine = pack(sources=[rule])
    bare = reading(sensor_id=None, temperature_c=None, temperature="50")
    found = outcomes(bare, source="in/fridge-1", by=mine)[0]
    assert isinstance(found, Record)
    assert {**found.fields, "event_time": ""} == {
        "sensor_id": "probe-77", "event_time": "", "product": "refrigerator", "zone_id": "Z1",
        "kind": "reading", "day": "2026-03-01",
    }  # fmt: skip
    assert codes_of(outcomes(bare, source="other", by=mine)[0]) == ["MISSING_FIELD", "MISSING_FIELD"]


@pytest.mark.parametrize(
    "options",
    [
        {"souces": []},
        {"sources": [{"match": "x", "unit": "R"}]},
        {"sources": [{"match": "x", "utc_offset": "EST"}]},
        {"sources": [{"match": "x", "product": "nope"}]},
        {"sources": [{"match": "x", "timestamp_format": "%d.%m.%Q"}]},
        {"sources": [{"match": "x", "timestamp_format": "%d.%d.%Y"}]},
        {"default_product": "nope"},
        {"products": {"x": {"low": 8, "high": 2}}},
    ],
)
def test_wrong_options_are_refused_when_the_pack_is_built(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        pack(**options)


# Canonical records.


def test_a_canonical_record_cannot_be_forged() -> None:
    stored = json.loads(record(reading(temperature_c=None, temperature="50", unit='"F"')).payload)
    for change in (
        {"temperature_c": "4"},
        {"event_time": 0},
        {"value": "51"},
        {"timestamp_utc": "2026-03-01T08:16:00Z"},
    ):
        assert set(refused(json.dumps(stored | change).encode(), CANONICAL_TYPE)) == {"DERIVED_VALUE_DIFFERS"}
    assert refused(json.dumps(stored | {"x": 1}).encode(), CANONICAL_TYPE) == ["UNKNOWN_FIELD"]


def test_the_state_of_a_canonical_record_follows_the_limits_in_force() -> None:
    stored = record(reading(product='"refrigerator"', temperature_c="8.5")).payload
    wider = pack(products={"refrigerator": {"low": 2, "high": 9}})
    found = record(stored, CANONICAL_TYPE, by=wider)
    assert json.loads(found.payload)["state"] == "within_spec"
    assert codes_of(found) == ["STATE_RECOMPUTED"]


# The fast way and the thorough way are one way.

_texts = st.sampled_from(
    ['"FRIDGE-0017"', '"abc"', '"a\\"bcd"', '"\\u0041bcd"', '"a\\\\bcd"', '"a\\tbcd"',
     '"é°\U0001f321x"', '"x\\u0000yz"', '"within_spec"',
     '"excursion"',
     '"refrigerator"', '"vapour"', '"A-1"', '"F"', '"2026-03-01T08:15:00Z"', '"2026-03-01T08:15:00.123Z"', "null", '""',
     '"2026-03-01T08:15:61Z"', '"2026-03-01 08:15:00Z"', '"2026-02-30T08:15:00Z"', '"2026-03-01T08:15:00+01:00"']
)  # fmt: skip
_numbers = st.one_of(
    st.floats(-200, 200).map(repr),
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(
        [
            "-0.0",
            "-0",
            "true",
            "1e2",
            "1E-7",
            "1e400",
            "NaN",
            "0.1e1",
            "100.0000000000000001",
            "-100",
            "8",
            "2.0",
            "[]",
            "{}",
        ]
    ),
)
_right: dict[str, st.SearchStrategy[str]] = {
    "sensor_id": st.just('"FRIDGE-0017"'),
    "timestamp_utc": st.sampled_from(['"2026-03-01T08:15:00Z"', '"2026-03-01T08:15:00.123Z"']),
    "temperature_c": st.floats(-100, 100).map(repr),
    "zone_id": st.just('"A-1"'),
    "compliance_state": st.sampled_from(['"within_spec"', '"excursion"', '"unknown"']),
    "product": st.sampled_from(['"refrigerator"', '"vapour"', '"unspecified"']),
}


@st.composite
def json_readings(draw: st.DrawFn) -> bytes:
    names = draw(st.lists(st.sampled_from([*_right, "temperature", "unit", "extra"]), max_size=3))
    fields = [(name, draw(value)) for name, value in _right.items() if draw(st.integers(0, 9))]
    fields += [(name, draw(st.one_of(_texts, _numbers))) for name in names if draw(st.integers(0, 2)) == 0]
    fields = draw(st.permutations(fields))
    space = draw(st.sampled_from(["", " ", "\n"]))
    text = "{" + ",".join(f'"{name}":{space}{value}' for name, value in fields) + "}"
    return text.encode("utf-8", "surrogatepass")


SOURCES = NO_SOURCE, Source(match="probe*", product="cool", zone_id="Z", logging_interval=60)


@cache
def fast_way(profile: str, match: str) -> tuple[Rules, PlainReader]:
    """The same reader for every example: what it remembers of one must not pass for another."""
    rules = Rules(Options(), cast(Any, profile))
    return rules, PlainReader(rules, next(source for source in SOURCES if source.match == match))


@settings(max_examples=600)
@given(
    data=json_readings(),
    profile=st.sampled_from(["strict", "lenient", "schema"]),
    source=st.sampled_from(SOURCES),
)
def test_the_fast_way_gives_what_the_thorough_way_gives(data: bytes, profile: str, source: Source) -> None:
    rules, read_plain = fast_way(profile, source.match)
    fast = read_plain(data)
    if fast is not None:
        assert fast == read_thoroughly(data, rules, source)


@given(
    values=st.lists(st.one_of(*[st.just(READING)] * 4, json_readings(), st.sampled_from([None, b""])), max_size=8),
    profile=st.sampled_from(["strict", "lenient", "schema"]),
    source=st.sampled_from(SOURCES),
)
def test_many_are_read_as_one_after_the_other(values: list[bytes | None], profile: str, source: Source) -> None:
    _, read_plain = fast_way(profile, source.match)
    alone = list(takewhile(bool, map(read_plain, values)))
    assert columns(read_plain.rows(values)).records(ColdChainPack.fields) == alone


def test_the_common_reading_takes_the_fast_way() -> None:
    built = pack()
    assert isinstance(built, ColdChainPack)
    fast = PlainReader(built._rules, NO_SOURCE)(READING)
    assert fast == read_thoroughly(READING, built._rules, NO_SOURCE)
    assert fast is not None


def test_an_array_is_split_as_by_its_tokens() -> None:
    """Every text of five of these between brackets, and between two usual elements."""
    symbols = (b"{", b"}", b"[", b"]", b",", b'""', b'"', b'\\"', b" ")
    inner = [b"".join(chosen) for chosen in product(symbols, repeat=5)]
    texts = [b"[" + text + b"]" for text in inner] + [b'[{"a":"x"},' + text + b',{"b":1}]' for text in inner[::7]]
    found = [jsontext.split_array(text) for text in texts]
    with patch.object(jsontext, "_FLAT", re.compile(rb"(?!)")):
        assert found == [jsontext.split_array(text) for text in texts]
    usual = b"[" + b" ,\n".join([READING] * 3) + b"]"
    assert jsontext.split_array(usual) == [READING] * 3
