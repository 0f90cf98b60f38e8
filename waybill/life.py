"""Owns how one record's life is found in the topics and put together: what happened, where, when, and what it is now.

Every message about a record carries its raw position, so the bytes of its fields are looked for first and only messages
that hold them are decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

import fastavro

from audit.block import Block, read_block
from audit.chain import Entry
from schemas.canonical import RawPosition, record_id
from schemas.codec import WireError
from schemas.messages import position_of
from streams.batch.items import WAITED
from streams.pipeline import STAGES
from waybill import condemned
from waybill.retries import retries

if TYPE_CHECKING:
    from streams.stage import Message
    from topology.model import Pipeline
    from waybill.reader import Decoder, Reader

_FIELDS = ("string", "int", "int", "long")
"""Avro types of the first four fields of a raw position."""

Marks = tuple[bytes, ...]
"""Bytes that a message holds, all of them, if it is about a record of a submission; others may hold them too."""


def _avro(kinds: Sequence[str], values: Sequence[Any]) -> bytes:
    names = [f"f{number}" for number in range(len(kinds))]
    fields = [{"name": name, "type": kind} for name, kind in zip(names, kinds, strict=True)]
    schema = fastavro.parse_schema({"type": "record", "name": "Part", "fields": fields}, named_schemas={})
    out = BytesIO()
    fastavro.schemaless_writer(out, schema, dict(zip(names, values, strict=True)))
    return out.getvalue()


def marks_of(submission: tuple[str, int, int, int]) -> Marks:
    """By what messages about a submission are found. The offset may stand apart from the rest, as in Validated."""
    return _avro(_FIELDS[:3], submission[:3]), _avro(_FIELDS[3:], submission[3:])


def marks_of_condemned(pipeline: Pipeline) -> list[Marks]:
    """By what dead letters are found that keep a message of our own, whichever records it holds."""
    return [(_avro(_FIELDS[:2], (pipeline.topic(short), 0)),) for short in condemned.OWN]


def holds(data: bytes, marks: Iterable[Marks]) -> bool:
    """Whether all bytes of one of the marks are there."""
    return any(all(part in data for part in mark) for mark in marks)


class Step(NamedTuple):
    """One thing that happened to a record."""

    name: str
    """INGESTED, VALIDATED, BATCHED, SENT, ACKNOWLEDGED, FAILED (FSM-01), SPLIT, RETRYING (what an attempt was answered
    that was not the last), RETURNED (it waited and was written to `validated` again), or AUDIT."""
    at: int | None
    """ms since epoch, of the message that says so."""
    position: str
    """Topic, partition and offset of the message that says so."""
    facts: Mapping[str, Any]


@dataclass(slots=True)
class Life:
    """Everything found about one record."""

    raw: RawPosition
    validated: list[tuple[Message, dict[str, Any]]] = field(default_factory=list)
    dead: list[tuple[Message, dict[str, Any]]] = field(default_factory=list)
    sent: list[tuple[Message, dict[str, Any]]] = field(default_factory=list)
    batched: list[tuple[Message, dict[str, Any]]] = field(default_factory=list)
    repeats: list[RawPosition] = field(default_factory=list)
    """Records that were called duplicates of this one."""
    audit: list[tuple[Message, Block, Entry]] = field(default_factory=list)
    submission: Message | None = None
    waits: dict[str, Any] | None = None
    """The row that says what it waits for (ADR 22); None: it does not."""
    number: int = 0
    """Its place in the last batch it was in."""
    path: list[dict[str, Any]] = field(default_factory=list)
    """Rows of the delivery table: of that batch, and if it was split (DI4) of the parts of it that hold the record."""
    history: list[tuple[Message, dict[str, Any]]] = field(default_factory=list)
    """The same rows as they were written one after the other, as far as the table has not been compacted."""

    @property
    def delivery(self) -> dict[str, Any] | None:
        """The row that says how its delivery stands."""
        return self.path[-1] if self.path else None

    @property
    def batch_id(self) -> bytes | None:
        """The last batch it was in, whole."""
        return self.batched[-1][1]["batch_id"] if self.batched else None

    @property
    def answer(self) -> tuple[str, Message, dict[str, Any]] | None:
        """The final answer of its last life: (sent or dead-letter, message, fields)."""
        answers = [("dead-letter", *found) for found in self.dead] + [("sent", *found) for found in self.sent]
        return max(answers, key=lambda found: (_attempt(found[2]), found[1].timestamp), default=None)

    @property
    def in_flight(self) -> bool:
        """No final answer, or a next life has begun."""
        unsettled = self.delivery is not None and self.delivery["state"] in ("pending", "in_flight")
        answer = self.answer
        return answer is None or (unsettled and answer[0] == "dead-letter" and answer[2]["stage"] == "dispatch")

    @property
    def state(self) -> str:
        """FSM-01. A duplicate is acknowledged as such."""
        answer = self.answer
        if answer is not None and not self.in_flight:
            return "ACKNOWLEDGED" if answer[0] == "sent" else "FAILED"
        if self.delivery is not None and self.delivery["attempt"]:
            return "SENT"
        return "BATCHED" if self.batched else "VALIDATED" if self.validated else "INGESTED"

    @property
    def transmission(self) -> str | None:
        """FSM-02, of the batch it is in; None where it is in none."""
        if self.delivery is not None:
            return transmission(self.delivery)
        if not self.batched:
            return None
        answer = self.answer
        if answer is None:
            return "Pending"
        return "Delivered" if answer[0] == "sent" else "DeadLetter"


def transmission(row: Mapping[str, Any]) -> str:
    """FSM-02 of a row of the delivery table."""
    if row["state"] == "pending":
        return "Retrying" if row["attempt"] else "Pending"
    return {"in_flight": "InFlight", "sent": "Delivered", "dead": "DeadLetter", "split": "Split"}[row["state"]]


def _attempt(message: Mapping[str, Any]) -> int:
    passport = message.get("passport")
    return passport["attempt"] if passport else 0


class Finder:
    """Looks through the topics of one pipeline."""

    def __init__(self, reader: Reader, decoder: Decoder, pipeline: Pipeline) -> None:
        self._reader, self._decoder, self._pipeline = reader, decoder, pipeline
        self.codec = decoder.codec

    def position(self, message: Message, short: str) -> str:
        """Where a message stands, in full."""
        return f"{self._pipeline.topic(short)}/{message.partition}/{message.offset}"

    def _holding(self, short: str, marks: Iterable[Marks]) -> Iterable[tuple[Message, str, dict[str, Any]]]:
        wanted = list(marks)
        for message in self._reader.all(self._pipeline.topic(short)):
            if message.value is not None and holds(message.value, wanted):
                try:
                    yield (message, *self.codec.decode(message.value))
                except WireError:
                    continue  # `audit verify` and `tail` say so; here it cannot be about the record

    def records(self, mark: bytes, matches: Callable[[dict[str, Any]], bool]) -> list[RawPosition]:
        """Positions of the records that hold `mark` somewhere and match, validated or refused."""
        found: dict[RawPosition, None] = {}
        for short in ("validated", "dead-letter"):
            for _, name, fields in self._holding(short, [(mark,)]):
                if name in ("validated", "dead_letter") and matches(fields):
                    found[position_of(fields)] = None
        return list(found)

    def members(self, batch_id: bytes) -> list[bytes]:
        """The Validated messages in a frozen batch, or in a part of one that was split; none if there is no such."""
        for _, name, fields in self._holding("batched", [(batch_id,)]):
            if name == "batched" and fields["batch_id"] == batch_id:
                return list(fields["records"])
        row = self.delivery().get(batch_id)
        if row is None:
            return []
        partition, offset = row["batched_partition"], row["batched_offset"]
        slices = self._reader.read(self._pipeline.topic("batched"), {partition: offset}, {partition: offset + 1})
        for message in (message for slice_ in slices for message in slice_ if message.offset == offset):
            _, fields = self.codec.decode(message.value or b"")
            return list(fields["records"][row["first"] : row["first"] + row["count"]])
        return []

    def delivery(self) -> dict[bytes, dict[str, Any]]:
        """The delivery table by batch id."""
        rows = self._reader.table(self._pipeline.topic("delivery")).values()
        return {row["batch_id"]: row for row in self._decoder.batches(rows)}

    def _waits(self) -> Iterable[dict[str, Any]]:
        """The records that wait for what must come before them."""
        if "waiting" not in self._pipeline.tables:
            return []
        return self._decoder.waits(self._reader.table(self._pipeline.topic("waiting")).values())

    def submission(self, raw: RawPosition) -> Message | None:
        """The publisher's message."""
        return self._reader.at(self._pipeline.raw_topic, raw)

    def lives(self, positions: Iterable[RawPosition], audit: bool = True) -> list[Life]:
        """The lives of all records of the submissions that the positions belong to and that are among them; a
        position of index -1 stands for every record of its submission."""
        wanted = list(positions)
        whole = {raw.submission for raw in wanted if raw.index < 0}
        lives = {raw: Life(raw) for raw in wanted if raw.index >= 0}
        marks = {raw.submission: marks_of(raw.submission) for raw in wanted}

        def life(fields: Mapping[str, Any]) -> Life | None:
            raw = position_of(fields)
            if raw not in lives and raw.submission in whole:
                lives[raw] = Life(raw)
            return lives.get(raw)

        for message, name, fields in self._holding("validated", marks.values()):
            if name == "validated" and (owner := life(fields)):
                owner.validated.append((message, fields))
        self._refused(marks.values(), life)
        for message, name, fields in self._holding("batched", marks.values()):
            if name == "batched":
                for number, data in enumerate(fields.pop("records")):
                    if holds(data, marks.values()) and (owner := life(self.codec.decode(data)[1])):
                        owner.batched.append((message, fields))
                        owner.number = number
        self._acks(marks.values(), life)
        for row in self._waits():
            if owner := life(row):
                owner.waits = row
        table = self.delivery() if any(found.batched for found in lives.values()) else {}
        children: dict[bytes, list[dict[str, Any]]] = {}
        for row in table.values():
            if row["parent"] is not None:
                children.setdefault(row["parent"], []).append(row)
        for found in lives.values():
            found.path = path_of(found.number, table.get(found.batch_id or b""), children)
        if audit:
            self._history(list(lives.values()))
            self._audit(list(lives.values()), marks.values())
        for submission in marks:
            stored = self.submission(RawPosition(*submission, 0))
            for found in lives.values():
                if found.raw.submission == submission:
                    found.submission = stored
        return sorted(lives.values(), key=lambda found: found.raw)

    def _refused(self, marks: Iterable[Marks], life: Callable[[Mapping[str, Any]], Life | None]) -> None:
        wanted = list(marks)
        letters = [
            (message, fields)
            for message, name, fields in self._holding("dead-letter", [*wanted, *marks_of_condemned(self._pipeline)])
            if name == "dead_letter" and (holds(message.value or b"", wanted) or condemned.is_elsewhere(fields))
        ]
        for message, letter in letters:  # when nothing else is being read
            for fields in condemned.each(letter, self._pipeline, self.codec, self._reader):
                if owner := life(fields):
                    owner.dead.append((message, fields))

    def _acks(self, marks: Iterable[Marks], life: Callable[[Mapping[str, Any]], Life | None]) -> None:
        for message, name, fields in self._holding("sent", marks):
            if name == "sent":
                if owner := life(fields):
                    owner.sent.append((message, fields))
                if fields["duplicate_of"] and (first := life(fields["duplicate_of"])):
                    first.repeats.append(position_of(fields))
            elif name == "sent_batch":
                for record in fields["records"]:
                    if owner := life(record):
                        shared = {key: value for key, value in fields.items() if key != "records"}
                        owner.sent.append((message, {**shared, **record, "outcome": "delivered"}))

    def _history(self, lives: list[Life]) -> None:
        by_batch: dict[bytes, list[Life]] = {}
        for found in lives:
            for row in found.path:
                by_batch.setdefault(row["batch_id"], []).append(found)
        for message in self._reader.all(self._pipeline.topic("delivery")) if by_batch else ():
            if message.value is not None and (owners := by_batch.get(message.key or b"")):
                _, row = self.codec.decode(message.value)
                for found in owners:
                    found.history.append((message, row))

    def _audit(self, lives: list[Life], marks: Iterable[Marks]) -> None:
        by_position = {found.raw: found for found in lives}
        by_batch: dict[bytes, list[Life]] = {}
        for found in lives:
            ids = {found.batch_id, *(row["batch_id"] for row in found.path)}
            ids |= {fields["batch_id"] for _, fields in (*found.sent, *found.dead)}
            for batch_id in filter(None, ids):
                by_batch.setdefault(batch_id, []).append(found)
        wanted = [*marks, *((batch_id,) for batch_id in by_batch)]
        for message in self._reader.all(self._pipeline.topic("audit")):
            if message.value is None or not holds(message.value, wanted):
                continue
            try:
                block = read_block(message.value)
            except ValueError:
                continue  # `audit verify` names it
            for entry in block.entries:
                if entry.digest in by_batch:
                    for found in by_batch[entry.digest]:
                        found.audit.append((message, block, entry))
                    continue
                raw = RawPosition(*entry[2:7])
                if raw in by_position:
                    by_position[raw].audit.append((message, block, entry))


