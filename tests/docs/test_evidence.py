"""The evidence that the documents show is the evidence that lies beside them."""

from __future__ import annotations

from pathlib import Path

EVIDENCE = Path(__file__).resolve().parents[2] / "docs" / "evidence"


def test_the_table_of_faults_is_that_of_the_rounds() -> None:
    page = (EVIDENCE / "faults.md").read_text("utf-8")
    shown = page.partition("<!-- rounds -->\n")[2].partition("<!-- /rounds -->")[0]
    assert shown == (EVIDENCE / "rounds" / "faults.md").read_text("utf-8")
