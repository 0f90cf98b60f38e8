"""Owns reading a cluster: every committed message of a round's topics, and what the cluster says of itself.

Offsets and ends are asked before the topics are read; the workers have stopped, so nothing moves meanwhile.
"""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from chaos.checker.evidence import Admin, Message, Round, Unreadable
from chaos.checker.wire import shipped_schemas

SECONDS = 120.0
"""For one topic to be read, and for one question: a broker that has just been restarted."""
MOVING = {
    KafkaError._NOENT,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
}
"""A partition whose leader is not settled, or that has none yet (_NOENT): asked again, though the client does not call
these retriable."""


def collect(brokers: str, ran: Round) -> tuple[dict[str, list[Message]], Admin]:
    """Topics by short name, and the cluster's state. Raises Unreadable."""
    shorts = ["raw", *ran.topics]
    try:
        admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
        high, stable = (
            {short: _ends(admin, ran.topic(short), ran.partitions, isolation) for short in shorts}
            for isolation in (IsolationLevel.READ_UNCOMMITTED, IsolationLevel.READ_COMMITTED)
        )
        ids = {short: _id(admin, ran.topic(short)) for short in shorts}
        committed = {stage: _committed(brokers, ran, stage) for stage in ran.groups}
        topics = {short: _read(brokers, ran.topic(short), stable[short]) for short in shorts}
    except KafkaException as error:
        raise Unreadable(f"{brokers}: {error.args[0].str()}") from error
    return topics, Admin(committed, high, stable, ids, shipped_schemas())


def read_topic(brokers: str, topic: str, partitions: int) -> list[Message]:
    """Every committed message of a topic, in the order of partition and offset. Raises Unreadable."""
    admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
    return _read(brokers, topic, _ends(admin, topic, partitions, IsolationLevel.READ_COMMITTED))


def _ends(admin: Any, topic: str, partitions: int, isolation: Any) -> dict[int, int]:
    """High watermarks, or last stable offsets, by partition."""
    where = [TopicPartition(topic, partition) for partition in range(partitions)]
    deadline = time.monotonic() + SECONDS
    while True:
        asked = admin.list_offsets(
            dict.fromkeys(where, OffsetSpec.latest()), isolation_level=isolation, request_timeout=SECONDS / 4
        )
        try:
            return {tp.partition: future.result(SECONDS).offset for tp, future in asked.items()}
        except KafkaException as error:
            if error.args[0].code() not in MOVING or time.monotonic() >= deadline:
                raise Unreadable(f"{topic}: {error.args[0].str()}") from error
            time.sleep(0.1)


def _id(admin: Any, topic: str) -> str:
    """Kafka's id of a topic."""
    asked = admin.describe_topics(TopicCollection([topic]), request_timeout=SECONDS / 4)
    return str(asked[topic].result(SECONDS).topic_id)


def _committed(brokers: str, ran: Round, stage: str) -> dict[int, int]:
    """Asked as a consumer that never joins: the admin client's request can crash the process (librdkafka #5040)."""
    topic = ran.topic(ran.inputs[stage])
    where = [TopicPartition(topic, partition) for partition in range(ran.partitions)]
    settings = {"bootstrap.servers": brokers, "group.id": ran.groups[stage], "enable.auto.commit": False}
    consumer = Consumer(settings | {"isolation.level": "read_uncommitted", "log_level": 0})
    deadline = time.monotonic() + SECONDS
    try:
        while True:
            try:
                found = consumer.committed(where, SECONDS / 4)
                return {tp.partition: tp.offset for tp in found if tp.offset >= 0}
            except KafkaException as error:
                if time.monotonic() >= deadline:
                    raise Unreadable(f"{ran.groups[stage]}: {error.args[0].str()}") from error
                time.sleep(0.1)
    finally:
        consumer.close()


def _read(brokers: str, topic: str, stable: dict[int, int]) -> list[Message]:
    """Every committed message; the end is told by the offset of the EOF event, which passes transaction markers."""
    settings = {
        "bootstrap.servers": brokers,
        "group.id": "chaos.checker",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "fetch.wait.max.ms": 50,
        "log_level": 0,
    }
    left = {partition: end for partition, end in stable.items() if end}
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in left])
    deadline, found = time.monotonic() + SECONDS, []
    try:
        while left:
            if time.monotonic() >= deadline:
                raise Unreadable(f"{topic}: partitions {sorted(left)} could not be read to their ends in {SECONDS:g} s")
            for message in consumer.consume(5000, 0.05):
                error = message.error()
                if error is None:
                    stamp = message.timestamp()[1]
                    found.append(Message(message.partition(), message.offset(), stamp, message.key(), message.value()))
                elif error.code() == KafkaError._PARTITION_EOF:
                    if message.offset() >= left.get(message.partition(), 0):
                        left.pop(message.partition(), None)
                elif not error.retriable():
                    raise Unreadable(f"{topic}/{message.partition()}: {error.str()}")
    finally:
        consumer.close()
    return sorted(found, key=lambda m: (m.partition, m.offset))
