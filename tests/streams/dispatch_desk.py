"""One dispatch stage on one partition, with a hand in the place of runner, log and partner; bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from schemas.canonical import sha256
from schemas.codec import SingleObjectCodec
from streams.deadletter import DeadLetters
from streams.delivery.protocol import Envelope, Outcome, OutcomeKind
from streams.dispatch.agent import DispatchStage
from streams.progress import Identity
from streams.stage import Chunk, Message, Output, Work
from streams.tables import MemoryRows
from tests.stub_pack import StubPack
from topology.model import Pipeline
from topology.partner import BreakerSettings, HttpPartner, ObjectStorePartner, Partner
from topology.sections import Retry

CODEC = SingleObjectCodec()
START = 1_700_000_000_000
NO_BREAKER = BreakerSettings(failures=0)
"""What a batch's own failures come to, which an outage of the partner would hide."""
TOPIC_ID = "the-topic"
PASSPORT = {"reason": "again", "approver": "a person", "attempt": 1, "original_position": "raw/0/0/0"}


class PlainPack(StubPack):
    """Summarizes nothing."""

    name = "plain"
    fields = frozenset({"key"})

    def summarize(self, payloads: Sequence[bytes]) -> Mapping[str, Any]:
        return {"records": len(payloads)}


def pipeline(partners: Mapping[str, Partner] | None = None, **changes: Any) -> Pipeline:
    """A pipeline with a folder and an HTTP partner."""
    partners = partners or {
        "lake": ObjectStorePartner(kind="object-store", url="file:lake", prefix="cold", breaker=NO_BREAKER),
        "clinic": HttpPartner(kind="http", url="http://clinic", connections=2, breaker=NO_BREAKER),
    }
    settings: dict[str, Any] = {
        "pipeline": "plain", "pack": "plain", "partitions": 2, "partition_by": ["key"], "idempotency": ["key"],
        "partner": "lake", "partners": partners, "retry": Retry(backoff="inventory", attempts=3, unknown_attempts=4),
        **changes,
    }  # fmt: skip
    return Pipeline(**settings)


def record(key: str, offset: int, group: str = "g", partner: str = "lake") -> dict[str, Any]:
    """A Validated message."""
    payload = b'{"key":"%b"}' % key.encode()
    return {
        "key": key, "digest": sha256(payload), "group": group, "date": "2026-03-01", "partner": partner,
        "recorded_at": START, "event_time": START - 5, "ordering": None, "raw_topic": "plain.raw",
        "raw_incarnation": 0, "raw_partition": 0, "raw_offset": offset, "raw_index": 0, "count": 1,
        "submission_digest": sha256(b"submission"), "source": "file.csv", "site": "here", "received_at": None,
        "schema_version": "plain-1", "topology_version": 1, "warnings": [], "passport": None,
        "payload": payload, "claim": None,
    }  # fmt: skip


def batched(
    batch_id: bytes, records: Sequence[Mapping[str, Any]], group: str = "g", partner: str = "lake",
    recorded_at: int = START,
) -> bytes:  # fmt: skip
    """A Batched message, as the batch stage writes it; cut from partition 1 of `validated`."""
    return CODEC.encode(
        "batched",
        {
            "batch_id": batch_id, "pipeline": "plain", "partition": 1, "group": group, "date": "2026-03-01",
            "partner": partner, "close_reason": "count", "first_recorded_at": recorded_at,
            "last_recorded_at": recorded_at, "topology_version": 1, "life": 1, "passport": None,
            "count": len(records), "records": [CODEC.encode("validated", one) for one in records],
        },
    )  # fmt: skip


def batched_again(
    batch_id: bytes, offset: int, life: int, partition: int = 0, group: str = "g", partner: str = "lake"
) -> bytes:
    """The message by which a dead batch is delivered again."""
    return CODEC.encode(
        "batched_again",
        {
            "batch_id": batch_id, "batched_partition": partition, "batched_offset": offset, "life": life,
            "partner": partner, "group": group, "date": "2026-03-01", "passport": PASSPORT,
        },
    )  # fmt: skip


def outcome(kind: str, answer: str = "an answer", retry_after: float | None = None) -> Outcome:
    """An outcome by the name of its kind."""
    return Outcome(OutcomeKind(kind), answer, retry_after)


