"""Rows of compacted tables: those a transaction writes, and the in-memory copy of one partition of a table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from schemas.codec import Codec, WireError
from streams.runtime.log import LogGap
from streams.stage import Output
from topology.model import Pipeline

KINDS = {
    "heads": "head", "windows": "window", "delivery": "delivery", "idempotency": "idempotency", "items": "item",
    "waiting": "waiting",
}  # fmt: skip
"""Schema of each table's rows."""


def table_rows(
    outputs: Sequence[Output], tables: Collection[str]
) -> dict[tuple[str, int], list[tuple[bytes, bytes | None]]]:
    """The rows among `outputs`, in order, by table and partition."""
    found: dict[tuple[str, int], list[tuple[bytes, bytes | None]]] = {}
    at = "", -1
    rows: list[tuple[bytes, bytes | None]] = []
    for topic, partition, key, value, _ in outputs:
        if topic in tables:
            if (topic, partition) != at:  # neighbours are mostly of one table
                at = topic, partition
                rows = found.setdefault(at, [])
            rows.append((key or b"", value))
    return found


def decode_row(
    codec: Codec, pipeline: Pipeline, table: str, partition: int, key: bytes, value: bytes, kind: str | None = None
) -> dict[str, Any]:
    """A row as it stands in the changelog, of the table's kind or of another that it holds. Raises LogGap where it is
    none of this table: what it said is not known, and going on without it could skip records or repeat them."""
    try:
        name, row = codec.decode(value)
        if name != (kind or KINDS[table]):
            raise WireError(f"a {name} message stands there")
    except WireError as error:
        raise unreadable(pipeline, table, partition, key, error) from error
    return row


def unreadable(pipeline: Pipeline, table: str, partition: int, key: bytes, why: object) -> LogGap:
    """A row that says nothing."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        text = "\0"
    shown = repr(text) if text.isprintable() else key.hex()
    return LogGap(
        f"{pipeline.topic(table)}[{partition}]: the row of key {shown} cannot be read: {why}. Nothing of ours writes "
        "that: find out who did, and write it again under the same key as it was"
    )


class MemoryRows:
    """Rows in a dict, as they stand in the changelog. See streams.stage.TableStore."""

    def __init__(self) -> None:
        self.position = 0
        self._rows: dict[bytes, bytes] = {}

    def apply(self, rows: Iterable[tuple[bytes, bytes | None]], position: int) -> None:
        for key, value in rows:
            if value is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = value
        self.position = position

    def get(self, key: bytes) -> bytes | None:
        """One row."""
        return self._rows.get(key)

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        return self._rows.items()

    def clear(self) -> None:
        self.position = 0
        self._rows.clear()

    def close(self) -> None:
        """Nothing to close."""
