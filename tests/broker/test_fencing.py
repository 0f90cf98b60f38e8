"""What the exactly-once design stands on, shown on this broker with this client: the old one is refused.

A worker that lost its partitions must not be able to commit their offsets, and a worker whose transactional id was
taken over must not be able to commit at all.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from tests.support import Names, make_topic, wait_for

pytestmark = pytest.mark.kafka
PREFIX = b"CGMDv2:"


def generation(metadata: object) -> int:
    """The generation in the client's opaque group metadata: 4 bytes, little-endian, after the prefix."""
    assert isinstance(metadata, bytes)
    assert metadata.startswith(PREFIX)
    return int.from_bytes(metadata[len(PREFIX) : len(PREFIX) + 4], "little", signed=True)


@contextmanager
def consumer_in(kafka: str, group: str) -> Iterator[Consumer]:
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "session.timeout.ms": 6000,
            "partition.assignment.strategy": "range",
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def transactional(kafka: str, transactional_id: str) -> Producer:
    producer = Producer(
        {"bootstrap.servers": kafka, "transactional.id": transactional_id, "transaction.timeout.ms": 5000}
    )
    producer.init_transactions(20)
    return producer


def join(*consumers: Consumer, each: int) -> None:
    """Poll until every one of them has so many partitions; the topic is empty, so a message would be a mistake."""

    def settled() -> bool:
        for consumer in consumers:
            message = consumer.poll(0.05)
            # each partition is empty and has no committed offset: the client says so, and that is all it may say
            assert message is None or message.error().code() == KafkaError._AUTO_OFFSET_RESET, message.error()
        return all(len(consumer.assignment()) == each for consumer in consumers)

    wait_for(settled, 30, f"{len(consumers)} members with {each} partitions each")


def committed(kafka: str, group: str, topic: str) -> int:
    with consumer_in(kafka, group) as reader:
        found = reader.committed([TopicPartition(topic, 0)], timeout=20)
        return int(found[0].offset)


def refused(call: object, *arguments: object) -> KafkaError:
    """The error that the call must end with."""
    assert callable(call)
    with pytest.raises(KafkaException) as ended:
        call(*arguments)
    error = ended.value.args[0]
    assert isinstance(error, KafkaError)
    return error


def test_the_group_metadata_carries_the_generation_where_we_read_it(kafka: str, names: Names) -> None:
    """The transaction refuses any other form (DESIGN: chunk transaction, step 4); a new client may change it."""
    make_topic(kafka, names("in"), partitions=2)
    with consumer_in(kafka, names("group")) as first:
        assert generation(first.consumer_group_metadata()) == -1  # in no group yet
        first.subscribe([names("in")])
        join(first, each=2)
        alone = generation(first.consumer_group_metadata())
        assert 0 <= alone < 100  # a new group counts from 1: read in another byte order it would be huge
        with consumer_in(kafka, names("group")) as second:
            second.subscribe([names("in")])
            join(first, second, each=1)
            both = [generation(member.consumer_group_metadata()) for member in (first, second)]
    assert both[0] == both[1] > alone


def test_offsets_of_a_stale_generation_are_refused_and_the_transaction_can_be_aborted(kafka: str, names: Names) -> None:
    make_topic(kafka, names("in"), partitions=2)
    make_topic(kafka, names("out"))
    group = names("group")
    offsets = [TopicPartition(names("in"), 0, 7)]
    producer = transactional(kafka, names("worker"))
    with consumer_in(kafka, group) as first, consumer_in(kafka, group) as second:
        first.subscribe([names("in")])
        join(first, each=2)
        captured = first.consumer_group_metadata()
        second.subscribe([names("in")])
        join(first, second, each=1)  # the group has moved on while the chunk was worked on

        producer.begin_transaction()
        producer.produce(names("out"), b"stale")
        error = refused(producer.send_offsets_to_transaction, offsets, captured, 20)
        assert (error.code(), error.txn_requires_abort()) == (KafkaError.ILLEGAL_GENERATION, True)
        assert (error.fatal(), error.retriable()) == (False, False)
        producer.abort_transaction(20)

        producer.begin_transaction()  # the same producer goes on, with metadata of the present generation
        producer.produce(names("out"), b"fresh")
        producer.send_offsets_to_transaction(offsets, first.consumer_group_metadata(), 20)
        producer.commit_transaction(20)
    assert committed(kafka, group, names("in")) == 7
    assert read_committed(kafka, names) == [b"fresh"]


