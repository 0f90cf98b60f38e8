"""Owns the view of the evidence that the laws judge: what was published, answered, frozen, attempted, done, audited.

A record is known by its place (raw partition, offset, index). Rounds are shorter than `keep` and hold no replays:
no version ages, no settled row is tidied away, and every record has one life.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from hashlib import sha256
from typing import Any, NamedTuple

from chaos.checker.evidence import Evidence, Message, Record
from chaos.checker.wire import NotReadable, Reader, shipped_schemas

Place = tuple[int, int, int]
"""Raw partition, offset and index of a record."""
OF_PARTNERS = "partner_state"
"""Rows of the delivery topic that are of a partner and of no batch: how it stands, and how large its batches may be."""
PARTNER_KEY = b"partner/"
"""Begins their message keys."""
OBJECT = re.compile(r"batch_([0-9a-f]+)\.json")


class Decoded(NamedTuple):
    """A message of one of the system's own topics."""

    at: Message
    name: str
    """Of its schema."""
    value: dict[str, Any]


class Answer(NamedTuple):
    """A final answer for one record."""

    outcome: str
    """delivered, duplicate, or dead in validate, batch or dispatch."""
    value: dict[str, Any]
    batch: str | None
    """Id of the batch it is about, hex."""
    at: Message
    whole: dict[str, Any]
    """The message that says it, which may answer several records."""


class Batch(NamedTuple):
    """A frozen batch as it lies on `batched`, or a part of one that was split."""

    id: str
    at: Message
    """Of a part: the whole batch's."""
    value: dict[str, Any]
    """Of a part: as if its records had been a batch."""
    members: list[dict[str, Any]]
    places: list[Place]
    first: int = 0
    """Index of a part's first record in the batch."""
    parent: str | None = None
    """What a part is said to be a half of."""


class Effect(NamedTuple):
    """A batch that a partner has."""

    batch: str
    partner: str
    digest: str
    """As the partner noted it when it took the body; hex."""
    body: bytes | None
    order: int | None
    """Place in the partner's order of arrival; None for object stores."""
    added: tuple[str, ...] | None = None
    """Ids of the records that came with it, if a part of the batch had been taken before."""
    time: float | None = None
    """Of an object: when it was first written, or asked to be, seconds since epoch; None: not told."""


class Block(NamedTuple):
    """An audit block."""

    at: Message
    value: dict[str, Any]

    @property
    def chain(self) -> tuple[str, int]:
        """Stage and partition."""
        return self.value["stage"], self.value["partition"]


def place(message: Mapping[str, Any]) -> Place:
    """Where the record of a message came from."""
    return message["raw_partition"], message["raw_offset"], message["raw_index"]


