"""Owns what is known of one round: the files of its folder, as plain values, read and written.

round.json        what ran, and how it ended
manifest.jsonl    what was published, by the load generator: the oracle
ledger.jsonl      attempts and effects at each HTTP partner, in its order; bodies/<key> holds the bodies of the effects
objects.jsonl     what an object store holds; objects/<partner>/<path> holds the bytes
topics.jsonl.gz   every committed message of every topic
admin.json        offsets, log ends and the schemas in force
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Unreadable(Exception):
    """Input that cannot be judged, in one line."""


class Record(NamedTuple):
    """A record as it was published."""

    index: int  # type: ignore[assignment]  # the field hides tuple.index, on purpose
    id: str
    """Correlation id, which travels in the reading's zone_id."""
    sequence: int | None
    kind: str
    time: str | None
    sha256: str | None
    """Of the record's own bytes as published, hex."""
    value: dict[str, Any] | None
    """The published JSON fields; None where there are none."""
    wrong: tuple[str, ...] = ()
    """Of a bad record: the paths that findings must name, those of the fields that are wrong; `""` is the whole."""


class Submission(NamedTuple):
    """A message as it was published to raw."""

    partition: int
    offset: int
    kind: str
    key: str | None
    records: tuple[Record, ...]


class Message(NamedTuple):
    """A message as read from a topic. Timestamp in ms since epoch."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class LedgerLine(NamedTuple):
    """A line of an HTTP partner's ledger, in order of arrival there."""

    kind: str
    """attempt, effect (a batch is stored whole) or partial (some of its records are)."""
    key: str
    digest: str | None
    """SHA-256 of the body, hex; None: the body was not read."""
    life: int | None
    attempt: int | None
    records: tuple[str, ...] | None
    """Ids of the records that this line added; None: not told, an effect then added all."""
    well: bool = True
    """Of an attempt: whether the partner did as it should, and at once."""
    time: float | None = None
    """When the partner wrote it down, seconds since epoch; None: not told."""
    partner: str = ""
    """Whose ledger it is."""
    refused: tuple[str, ...] = ()
    """Of an effect: ids of the records that the partner did not take, for good."""


class StoredObject(NamedTuple):
    """An object of an object store, and how many versions of it there are."""

    partner: str
    path: str
    sha256: str
    versions: int
    body: bytes
    time: float | None = None
    """When it was first written, or asked to be, seconds since epoch; None: not told."""


@dataclass(frozen=True)
class Round:
    """What ran and how it ended; fields of the same names in round.json."""

    seed: int
    application: str
    pipeline: str
    raw: str
    topics: dict[str, str]
    partitions: int
    groups: dict[str, str]
    inputs: dict[str, str]
    on_conflict: str
    acks: str
    ordering: str
    partners: dict[str, dict[str, Any]]
    """`kind` of each; of an object store also the `prefix` of its paths, and whether it is a `folder`, in which
    metadata lie beside the objects; `adaptive` where batches follow what it takes: records they have at least and at
    most."""
    routing: dict[str, Any]
    """Which partner a record is for: `map` from the value of its field `by`, else `default`."""
    group_by: list[str]
    idempotency: list[str]
    """Fields that make a record's key, in their order."""
    unknown_attempts: int
    """How many attempts a batch has beyond its budget while nobody knows what came of them."""
    harmed: list[str]
    """Partners that were out of order in ways of which they keep no ledger, and `cluster` where the brokers were."""
    deadline_met: bool
    drained: bool
    restarts: dict[str, int]
    max_restarts: int
    exits: list[dict[str, Any]]
    """How each process ended: `slot`; `code`, None where it had to be killed; `by`: `kill`, `failpoint`, `stop` or
    `early stop` (before it could have a handler) where somebody ended it; `up`: whether it had reached the brokers."""

    def topic(self, short: str) -> str:
        """Full name of a topic."""
        return self.raw if short == "raw" else self.topics[short]


@dataclass(frozen=True)
class Admin:
    """What the cluster says of itself, by short topic name or stage, and partition."""

    committed: dict[str, dict[int, int]]
    """Committed offsets of each stage's group; a partition without one is absent."""
    high: dict[str, dict[int, int]]
    """High watermarks."""
    stable: dict[str, dict[int, int]]
    """Last stable offsets."""
    topic_ids: dict[str, str]
    """Kafka's ids of the topics."""
    schemas: dict[str, Any]
    """The Avro schemas that the topics were written with, by name."""


