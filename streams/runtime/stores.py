"""Local copies of plain row tables (windows, heads, delivery): in memory, or in RocksDB so that they outlive a process.

A store never decides whether it is still good: `restore.Reader.catch_up` does (TX4), by the origin it keeps.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rocksdict import WriteBatch

from streams.pipeline import Parts
from streams.runtime.restore import Origin
from streams.runtime.rocks import META, Database
from streams.runtime.rocks_versions import RocksVersions

ROW, END_OF_ROWS = b"r", b"s"
"""Rows lie under this prefix, so that no row key can be mistaken for META."""


class RocksRowStore:
    """Rows in one RocksDB folder of its own. The position is written in the same batch as the rows it covers. What
    may be raised, and what becomes of damaged files: see rocks.py."""

    def __init__(self, folder: Path) -> None:
        self._db = Database(folder)
        meta = json.loads(self._db.get(META) or "{}")
        self.position: int = meta.get("position", 0)
        self.origin: Origin | None = Origin(*meta["origin"]) if meta.get("origin") else None

    def apply(self, rows: Iterable[tuple[bytes, bytes | None]], position: int) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in rows:
            if value is None:
                batch.delete(ROW + key)
            else:
                batch.put(ROW + key, value)
        self._write(batch, self.origin, position)

    def arrived(self, origin: Origin, position: int) -> None:
        """Complete up to `position` of this topic at this time, see `restore.Lasting`."""
        self._write(WriteBatch(raw_mode=True), origin, position)

    def get(self, key: bytes) -> bytes | None:
        """One row."""
        return self._db.get(ROW + key)

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        for key, value in self._db.scan(ROW, ROW):
            yield key[len(ROW) :], value

    def clear(self) -> None:
        batch = WriteBatch(raw_mode=True)
        batch.delete_range(ROW, END_OF_ROWS)
        self._write(batch, None, 0)

    def close(self) -> None:
        self._db.close()

    def _write(self, batch: WriteBatch, origin: Origin | None, position: int) -> None:
        batch.put(META, json.dumps({"position": position, "origin": origin}).encode())
        self._db.write(batch)
        self.position, self.origin = position, origin


def with_stores(parts: Parts, folder: Path) -> Parts:
    """The parts with the local stores that the pipeline's `store:` asks for. folder: of this slot and pipeline."""
    if parts.pipeline.store == "memory":
        return parts
    return replace(
        parts,
        versions=lambda partition: RocksVersions(folder / f"idempotency-{partition}"),
        rows=lambda table, partition: RocksRowStore(folder / f"{table}-{partition}"),
    )
