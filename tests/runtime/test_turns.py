"""Lanes that share one loop: one chunk at a time, the higher first, and nobody for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from streams.runtime.turns import CUT, RECENT, Desk, LaneTurns
from tests.support import wait_for
from topology.model import Lane

SECONDS = 60.0


class Lanes:
    """Threads that take a turn each while the test holds the first one."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.turns: list[Lane] = []
        self._threads: list[threading.Thread] = []

    def want(self, lane: Lane) -> None:
        waiting = self.desk.waiting
        thread = threading.Thread(target=self._take, args=(lane,), daemon=True)
        self._threads.append(thread)
        thread.start()
        wait_for(lambda: self.desk.waiting > waiting or not thread.is_alive(), SECONDS, f"{lane} waits")

    def _take(self, lane: Lane) -> None:
        with self.desk.turn(lane):
            self.turns.append(lane)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(SECONDS)
            assert not thread.is_alive()


def test_of_those_that_wait_the_higher_lane_is_worked_next() -> None:
    lanes = Lanes(Desk(patience=SECONDS))
    with lanes.desk.turn("low"):
        for lane in ("low", "standard", "high"):
            lanes.want(lane)
        assert lanes.turns == []
    lanes.join()
    assert lanes.turns == ["high", "standard", "low"]


def test_who_has_waited_too_long_goes_without_a_turn() -> None:
    lanes = Lanes(Desk(patience=0.0))
    with lanes.desk.turn("high"):
        lanes.want("low")
        lanes.join()
        assert lanes.turns == ["low"]


def test_a_turn_whose_chunk_failed_is_over() -> None:
    lanes = Lanes(Desk(patience=SECONDS))
    with pytest.raises(RuntimeError), lanes.desk.turn("high"):
        raise RuntimeError
    lanes.want("low")
    lanes.join()
    assert lanes.turns == ["low"]


def test_a_lower_lane_takes_less_while_a_higher_one_has_work() -> None:
    now = [0.0]
    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    desk = Desk(clock)
    with LaneTurns(desk, "standard").turn():
        pass
    now[0] = RECENT
    shares = {lane: LaneTurns(desk, lane).share() for lane in ("high", "standard", "low")}
    assert shares == {"high": 1.0, "standard": 1.0, "low": CUT}
    now[0] = RECENT + 0.1
    assert LaneTurns(desk, "low").share() == 1.0
