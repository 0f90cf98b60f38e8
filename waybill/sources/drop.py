"""Owns the life of a dropped file: whole, published once, moved away. Decides, and touches neither disk nor Kafka.

1. A file whose row says that it is published is only moved: the process ended in between.
2. A file that is whole is read, and looked at again: one that changed meanwhile was not whole.
3. The submission and the file's row are committed together.
4. The file is moved to `done`; the row goes with the next transaction. What cannot be published is moved to `refused`.

A row names file, size and time of change: a later file of the same name is another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Protocol

import orjson

from topology.source import FolderSource
from waybill.sources.complete import Completeness, Entry
from waybill.sources.protocol import Published, Rows

DONE, REFUSED = "done", "refused"


class Folder(Protocol):
    """Where files are dropped. Every method raises OSError for what the folder does not let us do."""

    def list(self) -> list[Entry]:
        """The regular files in it, those of inner folders not."""
        ...

    def read(self, name: str, limit: int) -> tuple[bytes, Entry]:
        """The bytes of a file, of one above `limit` one byte more than that; and how it stands after reading."""
        ...

    def move(self, name: str, where: str, digest: str) -> None:
        """Into an inner folder, durably; under a name with the digest in it where the name is taken there."""
        ...

    def remove(self, name: str) -> None:
        """A marker; none is none."""
        ...


class DropSource:
    """Takes whole files out of a folder. One instance for one process of the source."""

    def __init__(
        self,
        name: str,
        source: FolderSource,
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
        """Rows whose file has been moved."""
        self._told: dict[str, str] = {}

    def start(self) -> None:
        """Reads what is published; also after a Doubt. Raises Fault."""
        self._table, self._gone = self._rows.open(), set()

    def turn(self, now: float) -> Iterator[Published]:
        """One look into the folder at `now` (seconds): publishes every file that is whole, one by one. Raises Doubt,
        after which `start` must be called, and Fault."""
        try:
            entries = self._folder.list()
        except OSError as error:
            self._tell("", f"{self._source.path}: cannot be listed: {error.strerror or error}")
            return
        self._told = {name: words for name, words in self._told.items() if any(name == one.name for one in entries)}
        self._gone |= self._table.keys() - {_key(entry.name) for entry in entries}
        for entry in entries:
            if self._is_published(entry):
                self._put_away(entry.name, DONE, orjson.loads(self._table[_key(entry.name)])["digest"])
        left = [entry for entry in entries if not self._is_published(entry)]
        for entry in self._completeness.whole(left, now):
            if (published := self._take(entry)) is not None:
                yield published

    @property
    def pause(self) -> float:
        """Seconds until the next look."""
        return self._source.interval

    @property
    def waiting(self) -> bool:
        """Whether files are there that may become whole by waiting."""
        return self._completeness.settling

    def _is_published(self, entry: Entry) -> bool:
        row = self._table.get(_key(entry.name))
        return row is not None and _key(entry.name) not in self._gone and _stands(row, entry)

    def _take(self, entry: Entry) -> Published | None:
        try:
            value, after = self._folder.read(entry.name, self._limit)
        except FileNotFoundError:
            self._tell(entry.name, f"{entry.name}: is gone; nothing of it was published")
            return None
        except OSError as error:
            self._tell(entry.name, f"{entry.name}: cannot be read ({error.strerror or error}); it stays where it is")
            return None
        if after != entry:
            return None  # it is still being written
        digest = sha256(value).hexdigest()
        if len(value) > self._limit:
            self._tell(
                entry.name,
                f"{entry.name}: {entry.size} bytes, the pipeline takes submissions of {self._limit} at most "
                f"(raw.max_message_bytes): split it. It goes to {REFUSED}",
            )
            self._put_away(entry.name, REFUSED, digest)
            return None
        row = orjson.dumps({"size": entry.size, "changed": entry.changed, "digest": digest})
        rows: dict[bytes, bytes | None] = dict.fromkeys(self._gone)
        rows[_key(entry.name)] = row
        name = _key(entry.name)
        position = self._rows.publish(value, name, self._headers(name), rows)
        for key in self._gone:
            self._table.pop(key, None)
        self._gone.clear()
        self._table[_key(entry.name)] = row
        self._put_away(entry.name, DONE, digest)
        return Published(entry.name, entry.size, digest, position)

    def _headers(self, name: bytes) -> list[tuple[str, bytes]]:
        named = [
            ("content-type", self._source.content_type),
            ("waybill-site", self._source.site),
            ("waybill-channel", self._source.kind),
            ("waybill-publisher", self._name),
            ("waybill-received-at", self._received()),
        ]
        return [("waybill-source", name), *((key, text.encode()) for key, text in named if text is not None)]

    def _put_away(self, name: str, where: str, digest: str) -> None:
        """The marker first: without it, a later file of that name is not taken for whole."""
        try:
            if self._source.complete == "marker":
                self._folder.remove(name + self._source.marker)
            self._folder.move(name, where, digest)
        except FileNotFoundError:
            pass
        except OSError as error:
            words = f"cannot be moved to {where} ({error.strerror or error}); make room or give the right to"
            state = "is published and " if where == DONE else ""
            self._tell(name, f"{name}: {state}{words}")
            return
        if where == DONE:
            self._gone.add(_key(name))

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
