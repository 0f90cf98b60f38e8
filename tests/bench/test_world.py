"""A benchmark that is told to end takes its broker with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import world


class Recorded:
    """Stands for the broker of a folder."""

    stopped = 0

    def __init__(self, home: Path) -> None: ...

    def start(self) -> str:
        return "127.0.0.1:1"

    def stop(self) -> None:
        Recorded.stopped += 1


@pytest.fixture(autouse=True)
def _recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "Broker", Recorded)
    monkeypatch.setattr(Recorded, "stopped", 0)


@pytest.fixture(autouse=True)
def _not_in_the_background() -> Iterator[None]:
    """As in a terminal: a shell has what it runs in the background ignore SIGINT, and tests may run there."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_no_broker_and_no_folder_stay_behind_a_benchmark_that_is_told_to_end(number: signal.Signals) -> None:
    """SIGHUP: its terminal was closed, as it is where a connection breaks."""
    before = signal.getsignal(signal.SIGHUP)
    with pytest.raises((SystemExit, KeyboardInterrupt)), world.broker() as (_, folder):
        signal.raise_signal(number)
    assert Recorded.stopped == 1
    assert not folder.exists()
    assert signal.getsignal(signal.SIGHUP) is before


def test_what_was_told_to_outlive_its_terminal_does() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with world.broker():
            os.kill(os.getpid(), signal.SIGHUP)
            assert not Recorded.stopped
    finally:
        signal.signal(signal.SIGHUP, before)
