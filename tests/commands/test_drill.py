"""The drills: each promise is looked at by itself, and the whole once on the real broker."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

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
