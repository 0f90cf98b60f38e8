"""What a contender says of its own processor time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bench.process import client_threads, last_line


def test_the_clients_threads_are_counted_apart_and_one_that_ends_meanwhile_is_left_out(tmp_path: Path) -> None:
    for number, name in enumerate(("rdk:main", "rdk:broker1", "python")):
        folder = tmp_path / str(number)
        folder.mkdir()
        numbers = " ".join(["S", *["0"] * 10, "200", "100", "0"])
        (folder / "stat").write_text(f"{number} ({name}) {numbers}\n")
    gone = tmp_path / "3"
    gone.mkdir()
    (gone / "stat").symlink_to(tmp_path / "nowhere")
    assert client_threads(tmp_path) == pytest.approx(600 / os.sysconf("SC_CLK_TCK"))


def test_a_contenders_peak_is_its_own_and_not_that_of_a_large_benchmark() -> None:
    held = bytearray(b"x") * 300_000_000  # as the readings of a whole run are
    program = "import time; some = bytearray(b'x') * 60_000_000; time.sleep(0.3); print(len(some))"
    peak = last_line("a contender", [sys.executable, "-c", program]).peak_mib
    assert 57 < peak < 150 < len(held) / 2**20
