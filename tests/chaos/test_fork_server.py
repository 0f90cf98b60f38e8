"""A worker that was forked is like one that was started: only its imports were done before."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from chaos.fork_server import ROOT, fork_server
from tests.support import wait_for

SECONDS = 60.0
MODULE = "tests.chaos.stand_in"


def lines(log: Path) -> list[str]:
    return log.read_text("utf-8").splitlines() if log.exists() else []


@pytest.mark.parametrize(("environment", "code"), [({"ENDS_WITH": "71"}, 71), ({"ENDS_WITH": "0"}, 0), ({}, 1)])
def test_it_finds_what_one_finds_that_was_started_and_ends_alike(
    tmp_path: Path, environment: dict[str, str], code: int
) -> None:
    given = {**os.environ, **environment}
    started = subprocess.run(
        [sys.executable, "-m", MODULE, "worker", "--slot", "1"],
        cwd=ROOT, env=given, input=b"", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    forked = fork_server().start(MODULE, ["worker", "--slot", "1"], given, tmp_path / "log")
    forked.stdin.close()
    assert forked.wait(SECONDS) == started.returncode == code
    said = started.stdout.decode().splitlines()
    assert lines(tmp_path / "log")[:3] == said[:3]
    assert lines(tmp_path / "log")[-1] == said[-1]


def test_it_is_killed_stopped_and_waited_for_as_any_other(tmp_path: Path) -> None:
    forked = [fork_server().start(MODULE, ["up"], os.environ, tmp_path / str(number)) for number in range(3)]
    wait_for(lambda: all(len(lines(tmp_path / str(number))) == 2 for number in range(3)), SECONDS, "all are up")
    with pytest.raises(subprocess.TimeoutExpired):
        forked[0].wait(0)
    forked[0].kill()
    forked[1].terminate()
    assert [one.wait(SECONDS) for one in forked[:2]] == [-signal.SIGKILL, -signal.SIGTERM]
    forked[0].kill()  # nothing happens: it has ended
    assert forked[2].poll() is None
    forked[2].stdin.close()
    assert forked[2].wait(SECONDS) == 1


def test_whoever_asks_at_once_for_an_end_hears_of_the_same(tmp_path: Path) -> None:
    forked = fork_server().start(MODULE, [], {**os.environ, "ENDS_WITH": "7"}, tmp_path / "log")
    heard: list[int] = []
    asking = [threading.Thread(target=lambda: heard.append(forked.wait(SECONDS))) for _ in range(8)]
    for one in asking:
        one.start()
    forked.stdin.close()
    for one in asking:
        one.join()
    assert heard == [7] * 8


def test_a_worker_that_is_forked_need_not_import_itself(tmp_path: Path) -> None:
    """Else nothing is gained."""
    forked = fork_server().start("tests.chaos.imported", [], os.environ, tmp_path / "log")
    assert forked.wait(SECONDS) == 0
    assert json.loads(lines(tmp_path / "log")[-1]) == []
