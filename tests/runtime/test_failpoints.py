"""Failpoints do what the variable says, at the hit it says, and nothing otherwise."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.runtime import failpoints

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm(None)


def test_only_the_nth_hit_of_that_name_fires() -> None:
    failpoints.arm("batch:before-commit:2=error")
    failpoints.hit("validate:before-commit")
    failpoints.hit("batch:after-commit")
    failpoints.hit("batch:before-commit")
    with pytest.raises(failpoints.FailpointError):
        failpoints.hit("batch:before-commit")
    failpoints.hit("batch:before-commit")


def test_nothing_is_armed_by_default() -> None:
    for step in failpoints.STEPS:
        failpoints.hit(f"batch:{step}")


@pytest.mark.parametrize(
    "text", ["batch", "batch:nowhere", "batch:after-fetch:0", "batch:after-fetch=die", ":after-fetch"]
)
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="WAYBILL_FAILPOINT"):
        failpoints.parse(text)


def test_kill_is_a_sigkill_at_that_hit() -> None:
    code = (
        "from streams.runtime.failpoints import hit; hit('dispatch:before-send'); print('once', flush=True);"
        "hit('dispatch:before-send'); print('twice')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, failpoints.VARIABLE: "dispatch:before-send:2"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "once\n"), done.stderr
