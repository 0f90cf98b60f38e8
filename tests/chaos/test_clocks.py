"""C1: the wall clock of a worker jumps in the middle of a load; nothing is lost, doubled or left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chaos.clocks import HOUR, Clock, NoFaketime, find_library
from schemas.packs.cold_chain.sample import manifest, sample
from tests.conftest import IN_CI, missing
from tests.support import Names, wait_for
from tests.system.judge import Judge, judge
from tests.system.plant import DRAIN_SECONDS, STOP_SECONDS, Plant, Worker

YEAR_2038 = 2_147_483_648 + 10
"""Past the end of 32 bits."""


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """A wall clock that this test moves."""
    try:
        find_library()
    except NoFaketime as absent:
        missing(str(absent), IN_CI)
    return Clock(tmp_path / "clock")


def test_only_the_wall_clock_moves_and_at_once(clock: Clock) -> None:
    script = "import time\nwhile input():\n print(time.time(), time.monotonic(), flush=True)\n time.sleep(0.01)"
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, **clock.environment()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for offset in (0, HOUR, -HOUR, YEAR_2038 - time.time()):
            clock.move(offset)
            before = time.time(), time.monotonic()
            print("now", file=process.stdin, flush=True)
            wall, steady = map(float, process.stdout.readline().split())
            after = time.time(), time.monotonic()
            assert before[0] - 2 <= wall - offset <= after[0] + 2
            assert before[1] <= steady <= after[1]
        print(file=process.stdin, flush=True)


def faked_worker(plant: Plant, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """A worker whose wall clock is `clock`."""
    with monkeypatch.context() as patched:
        for name, value in clock.environment().items():
            patched.setenv(name, value)
        return plant.worker().wait_ready()


@pytest.mark.kafka
def test_c1_a_worker_whose_clock_jumps_under_load_loses_and_doubles_nothing(
    kafka: str, tmp_path: Path, names: Names, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Back, forward and to 2038, with retries under way; its successor's clock is right again.

    That the worker itself goes on is not asked here: libfaketime lets waits that are under way overrun by as much as
    the clock was moved, so that it may well end with 70 or 72 (see the steady clock in tests/streams/test_runner.py).
    """
    jumps = (-HOUR, 10.0, -3 * HOUR, 2 * HOUR, YEAR_2038 - time.time())
    each = 60
    load = list(sample(each * (len(jumps) + 1)))
    with Plant(kafka, tmp_path, names.prefix) as plant:
        worker = faked_worker(plant, clock, monkeypatch)
        plant.partner.faults.extend(["status:503", "none", "store_then_reset"])
        plant.publish(load[:each])
        wait_for(lambda: Judge(plant).answers(), DRAIN_SECONDS, "the first answers")
        for number, offset in enumerate(jumps, 1):
            clock.move(offset)
            plant.publish(load[number * each : (number + 1) * each])
        worker.process.kill()
        worker.process.wait(STOP_SECONDS)
        plant.finish()
        assert judge(plant).outcomes()["duplicate"] == manifest(len(load)).duplicate
