"""The records of one partition of `validated` that wait for what must come before them, and those that stand behind
them (ADR 22). Owns the table `waiting` as the chunk at hand sees it, and the order; `streams.batch.items` judges what
a record waits for. Pure: no Kafka, no clock.

A record that waits lies in the table, whole. Its wait ends when it is written to `validated` again, behind everything
there is: what becomes of it is decided when it is read there. Until then its row stays, and later records about the
same things stand behind it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from operator import attrgetter
from typing import Any

from schemas.canonical import RawPosition, record_id
from schemas.codec import Codec
from schemas.messages import position_of, position_part
from streams.stage import Output, TableStore, Work
from streams.tables import decode_row
from topology.model import Pipeline

MOST_RECORDS = 10_000
"""That wait in one partition."""
MOST_BYTES = 64 * 2**20
"""Of their rows in one partition, names weighted as they lie in memory: they are held there, and all of them may be
written to `validated` in one transaction."""
LARGEST = 6 * 2**20
"""Bytes of one row: the topic of a table takes little more."""
_TOUCH = 8
"""Bytes of a touch in the row. Two things with one touch only make a record stand behind another for nothing."""
_TOUCH_WEIGHT = 64

_offset = attrgetter("offset")


def touch(domain: str, key: str) -> bytes:
    """The name of a thing, short."""
    return blake2b(f"{domain}\x1f{key}".encode(), digest_size=_TOUCH).digest()


@dataclass(slots=True, eq=False)
class Wait:
    """One record that waits."""

    raw: RawPosition
    offset: int
    """Where it came first: its place among the others."""
    digest: bytes
    key: bytes
    value: bytes
    facts: bytes
    touches: frozenset[bytes]
    """What it is about, and what those are about that it stands behind: whoever comes later must not get between."""
    lacks: tuple[str, ...]
    """What it waits for; none: it only stands behind others."""
    since: int
    until: int
    until_wall: int
    returning: bool = False
    """Written to `validated` again, and not read there yet."""
    left: set[bytes] = field(default_factory=set)
    """Row keys of what it lacks that were not written since. While there are any, it is not called."""

    @property
    def id(self) -> str:
        """Its record id."""
        return record_id(self.raw)

    @property
    def row_size(self) -> int:
        """Bytes of its row, roughly."""
        names = sum(map(len, self.lacks))
        return len(self.key) + len(self.value) + len(self.facts) + _TOUCH * len(self.touches) + names + 256

    @property
    def weight(self) -> int:
        """What it counts for in MOST_BYTES."""
        return self.row_size + _TOUCH_WEIGHT * (len(self.touches) + len(self.lacks))

    def row(self) -> dict[str, Any]:
        """As it lies in the table."""
        return {
            **position_part(self.raw),
            "offset": self.offset, "digest": self.digest, "key": self.key, "value": self.value, "facts": self.facts,
            "touches": b"".join(sorted(self.touches)), "lacks": list(self.lacks), "since": self.since,
            "until": self.until, "until_wall": self.until_wall, "returning": self.returning,
        }  # fmt: skip


def _from_row(row: dict[str, Any]) -> Wait:
    touches = row["touches"]
    return Wait(
        position_of(row), row["offset"], row["digest"], row["key"], row["value"], row["facts"],
        frozenset(touches[at : at + _TOUCH] for at in range(0, len(touches), _TOUCH)),
        tuple(row["lacks"]), row["since"], row["until"], row["until_wall"], row["returning"],
    )  # fmt: skip


class Waiting:
    """All that wait in one partition, in the order they came."""

    def __init__(self, pipeline: Pipeline, codec: Codec, partition: int, store: TableStore) -> None:
        self._codec, self._partition = codec, partition
        self._waits: dict[str, Wait] = {}
        self._open: list[Wait] = []
        """Those that lack something and were not called, by offset."""
        self._touched: dict[bytes, list[Wait]] = {}
        """By each thing, those that touch it, by offset. Each is about all that those before it are about."""
        self._standing: dict[bytes, list[Wait]] = {}
        """Of them, those that were not called."""
        self._lacked: dict[bytes, list[Wait]] = {}
        """By row key, those it is left to."""
        self._weight = 0
        for key, data in store.items():
            wait = _from_row(decode_row(codec, pipeline, "waiting", partition, key, data))
            self._waits[wait.id] = wait
        for wait in self:
            self._index(wait)

    def __len__(self) -> int:
        return len(self._waits)

    def __iter__(self) -> Iterator[Wait]:
        """In order."""
        return iter(sorted(self._waits.values(), key=_offset))

    def get(self, id: str) -> Wait | None:
        """The record of an id, if it waits."""
        return self._waits.get(id)

    def no_room(self, wait: Wait) -> str:
        """Why a record cannot wait here; empty: it can."""
        if wait.row_size > LARGEST:
            return f"with {wait.row_size:,} bytes it is too large to wait; {LARGEST:,} is the most"
        if len(self) >= MOST_RECORDS:
            return f"{len(self):,} records of its partition wait already, and no more may"
        if self._weight + wait.weight > MOST_BYTES:
            return f"the records of its partition that wait already leave no room; they may have {MOST_BYTES:,} bytes"
        return ""

    # ---- order -----------------------------------------------------------------------------------

    def before(self, touches: Iterable[bytes], offset: int) -> list[Wait]:
        """Of each of these things the last that came before `offset` and touches it."""
        found = {}
        for one in touches:
            there = self._touched.get(one, [])
            if at := bisect_left(there, offset, key=_offset):
                found[there[at - 1].offset] = there[at - 1]
        return [found[at] for at in sorted(found)]

    def held(self, wait: Wait) -> bool:
        """Whether one that it must not overtake is not even on its way."""
        return any(standing[0].offset < wait.offset for one in wait.touches if (standing := self._standing.get(one)))

    def behind(self, wait: Wait) -> list[Wait]:
        """Those that must not overtake it, and wait for nothing else than such as it."""
        found = {
            other.offset: other
            for one in wait.touches
            for other in self._standing.get(one, ())
            if other.offset > wait.offset and not other.left
        }
        return [found[at] for at in sorted(found)]

    def overdue(self, stream_time: int, now: int | None) -> Wait | None:
        """The first whose wait is over, by stream time or by the clock (None: which is not asked)."""
        first = self._open[0] if self._open else None
        if first is None or (stream_time < first.until and (now is None or now < first.until_wall)):
            return None
        return first

    def lacking(self) -> list[Wait]:
        """Those that lack something and were not called, in order."""
        return list(self._open)

    def made(self, names: Iterable[bytes]) -> list[Wait]:
        """Rows were written: those to whom nothing is left with it, in order."""
        found = {}
        for name in names:
            for wait in self._lacked.pop(name, ()):
                wait.left.discard(name)
                if not wait.left:
                    found[wait.offset] = wait
        return [found[at] for at in sorted(found)]

    # ---- changes ---------------------------------------------------------------------------------

    def enter(self, work: Work, wait: Wait) -> None:
        """A record waits from now on."""
        self._waits[wait.id] = wait
        self._index(wait)
        self._write(work, wait)

    def leave(self, work: Work, wait: Wait) -> None:
        """A record waits no more."""
        del self._waits[wait.id]
        self._unindex(wait)
        work.outputs.append(Output("waiting", self._partition, wait.id.encode(), None))

    def lack(self, wait: Wait, left: set[bytes]) -> None:
        """What a record that was not called still lacks; none: nothing more."""
        self._unindex(wait)
        wait.left = left
        self._index(wait)

    def called(self, work: Work, wait: Wait) -> None:
        """A record was written to `validated` again."""
        self._unindex(wait)
        wait.returning, wait.left = True, set()
        self._index(wait)
        self._write(work, wait)

    def _write(self, work: Work, wait: Wait) -> None:
        work.outputs.append(
            Output("waiting", self._partition, wait.id.encode(), self._codec.encode("waiting", wait.row()))
        )

    def _index(self, wait: Wait) -> None:
        self._weight += wait.weight
        for one in wait.touches:
            insort(self._touched.setdefault(one, []), wait, key=_offset)
            if not wait.returning:
                insort(self._standing.setdefault(one, []), wait, key=_offset)
        for name in wait.left:
            self._lacked.setdefault(name, []).append(wait)
        if wait.left:
            insort(self._open, wait, key=_offset)

    def _unindex(self, wait: Wait) -> None:
        self._weight -= wait.weight
        for one in wait.touches:
            _drop(self._touched, one, wait)
            _drop(self._standing, one, wait)
        for name in wait.left:
            _drop(self._lacked, name, wait)
        if wait in self._open:
            self._open.remove(wait)


def _drop(index: dict[bytes, list[Wait]], name: bytes, wait: Wait) -> None:
    there = index.get(name, [])
    if wait in there:
        there.remove(wait)
    if not there:
        index.pop(name, None)
