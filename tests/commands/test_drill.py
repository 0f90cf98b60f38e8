"""The drills: each promise is looked at by itself, and the whole once on the real broker."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from schemas.packs import load_pack
from schemas.packs.manifest import Manifest
from tests.commands.conftest import Cli
from waybill import backpressure
from waybill.backpressure import Seen, as_json, judge
from waybill.commands import drill

HELD = Seen(Manifest(100, 90, 6, 4, {}), opened_after=2.0, counts=(90, 6, 4), letters=6, effects=18)


@pytest.mark.parametrize(
    ("promise", "changes"),
    [
        ("breaker", {"opened_after": None}),
        ("breaker", {"opened_after": 31.0}),
        ("dead letters intact", {"altered": ["raw/0/0/0"]}),
        ("dead letters intact", {"letters": 5}),
        ("no batch lost to overload", {"overload_dead": ["raw/0/0/0"]}),
        ("0 silent drops", {"problems": ["raw/0/0/0: lost"]}),
        ("0 silent drops", {"counts": (89, 6, 4)}),
        ("each delivered record once at the partner", {"missing": ["raw/0/0/0"]}),
        ("each delivered record once at the partner", {"twice": ["raw/0/0/0"]}),
    ],
)
def test_a_promise_that_did_not_hold_is_named_and_the_drill_fails(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, promise: str, changes: dict[str, Any]
) -> None:
    assert all(finding.holds for finding in judge(HELD))
    seen = replace(HELD, **changes)
    assert [finding.promise for finding in judge(seen) if not finding.holds] == [promise]
    monkeypatch.setitem(drill.DRILLS, "backpressure", lambda *_: as_json(seen, judge(seen)))
    ran = cli("drill", "backpressure")
    assert ran.code == 1
    assert f"BROKEN  {promise}" in ran.out
    assert ran.out.splitlines()[-1] == "drill backpressure: BROKEN"


def test_a_dead_letter_is_held_to_the_published_bytes_and_a_valid_one_to_what_its_pack_makes_of_them() -> None:
    pack = load_pack("cold_chain", {}, "strict")
    value = (
        b'{"sensor_id":"FRIDGE-01","timestamp_utc":"2026-03-02T00:00:00Z","temperature_c":4.5,"product":"refrigerator"}'
    )
    (record,) = pack.singles([value]).records(pack.fields)
    for original, canonical, digest, intact in (
        (value, False, sha256(value), True),
        (record.payload, True, sha256(value), True),
        (value[:-1], False, sha256(value), False),
        (value, False, sha256(b"another"), False),
        (record.payload.replace(b"4.5", b"4.6"), True, sha256(value), False),
        (None, True, sha256(value), False),
    ):
        letter = {
            "raw_topic": "raw", "raw_incarnation": 0, "raw_partition": 0, "raw_offset": 7, "raw_index": 0,
            "submission_digest": digest.digest(), "original": original, "canonical": canonical, "stage": "batch",
        }  # fmt: skip
        seen = Seen(HELD.expected)
        backpressure._letter(letter, {(0, 7): value}, pack, seen)
        assert (seen.letters, seen.altered) == (1, [] if intact else ["raw/0/7/0"])


def test_a_drill_that_is_not_there(cli: Cli) -> None:
    ran = cli("drill", "nonsense")
    assert (ran.code, ran.err) == (2, "waybill: no drill 'nonsense'; there are backpressure, all\n")


@pytest.mark.kafka
def test_drl02_a_partner_at_a_tenth_of_its_capacity(
    cli: Cli, kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backpressure, "DOWN_SECONDS", 2.0)
    ran = cli("drill", "all", "--brokers", kafka, "--readings", 600, "--report", tmp_path)
    assert ran.code == 0, ran.out + ran.err
    assert ran.out.splitlines()[-1] == "drill backpressure: every promise held"
    written = json.loads((tmp_path / "backpressure.json").read_text())
    assert written["seen"]["shed"] > 0
    assert written["seen"]["opened_after"] is not None
