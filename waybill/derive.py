"""Owns what the compacted tables must hold, derived again from the topics alone. Pure; shares no code with the stages.

A table is right if it equals what follows from the log: `idempotency` from `validated`; `windows` from `validated` and
`batched`; `delivery` from `batched`, `sent` and `dead-letter`. Messages are handed in decoded, in log order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from schemas.canonical import RawPosition
from schemas.messages import position_of

RETAINED = 2**62
"""`admitted_at` of a version that may not age; see the schema of `idempotency`."""


class Difference(NamedTuple):
    """One row that is not as the log says."""

    row: str
    what: str


@dataclass(slots=True)
class Version:
    """One admitted version of a key."""

    key: str
    offset: int
    raw: RawPosition
    digest: bytes
    admitted_at: int
    group: str
    date: str
    ordering: str | None


@dataclass(slots=True)
class Versions:
    """One partition of `idempotency`: BA2, BA8, BA9 and DI6 told once more. Times in ms."""

    keep: int
    supersede: bool
    refused: frozenset[RawPosition] = frozenset()
    """Records whose answer is a dead letter of batch: by state rules, which are not told again here, or by conflict."""
    waited: Mapping[RawPosition, int] = field(default_factory=dict)
    """Records that waited (ADR 22), with the offset at which they were decided: where they came back last; -1 where
    they wait still."""
    stream_time: int = 0
    live: dict[str, list[Version]] = field(default_factory=dict)
    admitted: dict[RawPosition, int] = field(default_factory=dict)
    """Every record ever admitted, with its offset in `validated`."""
    seen: dict[tuple[str, int], tuple[int, int, int]] = field(default_factory=dict)

    def take(self, offset: int, name: str, message: Mapping[str, Any]) -> None:
        """The next message of `validated`."""
        if name == "validated":
            self._record(offset, message)
        elif name == "release":
            raw = position_of(message)
            self.live[message["key"]] = [v for v in self.live.get(message["key"], []) if v.raw != raw]
        elif name == "retain":
            at = RETAINED if message["begin"] else self.stream_time
            for kept in message["keys"]:
                for version in self.live.get(kept["key"], []):
                    if version.raw == position_of(kept) and self.alive(version):
                        version.admitted_at = at
        elif name == "replay":
            self._replay(message)

    def _record(self, offset: int, message: Mapping[str, Any]) -> None:
        self.stream_time = max(self.stream_time, message["recorded_at"])
        raw = position_of(message)
        source, place = (raw.topic, raw.partition), (raw.incarnation, raw.offset, raw.index)
        first = self.seen.get(source, (-1, -1, -1)) < place
        if first:
            self.seen[source] = place
        if raw in self.refused or (self.waited[raw] != offset if raw in self.waited else not first):
            return
        newest = self.newest(message["key"])
        if newest is not None:
            older = newest.ordering is None or message["ordering"] is None or message["ordering"] <= newest.ordering
            if newest.digest == message["digest"] or not self.supersede or older:
                return
        self._admit(message, offset, message["group"], message["date"], raw)

    def _replay(self, message: Mapping[str, Any]) -> None:
        own = {position_of(member) for member in message["records"]}
        newest = [self.newest(member["key"]) for member in message["records"]]
        aged = self.stream_time - message["first_recorded_at"] > self.keep
        if not aged and all(version is None or version.raw in own for version in newest):
            for member in message["records"]:
                self._admit(member, member["offset"], message["group"], message["date"], position_of(member))

    def _admit(self, of: Mapping[str, Any], offset: int, group: str, date: str, raw: RawPosition) -> None:
        version = Version(of["key"], offset, raw, of["digest"], self.stream_time, group, date, of["ordering"])
        others = [v for v in self.live.get(version.key, []) if v.offset != offset]
        self.live[version.key] = sorted([*others, version], key=lambda v: v.offset)
        self.admitted[raw] = offset

    def alive(self, version: Version) -> bool:
        """Whether a version still guards its key."""
        return self.stream_time - version.admitted_at <= self.keep

    def newest(self, key: str) -> Version | None:
        """The version a new record of this key is held against: a retained one may outlive a newer one (BA2, BA9)."""
        return next((version for version in reversed(self.live.get(key, [])) if self.alive(version)), None)

    def compare(self, rows: Iterable[Mapping[str, Any]]) -> list[Difference]:
        """Rows that are missing, too many or different. Aged versions may or may not have been tidied up."""
        expected = {(v.key, v.offset): v for versions in self.live.values() for v in versions}
        found: list[Difference] = []
        for row in rows:
            name = f"{row['key']} @ {row['offset']}"
            version = expected.pop((row["key"], row["offset"]), None)
            if version is None:
                if self.stream_time - row["admitted_at"] <= self.keep:
                    found.append(Difference(name, "is in the table, and does not follow from the log"))
                continue
            actual = Version(
                row["key"], row["offset"], position_of(row), row["digest"], row["admitted_at"], row["group"],
                row["date"], row["ordering"],
            )  # fmt: skip
            found += _differing(name, version, actual)
        missing = [v for v in expected.values() if self.alive(v)]
        return found + [Difference(f"{v.key} @ {v.offset}", "is missing in the table") for v in missing]


def _differing(name: str, expected: Version, actual: Version) -> list[Difference]:
    return [
        Difference(name, f"{column} is {getattr(actual, column)!r}, the log says {getattr(expected, column)!r}")
        for column in Version.__slots__
        if getattr(actual, column) != getattr(expected, column)
    ]


Line = tuple[str, str]
"""Group and event date."""


def sealed(batches: Iterable[tuple[Line, RawPosition]], admitted: Mapping[RawPosition, int]) -> dict[Line, int]:
    """`sealed_through` of each line of one partition: the offset of the last record of its last batch. `batches` are
    (line, last record) in log order; batches whose records are not known are left out."""
    through: dict[Line, int] = {}
    for line, last in batches:
        if last in admitted:
            through[line] = max(through.get(line, -1), admitted[last])
    return through


def compare_windows(expected: Mapping[Line, int], rows: Mapping[Line, int], committed: int | None) -> list[Difference]:
    """A row stays until the committed offset has passed it (BA3)."""
    kept = {line: offset for line, offset in expected.items() if committed is None or offset >= committed}
    found = [
        Difference("|".join(line), f"sealed_through is {rows.get(line, 'missing')}, the log says {offset}")
        for line, offset in kept.items()
        if rows.get(line) != offset
    ]
    extra = [line for line in rows if line not in kept]
    return found + [Difference("|".join(line), f"is in the table ({rows[line]}), the log says none") for line in extra]


@dataclass(slots=True)
class Batch:
    """What the log says of one batch."""

    partition: int
    """Of the delivery table: where its first message stood."""
    fields: dict[str, Any]
    life: int = 1
    state: str = "unsettled"
    answer: dict[str, Any] = field(default_factory=dict)


Read = Callable[[int, int], Mapping[str, Any]]
"""Partition and offset of a batch -> its message, with its `records` decoded."""


class Batches:
    """The delivery table from `batched`, then `sent`, then `dead-letter`.

    The log does not say that a batch was split (DI4), only what its parts were answered. So the table is asked which
    parts there are, and each must be a half of its parent with the id that follows from its records.
    """

    def __init__(self) -> None:
        self.batches: dict[bytes, Batch] = {}
        self._parts: dict[bytes, Batch] = {}
        """What was answered under the ids of parts; where they lie, the table says."""
        self._answered: set[RawPosition] = set()
        """Records answered as members of parts."""
        self._attempts: dict[bytes, dict[int, int]] = {}
        """Batch id -> passport's attempt -> life."""

    def batched(self, partition: int, offset: int, name: str, message: Mapping[str, Any]) -> None:
        """A message of `batched`."""
        if name == "batched":
            names = ("partner", "group", "count")
            fields = {column: message[column] for column in names}
            fields |= {"batched_partition": partition, "batched_offset": offset}
            self.batches.setdefault(message["batch_id"], Batch(partition, fields))
        elif name == "batched_again":
            batch = self.batches.get(message["batch_id"])
            known = batch is not None
            if batch is None:
                batch = self._parts.setdefault(message["batch_id"], Batch(partition, {}))
            # A part begins in the life that its parent was in.
            if message["life"] == batch.life + 1 or (not known and message["life"] > batch.life):
                batch.life = message["life"]
                self._attempts.setdefault(message["batch_id"], {})[message["passport"]["attempt"]] = message["life"]

    def settle(self, message: Mapping[str, Any], state: str) -> None:
        """A final answer that names a batch; of several lives the last one counts."""
        if message["batch_id"] is None:
            return
        batch = self.batches.get(message["batch_id"])
        if batch is None:
            batch = self._parts.setdefault(message["batch_id"], Batch(-1, {}))
            self._answered.update(map(position_of, message.get("records", (message,))))
        passport = message.get("passport")
        lives = self._attempts.get(message["batch_id"], {})
        life = lives.get(passport["attempt"], 1) if passport else 1
        if ("outcome" not in message and state == "sent") or not lives:
            life = batch.life  # the ack of a whole batch names no life; only the last can have succeeded
        if life == batch.life and batch.state != "sent":  # a batch of which the partner took a part is sent
            batch.state = state
            names = ("answer",) if state == "sent" else ("answer", "attempts", "outcome_unknown")
            batch.answer = {column: message[column] for column in names}

    def compare(self, rows: Iterable[tuple[int, Mapping[str, Any]]], read: Read) -> tuple[list[Difference], int]:
        """Differences, and how many settled batches have no row any more (they are tidied away after `keep`)."""
        found: list[Difference] = []
        table = {row["batch_id"]: (partition, row) for partition, row in rows}
        left = dict(self.batches)
        for partition, row in table.values():
            batch = left.pop(row["batch_id"], None) if row["parent"] is None else self._part(row, table, read)
            if isinstance(batch, Batch):
                found += _unlike(partition, row, batch)
            else:
                what = batch or "is in the table, and in no message of `batched`"
                found.append(Difference(row["batch_id"].hex(), what))
        lost = [batch_id for batch_id, batch in left.items() if batch.state == "unsettled"]
        lost = [batch_id for batch_id in lost if not self._in_parts(left[batch_id], read)]
        found += [Difference(batch_id.hex(), "is unsettled, and missing in the table") for batch_id in lost]
        return found, len(left) - len(lost)

    def _part(
        self, row: Mapping[str, Any], table: Mapping[bytes, tuple[int, Mapping[str, Any]]], read: Read
    ) -> Batch | str:
        """What the log says of a half of a split batch; or what is wrong with there being one."""
        _, parent = table.get(row["parent"], (0, {}))
        root = parent
        while root.get("parent") is not None:
            _, root = table.get(root["parent"], (0, {}))
        whole = self.batches.get(root.get("batch_id", b""))
        if whole is None or parent["state"] != "split":
            return "is half of a batch that was not split"
        middle = parent["count"] // 2
        left, right = (parent["first"], middle), (parent["first"] + middle, parent["count"] - middle)
        if (row["first"], row["count"]) not in (left, right):
            return f"is no half of {row['parent'].hex()}"
        batched = read(whole.fields["batched_partition"], whole.fields["batched_offset"])
        if _manifest_id(batched, batched["records"][row["first"] : row["first"] + row["count"]]) != row["batch_id"]:
            return "has not the id of its records"
        said = self._parts.get(row["batch_id"], Batch(-1, {}))
        fields = {**whole.fields, "count": row["count"]}
        life = max(whole.life, said.life)
        return Batch(whole.partition, fields, life, said.state, said.answer)

    def _in_parts(self, batch: Batch, read: Read) -> bool:
        """Whether a batch without a row was answered part by part."""
        if not self._answered:
            return False
        batched = read(batch.fields["batched_partition"], batch.fields["batched_offset"])
        return all(position_of(record) in self._answered for record in batched["records"])