class Facts:
    """The evidence, decoded once."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence, self.round, self.admin = evidence, evidence.round, evidence.admin
        self._reader = Reader(evidence.admin.schemas or shipped_schemas())
        self.unreadable: list[str] = []
        self._decoded: dict[str, list[Decoded]] = {}
        for short, messages in evidence.topics.items():
            if short != "raw":
                self._decoded[short] = list(self._read(short, messages))
        self.batches = list(self._batches())
        """Frozen batches, by partition and offset of `batched`."""

    def _read(self, short: str, messages: list[Message]) -> Iterator[Decoded]:
        for message in sorted(messages, key=lambda m: (m.partition, m.offset)):
            if message.value is None:
                yield Decoded(message, "", {})
                continue
            try:
                found = Decoded(message, *self._reader.read(message.value))
            except NotReadable as error:
                self.unreadable.append(f"{self.round.topic(short)}/{message.partition}/{message.offset}: {error}")
                continue
            if found.name != OF_PARTNERS:
                yield found

    def read(self, data: bytes | None) -> tuple[str, dict[str, Any]]:
        """A message inside another one. Raises NotReadable."""
        return self._reader.read(data)

    def decoded(self, short: str) -> list[Decoded]:
        """Every message of a topic that could be read, by partition and offset; tombstones have an empty name."""
        return self._decoded.get(short, [])

    def table(self, short: str) -> dict[tuple[int, bytes], dict[str, Any]]:
        """The rows that a table's topic comes to, by partition and key."""
        rows: dict[tuple[int, bytes], dict[str, Any]] = {}
        for message in self.decoded(short):
            key = message.at.partition, message.at.key or b""
            if message.name:
                rows[key] = message.value
            else:
                rows.pop(key, None)
        return rows

    def record_id(self, where: Place) -> str:
        """A record's id, as the system gives it."""
        return "/".join(map(str, (self.round.raw, *where)))

    def ids(self, *places: Place) -> tuple[str, ...]:
        """Record ids, each with the correlation id of the load where there is one."""
        known = self.published
        return tuple(f"{self.record_id(p)} ({known[p].id})" if p in known else self.record_id(p) for p in places)

    # ---- what was published ------------------------------------------------------------------------

    @cached_property
    def published(self) -> dict[Place, Record]:
        """Every record of the manifest."""
        return {(s.partition, s.offset, r.index): r for s in self.evidence.manifest for r in s.records}

    @cached_property
    def raw(self) -> dict[tuple[int, int], Message]:
        """The raw topic, by partition and offset."""
        return {(m.partition, m.offset): m for m in self.evidence.topics.get("raw", [])}

    # ---- what came of it ---------------------------------------------------------------------------

    @cached_property
    def answers(self) -> dict[Place, list[Answer]]:
        """Final answers of the records of this raw topic."""
        found: dict[Place, list[Answer]] = defaultdict(list)
        for topic, answer in self._answers():
            if topic == self.round.raw:
                found[place(answer.value)].append(answer)
        return dict(found)

    @cached_property
    def strays(self) -> list[Answer]:
        """Answers that name another topic than raw: a message of the system's own that it could not work."""
        return [answer for topic, answer in self._answers() if topic != self.round.raw]

    def _answers(self) -> Iterator[tuple[str, Answer]]:
        for at, name, message in self.decoded("sent"):
            batch = message["batch_id"].hex() if message.get("batch_id") else None
            for record in message["records"] if name == "sent_batch" else [message]:
                yield record["raw_topic"], Answer(record.get("outcome", "delivered"), record, batch, at, message)
        for at, name, message in self.decoded("dead-letter"):
            if name == "dead_letter":
                batch = message["batch_id"].hex() if message["batch_id"] else None
                yield message["raw_topic"], Answer(f"dead in {message['stage']}", message, batch, at, message)

    def outcome(self, where: Place) -> str | None:
        """The record's answer, if it has exactly one."""
        answers = self.answers.get(where, [])
        return answers[0].outcome if len(answers) == 1 else None

    @cached_property
    def validated(self) -> list[Decoded]:
        """The records on `validated`; releases and retains left out."""
        return [m for m in self.decoded("validated") if m.name == "validated"]

    @cached_property
    def validated_offset(self) -> dict[Place, int]:
        """Where each record lies on its partition of `validated`."""
        return {place(m.value): m.at.offset for m in reversed(self.validated)}

    def _batches(self) -> Iterator[Batch]:
        for at, name, value in self.decoded("batched"):
            if name != "batched":
                continue
            batch_id = value["batch_id"].hex()
            try:
                members = [self._reader.read(data)[1] for data in value["records"]]
                yield Batch(batch_id, at, value, members, [place(m) for m in members])
            except (NotReadable, KeyError) as error:
                self.unreadable.append(f"a member of batch {batch_id}: {error}")

    @cached_property
    def parts(self) -> list[Batch]:
        """What split batches went on in, by the rows that the delivery topic ever had. Whether there should be such
        parts is for the laws to say."""
        frozen = {(batch.at.partition, batch.at.offset): batch for batch in self.batches}
        found: dict[str, Batch] = {}
        for _, name, row in self.decoded("delivery"):
            whole = frozen.get((row.get("batched_partition", -1), row.get("batched_offset", -1)))
            if name == "delivery" and row["parent"] is not None and whole is not None:
                name, first, count = row["batch_id"].hex(), row["first"], row["count"]
                some = slice(first, first + count)
                value = {**whole.value, "batch_id": row["batch_id"], "count": count}
                value["records"] = whole.value["records"][some]
                part = Batch(name, whole.at, value, whole.members[some], whole.places[some], first, row["parent"].hex())
                found.setdefault(name, part)
        return list(found.values())

    @cached_property
    def halves(self) -> dict[str, list[Batch]]:
        """The parts by what they are halves of, in the order of their records."""
        found: dict[str, list[Batch]] = defaultdict(list)
        for part in sorted(self.parts, key=lambda part: part.first):
            found[part.parent or ""].append(part)
        return dict(found)

    def delivered_as(self, batch: Batch) -> list[Batch]:
        """The batch itself, or the parts that were not split further, in the order of their records."""
        halves = self.halves.get(batch.id)
        return [batch] if not halves else [one for half in halves for one in self.delivered_as(half)]

    @cached_property
    def batch(self) -> dict[str, Batch]:
        """Frozen batches and their parts by id."""
        return {batch.id: batch for batch in reversed([*self.batches, *self.parts])}

    @cached_property
    def batches_of(self) -> dict[Place, list[Batch]]:
        """The batches a record lies in: one, if all is well."""
        found: dict[Place, list[Batch]] = defaultdict(list)
        for batch in self.batches:
            for where in batch.places:
                found[where].append(batch)
        return dict(found)

    # ---- what the partners have --------------------------------------------------------------------

    @cached_property
    def effects(self) -> list[Effect]:
        """Every batch that a partner took, as often as it took it."""
        found = [
            Effect(line.key, line.partner, line.digest or "", self.evidence.bodies.get(line.key), order, line.records)
            for order, line in enumerate(self.evidence.ledger)
            if line.kind == "effect"
        ]
        for stored in self.evidence.objects:
            match = OBJECT.fullmatch(stored.path.rpartition("/")[2])
            if match is not None:  # metadata beside an object is no effect
                effect = Effect(match[1], stored.partner, stored.sha256, stored.body, None, time=stored.time)
                found += [effect] * stored.versions
        return found

    @cached_property
    def effect(self) -> dict[str, Effect]:
        """The first effect of each batch."""
        return {effect.batch: effect for effect in reversed(self.effects)}

    @cached_property
    def contents(self) -> dict[str, dict[str, Any] | None]:
        """Bodies of the effects as JSON, by batch; None where the bytes are not there or hold no list of records."""
        return {effect.batch: _content(effect.body) for effect in self.effects}

    @cached_property
    def held(self) -> dict[str, list[str]]:
        """Record id -> the batches a partner took it with, once for each time; batches taken in part included."""
        found: dict[str, list[str]] = defaultdict(list)
        for line in self.evidence.ledger:
            if line.kind == "partial":
                for name in line.records or ():
                    found[name].append(line.key)
        for effect in self.effects:
            whole = [record["id"] for record in (self.contents[effect.batch] or {"records": []})["records"]]
            for name in whole if effect.added is None else effect.added:
                found[name].append(effect.batch)
        return dict(found)

    @cached_property
    def refused(self) -> dict[str, set[str]]:
        """Batch -> ids of the records that its partner did not take although it took others, as the partner says."""
        found: dict[str, set[str]] = defaultdict(set)
        for line in self.evidence.ledger:
            found[line.key].update(line.refused)
        return dict(found)

    def refuses(self, batch: str, where: Place) -> bool:
        """Whether a partner took a batch without this record."""
        return self.record_id(where) in self.refused.get(batch, ())

    @cached_property
    def sizing(self) -> dict[str, int]:
        """The cap that dispatch keeps of each partner of which it has learnt one: records in a batch."""
        found: dict[str, int] = {}
        rows = [m for m in self.evidence.topics.get("delivery", []) if (m.key or b"").startswith(PARTNER_KEY)]
        for message in sorted(rows, key=lambda m: (m.partition, m.offset)):
            partner = (message.key or b"")[len(PARTNER_KEY) :].decode()
            found.pop(partner, None)
            try:
                sizing = self._reader.read(message.value)[1].get("sizing")
            except NotReadable:  # a tombstone, or it is among `unreadable`
                sizing = None
            if sizing:
                found[partner] = sizing["records"]
        return found

    @cached_property
    def write_aheads(self) -> dict[tuple[str, int, int], list[Message]]:
        """Rows `in_flight` in the delivery topic, by batch, life and attempt."""
        found: dict[tuple[str, int, int], list[Message]] = defaultdict(list)
        for at, name, row in self.decoded("delivery"):
            if name == "delivery" and row["state"] == "in_flight":
                found[row["batch_id"].hex(), row["life"], row["attempt"]].append(at)
        return found

    # ---- the audit ---------------------------------------------------------------------------------

    @cached_property
    def blocks(self) -> list[Block]:
        """Audit blocks in log order."""
        return [Block(m.at, m.value) for m in self.decoded("audit") if m.name == "block"]

    @cached_property
    def heads(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Rows of the heads table by stage and partition."""
        return {(row["stage"], row["partition"]): row for row in self.table("heads").values()}


def _content(body: bytes | None) -> dict[str, Any] | None:
    try:
        found = json.loads(body or b"")
    except ValueError:
        return None
    records = found.get("records") if isinstance(found, dict) else None
    if not isinstance(records, list) or not all(isinstance(r, dict) and isinstance(r.get("id"), str) for r in records):
        return None
    return dict(found)


def digest_of(body: bytes) -> str:
    """SHA-256, hex."""
    return sha256(body).hexdigest()
