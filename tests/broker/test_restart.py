"""A broker that is restarted while transactions end leaves none open, or their readers would wait for ever: Kafka 4.3.0
did (KAFKA-20734), after a clean stop as after a kill."""

import threading
from contextlib import suppress
from functools import partial

import pytest
from confluent_kafka import IsolationLevel, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from tests.support import make_topic, wait_for
from waybill.broker import Broker

PARTITIONS = 12
PRODUCERS = 8
RESTARTS = 2
TRIES, INIT_SECONDS = 3, 25


class Committing(threading.Thread):
    """Commits small transactions over every partition until the broker does not answer; then a new producer ends what
    is open, and writes nothing: the next transaction of the same producer would hide one that hangs."""

    def __init__(self, bootstrap: str, topic: str, name: str) -> None:
        super().__init__(name=name)
        self._address, self._topic = bootstrap, topic
        self.committed = 0

    def run(self) -> None:
        producer = self._producer()
        try:
            while True:
                producer.begin_transaction()
                for partition in range(PARTITIONS):
                    producer.produce(self._topic, b"value", partition=partition)
                producer.commit_transaction(3)
                self.committed += 1
        except KafkaException:
            self._producer()

    def _producer(self) -> Producer:
        settings: dict[str, str | int] = {"bootstrap.servers": self._address, "transactional.id": self.name}
        settings |= {"transaction.timeout.ms": 5000, "log_level": 0}
        for _ in range(TRIES - 1):
            with suppress(KafkaException):  # a client that does not find its coordinator again: another may
                return initialised(settings)
        return initialised(settings)


def initialised(settings: dict[str, str | int]) -> Producer:
    producer = Producer(settings)
    producer.init_transactions(INIT_SECONDS)
    return producer


def ends(bootstrap: str, topic: str, level: IsolationLevel) -> list[int]:
    """The ends of all partitions, as readers of this isolation level see them."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    where = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in range(PARTITIONS)}
    answers = admin.list_offsets(where, isolation_level=level, request_timeout=10)
    return [answers[tp].result().offset for tp in where]


@pytest.mark.kafka
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_no_transaction_hangs_after_a_restart(broker: Broker, end: str) -> None:
    bootstrap = broker.start()
    for turn in range(RESTARTS):
        topic = f"written-{turn}"
        make_topic(bootstrap, topic, PARTITIONS)
        restart_under_load(broker, end, [Committing(bootstrap, topic, f"{turn}.{n}") for n in range(PRODUCERS)])
        written = ends(bootstrap, topic, IsolationLevel.READ_UNCOMMITTED)
        closed = partial(reads_to, bootstrap, topic, written)
        wait_for(closed, 30, "no transaction is left open")


def restart_under_load(broker: Broker, end: str, threads: list[Committing]) -> None:
    """Returns when every producer has ended what it left open."""
    for thread in threads:
        thread.start()
    wait_for(lambda: all(thread.committed > 3 for thread in threads), 60, "every producer commits")
    getattr(broker, end)()
    broker.start()
    for thread in threads:
        thread.join(TRIES * INIT_SECONDS + 15)
    assert not any(thread.is_alive() for thread in threads)


def reads_to(bootstrap: str, topic: str, end: list[int]) -> bool:
    return ends(bootstrap, topic, IsolationLevel.READ_COMMITTED) == end
