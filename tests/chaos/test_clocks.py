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


def answered(plant: Plant) -> int:
    """How many records have an answer."""
    return len(Judge(plant).answers())


@pytest.mark.kafka
@pytest.mark.timeout(600)
@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="idle windows and retries count on the wall clock: set back an hour, they wait that hour",
)
def test_c1_a_clock_that_is_set_back_holds_up_no_open_window(
    kafka: str, tmp_path: Path, names: Names, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Plant(kafka, tmp_path, names.prefix, batching={"max_records": 1000, "linger": 10, "idle": 10}) as plant:
        faked_worker(plant, clock, monkeypatch)
        plant.publish(sample(1))
        Judge(plant).wait_until_batched_through()
        clock.move(-HOUR)
        wait_for(lambda: answered(plant), 40, "the window is closed after 10 s")


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_c1_a_clock_in_2038_is_refused_by_the_broker_and_loses_nothing(
    kafka: str, tmp_path: Path, names: Names, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka takes no message from more than an hour ahead (message.timestamp.after.max.ms): the work is redone."""
    load = list(sample(200))
    with Plant(kafka, tmp_path, names.prefix) as plant:
        worker = faked_worker(plant, clock, monkeypatch)
        plant.publish(load[:100])
        wait_for(lambda: answered(plant), DRAIN_SECONDS, "it works")
        clock.move(YEAR_2038 - time.time())
        plant.publish(load[100:])
        wait_for(lambda: "INVALID_TIMESTAMP" in worker.log.read_text(), DRAIN_SECONDS, "the broker refuses")
        clock.move(0)
        worker.kill()
        plant.finish()
        assert judge(plant).outcomes()["duplicate"] == manifest(200).duplicate
