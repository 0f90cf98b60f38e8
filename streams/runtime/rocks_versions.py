"""The idempotency table of one partition in RocksDB: for more versions than memory holds, and over restarts.

Nothing is kept per key in memory. Rows lie under `v`, length of the key, key, offset: the versions of one key are
neighbours, oldest first, and no other key lies between them. The age queue lies under `q` and a number that rises with
every admission. Position, origin and both ends of the queue are written in the same batch as the rows they cover.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rocksdict import WriteBatch

from schemas.canonical import version_row_key
from streams.batch.identity import split_row_key
from streams.runtime.restore import Origin
from streams.runtime.rocks import META, Database

VERSION, END_OF_VERSIONS = b"v", b"w"
QUEUE, END_OF_QUEUE = b"q", b"r"
OFFSET = 8
"""Bytes of an offset or queue number; big-endian, so that they sort."""


def _prefix(key: str) -> bytes:
    data = key.encode()
    return VERSION + len(data).to_bytes(4, "big") + data


def _place(number: int) -> bytes:
    return QUEUE + number.to_bytes(OFFSET, "big")


class RocksVersions:
    """See streams.batch.identity.VersionStore and streams.runtime.restore.Lasting. What may be raised, and what
    becomes of damaged files: see rocks.py."""

    def __init__(self, folder: Path) -> None:
        self._db = Database(folder)
        meta = json.loads(self._db.get(META) or "{}")
        self.position: int = meta.get("position", 0)
        self.origin: Origin | None = Origin(*meta["origin"]) if meta.get("origin") else None
        self._first: int = meta.get("first", 0)
        """Number of the first key in the queue; those below it are deleted, and never scanned again."""
        self._next: int = meta.get("next", 0)

    def apply(self, rows: Iterable[tuple[bytes, bytes | None]], position: int) -> None:
        rows = list(rows)
        places = []
        for row_key, _ in rows:
            key, offset = split_row_key(row_key)
            places.append((key, _prefix(key) + offset.to_bytes(OFFSET, "big")))
        found = [at for _, at in places]
        known = dict(zip(found, self._db.get_all(found), strict=True)) if rows else {}
        batch = WriteBatch(raw_mode=True)
        for (key, at), (_, row) in zip(places, rows, strict=True):
            if row is None:
                batch.delete(at)
            elif known[at] != row:  # a row read again after a restart is in the queue already
                batch.put(at, row)
                batch.put(_place(self._next), key.encode())
                self._next += 1
            known[at] = row
        self._write(batch, position)

    def arrived(self, origin: Origin, position: int) -> None:
        """Complete up to `position` of this topic at this time, see `restore.Lasting`."""
        self.origin = origin
        self._write(WriteBatch(raw_mode=True), position)

    def find(self, key: str) -> list[bytes]:
        """Rows of the key's versions, oldest first."""
        return self._db.under(_prefix(key))

    def oldest(self) -> Iterator[str]:
        """Keys in the order their versions were admitted."""
        for _, key in self._db.scan(QUEUE, _place(self._first)):
            yield key.decode()

    def forget_oldest(self, count: int) -> None:
        """Drops the first `count` keys of `oldest`."""
        if not count:
            return
        batch = WriteBatch(raw_mode=True)
        for _ in range(count):
            batch.delete(_place(self._first))
            self._first += 1
        self._write(batch, self.position)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        for at, row in self._db.scan(VERSION, VERSION):
            yield version_row_key(at[5:-OFFSET].decode(), int.from_bytes(at[-OFFSET:], "big")).encode(), row

    def clear(self) -> None:
        batch = WriteBatch(raw_mode=True)
        batch.delete_range(VERSION, END_OF_VERSIONS)
        batch.delete_range(QUEUE, END_OF_QUEUE)
        self.origin, self._first, self._next = None, 0, 0
        self._write(batch, 0)

    def close(self) -> None:
        self._db.close()

    def _write(self, batch: Any, position: int) -> None:
        meta = {"position": position, "origin": self.origin, "first": self._first, "next": self._next}
        batch.put(META, json.dumps(meta).encode())
        self._db.write(batch)
        self.position = position
