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
from streams.runtime.worker import EXIT_FATAL, EXIT_STALLED
from tests.conftest import IN_CI, missing
from tests.support import Names, wait_for
from tests.system.judge import Judge, judge
from tests.system.plant import DRAIN_SECONDS, Plant, Worker

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


class Supervised:
    """A worker with that clock, replaced when it ends loudly: a client that waits on the wall clock may overrun its
    transaction (70) or stand still (72)."""

    def __init__(self, plant: Plant, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self._plant, self._clock, self._monkeypatch = plant, clock, monkeypatch
        self.worker = faked_worker(plant, clock, monkeypatch)

    def answered(self) -> int:
        """How many records have an answer."""
        code = self.worker.process.poll()
        if code is not None:
            assert code in (EXIT_FATAL, EXIT_STALLED), self.worker.tail()
            self.worker = faked_worker(self._plant, self._clock, self._monkeypatch)
        return len(Judge(self._plant).answers())


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_c1_a_clock_that_is_set_back_holds_up_no_open_window(
    kafka: str, tmp_path: Path, names: Names, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Plant(kafka, tmp_path, names.prefix, batching={"max_records": 1000, "linger": 10, "idle": 10}) as plant:
        supervised = Supervised(plant, clock, monkeypatch)
        plant.publish(sample(1))
        Judge(plant).wait_until_batched_through()
        clock.move(-HOUR)
        wait_for(supervised.answered, DRAIN_SECONDS, "the window is closed after 10 s")


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_c1_a_worker_whose_clock_jumps_under_load_loses_and_doubles_nothing(
    kafka: str, tmp_path: Path, names: Names, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With retries under way; and its successor's clock is right again.

    Steps forward are short: libfaketime lets a wait that is under way take that much longer, as a real clock does when
    it is set back (librdkafka waits on the wall clock). A worker that is held up for two minutes ends with 72.
    """
    jumps = (-HOUR, -HOUR + 5, -3 * HOUR, -3 * HOUR + 10, -24 * HOUR)
    each = 60
    load = list(sample(each * (len(jumps) + 1)))
    with Plant(kafka, tmp_path, names.prefix) as plant:
        supervised = Supervised(plant, clock, monkeypatch)
        plant.partner.faults.extend(["status:503", "none", "store_then_reset"])
        plant.publish(load[:each])
        for number, offset in enumerate(jumps, 1):
            clock.move(offset)
            plant.publish(load[number * each : (number + 1) * each])
            every = len(plant.published)
            wait_for(lambda every=every: supervised.answered() == every, DRAIN_SECONDS, f"on at {offset:+}")  # type: ignore[misc]
        supervised.worker.kill()
        plant.finish()
        assert judge(plant).outcomes()["duplicate"] == manifest(len(load)).duplicate


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_c1_a_worker_in_2038_works(
    kafka: str, tmp_path: Path, names: Names, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stamps lie further ahead than a broker takes, and than 32 bits hold."""
    load = list(sample(150))
    clock.move(YEAR_2038 - time.time())
    with Plant(kafka, tmp_path, names.prefix) as plant:
        supervised = Supervised(plant, clock, monkeypatch)
        plant.publish(load)
        wait_for(lambda: supervised.answered() == len(load), DRAIN_SECONDS, "everything is answered")
        assert supervised.worker.stop() == 0
        assert judge(plant).outcomes()["duplicate"] == manifest(len(load)).duplicate
