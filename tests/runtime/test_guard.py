"""The guard ends a process whose stages stand still or have ended, and leaves a working one alone."""

from __future__ import annotations

from streams.runtime.guard import Guard
from tests.support import wait_for


def guarded(found: list[tuple[int, str, float] | None], patience: float) -> list[tuple[int, str]]:
    """What a guard did that was told `found`, one after the other."""
    ended: list[tuple[int, str]] = []
    asked = iter(found)

    def standing() -> tuple[int, str, float] | None:
        told = next(asked, None)
        if told is None:
            guard.stop()
        return told

    guard = Guard(standing, patience, lambda code, why: ended.append((code, why)), look_seconds=0.001)
    guard.start()
    wait_for(lambda: not guard.is_alive(), 10, "the guard to be done")
    return ended


def test_a_stage_that_stands_still_ends_the_process_with_its_code() -> None:
    assert guarded([(72, "stuck", float("inf"))], 90) == [(72, "stuck")]


def test_a_process_has_time_to_end_by_itself_after_a_stage_has_ended() -> None:
    assert guarded([(70, "ended", 1.0), (70, "ended", 89.0), None], 90) == []
    assert guarded([(70, "ended", 1.0), (70, "ended", 91.0)], 90) == [(70, "ended")]
