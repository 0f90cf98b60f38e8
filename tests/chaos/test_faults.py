"""Faults of a round count only where they met somebody, and the crew knows how its workers came up and ended."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos.crew import Crew, Exit, Slot
from chaos.faults import FAULTS, Scene
from chaos.faults.partners import until_used
from chaos.plan import plan
from tests.support import wait_for

SECONDS = 30.0
STAND_IN = "tests.chaos.stand_in"


def scene(**more: Any) -> Scene:
    """A scene on which nobody is but whom a test names."""
    nobody: Any = None
    given = {
        "chance": random.Random(1), "crew": nobody, "broker": nobody, "partner": nobody, "session": 4.0,
        "publish": nobody, "recent": nobody, "wait": time.sleep, "store": nobody,
    }  # fmt: skip
    return Scene(**(given | more))


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    """Workers that come up and wait."""
    with Crew(STAND_IN, ["frame started", "ready"], {}, tmp_path) as found:
        yield found


def test_a_round_with_a_freeze_has_somebody_who_takes_over_and_one_with_store_faults_has_a_store() -> None:
    plans = [plan(seed, number) for seed in range(4) for number in range(40)]
    frozen = [one for one in plans if "freeze" in {planned.fault for planned in one.faults}]
    stored = [one for one in plans if "stores" in {FAULTS[planned.fault].theme for planned in one.faults}]
    assert min(min(one.workers, one.partitions, one.settings["partitions"]) for one in frozen) == 2
    assert not any(one.settings["deterministic"] for one in frozen)
    assert {one.lake for one in stored} == {"s3"}
    assert {one.lake for one in plans} == {"s3", "folder"}


def test_faults_of_a_queue_happened_if_one_was_met_and_the_others_are_taken_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chaos.faults.partners.ALL_SECONDS", 0.05)
    queue, stage = deque(["another", "b", "b"]), scene()
    until_used(stage, queue, ["a", "b", "b"])
    assert stage.happened
    assert stage.said == ["(1 of 3)"]
    assert list(queue) == ["another"]


def test_a_fault_does_what_was_dealt_and_draws_only_where_nothing_was() -> None:
    stage = scene(dealt=("b", "c"))
    assert stage.choose(["a"]) == ["b", "c"]
    assert stage.said == ["b, c"]
    stage.dealt = ()
    assert stage.choose(["a"]) == ["a"]
    drawn = [len(stage.choose(["a", "b"], most=3)) for _ in range(50)]
    assert set(drawn) == {1, 2, 3}


def test_faults_that_were_dealt_stay_in_the_queue_for_a_later_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chaos.faults.partners.ALL_SECONDS", 0.05)
    queue, stage = deque(["b", "b"]), scene(dealt=("a", "b", "b"))
    until_used(stage, queue, ["a", "b", "b"])
    assert (stage.said, list(queue)) == (["(1 of 3)"], ["b", "b"])


def test_faults_of_a_queue_that_nobody_met_did_not_happen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chaos.faults.partners.ALL_SECONDS", 0.05)
    queue, stage = deque(["a", "b"]), scene()
    monkeypatch.setattr("chaos.faults.partners.LONG_SECONDS", 0.05)
    until_used(stage, queue, ["a", "b"])
    assert not stage.happened
    assert not queue


def test_a_crew_knows_who_is_ready_and_how_each_ended(crew: Crew) -> None:
    crew.add(0)
    crew.add(1)
    assert crew.wait_ready(None, SECONDS)
    assert crew.ready == [0, 1]
    assert crew.logged('"event": "ready"') == 2
    assert crew.kill(0)
    wait_for(lambda: crew.exits, SECONDS, "the killed worker has ended")
    assert crew.wait_ready([0, 1], SECONDS), "its successor is ready, not its log of before"
    crew.stop()
    assert crew.exits == [Exit(0, -9, "kill", True), Exit(0, -15, "stop", True), Exit(1, -15, "stop", True)]
    assert not crew.ready


def test_a_worker_that_was_stopped_before_it_could_hear_is_told_apart(tmp_path: Path) -> None:
    with Crew(STAND_IN, [], {}, tmp_path) as crew:
        crew.add(0)
        wait_for(lambda: crew.history, SECONDS, "the worker was started")
        assert not crew.wait_up([0], 0.2)
        crew.stop()
    assert crew.exits == [Exit(0, -15, "early stop", False)]


class Dying:
    """A process that has been killed, and is not gone before it is also told to stop."""

    pid, stdin = 1, None
    returncode: int | None = None

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None: ...

    def send_signal(self, _: int) -> None: ...

    def terminate(self) -> None:
        self.returncode = -9


def test_a_killed_worker_that_is_also_told_to_stop_ended_by_the_kill(tmp_path: Path) -> None:
    dying: Any = Dying()
    crew = Crew(STAND_IN, [], {}, tmp_path)
    (tmp_path / "log").touch()
    crew._slots[0] = Slot(0, process=dying, log=tmp_path / "log")
    assert crew.kill(0)
    crew.remove(0)
    assert crew.exits == [Exit(0, -9, "kill", False)]