def _manifest_id(batched: Mapping[str, Any], records: Iterable[Mapping[str, Any]]) -> bytes:
    """The id of a batch of these records (BA7)."""
    manifest: dict[str, Any] = {name: batched[name] for name in ("date", "group", "partition", "pipeline")}
    manifest["records"] = [{"digest": one["digest"].hex(), "raw": list(position_of(one))} for one in records]
    return sha256(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()).digest()


def _unlike(partition: int, row: Mapping[str, Any], batch: Batch) -> list[Difference]:
    """What of a row is not as the log says."""
    state = row["state"] if row["state"] in ("sent", "dead") else "unsettled"
    expected: dict[str, Any] = {**batch.fields, "partition": batch.partition, "state": batch.state}
    actual: dict[str, Any] = {column: row[column] for column in batch.fields}
    actual |= {"partition": partition, "state": state}
    expected["life"], actual["life"] = batch.life, row["life"]
    columns = {"answer": "answer", "attempts": "attempt", "outcome_unknown": "unknown"}
    if state == batch.state:
        for column, value in batch.answer.items():
            expected[columns[column]], actual[columns[column]] = value, row[columns[column]]
    return [
        Difference(row["batch_id"].hex(), f"{column} is {actual[column]!r}, the log says {expected[column]!r}")
        for column in expected
        if actual[column] != expected[column]
    ]
