"""Owns one RocksDB folder and what its errors mean: everything a local store reads or writes there goes through it.

A folder whose files are damaged is emptied, because the changelog holds every row: at once where it is found on
opening, else at the next opening. An error while it is in use is Fatal, since nobody knows what was served before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rocksdict import Options, Rdict, WriteBatch

from streams.runtime.log import Fatal

META = b"meta"
"""The row that says how far a store reaches; written with the rows it covers."""
DAMAGED = "DAMAGED"
"""A file of this name in the folder says that damage was found while it was in use."""
BLOCK, HEADER, LAST_TYPE = 32 * 1024, 7, 4
"""RocksDB's journals (MANIFEST, *.log): blocks of records, each with checksum (4 bytes), length (2) and type (1)."""


class _Damage(Exception):
    """Found before RocksDB was asked."""


class Database:
    """One folder, made where it is missing. Raises Fatal wherever RocksDB raises: another process holds the folder,
    the disk is full or read-only, a block fails its checksum."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._db: Any = None
        self._cursor: Any = None
        """Where `under` looks; it sees what was there when it was made, so a write drops it."""
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            if (folder / DAMAGED).exists():
                self._empty()
            try:
                self._open()
            except Exception as failed:
                if not _is_damage(failed):
                    raise
                self._empty()
                self._open()
        except Exception as failed:  # rocksdict raises nothing more particular
            raise Fatal(
                f"the local store {folder} cannot be opened: {failed}. Does another worker use this folder? Give each "
                "slot its own; a store may be deleted, it is rebuilt from its topic"
            ) from failed

    def get(self, key: bytes) -> bytes | None:
        """One value."""
        try:
            value: bytes | None = self._db.get(key)
        except Exception as failed:
            raise self._failed(failed) from failed
        return value

    def get_all(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """One value for each key."""
        try:
            values: list[bytes | None] = self._db.get(list(keys))
        except Exception as failed:
            raise self._failed(failed) from failed
        return values

    def scan(self, prefix: bytes, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """What lies under a prefix, in order, from `start` on."""
        try:
            cursor = self._db.iter()
            cursor.seek(start)
            while cursor.valid():
                key = cursor.key()
                if not key.startswith(prefix):
                    return
                yield key, cursor.value()
                cursor.next()
            cursor.status()  # a block that cannot be read looks like the end, and only the status tells
        except Exception as failed:
            raise self._failed(failed) from failed

    def under(self, prefix: bytes) -> list[bytes]:
        """The values under a prefix, in the order of their keys. As `scan`, for many questions between two writes: a
        cursor of its own costs each as much as the rest of the answer."""
        try:
            cursor = self._cursor
            if cursor is None:
                cursor = self._cursor = self._db.iter()
            cursor.seek(prefix)
            found: list[bytes] = []
            while cursor.valid():
                if not cursor.key().startswith(prefix):
                    return found
                found.append(cursor.value())
                cursor.next()
            cursor.status()
        except Exception as failed:
            raise self._failed(failed) from failed
        return found

    def write(self, batch: WriteBatch) -> None:
        """All of it or nothing."""
        self._cursor = None
        try:
            self._db.write(batch)
        except Exception as failed:
            raise self._failed(failed) from failed

    def close(self) -> None:
        """Idempotent."""
        self._cursor = None
        if self._db is not None:
            self._db.close()
            self._db = None

    def _open(self) -> None:
        _check_journals(self._folder)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        self._db = Rdict(str(self._folder), options)
        self._db.get(META)  # every store begins with it

    def _empty(self) -> None:
        self.close()
        Rdict.destroy(str(self._folder), Options(raw_mode=True))
        (self._folder / DAMAGED).unlink(missing_ok=True)

    def _failed(self, error: Exception) -> Fatal:
        if not _is_damage(error):
            return Fatal(f"the local store {self._folder} cannot be used: {error}")
        (self._folder / DAMAGED).touch()
        return Fatal(
            f"the local store {self._folder} is damaged: {error}. It is rebuilt from its topic at the next start"
        )


def _is_damage(error: Exception) -> bool:
    return isinstance(error, _Damage) or str(error).startswith("Corruption")


def _check_journals(folder: Path) -> None:
    """Raises _Damage for a record of a type that is never written here (those of recycled files): RocksDB 9.8 would
    read it for ever, and hold Python's lock meanwhile. Everything else it finds out by itself."""
    for file in (*folder.glob("MANIFEST-*"), *folder.glob("*.log")):
        with file.open("rb") as journal:
            while block := journal.read(BLOCK):
                at = 0
                while at + HEADER <= len(block) and (kind := block[at + HEADER - 1]):
                    if kind > LAST_TYPE:
                        raise _Damage(f"{file.name} has a record of type {kind}")
                    at += HEADER + int.from_bytes(block[at + 4 : at + 6], "little")
