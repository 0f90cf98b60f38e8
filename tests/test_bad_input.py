"""Bad input through the whole pipeline: one dead letter each, with code, path and the original; the stream goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.pack import Submission
from streams.driver import TopologyDriver
from topology.load import load_pipeline

GOOD = (
    b'{"sensor_id":"FRIDGE-1","timestamp_utc":"2026-01-01T00:00:00Z","temperature_c":4.5,'
    b'"zone_id":"ZONE-A","product":"refrigerator"}'
)


def reading(**changes: Any) -> bytes:
    """The good reading with fields changed; None takes one away."""
    fields = json.loads(GOOD) | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def raw(old: bytes, new: bytes) -> bytes:
    """The good reading with its bytes changed."""
    assert old in GOOD
    return GOOD.replace(old, new)


BAD: dict[str, tuple[bytes | None, str, str]] = {
    "empty": (b"", "EMPTY_MESSAGE", ""),
    "tombstone": (None, "TOMBSTONE", ""),
    "not-utf8": (raw(b"ZONE-A", b"ZONE-\xff"), "NOT_UTF8", ""),
    "truncated": (GOOD[:-9], "MALFORMED_JSON", ""),
    "deep": (b'{"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}", "NESTED_TOO_DEEP", ""),
    "duplicate-key": (raw(b'"zone_id"', b'"product"'), "DUPLICATE_JSON_KEY", "product"),
    "nan": (raw(b"4.5", b"NaN"), "NOT_A_NUMBER", "temperature_c"),
    "infinity": (raw(b"4.5", b"-Infinity"), "NOT_A_NUMBER", "temperature_c"),
    "1e400": (raw(b"4.5", b"1e400"), "NOT_A_NUMBER", "temperature_c"),
    "integer-over-2-53": (raw(b"4.5", b"9007199254740993"), "UNSAFE_INTEGER", "temperature_c"),
    "nul": (reading(zone_id="ZONE\x00A"), "NUL_CHARACTER", "zone_id"),
    "lone-surrogate": (raw(b"ZONE-A", b"\\ud800"), "LONE_SURROGATE", "zone_id"),
    "unknown-field": (reading(firmware="4.0"), "UNKNOWN_FIELD", "firmware"),
    "wrong-type": (reading(temperature_c="warm"), "WRONG_TYPE", "temperature_c"),
    "missing": (reading(sensor_id=None), "MISSING_FIELD", "sensor_id"),
    "unknown-content": (b"%PDF-1.7 not a reading", "UNKNOWN_CONTENT", ""),
    "20-mb": (b"\x89PNG" + b"x" * 20_000_000, "UNKNOWN_CONTENT", ""),
    "too-large": (b'{"x":"' + b"x" * 100_000 + b'"}', "TOO_LARGE", ""),
    "one-line-of-commas": (b'b","' * 2_000_000, "UNKNOWN_CONTENT", ""),
    "header-of-a-megabyte": (b"timestamp_utc,temperature_c," + b"x" * 1_000_000 + b"\n1\n", "UNKNOWN_CONTENT", ""),
    "no-record": (b"[]", "EMPTY_SUBMISSION", ""),
}


@pytest.fixture(scope="module")
def driver() -> TopologyDriver:
    """Everything bad on one partition, with a good reading in front and behind."""
    driver = TopologyDriver(load_pipeline("cold-chain"))
    driver.publish("p", GOOD)
    for value, _, _ in BAD.values():
        driver.publish("p", value)
    driver.publish("p", raw(b"00:00:00Z", b"00:05:00Z"))
    driver.finish()
    return driver


@pytest.mark.parametrize("name", BAD)
def test_each_bad_message_is_one_dead_letter_that_keeps_the_original(driver: TopologyDriver, name: str) -> None:
    value, code, path = BAD[name]
    offset = 1 + list(BAD).index(name)
    (letter,) = [dead for dead in driver.read("dead-letter") if dead["raw_offset"] == offset]
    found = [(finding["code"], finding["path"]) for finding in letter["findings"]]
    assert (code, path) in found
    assert letter["count"] == 1
    if not letter["canonical"]:
        assert letter["original"] == (value or b"")
    again = driver.pack.unpack(Submission(letter["original"], letter["content_type"]))
    (refusal,) = again.records()
    assert code in [finding.code for finding in getattr(refusal, "findings", ())]


def test_the_good_ones_around_them_are_delivered(driver: TopologyDriver) -> None:
    delivered = [ack["raw_offset"] for ack in driver.read("sent") if ack["outcome"] == "delivered"]
    assert delivered == [0, len(BAD) + 1]
    assert len(driver.read("dead-letter")) == len(BAD)


def test_a_csv_whose_header_lies_is_refused_row_by_row() -> None:
    driver = TopologyDriver(load_pipeline("cold-chain"))
    driver.publish(
        "p", b"timestamp,value\n2013-07-04 00:00:00,69.8,extra\nnot a time,warm\n", {"content-type": "text/csv"}
    )
    driver.publish("p", GOOD)
    driver.finish()
    assert sorted(
        (
            letter["raw_offset"],
            letter["raw_index"],
            letter["count"],
            [finding["code"] for finding in letter["findings"]],
        )
        for letter in driver.read("dead-letter")
    ) == [
        (0, 0, 2, ["MALFORMED_CSV"]),
        (0, 1, 2, ["MISSING_FIELD", "BAD_FORMAT", "MISSING_FIELD", "WRONG_TYPE"]),
    ]
    assert [ack["raw_offset"] for ack in driver.read("sent")] == [1]


def test_a_small_file_does_not_become_gigabytes_of_dead_letters() -> None:
    """Each refused row is kept with its header: a wide header over many short rows is refused as a whole."""
    driver = TopologyDriver(load_pipeline("cold-chain"))
    value = b"timestamp_utc,temperature_c,sensor_id," + b"x" * 8000 + b"\n" + b"1\n" * 50_000
    driver.publish("p", value)
    driver.finish()
    (letter,) = driver.read("dead-letter")
    assert letter["findings"][0]["code"] == "MALFORMED_CSV"
    assert letter["original"] == value


def test_white_space_in_front_hides_nothing() -> None:
    driver = TopologyDriver(load_pipeline("cold-chain"))
    for space in (b" " * 20, b"\n" * 500):
        for value in (GOOD, b"[" + GOOD + b"]"):
            driver.publish("p", space + value, {"content-type": "application/json"} if space == b" " * 20 else None)
    driver.finish()
    assert [ack["outcome"] for ack in driver.read("sent")] == ["duplicate", "duplicate", "duplicate", "delivered"]
    assert not driver.read("dead-letter")


def test_two_thousand_bad_records_in_a_row_do_not_stall() -> None:
    driver = TopologyDriver(load_pipeline("cold-chain"))
    for number in range(2000):
        driver.publish("p", b'{"broken": %d' % number)
    driver.publish("p", GOOD)
    driver.finish()
    assert len(driver.read("dead-letter")) == 2000
    assert [ack["raw_offset"] for ack in driver.read("sent")] == [2000]


@pytest.mark.parametrize("name", ["waybill-source", "waybill-site", "waybill-received-at", "content-type"])
@pytest.mark.parametrize("value", [GOOD, b"[" + GOOD + b"]"], ids=["alone", "array"])
def test_a_header_that_every_record_would_repeat_is_bounded(name: str, value: bytes) -> None:
    driver = TopologyDriver(load_pipeline("cold-chain"))
    fits = "application/json" if name == "content-type" else "s" * 1024
    driver.publish("p", raw(b"00:00:00Z", b"00:05:00Z"), {name: fits})
    driver.publish("p", value, {name: "s" * 1025})
    driver.publish("p", raw(b"00:00:00Z", b"00:10:00Z"))
    driver.finish()
    (letter,) = driver.read("dead-letter")
    assert [(found["code"], found["path"]) for found in letter["findings"]] == [("OUT_OF_RANGE", f"headers.{name}")]
    assert letter["original"] == value
    assert letter["source"] is letter["site"] is None
    assert sorted(ack["raw_offset"] for ack in driver.read("sent")) == [0, 2]
