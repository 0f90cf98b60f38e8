"""`waybill demo` says what it does while it does it, on stderr, and ends stdout with the books."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from schemas.packs.epcis.sample import manifest
from tests.commands.conftest import Cli
from topology.load import PACKAGED, pipeline_names
from waybill.books import Tally
from waybill.commands.demo import PICTURES, report
from waybill.demo import Shown, load_show
from waybill.demo_views import journey
from waybill.output import Meter


def test_the_demo_names_its_steps_on_stderr_and_the_books_last_on_stdout(cli: Cli) -> None:
    ran = cli("demo", "--memory", "--readings", 300, "--documents", 60, "--seed", 4)
    assert ran.code == 0
    last = ran.out.splitlines()[-1]
    events = manifest(60, 4)
    assert last.startswith(f"conservation: received={300 + events.received} acknowledged=")
    assert last.endswith(" in-flight=0")
    assert "DIFFERS" not in ran.out
    rows = [text.split() for text in ran.out.splitlines() if text.split()[:1] in (["clinic-api"], ["epcis-lake"])]
    assert [row[0] for row in rows] == ["clinic-api", "epcis-lake"], "a partner stands on one row"
    assert all(row[1] == row[2] for row in rows), "what it holds is what was cut for it"
    told = ran.err.splitlines()
    steps = ("publishing 300 readings", "running validate", "done in", "drawing the books", "publishing 60 documents")
    places = [next(place for place, text in enumerate(told) if step in text) for step in steps]
    assert places == sorted(places)
    assert "\r" not in ran.err
    assert "\x1b" not in ran.err
    assert "publishing" not in ran.out


def test_pipelines_that_ran_at_once_share_their_time(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Shown(load_show("epcis", 50, "documents", 1), Tally("epcis", received=50), 80.14, "a log", together=True)
    shown.batches.update({("lake", "count"): 2, ("lake", "wall"): 1})
    shown.at_partner["lake"] = 3
    report(shown)
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "epcis on a log: 50 records; all pipelines together took 80.1 s"
    assert "  lake                   3           3  count 2, wall 1" in told


def test_the_demo_runs_every_shipped_pipeline() -> None:
    assert set(PICTURES) == set(pipeline_names(PACKAGED))


def event(minute: int, step: str, **more: Any) -> dict[str, Any]:
    time = f"2026-03-02T06:{minute:02}:00.000Z"
    return {"type": "ObjectEvent", "action": "OBSERVE", "eventTime": time, "bizStep": step, **more}


def test_the_way_of_an_item_goes_on_in_the_case_it_was_packed_into() -> None:
    case, item, other = "urn:epc:id:sscc:0300011.3000000001", "urn:epc:id:sgtin:a.b.1", "urn:epc:id:sgtin:a.b.2"
    packed = {"type": "AggregationEvent", "parentID": case, "childEPCs": [item, other]}
    delivered = [
        event(0, "commissioning", epcList=[item]),
        event(1, "receiving", epcList=[case]),  # before it was in there
        event(2, "packing", **packed, action="ADD"),
        event(3, "shipping", epcList=[case]),
        event(4, "receiving", epcList=["urn:epc:id:sscc:0300011.3000000002"]),
        event(5, "unpacking", **packed, action="DELETE"),
        event(6, "shipping", epcList=[case]),
        event(7, "decommissioning", epcList=[item], action="DELETE"),
    ]
    name, found = journey(delivered)
    assert name == item
    assert [(one["bizStep"], inside) for one, inside in found] == [
        ("commissioning", ""), ("packing", case), ("shipping", case), ("unpacking", ""), ("decommissioning", ""),
    ]  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def progress(stderr: io.StringIO, monkeypatch: pytest.MonkeyPatch, moments: list[float]) -> str:
    """What is told of 10, 20, … of 100 records that are done at these moments."""
    clock = iter([0.0, *moments])
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", stderr)
        patched.setenv("COLUMNS", "60")
        made = Meter(100, "answered", lambda: next(clock))
        for done in range(10, 10 * len(moments) + 1, 10):
            made.show(done)
        made.close()
    return stderr.getvalue()


def test_progress_is_told_at_most_once_a_second_and_in_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    told = progress(io.StringIO(), monkeypatch, [0.5, 1.1, 1.2, 2.0, 2.2])
    assert told == "20 of 100 answered\n50 of 100 answered\n"


def test_on_a_terminal_it_is_a_bar_that_is_cleared_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    told = progress(Terminal(), monkeypatch, [0.5, 1.1, 1.2, 2.0, 2.2])
    drawn = told.split("\r\x1b[K")
    assert drawn == ["", f"[{'#' * 6}{'-' * 24}] 20 of 100 answered", f"[{'#' * 15}{'-' * 15}] 50 of 100 answered", ""]
    assert all(len(text) <= 60 for text in drawn)
