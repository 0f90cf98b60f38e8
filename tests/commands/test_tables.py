"""Tables on a terminal of any width: nothing important is cut, and what is left out is said."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

from waybill.tables import table

ID = "cold-chain.raw/3/1048576/12"
DIGEST = "ab" * 32
CODES = ["CONFLICTING_VERSION", "OUT_OF_RANGE", "WRONG_TYPE"]
COLUMNS = ("id", "at", "class", "codes")
ROW = (ID, "2026-11-22T04:22:54.303Z", "COMPLIANCE_BLOCK", ", ".join(CODES))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


Drawn = Callable[..., list[str]]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """The lines of a table on a terminal of some width."""

    def _drawn(width: int, *arguments: Any, **more: Any) -> list[str]:
        terminal = Terminal()
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", terminal)
            patched.setenv("COLUMNS", str(width))
            table(*arguments, **more)
        return re.sub("\x1b\\[[0-9;]*m", "", terminal.getvalue()).splitlines()

    return _drawn


@pytest.mark.parametrize(("width", "left_out"), [(120, []), (80, ["at"]), (60, ["at", "class"])])
def test_what_is_left_out_is_said_and_ids_stay_in_one_piece(
    drawn: Drawn, capsys: pytest.CaptureFixture[str], width: int, left_out: list[str]
) -> None:
    lines = drawn(width, COLUMNS, [ROW], wrap=("codes",), less=("at", "class"))
    expected = f"left out to fit {width} columns: {', '.join(left_out)}; --json shows everything\n" if left_out else ""
    assert capsys.readouterr().err == expected
    assert lines[1].startswith(ID + "  ")
    assert max(map(len, lines)) <= width
    for word in [name for name in COLUMNS if name not in left_out] + CODES:
        assert any(re.search(rf"\b{word}\b", line) for line in lines), word


@pytest.mark.parametrize("width", [80, 60])
def test_rows_that_do_not_fit_at_all_become_blocks(
    drawn: Drawn, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    rows = [("schemas/wire/a.avsc", 1, DIGEST), ("schemas/wire/b.avsc", 2, DIGEST)]
    lines = drawn(width, ("schema", "at", "SHA-256"), rows, less=("at",))
    digest = f"SHA-256  {DIGEST}"
    first, second = "schema   schemas/wire/a.avsc", "schema   schemas/wire/b.avsc"
    assert lines == [first, "at       1", digest, "", second, "at       2", digest]
    assert capsys.readouterr().err == "", "nothing is left out"


def test_a_pipe_gets_every_column_tab_separated(capsys: pytest.CaptureFixture[str]) -> None:
    table(COLUMNS, [ROW], wrap=("codes",), less=("at", "class"))
    assert capsys.readouterr().out == "\t".join(COLUMNS) + "\n" + "\t".join(ROW) + "\n"
