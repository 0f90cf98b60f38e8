"""The batch stage through at least 20,000 random histories a run; see batch_world for what happens in one.

WAYBILL_SIM sets another number. A failure names its seed: `failures([seed])` repeats it alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any

import pytest

from streams.batch.identity import VersionStore
from streams.runtime.rocks_versions import RocksVersions
from tests.streams.batch_world import World, failures
from tests.support import processes

HISTORIES = int(os.environ.get("WAYBILL_SIM") or 20_000)
SLICE = 500


@pytest.mark.timeout(1800)  # 20,000 histories take two minutes on two idle cores; a busy machine is no failure
def test_no_history_breaks_a_law() -> None:
    slices = [range(at, min(at + SLICE, HISTORIES)) for at in range(0, HISTORIES, SLICE)]
    with processes() as pool:
        broken = list(chain.from_iterable(pool.map(failures, slices)))
    assert not broken, "\n".join([f"{len(broken)} of {HISTORIES} histories broke a law:", *broken[:10]])


class OnDisk(World):
    """Workers whose versions lie in RocksDB and outlive them."""

    folders: Iterator[Path]
    """One for each history, those run again for comparison included."""

    def __init__(self, *of: Any) -> None:
        self.folder = next(self.folders)
        super().__init__(*of)

    def versions(self, partition: int) -> VersionStore:
        return RocksVersions(self.folder / str(partition))

    def crash(self, slot: int) -> None:
        for stores in self.workers[slot].runner._stores.values():
            for store in stores.values():
                store.close()  # the operating system does it when a process dies
        super().crash(slot)


def test_histories_with_versions_on_disk(tmp_path: Path) -> None:
    OnDisk.folders = (tmp_path / str(number) for number in count())
    seeds = [seed for seed in range(200) if World(seed).partitions == 1][:60]
    broken = failures(seeds, OnDisk)
    assert not broken, broken


def test_the_histories_reach_what_they_are_for() -> None:
    """A simulator that never gets into trouble proves nothing."""
    seen = dict.fromkeys(("stale", "unreadable", "two workers", "deterministic", "memory", "bytes", "reread"), 0)
    kinds: dict[str, int] = {}
    for seed in range(300):
        world = World(seed).run()
        seen["stale"] += world.refused_stale
        seen["unreadable"] += len(world.poison)
        seen["two workers"] += len(world.workers) == 2
        seen["deterministic"] += world.deterministic
        for batch in world.batches.values():
            if batch["close_reason"] in seen:
                seen[batch["close_reason"]] += 1
            kinds[batch["close_reason"]] = kinds.get(batch["close_reason"], 0) + 1
        for partition in range(world.partitions):
            for said in world.log_of(partition):
                kinds[said.kind] = kinds.get(said.kind, 0) + 1
    assert all(seen.values()), seen
    wanted = {"count", "linger", "wall", "stop", "end", "supersede", "release", "retain", "replay", "validated"}
    assert wanted <= set(kinds), kinds