def path_of(
    number: int, row: dict[str, Any] | None, children: Mapping[bytes, Sequence[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """The rows of a batch and of the parts of it that hold its `number`th record. `children`: rows by their parent."""
    path = []
    while row is not None:
        path.append(row)
        halves = children.get(row["batch_id"], ())
        row = next((half for half in halves if half["first"] <= number < half["first"] + half["count"]), None)
    return path


def _audit_order(found: tuple[Message, Block, Entry]) -> tuple[int, ...]:
    """The order of a life: by the time of the message, which is the broker's; at one moment in the order data flows.
    A worker's own clock says nothing here."""
    message, block, _ = found
    return message.timestamp, STAGES.index(block.chain.stage), block.sequence, block.part


def steps(life: Life, pipeline: Pipeline) -> list[Step]:
    """A life in the order it was lived."""

    def at(message: Message, short: str) -> str:
        return f"{pipeline.topic(short)}/{message.partition}/{message.offset}"

    found: list[Step] = []
    names: tuple[str, ...]
    facts: dict[str, Any]
    if life.submission is not None:
        headers = {name: value.decode("utf-8", "backslashreplace") for name, value in sorted(life.submission.headers)}
        facts = {"bytes": len(life.submission.value or b""), "headers": headers}
        found.append(Step("INGESTED", life.submission.timestamp, record_id(life.raw).rpartition("/")[0], facts))
    for message, fields in life.validated:
        names = ("key", "event_time", "group", "date", "partner", "digest", "schema_version", "topology_version")
        facts = {name: fields[name] for name in names} | {"warnings": fields["warnings"]}
        why = next((value.decode() for name, value in message.headers if name == WAITED), "")
        if why:
            facts = {"why": why.partition(" ")[0], "digest": fields["digest"]}
        found.append(Step("RETURNED" if why else "VALIDATED", message.timestamp, at(message, "validated"), facts))
    for message, fields in life.batched:
        names = ("batch_id", "count", "group", "date", "partner", "close_reason")
        found.append(Step("BATCHED", message.timestamp, at(message, "batched"), {name: fields[name] for name in names}))
    for message, _, entry in life.audit:
        if entry.action == "ATTEMPT":
            life_number, _, attempt = entry.code.partition(".")
            facts = {"batch_id": entry.digest, "life": int(life_number), "attempt": int(attempt)}
            row = next((one for one in life.path if one["batch_id"] == entry.digest), None)
            if row is not None and (row["life"], row["attempt"]) == (facts["life"], facts["attempt"]):
                facts |= {"body_digest": row["body_digest"], "render_version": row["render_version"]}
            found.append(Step("SENT", message.timestamp, at(message, "audit"), facts))
        elif (entry.action, entry.code) == ("BATCH", "split"):
            row = next((one for one in life.path if one["parent"] == entry.digest), None)
            said = next((one["answer"] for one in life.path if one["batch_id"] == entry.digest), None)
            facts = {"batch_id": entry.digest, "answer": said, "part": row["batch_id"] if row else None}
            facts |= {"records": row["count"] if row else None}
            found.append(Step("SPLIT", message.timestamp, at(message, "audit"), facts))
    for message, facts in retries(life.history):
        found.append(Step("RETRYING", message.timestamp, at(message, "delivery"), facts))
    for message, fields in life.dead:
        names = ("stage", "error_class", "reason", "route", "findings", "digest", "batch_id", "attempts", "answer",
                 "outcome_unknown", "passport")  # fmt: skip
        found.append(Step("FAILED", message.timestamp, at(message, "dead-letter"), {n: fields[n] for n in names}))
    for message, fields in life.sent:
        names = ("outcome", "duplicate_of", "batch_id", "partner", "answer", "digest", "warnings", "passport")
        facts = {name: fields.get(name) for name in names}
        if facts["duplicate_of"]:
            facts["duplicate_of"] = record_id(position_of(fields["duplicate_of"]))
        found.append(Step("ACKNOWLEDGED", message.timestamp, at(message, "sent"), facts))
    order = ("INGESTED", "VALIDATED", "RETURNED", "BATCHED")

    def place(step: Step) -> tuple[int, int, float]:
        # At one moment an attempt and what it was answered come before the next one, and all before the end.
        stage = order.index(step.name) if step.name in order else len(order)
        return stage, step.at or 0, step.facts.get("attempt", inf)

    found.sort(key=place)
    for message, block, entry in sorted(life.audit, key=_audit_order):
        facts = {"stage": block.chain.stage, "partition": block.chain.partition, "sequence": block.sequence}
        facts |= {"action": entry.action, "code": entry.code, "digest": entry.digest, "head": block.head}
        facts |= {"worker": block.observed.worker, "software": block.observed.software}
        found.append(Step("AUDIT", message.timestamp, at(message, "audit"), facts))
    return found
