"""`--window`: which spans of time a command takes, and how it refuses the others."""

from __future__ import annotations

import pytest

from tests.commands.conftest import Cli
from waybill.moments import Window, window
from waybill.output import Fault

NOW = 1_772_409_600_000  # 2026-03-02T00:00:00Z


def test_an_age_is_from_then_on_and_two_times_are_from_the_first_up_to_the_second() -> None:
    assert window("24h", NOW) == Window(NOW - 86_400_000, None)
    assert window("90s", NOW) == Window(NOW - 90_000, None)
    assert window("2026-03-01T00:00:00Z/2026-03-02T01:00:00.001+01:00", NOW) == Window(NOW - 86_400_000, NOW + 1)
    assert [Window(5, 7).holds(ms) for ms in (4, 5, 6, 7)] == [False, True, True, False]
    assert [Window(5, None).holds(ms) for ms in (4, 5, 10**15)] == [False, True, True]


@pytest.mark.parametrize(
    "text",
    ["", "/", "24", "h", "-1h", "yesterday", "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z/", "24h/12h", "a/b/c",
     "2026-03-01/2026-03-02", "2026-03-01T00:00:00/2026-03-02T00:00:00Z", "2026-13-01T00:00:00Z/2026-03-02T00:00:00Z",
     "9" * 5000 + "h", "0h"],
)  # fmt: skip
def test_what_is_no_window_is_refused_in_one_line_before_anything_is_asked_of_a_cluster(cli: Cli, text: str) -> None:
    ran = cli("reconcile", "cold-chain", "--brokers", "127.0.0.1:1", "--window", text)
    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    assert line.startswith("waybill: --window ")
    assert "such as 24h" in line
    assert "2026-03-02T00:00:00Z/2026-03-03T00:00:00Z" in line
    assert len(line) < 400


@pytest.mark.parametrize("end", ["2026-03-01T00:00:00Z", "2026-03-01T02:00:00+02:00", "2025-01-01T00:00:00Z"])
def test_a_window_that_ends_before_it_begins_is_refused(end: str) -> None:
    with pytest.raises(Fault, match="ends before it begins"):
        window(f"2026-03-01T00:00:00Z/{end}", NOW)