class Desk:
    """The stage, and everything that would be committed."""

    def __init__(self, stage: type[DispatchStage] = DispatchStage, may_send: bool = True, **changes: Any) -> None:
        self.pipeline = pipeline(**changes)
        self.stage_type, self.may_send = stage, may_send
        self.pack: Any = PlainPack()
        self.log: list[Message] = []
        self.tables: dict[str, dict[bytes, bytes]] = {"heads": {}, "delivery": {}}
        self.committed: int | None = None
        self.outputs: list[Output] = []
        self.sent: list[Envelope] = []
        self.fetched: list[int] = []
        self.now = START
        self.start()

    def start(self) -> None:
        """A new process takes the partition over from what has committed."""
        self.stage = self.stage_type(
            self.pipeline, CODEC, self.pack, Identity("worker", "0", "1"), DeadLetters(CODEC, 2), self.fetch,
            Random(1), lambda table, partition: MemoryRows(),
        )  # fmt: skip
        self.stage.input_topic_id = TOPIC_ID
        self.stage.may_send = self.may_send
        self.restore()

    def restore(self) -> None:
        """The same process rebuilds the partition (TX1)."""
        stores = {}
        for table, rows in self.tables.items():
            stores[table] = self.stage.store(table, 0)
            stores[table].apply(rows.items(), len(rows))
        self.stage.restore(0, stores, self.committed, self.now)

    def fetch(self, partition: int, offset: int) -> Message | None:
        self.fetched.append(offset)
        return self.log[offset] if offset < len(self.log) else None

    # ---- what happens ----------------------------------------------------------------------------

    def read(self, *values: bytes | None, commit: bool = True) -> Work:
        """Messages appended to `batched` and read."""
        first = len(self.log)
        self.log += [Message(0, first + n, START, b"lake", value) for n, value in enumerate(values)]
        return self.turn(messages=self.log[first:], commit=commit)

    def batch(
        self, name: str, size: int = 1, group: str = "g", partner: str = "lake", recorded_at: int = START
    ) -> bytes:  # fmt: skip
        """Reads a batch with records `<name>0`, `<name>1`, ...; gives back its id."""
        records = [record(f"{name}{n}", 10 * len(self.log) + n, group, partner) for n in range(size)]
        self.read(batched(batch_id(name), records, group, partner, recorded_at))
        return batch_id(name)

    def answer(self, kind: str, envelope: Envelope | None = None, after: int = 0, **more: Any) -> Work:
        """An answer to an attempt (the last one) comes in, `after` ms later."""
        self.now += after
        return self.turn(answers=[(envelope or self.sent[-1], outcome(kind, **more))])

    def wait(self, seconds: float) -> Work | None:
        """Time passes; the runner calls where a wait has run out."""
        self.now += int(seconds * 1000)
        return self.turn() if self.stage.due(self.now) else None

    def turn(
        self,
        answers: Sequence[tuple[Envelope, Outcome]] = (),
        messages: Sequence[Message] = (),
        condemned: dict[tuple[int, int], str] | None = None,
        commit: bool = True,
    ) -> Work:
        """One chunk; commits unless told otherwise, and only then sends."""
        work = self.stage.process(Chunk(list(messages), self.now, list(answers), condemned or {}))
        if commit and not work.empty:
            for output in work.outputs:
                if output.topic in self.tables and output.key is not None:
                    table = self.tables[output.topic]
                    if output.value is None:
                        table.pop(output.key, None)
                    else:
                        table[output.key] = output.value
            self.committed = work.offsets.get(0, self.committed)
            self.outputs += work.outputs
            self.stage.committed(work, self.now)
            self.sent += work.effects
        return work

    # ---- what came of it -------------------------------------------------------------------------

    def said(self, topic: str, name: str | None = None) -> list[dict[str, Any]]:
        """Messages written to a topic so far; of one kind, if named."""
        return said(self.outputs, topic, name)

    def row(self, name: str) -> dict[str, Any]:
        """A row of the delivery table, as committed."""
        return self.row_of(batch_id(name))

    def row_of(self, batch: bytes) -> dict[str, Any]:
        """The same, by the batch's id."""
        return CODEC.decode(self.tables["delivery"][batch])[1]


def said(outputs: Sequence[Output], topic: str, name: str | None = None) -> list[dict[str, Any]]:
    """Decoded messages of one topic, without tombstones."""
    decoded = [CODEC.decode(output.value) for output in outputs if output.topic == topic and output.value]
    return [message for kind, message in decoded if name in (None, kind)]


def batch_id(name: str) -> bytes:
    """The id of a batch of the desk."""
    return sha256(name.encode())
