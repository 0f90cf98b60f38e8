"""What histories of records about things share, whether the records wait for each other or not: the workers, what they
keep, and what is said of each thing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from schemas.canonical import RawPosition
from schemas.state import StateRules
from streams.batch.items import FACTS
from streams.deadletter import DeadLetters
from streams.progress import Identity
from streams.runtime.runner import Runner
from streams.runtime.stores import RocksRowStore
from streams.stage import TableStore
from streams.tables import MemoryRows
from tests.streams.batch_world import CODEC, Published, Worker, World, validated
from topology.sections import Chunking


class ThingsWorld(World):
    """Records about things."""

    policies = ("conflict",)
    rules: ClassVar[type[StateRules]]

    def __init__(self, *of: Any) -> None:
        self.told: dict[RawPosition, str] = {}
        super().__init__(*of)

    def tale(self, home: int) -> str:
        """What a new record says, of things of one partition."""
        raise NotImplementedError

    def start(self, slot: int) -> Worker:
        stage = self.stage_class(
            self.pipeline, CODEC, Identity("w", "0", "sim/1"), DeadLetters(CODEC, self.partitions), self.versions,
            self.rules(), self.rows,
        )  # fmt: skip
        log = self.log_class(self.broker, "batch", "validated", slot)
        return Worker(log, Runner(log, stage, Chunking(), clock=lambda: self.wall))

    def rows(self, table: str, partition: int) -> TableStore:
        return MemoryRows()

    def put(self, record: Published) -> None:
        home = self.home(record.key)
        if record.raw not in self.told:
            self.told[record.raw] = self.tale(home)
        headers = ((FACTS, self.told[record.raw].encode()),)
        self.broker.append("validated", home, b"k", CODEC.encode("validated", validated(record)), headers)


class OnDisk(ThingsWorld):
    """Workers whose tables lie in RocksDB and outlive them."""

    folders: Iterator[Path]

    def __init__(self, *of: Any) -> None:
        self.folder = next(self.folders)
        super().__init__(*of)

    def rows(self, table: str, partition: int) -> TableStore:
        return RocksRowStore(self.folder / f"{table}-{partition}")

    def crash(self, slot: int) -> None:
        for stores in self.workers[slot].runner._stores.values():
            for table in ("items", "waiting"):
                stores[table].close()  # the operating system does it when a process dies
        super().crash(slot)


class SaidThings:
    """What was said of each thing and passed: it was made, and it was ended, by which records."""

    def __init__(self, told: dict[RawPosition, str]) -> None:
        """told: what each record says."""
        self._told = told
        self._said: dict[str, list[tuple[str, RawPosition]]] = {}
        self._dead: set[RawPosition] = set()
        self.time = 0

    def passed(self, raw: RawPosition) -> None:
        do, *things = self._told[raw].split()
        for thing in things if do != "use" else ():
            said = self._said.setdefault(thing, [])
            while said and do == "make":
                said.pop()  # all of it had died
            while said and said[-1][0] == do:
                said.pop()
            said.append((do, raw))

    def died(self, raw: RawPosition) -> None:
        self._dead.add(raw)

    def live_again(self, raws: set[RawPosition]) -> None:
        self._dead -= raws
