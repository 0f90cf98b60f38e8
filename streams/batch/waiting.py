"""The records of one partition of `validated` that wait for what must come before them, and those that stand behind
them (ADR 22). Owns the table `waiting` as the chunk at hand sees it; `streams.batch.precedence` knows who stands behind
whom, `streams.batch.items` judges what a record waits for. Pure: no Kafka, no clock.

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
from typing import Any, NamedTuple

from schemas.canonical import UNIT_SEPARATOR, RawPosition, record_id
from schemas.codec import Codec
from schemas.messages import position_of, position_part
from streams.batch.precedence import Precedence
from streams.stage import Output, TableStore, Work
from streams.tables import decode_row, unreadable
from topology.model import Pipeline

MOST_RECORDS = 10_000
"""That wait in one partition."""
MOST_BYTES = 64 * 2**20
"""Of their rows in one partition, weighted as they lie in memory: they are held there, and all of them may be written
to `validated` in one transaction."""
LARGEST = 6 * 2**20
"""Bytes of one row: the topic of a table takes little more."""
_TOUCH = 8
"""Bytes of a touch in the row. Two things with one touch only make a record stand behind another for nothing."""
_TOUCH_WEIGHT = 300
_WEIGHT = 2000
"""In memory, beside the row, of one thing that a record is about and of one record: measured, rounded up."""

_offset = attrgetter("offset")


def touch(domain: str, key: str) -> bytes:
    """The name of a thing, short."""
    return blake2b(f"{domain}\x1f{key}".encode(), digest_size=_TOUCH).digest()


class Legacy(NamedTuple):
    """What a record was about that waits no more, while others stand behind it: they are about it, too."""

    id: str
    """Its record id."""
    left: int
    """Where in `validated` it was read when it went."""
    offset: int
    """Its place, and that of the first behind it."""
    heir: int
    touches: bytes

    @property
    def key(self) -> bytes:
        """Of its row."""
        return f"{self.id}{UNIT_SEPARATOR}{self.left}".encode()

    @property
    def weight(self) -> int:
        """What it counts for in MOST_BYTES."""
        return len(self.key) + _TOUCH_WEIGHT * (len(self.touches) // _TOUCH) + _WEIGHT // 4

    def row(self) -> dict[str, Any]:
        """As it lies in the table."""
        return {"left": self.left, "offset": self.offset, "heir": self.heir, "touches": self.touches}


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
    """What it is about."""
    makes: frozenset[bytes]
    """Of that, what comes into being by it: for that it stands behind nobody."""
    lacks: tuple[str, ...]
    """What it waits for; none: it only stands behind others."""
    since: int
    until: int
    until_wall: int
    """By the clock of this worker. For one that another worker's row told of it is 0: what that clock said says nothing
    here, and its wait ends as soon as the clock for waits says anything."""
    returning: bool = False
    """Written to `validated` again, and not read there yet."""
    left: set[bytes] = field(default_factory=set)
    """Row keys of what it lacks that were not written since. While there are any, it is not called."""
    legacies: list[Legacy] = field(default_factory=list)
    """Of those that went and that it stood behind."""
    inherited: set[bytes] = field(default_factory=set)
    """What the legacies are about."""

    @property
    def id(self) -> str:
        """Its record id."""
        return record_id(self.raw)

    @property
    def row_size(self) -> int:
        """Bytes of its row, roughly."""
        names = sum(map(len, self.lacks))
        touches = _TOUCH * (len(self.touches) + len(self.makes))
        return len(self.key) + len(self.value) + len(self.facts) + touches + names + 256

    @property
    def weight(self) -> int:
        """What it counts for in MOST_BYTES."""
        return self.row_size + _TOUCH_WEIGHT * (len(self.touches) + len(self.lacks)) + _WEIGHT

    def row(self) -> dict[str, Any]:
        """As it lies in the table."""
        return {
            **position_part(self.raw),
            "offset": self.offset, "digest": self.digest, "key": self.key, "value": self.value, "facts": self.facts,
            "touches": _joined(self.touches), "makes": _joined(self.makes), "lacks": list(self.lacks),
            "since": self.since, "until": self.until, "until_wall": self.until_wall, "returning": self.returning,
        }  # fmt: skip


def _from_row(row: dict[str, Any]) -> Wait:
    return Wait(
        position_of(row), row["offset"], row["digest"], row["key"], row["value"], row["facts"],
        frozenset(_divided(row["touches"])), frozenset(_divided(row["makes"])),
        tuple(row["lacks"]), row["since"], row["until"], 0, row["returning"],
    )  # fmt: skip


def _joined(touches: Iterable[bytes]) -> bytes:
    return b"".join(sorted(touches))


def _divided(touches: bytes) -> Iterator[bytes]:
    return (touches[at : at + _TOUCH] for at in range(0, len(touches), _TOUCH))


class Waiting:
    """All that wait in one partition, in the order they came."""

    def __init__(self, pipeline: Pipeline, codec: Codec, partition: int, store: TableStore) -> None:
        self._codec, self._partition = codec, partition
        self._waits: dict[str, Wait] = {}
        self._at: dict[int, Wait] = {}
        """By place."""
        self._order = Precedence()
        self._by_time: list[tuple[int, int]] = []
        self._by_clock: list[tuple[int, int]] = []
        """When the waits of those are over that lack something and were not called, and their places: by the time of
        the stream and by the clock, in that order, which is not theirs where `wait` has changed or others told of them
        (restored rows)."""
        self._lacked: dict[bytes, list[Wait]] = {}
        """By row key, those it is left to."""
        self._weight = 0
        legacies: list[Legacy] = []
        for key, data in store.items():
            id, separator, _ = key.partition(UNIT_SEPARATOR.encode())
            if separator:
                row = decode_row(codec, pipeline, "waiting", partition, key, data, "legacy")
                legacies.append(Legacy(id.decode(), **row))
            else:
                wait = _from_row(decode_row(codec, pipeline, "waiting", partition, key, data))
                self._waits[wait.id] = self._at[wait.offset] = wait
        heirs = dict(self._at)
        for legacy in sorted(legacies, key=attrgetter("left"), reverse=True):
            # The last first: the heir of one may have gone after it, and even have come back to its place with nothing.
            if legacy.heir not in heirs:
                raise unreadable(pipeline, "waiting", partition, legacy.key, f"nobody waits at {legacy.heir}")
            heir = heirs[legacy.offset] = heirs[legacy.heir]
            heir.legacies.append(legacy)
            heir.inherited.update(_divided(legacy.touches))
            self._weight += legacy.weight
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
        """The last of those that came before `offset` and are about any of these things, or stand behind such."""
        return [self._at[at] for at in self._order.before(touches, offset)]

    def held(self, wait: Wait) -> bool:
        """Whether one that it must not overtake is not even on its way."""
        return self._order.held(wait.offset)

    def behind(self, wait: Wait) -> Iterator[Wait]:
        """Those that must not overtake it, wait for nothing else than such as it, and stand behind nobody else that
        stands still: in order, each to be called before the next is asked for."""
        for at in self._order.behind(wait.offset):
            other = self._at[at]
            if other.returning:
                continue
            if other.left or self.held(other):
                return  # and all behind it stand behind it
            yield other

    def overdue(self, stream_time: int, now: int | None) -> Wait | None:
        """One whose wait is over, by stream time or by the clock (None: which is not asked), and that none holds up."""
        found = self._over(self._by_time, stream_time)
        return self._over(self._by_clock, now) if found is None and now is not None else found

    def _over(self, ends: list[tuple[int, int]], now: int) -> Wait | None:
        for until, at in ends:
            if until > now:
                break
            if not self._order.held(at):
                return self._at[at]
        return None

    def lacking(self) -> list[Wait]:
        """Those that lack something and were not called, in order."""
        return [self._at[at] for at in sorted(at for _, at in self._by_time)]

    def made(self, names: Iterable[bytes]) -> list[Wait]:
        """Rows were written: those to whom nothing is left with it, in order."""
        found = {}
        for name in names:
            for wait in self._lacked.pop(name, ()):
                wait.left.discard(name)
                if not wait.left:
                    self._close(wait)
                    found[wait.offset] = wait
        return [found[at] for at in sorted(found)]

    # ---- changes ---------------------------------------------------------------------------------

    def enter(self, work: Work, wait: Wait) -> None:
        """A record waits from now on."""
        self._waits[wait.id] = self._at[wait.offset] = wait
        left, wait.left = wait.left, set()
        self._index(wait)
        self.lack(wait, left)
        self._write(work, wait)

    def leave(self, work: Work, wait: Wait, offset: int) -> None:
        """A record waits no more: it was read again, at `offset`. While others stand behind it, they are about what it
        was about."""
        del self._waits[wait.id], self._at[wait.offset]
        self._weight -= wait.weight
        self._put(work, wait.id.encode(), None)
        heir = self._order.leave(wait.offset)
        if heir is None:
            self._drop(work, wait.legacies)
        else:
            self._bequeath(work, wait, offset, self._at[heir])

    def _bequeath(self, work: Work, wait: Wait, offset: int, heir: Wait) -> None:
        """What a record was about that went is its heir's. Written is only what the heir is not about anyway; where a
        line never empties, its rows must not grow with those that went through it."""
        its_own = heir.touches - heir.makes
        new = wait.touches - its_own - wait.inherited - heir.inherited
        if not new and not wait.legacies:
            return
        fewer, heir.inherited = sorted((heir.inherited, wait.inherited), key=len)
        heir.inherited |= fewer | new
        less, heir.legacies = sorted((heir.legacies, wait.legacies), key=len)
        heir.legacies += less
        if len(heir.legacies) > len(heir.inherited):  # most only lead from a place to its heir's: one row for all
            self._drop(work, heir.legacies)
            heir.legacies = []
            heir.inherited -= its_own
            new = frozenset(heir.inherited)
        if new or heir.legacies:
            legacy = Legacy(wait.id, offset, wait.offset, heir.offset, _joined(new))
            self._weight += legacy.weight
            self._put(work, legacy.key, self._codec.encode("legacy", legacy.row()))
            heir.legacies.append(legacy)

    def _drop(self, work: Work, legacies: Iterable[Legacy]) -> None:
        for legacy in legacies:
            self._weight -= legacy.weight
            self._put(work, legacy.key, None)

    def lack(self, wait: Wait, left: set[bytes]) -> None:
        """What a record that was not called still lacks; none: nothing more."""
        for name in wait.left:
            others = [other for other in self._lacked.pop(name) if other is not wait]
            if others:
                self._lacked[name] = others
        if wait.left:
            self._close(wait)
        wait.left = left
        for name in left:
            self._lacked.setdefault(name, []).append(wait)
        if left:
            insort(self._by_time, (wait.until, wait.offset))
            insort(self._by_clock, (wait.until_wall, wait.offset))

    def called(self, work: Work, wait: Wait) -> None:
        """A record was written to `validated` again."""
        self.lack(wait, set())
        wait.returning = True
        self._order.called(wait.offset)
        self._write(work, wait)

    def _write(self, work: Work, wait: Wait) -> None:
        self._put(work, wait.id.encode(), self._codec.encode("waiting", wait.row()))

    def _put(self, work: Work, key: bytes, value: bytes | None) -> None:
        work.outputs.append(Output("waiting", self._partition, key, value))

    def _index(self, wait: Wait) -> None:
        touches, makes = wait.touches, wait.makes
        if wait.inherited:
            touches, makes = touches | wait.inherited, makes - wait.inherited
        self._order.enter(wait.offset, touches, makes, not wait.returning)
        self._weight += wait.weight

    def _close(self, wait: Wait) -> None:
        """Its time is not looked at any more."""
        for ends, until in ((self._by_time, wait.until), (self._by_clock, wait.until_wall)):
            del ends[bisect_left(ends, (until, wait.offset))]
