"""What the tests of the Kafka log share: one small pipeline, plain clients beside the log, and its usual moves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.runtime.admin import Cluster, create_topics
from streams.runtime.kafka import KafkaLog
from streams.runtime.log import Fetched
from streams.stage import Message, Output
from tests.support import wait_for
from topology.model import Pipeline
from topology.sections import Topic
from topology.topics import topic_specs

LONG = {"session.timeout.ms": "60000", "transaction.timeout.ms": "50000"}
SHORT = {"session.timeout.ms": "3000", "transaction.timeout.ms": "2500"}
DEADLINE = 60.0


def small_pipeline(prefix: str) -> Pipeline:
    """A pipeline with two partitions whose topics begin with the prefix."""
    return Pipeline(
        pipeline="p",
        application=prefix,
        raw=Topic(topic=f"{prefix}.raw"),
        pack="any",
        partitions=2,
        partition_by=["k"],
        idempotency=["k"],
        partner="lake",
    )


class World:
    """Topics of one pipeline with two partitions, and every client opened through it."""

    def __init__(self, bootstrap: str, prefix: str, config: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self.bootstrap = bootstrap
        self.pipeline = small_pipeline(prefix)
        specs = [
            spec._replace(config={**spec.config, **(config or {}).get(spec.short, {})})
            for spec in topic_specs(self.pipeline)
            if spec.short != "control"
        ]
        self.specs = specs
        create_topics(bootstrap, specs)
        self.logs: list[KafkaLog] = []
        self._plain: Any = None
        self._cluster = Cluster({"bootstrap.servers": bootstrap})

    def recreate(self, short: str) -> None:
        """Deletes a topic and makes it anew: same name, another topic id."""
        name = self.pipeline.topic(short)
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        admin.delete_topics([name])[name].result(DEADLINE)
        wait_for(lambda: name not in admin.list_topics(timeout=10).topics, DEADLINE, f"{name} is gone")
        create_topics(self.bootstrap, [spec for spec in self.specs if spec.short == short])

    def cut(self, short: str, offset: int, partition: int = 0) -> None:
        """Deletes the records of a partition below an offset, as retention does."""
        where = TopicPartition(self.pipeline.topic(short), partition, offset)
        admin = AdminClient({"bootstrap.servers": self.bootstrap})  # must outlive its answer
        admin.delete_records([where])[where].result(DEADLINE)

    def log(self, stage: str = "batch", slot: int = 0, **overrides: str) -> KafkaLog:
        """A new log; the input of `batch` is `validated`."""
        log = KafkaLog(self.bootstrap, self.pipeline, stage, slot, 0, {**SHORT, **overrides})
        self.logs.append(log)
        return log

    def close(self) -> None:
        for log in self.logs:
            log.close()

    def publish(self, short: str, values: Sequence[bytes | None], partition: int = 0, **more: Any) -> None:
        """Messages outside any transaction, keyed by their place."""
        if self._plain is None:
            self._plain = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 0})
        for place, value in enumerate(values):
            self._plain.produce(self.pipeline.topic(short), value, b"%d" % place, partition, **more)
        assert self._plain.flush(DEADLINE) == 0

    def transactional(self, name: str, timeout_ms: int = 2500) -> Any:
        """A foreign transactional producer, set up."""
        settings = {"transactional.id": f"{self.pipeline.application}.{name}", "transaction.timeout.ms": timeout_ms}
        producer = Producer({"bootstrap.servers": self.bootstrap, **settings})
        producer.init_transactions(DEADLINE)
        return producer

    def high(self, short: str, partition: int = 0) -> int:
        """High watermark of a topic's partition."""
        return self._cluster.bounds(self.pipeline.topic(short), partition)[1]

    def read(self, short: str, partition: int = 0, isolation: str = "read_committed") -> list[bytes | None]:
        """Values of a topic's partition up to its high watermark: waits for the markers of ended transactions."""
        high = self.high(short, partition)
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "plain",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": isolation,
            }
        )
        consumer.assign([TopicPartition(self.pipeline.topic(short), partition, 0)])
        values: list[bytes | None] = []
        deadline = time.monotonic() + DEADLINE
        try:
            while time.monotonic() < deadline:
                message = consumer.poll(1)
                if message is None:
                    continue
                if message.error() is None:
                    values.append(message.value())
                else:
                    assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                    if message.offset() >= high:
                        return values
        finally:
            consumer.close()
        raise AssertionError(f"{short}[{partition}] has no end")


def joined(log: KafkaLog, count: int = 2) -> Fetched:
    """Fetches until the log reports an assignment of so many partitions."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        fetched = log.fetch(100, 2**20, 0.0, 0.1)
        if len(fetched.assigned) == count:
            return fetched
    raise AssertionError(f"no assignment of {count} partitions")


def fetched(log: KafkaLog, count: int, size: int = 2**20) -> tuple[list[Message], Any]:
    """So many messages, and the token they came with. Any change of assignment fails."""
    messages: list[Message] = []
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        got = log.fetch(count - len(messages), size, 0.05, 0.2)
        assert not got.assigned
        assert not got.revoked
        messages += got.messages
        if len(messages) >= count:
            return messages, got.token
    raise AssertionError(f"{len(messages)} messages of {count}")


def started(log: KafkaLog, positions: Mapping[int, int] | None = None) -> Fetched:
    """Joined, and reading both partitions from the given positions (default: the beginning)."""
    assignment = joined(log)
    for partition in assignment.assigned:
        log.seek(partition, (positions or {}).get(partition, 0))
    return assignment


def out(value: bytes | None, topic: str = "sent", key: bytes = b"k", partition: int = 0) -> Output:
    """One output."""
    return Output(topic, partition, key, value)
