"""The load generator: evenly, in order, and honest about being late."""

from __future__ import annotations

import pytest

from bench.pacing import paced


class Time:
    """A clock that moves when somebody sleeps, a little further than asked, or works."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds + 0.000_1


def test_each_is_sent_when_it_is_due_and_oversleeping_does_not_add_up() -> None:
    time, sent = Time(), list[float]()
    late = paced((number / 100 for number in range(500)), lambda _: sent.append(time.now), time.clock, time.sleep)
    assert sent == pytest.approx([1_000 + number / 100 for number in range(500)], abs=0.000_2)
    assert max(late) == pytest.approx(0.000_1)


def test_after_a_stall_what_is_due_is_sent_at_once_and_the_schedule_stays() -> None:
    time, sent = Time(), list[tuple[int, float]]()

    def send(number: int) -> None:
        sent.append((number, time.now))
        if number == 10:
            time.now += 0.5

    late = paced((number / 100 for number in range(200)), send, time.clock, time.sleep)
    assert [number for number, _ in sent] == list(range(200))
    assert late[11] == pytest.approx(0.49, abs=0.001)
    assert late[35] == pytest.approx(0.25, abs=0.001)
    assert sent[-1][1] == pytest.approx(1_000 + 1.99, abs=0.001)
    assert max(late[62:]) < 0.001
