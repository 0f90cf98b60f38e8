"""Rows of compacted tables: those a transaction writes, and the in-memory copy of one partition of a table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from streams.stage import Output


def table_rows(
    outputs: Sequence[Output], tables: Collection[str]
) -> dict[tuple[str, int], list[tuple[bytes, bytes | None]]]:
    """The rows among `outputs`, in order, by table and partition."""
    found: dict[tuple[str, int], list[tuple[bytes, bytes | None]]] = {}
    for topic, partition, key, value, _ in outputs:
        if topic in tables:
            found.setdefault((topic, partition), []).append((key or b"", value))
    return found


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
