"""The idempotency table of one partition: every admitted version of every key, and which one guards its key (BA2).

A version leaves by release or by age, never because offsets were committed. Age is stream time since admission;
it is decided at look-up, tombstones only tidy up (BA9).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from schemas.canonical import UNIT_SEPARATOR, RawPosition, version_row_key
from schemas.codec import Codec, WireError
from schemas.validated import encode_version_row
from streams.stage import TableStore

RETAINED = 2**62
"""`admitted_at` of a version whose batch is unsettled for long: it does not age until the retain ends (BA9)."""


class Version(NamedTuple):
    """One content of a key that was admitted."""

    key: str
    offset: int
    """Offset of its record in `validated`: the identity of a version."""
    raw: RawPosition
    digest: bytes
    admitted_at: int
    """Stream time at admission, ms; RETAINED while it may not age."""
    group: str
    date: str
    ordering: str | None

    @property
    def row_key(self) -> bytes:
        """Its key in the table: one row per version."""
        return version_row_key(self.key, self.offset).encode()


def encode_version(codec: Codec, version: Version) -> bytes:
    """The row of a version in the changelog. Raises schemas.codec.WireError."""
    header = codec.header("idempotency")
    if header is not None:
        return encode_version_row(header, *version)
    return codec.encode(
        "idempotency",
        {
            "key": version.key,
            "offset": version.offset,
            "raw_topic": version.raw.topic,
            "raw_incarnation": version.raw.incarnation,
            "raw_partition": version.raw.partition,
            "raw_offset": version.raw.offset,
            "raw_index": version.raw.index,
            "digest": version.digest,
            "admitted_at": version.admitted_at,
            "group": version.group,
            "date": version.date,
            "ordering": version.ordering,
        },
    )


def decode_version(codec: Codec, row: bytes) -> Version:
    """The version a row holds. Raises schemas.codec.WireError."""
    name, m = codec.decode(row)
    if name != "idempotency":
        raise WireError(f"a {name} message stands there")
    raw = RawPosition(m["raw_topic"], m["raw_incarnation"], m["raw_partition"], m["raw_offset"], m["raw_index"])
    return Version(
        m["key"], m["offset"], raw, m["digest"], m["admitted_at"], m["group"], m["date"], m["ordering"]
    )  # fmt: skip


def split_row_key(row_key: bytes) -> tuple[str, int]:
    """Key and offset out of a row key. Raises ValueError for anything else."""
    key, separator, offset = row_key.decode().rpartition(UNIT_SEPARATOR)
    if not separator:
        raise ValueError(f"{row_key!r} is no key of a version")
    return key, int(offset)


class VersionStore(TableStore, Protocol):
    """A table store that can be asked by idempotency key and by age."""

    def find(self, key: str) -> list[bytes]:
        """Rows of the key's versions, oldest first; empty for an unknown key."""
        ...

    def oldest(self) -> Iterator[str]:
        """Keys in the order their versions were admitted; a key may come again, or be gone by now."""
        ...

    def forget_oldest(self, count: int) -> None:
        """Drops the first `count` keys of `oldest`: they have been dealt with."""
        ...


class MemoryVersions:
    """Versions in one dict. A key's value is the row as written to the changelog, behind eight bytes of offset, so
    nothing is encoded twice and the garbage collector has nothing to visit per record; the rare key with several
    versions holds a tuple of such values, oldest first (big-endian offsets sort as bytes)."""

    def __init__(self) -> None:
        self.position = 0
        self._held: dict[str, bytes | tuple[bytes, ...]] = {}
        self._order: deque[str] = deque()

    def apply(self, rows: Iterable[tuple[bytes, bytes | None]], position: int) -> None:
        for row_key, row in rows:
            key, offset = split_row_key(row_key)
            stamp = offset.to_bytes(8, "big")
            if row is not None and key not in self._held:
                self._held[key] = stamp + row
                self._order.append(key)
                continue
            left = [value for value in self._versions(key) if value[:8] != stamp]
            if row is not None:
                left.append(stamp + row)
                self._order.append(key)
            if not left:
                self._held.pop(key, None)
            else:
                self._held[key] = left[0] if len(left) == 1 else tuple(sorted(left))
        self.position = position

    def _versions(self, key: str) -> tuple[bytes, ...]:
        held = self._held.get(key, ())
        return (held,) if isinstance(held, bytes) else held

    def find(self, key: str) -> list[bytes]:
        if key not in self._held:
            return []
        return [value[8:] for value in self._versions(key)]

    def oldest(self) -> Iterator[str]:
        return iter(self._order)

    def forget_oldest(self, count: int) -> None:
        for _ in range(count):
            self._order.popleft()

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        for key in self._held:
            for value in self._versions(key):
                yield version_row_key(key, int.from_bytes(value[:8], "big")).encode(), value[8:]

    def clear(self) -> None:
        self.position = 0
        self._held.clear()
        self._order.clear()

    def close(self) -> None:
        """Nothing to close."""
