"""The batch stage: duplicates are judged, records gather in windows, windows become frozen batches.

Thin: everything about one partition is a `Lot`. What is decided here is what concerns all of them: memory, the wall
clock, and the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any

from schemas.codec import Codec
from schemas.state import StateRules
from schemas.validated import read_fronts
from streams.batch.identity import VersionStore
from streams.batch.items import Items
from streams.batch.lot import Lot, Terms
from streams.batch.window import Line
from streams.deadletter import DeadLetters
from streams.progress import Identity, take_over
from streams.stage import Chunk, TableStore, Work
from streams.tables import MemoryRows, decode_row
from topology.model import Pipeline

_partition = attrgetter("partition")


def _none(values: Iterable[bytes | None]) -> Iterator[None]:
    """The fronts of messages that only the codec can read."""
    return (None for _ in values)


class BatchStage:
    """See streams.stage.Stage."""

    name = "batch"
    input = "validated"
    room = None
    draining = False

    def __init__(
        self,
        pipeline: Pipeline,
        codec: Codec,
        identity: Identity,
        dead_letters: DeadLetters,
        versions: Callable[[int], VersionStore],
        rules: StateRules | None = None,
        rows: Callable[[str, int], TableStore] = lambda table, partition: MemoryRows(),
    ) -> None:
        """rules: state rules, where the pipeline has them; `rows` makes stores of their tables."""
        self.tables: tuple[str, ...] = ("heads", "windows", "idempotency", *(["items", "waiting"] if rules else []))
        self._rules, self._rows = rules, rows
        self.pipeline, self._codec = pipeline, codec
        header, row_header = codec.header("validated"), codec.header("idempotency")
        fronts = partial(read_fronts, header) if header is not None else _none
        self._terms = Terms(pipeline, codec, identity, dead_letters, fronts, row_header or b"")
        self._new_versions = versions
        self._most_open = math.inf if pipeline.deterministic else pipeline.batching.max_open_bytes
        """Bytes of all open windows; without a bound when deterministic, where `max_reread` is one."""
        idle = pipeline.idle_seconds
        self._idle = None if idle is None else int(idle * 1000)
        self._lots: dict[int, Lot] = {}
        self.input_topic_id = ""
        self.table_topic_ids: Mapping[str, str] = {}

    def store(self, table: str, partition: int) -> TableStore:
        if table == "idempotency":
            return self._new_versions(partition)
        return self._rows(table, partition) if table in ("items", "waiting") else MemoryRows()

    def restore(self, partition: int, stores: Mapping[str, TableStore], committed: int | None, now: int) -> int:
        progress = take_over(self, partition, stores["heads"], self._codec, committed)
        versions: Any = stores["idempotency"]
        items = None
        if self._rules is not None:
            kept: Any = stores["items"]
            items = Items(self.pipeline, self._codec, progress, self._rules, kept, stores["waiting"])
        lot = self._lots[partition] = Lot(self._terms, progress, versions, items)
        for key, row in stores["windows"].items():
            window = decode_row(self._codec, self.pipeline, "windows", partition, key, row)
            lot.windows.sealed_through[Line(window["group"], window["date"])] = window["sealed_through"]
        lot.position = progress.processed_through + 1 if committed is None else committed
        return lot.position

    def forget(self, partition: int) -> None:
        self._lots.pop(partition, None)

    def process(self, chunk: Chunk) -> Work:
        work = Work()
        covered: dict[int, tuple[int, int]] = {}
        self._stamp(chunk)
        for partition, messages in groupby(chunk.messages, _partition):
            lot, run = self._lots[partition], list(messages)
            through = max(lot.progress.processed_through, lot.position - 1)
            first = next((message.offset for message in run if message.offset > through), None)
            relieve = partial(self._memory_pressure, work, lot)
            lot.take_all(work, run, chunk.now, chunk.condemned, self._room(lot), relieve)
            if first is not None:
                covered[partition] = (covered.get(partition, (first,))[0], lot.progress.processed_through)
        self._close_idle(work, chunk.now)
        for lot in self._lots.values():
            lot.settle_waits(work, chunk.now)
        for partition, lot in self._lots.items():
            if partition in covered or lot.changed:
                lot.close(work, covered.get(partition))
        return work

    def _stamp(self, chunk: Chunk) -> None:
        for lot in self._lots.values():
            lot.observed_at = chunk.observed_at

    def _room(self, lot: Lot) -> float:
        """Bytes that a lot's windows may hold beside those of the others (BAT-01)."""
        return self._most_open - sum(other.windows.size for other in self._lots.values() if other is not lot)

    def _memory_pressure(self, work: Work, lot: Lot) -> float:
        """Seals the oldest windows while all of them together hold too much; the room there is for `lot` then."""
        open_lots = [lot for lot in self._lots.values() if lot.windows and not lot.rebuilding]
        while open_lots and sum(lot.windows.size for lot in self._lots.values()) > self._most_open:
            oldest = min(open_lots, key=lambda lot: lot.windows.oldest().opened_wall)  # type: ignore[union-attr]
            oldest.seal_oldest(work, "memory")
            open_lots = [lot for lot in open_lots if lot.windows]
        return self._room(lot)

    def _close_idle(self, work: Work, now: int) -> None:
        """A window that got no company for long is closed by the wall clock (BA5); never when deterministic."""
        if self._idle is None:
            return
        for lot in self._lots.values():
            while not lot.rebuilding and (oldest := lot.windows.oldest()) and now - oldest.opened_wall >= self._idle:
                lot.seal_oldest(work, "wall")

    def committed(self, work: Work, now: int) -> None:
        for partition in work.offsets:
            self._lots[partition].committed()

    def due(self, now: int) -> bool:
        if any(lot.waits_due(now) for lot in self._lots.values()):
            return True
        return self._idle is not None and any(
            not lot.rebuilding
            and (oldest := lot.windows.oldest()) is not None
            and now - oldest.opened_wall >= self._idle
            for lot in self._lots.values()
        )

    @property
    def waits(self) -> dict[int, int]:
        """How many records wait for what must come before them, by partition (ADR 22)."""
        return {partition: len(lot.items.waiting) for partition, lot in self._lots.items() if lot.items is not None}

    @property
    def returning(self) -> bool:
        """Whether records that waited lie in `validated` again and are yet to be read there."""
        return any(wait.returning for lot in self._lots.values() if lot.items is not None for wait in lot.items.waiting)

    def drain(self, chunk: Chunk, ending: bool) -> Work:
        """Seals every window; at a stop a deterministic pipeline leaves them open instead (law 6)."""
        work = Work()
        if self.pipeline.deterministic and not ending:
            return work
        self._stamp(chunk)
        for lot in self._lots.values():
            if lot.windows and not lot.rebuilding:
                while lot.windows:
                    lot.seal_oldest(work, "end" if ending else "stop")
                lot.close(work, None)
        return work
