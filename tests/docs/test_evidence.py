"""The evidence that the documents show is the evidence that lies beside them."""

from __future__ import annotations

import re
from pathlib import Path

EVIDENCE = Path(__file__).resolve().parents[2] / "docs" / "evidence"


def test_the_table_of_faults_is_that_of_the_rounds() -> None:
    page = (EVIDENCE / "faults.md").read_text("utf-8")
    shown = page.partition("<!-- rounds -->\n")[2].partition("<!-- /rounds -->")[0]
    assert shown == (EVIDENCE / "rounds" / "faults.md").read_text("utf-8")


def test_the_tables_of_performance_are_those_of_the_run_that_lies_beside_them() -> None:
    """The stages' table, what deployments are sized by, and the ratios: the page's figures are of one run."""
    page = (EVIDENCE.parent / "performance.md").read_text("utf-8")
    run = (EVIDENCE / "speed" / "bench" / "results.md").read_text("utf-8")
    found = {cells[0]: cells[1:] for cells in _rows(run)}
    beside = {cells[0]: cells[1:] for cells in _rows(_section(page, "## Stages, beside"))}
    frame = "validate in a worker's frame, with metrics and logs"
    names = {"validate": "validate", frame: "validate-in-frame", "roof of validate": "roof-validate"}
    for shown, name in names.items():
        assert beside[shown] == found[name][1:3], shown
    sizing = _section(page, "## Sizing a deployment").partition("\n### ")[0]
    sized = {cells[0]: cells[1:] for cells in _rows(sizing)}
    stages = {"validate (in a worker's frame)": "validate-in-frame", "batch": "batch", "dispatch": "dispatch"}
    for shown, name in stages.items():
        rate, cpu = found[name][1:3]
        assert sized[shown][:2] == [cpu, rate], shown
    together = sum(float(found[name][2]) for name in stages.values())
    assert float(sized["together"][0]) == round(together, 1)
    ratios = {cells[0].strip("`"): cells[1] for cells in _rows(_section(page, "## The same job as")) if "/" in cells[0]}
    for name, value in ratios.items():
        assert float(value) == round(float(found[name][0]), 1 if name == "validate/faust" else 2), name


def _section(page: str, heading: str) -> str:
    return page.partition(heading)[2].partition("\n## ")[0]


def _rows(text: str) -> list[list[str]]:
    """The cells of all tables of a page, heads and rulers left out."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and not re.match(r"\|[-: |]+\|$", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
