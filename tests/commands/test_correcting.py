"""`waybill dlq show --document`: a dead letter's record as a file that is corrected and published like any other."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.pack import CANONICAL_TYPE, Submission
from streams.driver import TopologyDriver
from tests.packs.cold_chain_inputs import CSV, reading
from tests.packs.cold_chain_inputs import record as reading_record
from tests.packs.epcis_inputs import document
from tests.packs.test_epcis_items_whole import AUTUMN, STATEFUL, pipeline
from tests.packs.test_epcis_state import A, B, made, seen
from topology.load import load_pipeline
from waybill.commands.dlq import to_correct, write

ID = "epcis.raw/0/0/0"


def test_an_event_that_a_state_rule_refused_is_corrected_as_a_document(tmp_path: Path) -> None:
    driver = TopologyDriver(load_pipeline(str(pipeline(tmp_path, *STATEFUL))), start=AUTUMN)
    driver.publish("publisher", document(seen(A)))
    driver.publish("publisher", document(made(B)))
    driver.run()
    (letter,) = driver.read("dead-letter")
    value, words = to_correct(driver.pipeline, ID, letter)
    assert "Uncorrected it is the same record again" in words
    assert b"event_hash" not in value
    assert len(value.splitlines()) > 20, "a person can edit it"
    (item,) = driver.pack.unpack(Submission(value)).records()
    assert item.digest == letter["digest"]  # type: ignore[union-attr]  # a refusal has none, and fails
    driver.publish("corrected.json", value.replace(A.encode(), B.encode()))
    driver.finish()
    assert len(driver.read("dead-letter")) == 1
    assert [ack["outcome"] for ack in driver.read("sent")] == ["delivered"] * 2


def test_a_reading_in_conflict_is_corrected_as_a_json_reading() -> None:
    driver = TopologyDriver(load_pipeline("cold-chain"))
    driver.publish("p", reading())
    driver.publish("p", reading(temperature_c="5.25"))
    driver.run()
    (letter,) = driver.read("dead-letter")
    value, words = to_correct(driver.pipeline, ID, letter)
    said = json.loads(value)
    assert (said["temperature_c"], "the same record again" in words) == (5.25, True)
    said["timestamp_utc"] = said["timestamp_utc"].replace("08:15", "08:16")
    driver.publish("corrected.json", json.dumps(said, indent=2).encode())
    driver.finish()
    assert [ack["outcome"] for ack in driver.read("sent")] == ["delivered"] * 2


def test_what_no_document_says_is_given_as_it_is_and_it_is_said_how_to_publish_it() -> None:
    cold = load_pipeline("cold-chain")
    letter: dict[str, Any] = {"content_type": "text/csv", "canonical": False, "original": CSV}
    assert to_correct(cold, ID, letter) == (CSV, f"{ID} as it came (text/csv)")
    payload = reading_record(reading()).payload.replace(b'"kind"', b'"interval_s":300,"kind"')
    value, words = to_correct(cold, ID, {"content_type": CANONICAL_TYPE, "canonical": True, "original": payload})
    assert value == payload
    assert f"check --content-type {CANONICAL_TYPE}" in words
    assert f"publish --header content-type={CANONICAL_TYPE}" in words


def test_a_document_that_cannot_say_all_of_a_record_is_not_called_the_same(tmp_path: Path) -> None:
    driver = TopologyDriver(load_pipeline(str(pipeline(tmp_path, *STATEFUL))), start=AUTUMN)
    (item,) = driver.pack.unpack(Submission(document(seen(A)))).records()
    payload = item.payload  # type: ignore[union-attr]
    letter = {"content_type": CANONICAL_TYPE, "canonical": True, "original": payload, "digest": b"", "source": None,
              "site": None}  # fmt: skip
    assert "is another record" in to_correct(driver.pipeline, ID, letter)[1]
    letter["original"] = payload.replace(b'"shipping"', b'"moving"')
    assert "is refused: UNKNOWN_TERM" in to_correct(driver.pipeline, ID, letter)[1]


@pytest.mark.parametrize("looks", [True, False])
def test_the_prompt_of_a_terminal_begins_a_line_and_a_file_gets_the_bytes(
    monkeypatch: pytest.MonkeyPatch, looks: bool
) -> None:
    out = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(out, "isatty", lambda: looks)
    monkeypatch.setattr(sys, "stdout", out)
    letter = {"original": b'{"a": 7}', "content_type": "application/json"}
    write(load_pipeline("cold-chain"), ID, letter, document=True)
    assert out.buffer.getvalue() == b'{"a": 7}' + b"\n" * looks
