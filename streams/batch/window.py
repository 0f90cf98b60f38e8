"""Open windows of one partition of `validated`, and the frozen batches they become. Pure: no Kafka, no clock.

The log is the buffer (BA3): a window holds its members' messages only so that sealing need not read them again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from schemas.canonical import RawPosition


class Line(NamedTuple):
    """What may share a batch: one group on one event date (dates are never mixed, T8)."""

    group: str
    date: str


def manifest_head(pipeline: str, partition: int, line: Line) -> str:
    """The manifest up to its records (BA7): sorted keys, ASCII, no white space."""
    return (
        f'{{"date":{json.dumps(line.date)},"group":{json.dumps(line.group)},'
        f'"partition":{partition},"pipeline":{json.dumps(pipeline)},"records":['
    )


def manifest_record(topic: str, raw: RawPosition, digest: bytes) -> str:
    """One member in the manifest; `topic` is the JSON text of the raw topic's name, made once by the caller."""
    return f'{{"digest":"{digest.hex()}","raw":[{topic},{raw.incarnation},{raw.partition},{raw.offset},{raw.index}]}}'


def member_format(topic: str, incarnation: int, partition: int) -> bytes:
    """As manifest_record, for members from one raw partition: room for the digest in hex, the offset and the index."""
    name = json.dumps(topic).encode().replace(b"%", b"%%")
    return b'{"digest":"%%b","raw":[%b,%d,%d,%%d,%%d]}' % (name, incarnation, partition)


MANIFEST_TAIL = "]}"


@dataclass(slots=True)
class Window:
    """An open batch. `hash` has taken in the manifest up to the last members, which are `unhashed`."""

    line: Line
    partner: str
    first_offset: int
    opened_at: int
    """Stream time when its first record was admitted; linger counts from here (BA5)."""
    opened_wall: int
    """Wall clock, ms; only for closing idle windows."""
    first_sequence: int
    first_byte: int
    """Bytes of messages read before its first record's."""
    hash: Any
    most: int
    """Records that it may have."""
    last_offset: int = -1
    size: int = 0
    """Bytes of its messages."""
    claimed: int = 0
    """Bytes of payloads that are not in its messages (VA4)."""
    first_recorded_at: int = 0
    last_recorded_at: int = 0
    records: list[bytes] = field(default_factory=list)
    unhashed: list[bytes] = field(default_factory=list)
    """Text of the last members, which `hash` has yet to take in."""

    def take_in(self) -> None:
        """The hash takes in what it has not."""
        if self.unhashed and len(self.records) > len(self.unhashed):
            self.hash.update(b",")
        self.hash.update(b",".join(self.unhashed))
        self.unhashed.clear()


class Sealed(NamedTuple):
    """A frozen batch: membership, order, bytes and id never change again (law 3)."""

    batch_id: bytes
    window: Window
    reason: str


class Windows:
    """All open windows of one partition, oldest first, and how far each line is sealed."""

    def __init__(self, pipeline: str, partition: int) -> None:
        self._pipeline = pipeline
        self._partition = partition
        self._open: dict[Line, Window] = {}
        """In order of first offset: a line that is sealed and opened again moves to the end."""
        self.sealed_through: dict[Line, int] = {}
        self.size = 0
        self._topics: dict[str, str] = {}

    def __iter__(self) -> Iterator[Window]:
        return iter(self._open.values())

    def __bool__(self) -> bool:
        return bool(self._open)

    def get(self, line: Line) -> Window | None:
        """The line's open window."""
        return self._open.get(line)

    def oldest(self) -> Window | None:
        """The window with the lowest first offset: the only one whose age must be looked at (BA5)."""
        return next(iter(self._open.values()), None)

    def holds(self, line: Line, offset: int) -> bool:
        """Whether the admitted record at `offset` lies in the line's open window."""
        window = self._open.get(line)
        return window is not None and window.first_offset <= offset <= window.last_offset

    def add(
        self,
        line: Line,
        partner: str,
        offset: int,
        raw: RawPosition,
        digest: bytes,
        message: bytes,
        recorded_at: int,
        opened_at: int,
        opened_wall: int,
        sequence: int,
        first_byte: int,
        most: int,
        claimed: int = 0,
    ) -> Window:
        """Puts an admitted record into its line's window, opening one where needed."""
        window = self._open.get(line)
        if window is None:
            window = self.open(line, partner, offset, recorded_at, opened_at, opened_wall, sequence, first_byte, most)
        topic = self._topics.get(raw.topic)
        if topic is None:
            topic = self._topics[raw.topic] = json.dumps(raw.topic)
        window.claimed += claimed
        self.put(window, offset, manifest_record(topic, raw, digest).encode(), message, recorded_at)
        return window

    def open(
        self,
        line: Line,
        partner: str,
        offset: int,
        recorded_at: int,
        opened_at: int,
        opened_wall: int,
        sequence: int,
        first_byte: int,
        most: int,
    ) -> Window:
        """Opens a line's window for the record at `offset`, which must be put into it next."""
        window = Window(line, partner, offset, opened_at, opened_wall, sequence, first_byte, hashlib.sha256(), most)
        window.hash.update(manifest_head(self._pipeline, self._partition, line).encode())
        window.first_recorded_at = recorded_at
        self._open[line] = window
        return window

    def put(self, window: Window, offset: int, member: bytes, message: bytes, recorded_at: int) -> None:
        """The next member of an open window; `member` is its text in the manifest."""
        if offset <= window.last_offset:
            raise AssertionError(f"offset {offset} enters a window that is already at {window.last_offset} (BA4)")
        records = window.records
        window.unhashed.append(member)
        records.append(message)
        if not len(records) & 63:  # a call of the hash for each member costs as much as hashing it
            window.take_in()
        window.last_offset = offset
        if recorded_at > window.last_recorded_at:
            window.last_recorded_at = recorded_at
        if recorded_at < window.first_recorded_at:
            window.first_recorded_at = recorded_at
        size = len(message)
        window.size += size
        self.size += size

    def seal(self, window: Window, reason: str) -> Sealed:
        """Freezes a window. From now on `sealed_through` keeps its records from being windowed again (BA3)."""
        del self._open[window.line]
        self.size -= window.size
        window.take_in()
        window.hash.update(MANIFEST_TAIL.encode())
        self.sealed_through[window.line] = window.last_offset
        return Sealed(window.hash.digest(), window, reason)

    def committed_offset(self, following: int) -> int:
        """The lowest offset still needed: that of the oldest open record, else `following`."""
        window = self.oldest()
        return following if window is None else window.first_offset

    def sealed_below(self, committed: int) -> list[Line]:
        """Lines whose `sealed_through` the committed offset has passed: their rows can be tombstoned."""
        return [line for line, offset in self.sealed_through.items() if offset < committed]