@dataclass(frozen=True)
class Evidence:
    """Everything a round is judged by."""

    round: Round
    manifest: list[Submission]
    ledger: list[LedgerLine]
    bodies: dict[str, bytes]
    objects: list[StoredObject]
    topics: dict[str, list[Message]] = field(default_factory=dict)
    admin: Admin = field(default_factory=lambda: Admin({}, {}, {}, {}, {}))


def load_round(folder: Path) -> Round:
    """What ran. Raises Unreadable."""
    return _guarded(folder / "round.json", lambda path: _round(json.loads(path.read_text("utf-8"))))


def load(folder: Path, topics: dict[str, list[Message]] | None = None, admin: Admin | None = None) -> Evidence:
    """The evidence of a folder; topics and admin from its files unless given. Raises Unreadable."""
    ran = load_round(folder)
    kinds = {partner["kind"] for partner in ran.partners.values()}
    http, store = "http" in kinds, "object-store" in kinds
    # a round of before, which had one, does not name it
    only = ",".join(name for name, partner in ran.partners.items() if partner["kind"] == "http")
    return Evidence(
        round=ran,
        manifest=_guarded(folder / "manifest.jsonl", lambda path: [_submission(line) for line in _lines(path)]),
        ledger=_guarded(folder / "ledger.jsonl", lambda path: [_ledger(line, only) for line in _lines(path)])
        if http
        else [],
        bodies={path.name: path.read_bytes() for path in sorted((folder / "bodies").glob("*"))},
        objects=_guarded(folder / "objects.jsonl", _objects) if store else [],
        topics=_guarded(folder / "topics.jsonl.gz", _topics) if topics is None else topics,
        admin=_guarded(folder / "admin.json", _admin) if admin is None else admin,
    )


def save_kafka(folder: Path, topics: dict[str, list[Message]], admin: Admin) -> None:
    """Keeps what was read from Kafka, so that the round can be judged again without it."""
    with gzip.open(folder / "topics.jsonl.gz", "wt", encoding="utf-8", compresslevel=3) as out:
        for short, messages in topics.items():
            for m in messages:
                line = [short, m.partition, m.offset, m.timestamp, _encoded(m.key), _encoded(m.value)]
                out.write(json.dumps(line) + "\n")
    (folder / "admin.json").write_text(json.dumps(admin.__dict__), "utf-8")


def _guarded(path: Path, read: Callable[[Path], T]) -> T:
    """What `read` makes of a file; whatever is wrong with it as one line."""
    try:
        return read(path)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise Unreadable(f"{path}: {what}".replace("\n", " ")) from error


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise ValueError(f"line {number}: {error}") from error


def _round(found: dict[str, Any]) -> Round:
    return Round(**{name: found[name] for name in Round.__dataclass_fields__})


def _submission(line: dict[str, Any]) -> Submission:
    records = tuple(
        Record(
            r["index"], r["id"], r.get("sequence"), r.get("kind", line["kind"]), r.get("time"), r.get("sha256"),
            r.get("value"), tuple(r.get("wrong", ())),
        )
        for r in line["records"]
    )  # fmt: skip
    return Submission(line["partition"], line["offset"], line["kind"], line.get("key"), records)


def _ledger(line: dict[str, Any], only: str) -> LedgerLine:
    records = line.get("records")
    return LedgerLine(
        line["kind"],
        line["key"],
        line.get("digest"),
        line.get("life"),
        line.get("attempt"),
        None if records is None else tuple(records),
        line.get("fault", "none") == "none" and not line.get("slow"),
        line["time"],
        line.get("partner", only),
        tuple(line.get("refused", ())),
    )


def _objects(path: Path) -> list[StoredObject]:
    found = []
    for line in _lines(path):
        partner, name = line["partner"], line["path"]
        body = (path.parent / "objects" / partner / name).read_bytes()
        found.append(StoredObject(partner, name, line["sha256"], line["versions"], body, line["time"]))
    return found


def _topics(path: Path) -> dict[str, list[Message]]:
    topics: dict[str, list[Message]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            short, partition, offset, timestamp, key, value = json.loads(line)
            message = Message(partition, offset, timestamp, _decoded(key), _decoded(value))
            topics.setdefault(short, []).append(message)
    return topics


def _admin(path: Path) -> Admin:
    found = json.loads(path.read_text("utf-8"))
    by_partition = {
        name: {key: _numbered(rows.items()) for key, rows in found[name].items()}
        for name in ("committed", "high", "stable")
    }
    return Admin(**by_partition, topic_ids=found["topic_ids"], schemas=found["schemas"])


def _numbered(rows: Iterable[tuple[str, int]]) -> dict[int, int]:
    return {int(partition): offset for partition, offset in rows}


def _encoded(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _decoded(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
