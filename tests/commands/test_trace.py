"""What `trace` tells of an item: which event each record is, and in which order."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import create_autospec

import pytest

from schemas.canonical import RawPosition
from streams.stage import Message
from tests.commands.test_life import written
from tests.packs.epcis_inputs import COMMISSIONING, PACKING, document, record
from topology.load import load_pipeline
from waybill.commands.trace import DETAILED, find, show
from waybill.life import Finder, Life

EPCIS = load_pipeline("epcis")


def life(partition: int, event: dict[str, Any], recorded_at: int, outcome: str = "delivered") -> Life:
    """A record of the first message of a partition of `raw`, as `Finder` finds it."""
    held = record(document(event))
    names = ("key", "group", "date", "partner", "schema_version", "topology_version")
    fields = dict.fromkeys(names, "") | {
        "event_time": held.event_time, "payload": held.payload, "digest": held.digest, "warnings": [],
        "recorded_at": recorded_at,
    }  # fmt: skip
    message = Message(0, 0, recorded_at, None, b"")
    ack = {"outcome": outcome, "duplicate_of": None, "passport": None}
    raw = RawPosition("epcis.raw", 0, partition, 0, 0)
    return Life(raw, validated=[(message, fields)], sent=[(message, ack)], audit=written("batch", 0, 1, "ADMIT"))


def test_each_event_of_an_item_is_told_by_its_type_action_step_and_parent(capsys: pytest.CaptureFixture[str]) -> None:
    lives = [life(0, COMMISSIONING, 1), life(1, PACKING, 2)]
    show(lives, EPCIS, False)
    lines = capsys.readouterr().out.splitlines()
    assert "  ObjectEvent  action=ADD  bizStep=commissioning" in lines
    assert "  AggregationEvent  action=ADD  bizStep=packing  parentID=urn:epc:id:sscc:030001.41234567890" in lines
    show(lives * DETAILED, EPCIS, False)  # too many for every step
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(lives) * DETAILED
    assert lines[0].endswith("(delivered)  ObjectEvent  action=ADD  bizStep=commissioning")
    show(lives, EPCIS, True)
    states = [row for row in map(json.loads, capsys.readouterr().out.splitlines()) if row["step"] == "STATE"]
    assert [row["what"]["bizStep"] for row in states] == ["commissioning", "packing"]


def test_audit_entries_can_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    for json_ in (False, True):
        for audit in (True, False):
            show([life(0, PACKING, 1)], EPCIS, json_, audit)
            told = capsys.readouterr().out
            assert ("AUDIT" in told, "ACKNOWLEDGED" in told) == (audit, True)


def test_at_one_time_a_duplicate_is_told_behind_what_it_repeats() -> None:
    lives = [life(1, PACKING, 5, "duplicate"), life(2, PACKING, 9), life(3, PACKING, 4), life(0, COMMISSIONING, 20)]
    finder = create_autospec(Finder, instance=True)
    finder.records.return_value = [one.raw for one in lives]
    finder.lives.return_value = lives
    found = find(finder, None, EPCIS, "urn:epc:id:sgtin:030001.0012345.1001")
    assert [one.raw.partition for one in found] == [0, 3, 2, 1]