def test_offsets_without_a_generation_are_taken_unfenced(kafka: str, names: Names) -> None:
    """Why the transaction refuses generation -1 itself: the broker does not."""
    make_topic(kafka, names("in"), partitions=2)
    make_topic(kafka, names("out"))
    producer = transactional(kafka, names("worker"))
    with consumer_in(kafka, names("group")) as member, consumer_in(kafka, names("group")) as outsider:
        member.subscribe([names("in")])
        join(member, each=2)
        producer.begin_transaction()
        producer.produce(names("out"), b"from outside")
        offsets = [TopicPartition(names("in"), 0, 99)]
        producer.send_offsets_to_transaction(offsets, outsider.consumer_group_metadata(), 20)
        producer.commit_transaction(20)
    assert committed(kafka, names("group"), names("in")) == 99


def test_a_zombie_producer_cannot_commit(kafka: str, names: Names) -> None:
    make_topic(kafka, names("in"))
    make_topic(kafka, names("out"))
    zombie = transactional(kafka, names("worker"))
    zombie.begin_transaction()
    zombie.produce(names("out"), b"zombie")
    assert zombie.flush(20) == 0  # its record is in the log, its transaction open

    successor = transactional(kafka, names("worker"))
    error = refused(zombie.commit_transaction, 20)
    assert (error.code(), error.fatal()) == (KafkaError._FENCED, True)
    assert (error.retriable(), error.txn_requires_abort()) == (False, False)
    assert refused(zombie.begin_transaction).fatal()  # it stays refused

    successor.begin_transaction()
    successor.produce(names("out"), b"successor")
    successor.commit_transaction(20)
    assert read_committed(kafka, names) == [b"successor"]


def test_a_zombie_producer_cannot_commit_offsets(kafka: str, names: Names) -> None:
    make_topic(kafka, names("in"), partitions=2)
    make_topic(kafka, names("out"))
    zombie = transactional(kafka, names("worker"))
    with consumer_in(kafka, names("group")) as consumer:
        consumer.subscribe([names("in")])
        join(consumer, each=2)
        zombie.begin_transaction()
        zombie.produce(names("out"), b"zombie")
        assert zombie.flush(20) == 0
        transactional(kafka, names("worker"))
        offsets = [TopicPartition(names("in"), 0, 7)]
        error = refused(zombie.send_offsets_to_transaction, offsets, consumer.consumer_group_metadata(), 20)
    assert (error.code(), error.fatal()) == (KafkaError._FENCED, True)
    assert committed(kafka, names("group"), names("in")) == -1001  # none
    assert read_committed(kafka, names) == []


def read_committed(kafka: str, names: Names) -> list[bytes]:
    """Every committed value of the one-partition topic `out`; its end is the end-of-partition event."""
    settings = {"bootstrap.servers": kafka, "group.id": names("reader"), "isolation.level": "read_committed"}
    consumer = Consumer({**settings, "enable.partition.eof": True, "enable.auto.commit": False})
    found: list[bytes] = []

    def ended() -> bool:
        message = consumer.poll(0.1)
        if message is None:
            return False
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            return True
        found.append(message.value())
        return False

    try:
        consumer.assign([TopicPartition(names("out"), 0, 0)])
        wait_for(ended, 30, "the end of the output topic")
        return found
    finally:
        consumer.close()
