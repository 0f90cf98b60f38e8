"""One sync for several writers: it covers a name only if it begins after the name was made."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from streams.delivery.rounds import Rounds
from tests.support import wait_for

LONG = 60.0


class Disk:
    """Remembers which names each sync of a folder found, and lets the first one hang until it is let go."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.synced: list[set[str]] = []
        self.entered, self.go = threading.Event(), threading.Event()
        self.broken = False

    def sync(self, place: Path) -> None:
        found = set(self.made)
        self.entered.set()
        assert self.go.wait(LONG)
        self.synced.append(found)
        if self.broken:
            raise OSError(5, "Input/output error")


def write(disk: Disk, rounds: Rounds, name: str, ends: dict[str, str]) -> None:
    disk.made.append(name)
    try:
        rounds.sync([Path("lake")])
        assert any(name in found for found in disk.synced), "told before its name was durable"
        ends[name] = "durable"
    except OSError as error:
        ends[name] = str(error)


@pytest.mark.parametrize("broken", [False, True])
def test_who_comes_during_a_sync_waits_for_the_next_one_and_all_of_them_share_it(broken: bool) -> None:
    disk, ends = Disk(), dict[str, str]()
    rounds = Rounds(disk.sync)
    threads = [threading.Thread(target=write, args=(disk, rounds, f"n{n}", ends)) for n in range(6)]
    threads[0].start()
    assert disk.entered.wait(LONG)
    for thread in threads[1:]:
        thread.start()
    wait_for(lambda: len(disk.made) == 6, LONG, "all names are made")
    assert not ends
    disk.broken = broken
    disk.go.set()
    for thread in threads:
        thread.join(LONG)
    assert set(ends) == {f"n{n}" for n in range(6)}
    assert set(ends.values()) == {"[Errno 5] Input/output error" if broken else "durable"}
    assert disk.synced[0] == {"n0"}


def test_a_sync_that_failed_does_not_fail_the_next_one() -> None:
    disk = Disk()
    disk.go.set()
    rounds, disk.broken = Rounds(disk.sync), True
    with pytest.raises(OSError, match="Input/output"):
        rounds.sync([Path("lake")])
    disk.broken = False
    rounds.sync([Path("lake")])
