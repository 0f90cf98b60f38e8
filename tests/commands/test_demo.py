"""`waybill demo` says what it does while it does it, on stderr, and ends stdout with the books."""

from __future__ import annotations

import io
import sys

import pytest

from tests.commands.conftest import Cli
from waybill.output import Meter


def test_the_demo_names_its_steps_on_stderr_and_the_books_last_on_stdout(cli: Cli) -> None:
    ran = cli("demo", "--memory", "--readings", 300)
    assert ran.code == 0
    last = ran.out.splitlines()[-1]
    assert last.startswith("conservation: received=300 acknowledged=")
    assert last.endswith(" in-flight=0")
    told = ran.err.splitlines()
    steps = ("publishing 300 readings", "running validate", "done in", "drawing the books")
    places = [next(place for place, text in enumerate(told) if step in text) for step in steps]
    assert places == sorted(places)
    assert "\r" not in ran.err
    assert "\x1b" not in ran.err
    assert "publishing" not in ran.out


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
