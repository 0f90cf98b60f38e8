"""What a contender says of its own processor time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.process import client_threads


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
