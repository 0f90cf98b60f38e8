"""The independent judge: reads the topics of a plant as anybody could, and says whether the laws held.

It shares the wire schemas and the audit verifier with the program, and nothing else: no stage, no books.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from audit.block import Chain, read_block
from audit.verify import End, verify
from chaos.checker.kafka import MOVING
from schemas.codec import SingleObjectCodec
from tests.support import wait_for
from tests.system.plant import Plant
from topology.model import CONTROL_TOPIC

CODEC = SingleObjectCodec()
STAGES = {"validate": "raw", "batch": "validated", "dispatch": "batched"}
READ_SECONDS = 60.0
NOT_YET = MOVING | {KafkaError.UNKNOWN_TOPIC_OR_PART}
"""A partition that has no leader yet: asked again, though the client does not call it retriable."""

Place = tuple[int, int, int]
"""Raw partition, offset, index of a record."""


class Entry(NamedTuple):
    """A message as read."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class Judge:
    """Looks at a plant whose workers have stopped."""

    def __init__(self, plant: Plant) -> None:
        self.plant, self.pipeline = plant, plant.pipeline
        self._admin: Any = AdminClient({"bootstrap.servers": plant.bootstrap})
        self._read: dict[str, list[Entry]] = {}

    # ---- reading ---------------------------------------------------------------------------------

    def ends(self, short: str, isolation: Any = IsolationLevel.READ_UNCOMMITTED) -> dict[int, int]:
        """High watermarks by partition, or last stable offsets."""
        where = [TopicPartition(self.pipeline.topic(short), p) for p in range(self.pipeline.partitions)]

        def ask() -> dict[int, int] | None:
            asked = self._admin.list_offsets(dict.fromkeys(where, OffsetSpec.latest()), isolation_level=isolation)
            try:
                return {tp.partition: future.result(READ_SECONDS).offset for tp, future in asked.items()}
            except KafkaException as early:  # a topic that was made a moment ago
                if not early.args[0].retriable() and early.args[0].code() not in NOT_YET:
                    raise
                return None

        return wait_for(ask, READ_SECONDS, f"the ends of {short}") or {}

    def messages(self, short: str) -> list[Entry]:
        """Every committed message of a topic; read once."""
        if short not in self._read:
            self._read[short] = list(self._all(short))
        return self._read[short]

    def _all(self, short: str) -> Iterator[Entry]:
        settings = {
            "bootstrap.servers": self.plant.bootstrap,
            "group.id": "judge",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 50,
        }
        left = {p: end for p, end in self.ends(short).items() if end}
        consumer = Consumer(settings)
        consumer.assign([TopicPartition(self.pipeline.topic(short), p, 0) for p in left])
        deadline = time.monotonic() + READ_SECONDS
        try:
            while left:
                assert time.monotonic() < deadline, f"{short} cannot be read to its end {left}"
                for message in consumer.consume(5000, 0.05):
                    error = message.error()
                    if error is None:
                        yield Entry(message.partition(), message.offset(), message.key(), message.value())
                        continue
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    if message.offset() >= left.get(message.partition(), 0):
                        left.pop(message.partition(), None)
        finally:
            consumer.close()

    def decoded(self, short: str) -> list[tuple[str, dict[str, Any]]]:
        """Every message of a topic, decoded."""
        return [CODEC.decode(entry.value) for entry in self.messages(short) if entry.value is not None]

    def table(self, short: str) -> dict[tuple[int, bytes], dict[str, Any]]:
        """The rows that a table's topic implies."""
        rows = {(entry.partition, entry.key or b""): entry.value for entry in self.messages(short)}
        decoded = {key: CODEC.decode(value) for key, value in rows.items() if value is not None}
        return {key: row for key, (name, row) in decoded.items() if name != "partner_state"}  # not about batches

    def committed(self, stage: str) -> dict[int, int]:
        """Committed offsets of a stage's group, by partition."""
        group = self.pipeline.group_id(stage)
        where = [TopicPartition(self.pipeline.topic(STAGES[stage]), p) for p in range(self.pipeline.partitions)]
        # As a consumer that never joins: the admin client's request can crash the process (librdkafka #5040).
        settings = {"bootstrap.servers": self.plant.bootstrap, "group.id": group, "enable.auto.commit": False}
        consumer = Consumer(settings | {"isolation.level": "read_uncommitted"})

        def ask() -> Any:
            try:
                return consumer.committed(where, READ_SECONDS)
            except KafkaException as moving:
                if moving.args[0].code() != KafkaError.NOT_COORDINATOR and not moving.args[0].retriable():
                    raise
                return None

        try:
            found = wait_for(ask, READ_SECONDS, f"the committed offsets of {group}")
        finally:
            consumer.close()
        return {tp.partition: tp.offset for tp in found if tp.offset >= 0}

    def wait_until_batched_through(self) -> None:
        """Waits until batch has worked every record that was published."""

        def done() -> bool:
            now = Judge(self.plant)
            validated = {place(m) for name, m in now.decoded("validated") if name == "validated"}
            refused = {place(m) for _, m in now.decoded("dead-letter") if m["stage"] == "validate"}
            if {(*at, 0) for at in self.plant.published} - validated - refused:
                return False
            last = {entry.partition: entry.offset for entry in now.messages("validated")}
            rows = [row for row in now.table("heads").values() if row["stage"] == "batch"]
            return {row["partition"]: row["processed_through"] for row in rows}.items() >= last.items()

        wait_for(done, READ_SECONDS, "batch has worked what was published")

    # ---- the laws --------------------------------------------------------------------------------

    def answers(self) -> dict[Place, list[str]]:
        """Every record's final answers, by raw position."""
        answers: dict[Place, list[str]] = {}
        for name, message in [*self.decoded("sent"), *self.decoded("dead-letter")]:
            outcome = f"dead in {message['stage']}" if name == "dead_letter" else message["outcome"]
            assert message["raw_topic"] == self.pipeline.raw_topic, message
            answers.setdefault(place(message), []).append(outcome)
        return answers

    def outcomes(self) -> Counter[str]:
        """How often each outcome was given."""
        return Counter(outcome for outcomes in self.answers().values() for outcome in outcomes)

    def conservation(self) -> None:
        """Law 1, for one-record submissions: exactly one answer for each one published, and for nothing else."""
        answers = self.answers()
        twice = {at: outcomes for at, outcomes in answers.items() if len(outcomes) > 1}
        assert not twice, f"two answers: {twice}"
        published = {(partition, offset, 0) for partition, offset in self.plant.published}
        assert answers.keys() - published == set(), "answers of nothing"
        assert published - answers.keys() == set(), "records without an answer"

    def ledger(self) -> None:
        """Law 7: each partner has its delivered batches once, every batch has its records once, and nothing else."""
        sent: dict[tuple[str, str], set[Place]] = {}
        for _, ack in self.decoded("sent"):
            if ack["outcome"] == "delivered":
                sent.setdefault((ack["partner"], ack["batch_id"].hex()), set()).add(place(ack))
        members: dict[str, set[Place]] = {}
        for _, frozen in self.decoded("batched"):
            records = [place(CODEC.decode(data)[1]) for data in frozen["records"]]
            assert len(records) == len(set(records)) == frozen["count"]
            assert frozen["batch_id"].hex() not in members, "one batch was frozen twice"
            members[frozen["batch_id"].hex()] = set(records)
        for (_, batch), acked in sent.items():
            assert acked == members[batch]
        for name, held in self.plant.held().items():
            assert sorted(held) == sorted(batch for partner, batch in sent if partner == name), name

    def nothing_open(self) -> None:
        """No transaction is open anywhere: the last stable offset is the high watermark."""
        for short in ("validated", "batched", "sent", "dead-letter", "audit", "heads", "windows", "delivery"):
            assert self.ends(short, IsolationLevel.READ_COMMITTED) == self.ends(short), short

    def tables(self) -> None:
        """Every table says what the topics it belongs to say."""
        delivery = self.table("delivery")
        batches = {batch["batch_id"]: batch for _, batch in self.decoded("batched")}
        assert {row["batch_id"] for row in delivery.values()} == batches.keys()
        delivered = {ack["batch_id"] for _, ack in self.decoded("sent") if ack["outcome"] == "delivered"}
        for row in delivery.values():
            assert row["state"] == ("sent" if row["batch_id"] in delivered else "dead")
        self._versions()
        self._windows()
        self._heads()

    def _versions(self) -> None:
        """idempotency: one row for every record that reached a batch and was not released, and no other."""
        validated = {
            (entry.partition, entry.offset): CODEC.decode(entry.value or b"") for entry in self.messages("validated")
        }
        released = {place(message) for name, message in validated.values() if name == "release"}
        batched = {place(CODEC.decode(data)[1]) for _, batch in self.decoded("batched") for data in batch["records"]}
        rows = {place(row): (partition, row) for (partition, _), row in self.table("idempotency").items()}
        assert rows.keys() == batched - released
        for partition, row in rows.values():
            name, message = validated[partition, row["offset"]]
            assert name == "validated"
            assert (row["key"], row["digest"], place(row)) == (message["key"], message["digest"], place(message))

    def _windows(self) -> None:
        """windows: no row lies below the committed offset, and none says that what is in no batch is sealed."""
        committed = self.committed("batch")
        for (partition, _), row in self.table("windows").items():
            assert row["sealed_through"] >= committed[partition], row

    def _heads(self) -> None:
        """heads: the counters and heads are those of the last audit blocks, the offsets those that were committed."""
        last: dict[tuple[str, int], Any] = {}
        for entry in self.messages("audit"):
            block = read_block(entry.value or b"")
            last[block.chain.stage, block.chain.partition] = block
        heads = {(row["stage"], row["partition"]): row for row in self.table("heads").values()}
        assert heads.keys() == last.keys()
        for key, block in last.items():
            row = heads[key]
            assert (row["counter"], row["chain"]) == (block.sequence, block.head), key
            assert self.committed(key[0])[key[1]] == row["processed_through"] + 1, key

    def audit(self) -> None:
        """The verifier finds nothing, with the ends that the cluster tells."""
        ends = {}
        for row in self.table("heads").values():
            chain = Chain(self.pipeline.pipeline, row["stage"], row["partition"])
            committed = self.committed(row["stage"])[row["partition"]]
            ends[chain] = End(row["counter"], row["chain"], committed)
        result = verify([(entry.offset, entry.value or b"") for entry in self.messages("audit")], ends=ends)
        assert result.exit_code == 0, [result.summary(), *map(str, result.findings)]
        self._audited_once()

    def _audited_once(self) -> None:
        """Every record has one entry of validate and, if it got there, one of batch and one of its delivery."""
        seen: Counter[tuple[str, Place]] = Counter()
        for entry in self.messages("audit"):
            block = read_block(entry.value or b"")
            for noted in block.entries:
                if noted.action in ("VALIDATE", "REJECT", "ADMIT", "DUPLICATE", "CONFLICT", "DELIVER", "DEAD"):
                    at = (noted.raw_partition, noted.raw_offset, noted.raw_index)
                    seen[block.chain.stage, at] += 1
        assert [key for key, times in seen.items() if times > 1] == []
        assert {at for stage, at in seen if stage == "validate"} == {(p, o, 0) for p, o in self.plant.published}

    def all(self) -> None:
        """Every law above."""
        self.nothing_open()
        self.conservation()
        self.ledger()
        self.tables()
        self.audit()


def place(message: Any) -> Place:
    """The raw position of a message, in its topic."""
    return message["raw_partition"], message["raw_offset"], message["raw_index"]


def judge(plant: Plant) -> Judge:
    """Holds a stopped plant against every law; returns the judge for further questions."""
    found = Judge(plant)
    found.all()
    return found


def control_messages(bootstrap: str) -> int:
    """How many messages the control topic holds."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "judge", "enable.partition.eof": True})
    consumer.assign([TopicPartition(CONTROL_TOPIC, 0, 0)])
    deadline = time.monotonic() + READ_SECONDS
    count = 0
    try:
        while time.monotonic() < deadline:
            message = consumer.poll(1)
            if message is not None and message.error() is None:
                count += 1
            elif message is not None and message.error().code() == KafkaError._PARTITION_EOF:
                return count
    finally:
        consumer.close()
    raise AssertionError("the control topic has no end")
