"""Owns the life of a dropped file: whole, published once, moved away. Decides, and touches neither disk nor Kafka.

1. A file whose row says that it is published is only moved: the process ended in between.
2. A file that is whole is read, and looked at again: one that changed meanwhile was not whole.
3. The submission and the file's row are committed together.
4. The file is moved to `done`; the row goes with the next transaction. What cannot be published is moved to `refused`.

A row names file, size and time of change: a later file of the same name is another one. Where files are left in their
place, a row stays as long as its file, and one that has the same bytes as its row says is the same file, whatever its
time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Protocol

import orjson

from topology.source import FileSource
from waybill.sources.complete import Completeness, Entry
from waybill.sources.protocol import Published, Rows, back_off

DONE, REFUSED = "done", "refused"


class Away(OSError):
    """The folder as a whole cannot be had. `least`: seconds before it is worth another look."""

    def __init__(self, words: str, least: float = 0.0) -> None:
        super().__init__(words)
        self.least = least


class Folder(Protocol):
    """Where files are dropped. Every method raises OSError for what the folder does not let us do, and Away where the
    others would fail likewise."""

    def list(self) -> list[Entry]:
        """The regular files in it, those of inner folders not."""
        ...

    def read(self, name: str, limit: int) -> tuple[bytes, Entry]:
        """The bytes of a file, of one above `limit` one byte more than that; and how it stands after reading."""
        ...

    def move(self, entry: Entry, where: str, mark: str) -> None:
        """Into an inner folder, durably; under a name with `mark` in it where the name is taken there. A file that is
        not as the entry says stays: it is another one."""
        ...

    def remove(self, name: str) -> None:
        """A marker; none is none."""
        ...


class DropSource:
    """Takes whole files out of a folder. One instance for one process of the source."""

    def __init__(
        self,
        name: str,
        source: FileSource,
        folder: Folder,
        rows: Rows,
        limit: int,
        tell: Callable[[str], None],
        received: Callable[[], str],
    ) -> None:
        """`limit`: bytes of a submission. `tell`: what a person should know. `received`: the time as RFC 3339."""
        self._name, self._source, self._folder, self._rows = name, source, folder, rows
        self._limit, self._tell_person, self._received = limit, tell, received
        self._completeness = Completeness(source)
        self._table: dict[bytes, bytes] = {}
        self._gone: set[bytes] = set()
        """Rows whose file is not in its place any more."""
        self._told: dict[str, str] = {}
        self._failures = 0
        self._least = 0.0

    def start(self) -> None:
        """Reads what is published; also after a Doubt. Raises Fault."""
        self._table, self._gone = self._rows.open(), set()

    def turn(self, now: float) -> Iterator[Published]:
        """One look into the folder at `now` (seconds): publishes every file that is whole, one by one. Raises Doubt,
        after which `start` must be called, and Fault."""
        try:
            yield from self._turn(now)
            self._failures = 0
        except OSError as error:
            self._failures += 1
            self._least = error.least if isinstance(error, Away) else 0.0
            self._tell(
                "", f"{self._source.place}: cannot be looked into ({error.strerror or error}); it is tried again"
            )

    def _turn(self, now: float) -> Iterator[Published]:
        entries = self._folder.list()
        names = {entry.name for entry in entries}
        self._told = {name: words for name, words in self._told.items() if name in names}
        absent = self._table.keys() - {_key(name) for name in names}
        self._gone = absent if self._leaves else self._gone | absent
        published = [entry for entry in entries if self._is_published(entry)]
        for entry in published:
            self._put_away(entry, DONE, orjson.loads(self._table[_key(entry.name)])["digest"])
        whole = self._completeness.whole(set(entries).difference(published), now)
        for entry in sorted(whole, key=lambda one: one.name in self._told):  # what failed before holds up no other
            if (taken := self._take(entry)) is not None:
                yield taken

    @property
    def pause(self) -> float:
        """Seconds until the next look."""
        interval = self._source.interval
        return max(interval, back_off(self._failures), self._least) if self._failures else interval

    @property
    def waiting(self) -> bool:
        """Whether files are there that may become whole by waiting, or the folder that is away may come back."""
        return self._failures > 0 or bool(self._completeness.settling - self._told.keys())

    @property
    def _leaves(self) -> bool:
        return self._source.after == "leave"

    def _is_published(self, entry: Entry) -> bool:
        row = self._table.get(_key(entry.name))
        return row is not None and _key(entry.name) not in self._gone and _stands(row, entry)

    def _take(self, entry: Entry) -> Published | None:
        """Raises Away, with nothing of this file published."""
        if entry.size > self._limit:
            self._refuse(entry)
            return None
        if (value := self._read(entry)) is None:
            return None
        digest, key = sha256(value).hexdigest(), _key(entry.name)
        row = orjson.dumps({"size": entry.size, "changed": entry.changed, "digest": digest})
        if self._leaves and key in self._table and orjson.loads(self._table[key])["digest"] == digest:
            self._rows.publish(None, key, [], {key: row})
            self._table[key] = row
            return None
        rows: dict[bytes, bytes | None] = dict.fromkeys(self._gone)
        rows[key] = row
        position = self._rows.publish(value, key, self._headers(key), rows)
        for gone in self._gone:
            self._table.pop(gone, None)
        self._gone.clear()
        self._table[key] = row
        with suppress(Away):  # whoever looks next says so
            self._put_away(entry, DONE, digest)
        return Published(entry.name, entry.size, digest, position)

    def _read(self, entry: Entry) -> bytes | None:
        """The bytes of a file that is whole; None where there is none, which is told."""
        name = entry.name
        try:
            value, after = self._folder.read(name, self._limit)
        except Away:
            raise
        except FileNotFoundError:
            self._tell(name, f"{name}: is gone; nothing of it was published")
            return None
        except OSError as error:
            self._tell(name, f"{name}: cannot be read ({error.strerror or error}); it stays where it is")
            return None
        if after != entry:
            return None  # it is still being written
        if len(value) != entry.size:
            self._tell(name, f"{name}: {len(value)} bytes were read of {entry.size}; it stays where it is")
            return None
        return value

    def _refuse(self, entry: Entry) -> None:
        self._tell(
            entry.name,
            f"{entry.name}: {entry.size} bytes, the pipeline takes submissions of {self._limit} at most "
            f"(raw.max_message_bytes): split it. It {'stays where it is' if self._leaves else f'goes to {REFUSED}'}",
        )
        self._put_away(entry, REFUSED, sha256(b"%d %d" % (entry.size, entry.changed)).hexdigest())

    def _headers(self, name: bytes) -> list[tuple[str, bytes]]:
        named = [
            ("content-type", self._source.content_type),
            ("waybill-site", self._source.site),
            ("waybill-channel", self._source.kind),
            ("waybill-publisher", self._name),
            ("waybill-received-at", self._received()),
        ]
        return [("waybill-source", name), *((key, text.encode()) for key, text in named if text is not None)]

    def _put_away(self, entry: Entry, where: str, digest: str) -> None:
        """The marker first: without it, a later file of that name is not taken for whole. Raises Away."""
        if self._leaves:
            return
        try:
            if self._source.complete == "marker":
                self._folder.remove(entry.name + self._source.marker)
            self._folder.move(entry, where, digest[:12])
        except Away:
            raise
        except FileNotFoundError:
            pass
        except OSError as error:
            words = f"cannot be moved to {where} ({error.strerror or error}); make room or give the right to, "
            state = "is published and " if where == DONE else ""
            self._tell(entry.name, f"{entry.name}: {state}{words}or say `after: leave`")
            return
        if where == DONE:
            self._gone.add(_key(entry.name))

    def _tell(self, name: str, words: str) -> None:
        """Once for each file, as long as it lies there and the words are the same."""
        if self._told.get(name) != words:
            self._told[name] = words
            self._tell_person(words)


def _key(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _stands(row: bytes, entry: Entry) -> bool:
    said = orjson.loads(row)
    return bool((said["size"], said["changed"]) == (entry.size, entry.changed))
