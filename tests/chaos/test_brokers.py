"""A broker under fire: what it has acknowledged is there after every way of dying, and it comes back where it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from chaos.brokers import Broker
from tests.support import make_topic, wait_for

pytestmark = pytest.mark.kafka

SECONDS = 60.0


@pytest.fixture(scope="module")
def broker(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker of this module (`kafka` says whether this machine can run one)."""
    with Broker(tmp_path_factory.mktemp("under-fire")) as broker:
        make_topic(broker.bootstrap, "kept")
        yield broker


@pytest.fixture
def producer(broker: Broker) -> Any:
    """An idempotent producer that waits for all replicas."""
    return Producer({"bootstrap.servers": broker.bootstrap, "enable.idempotence": True, "log_level": 0})


def produce(producer: Any, value: bytes) -> None:
    """One acknowledged message."""
    producer.produce("kept", value)
    assert producer.flush(SECONDS) == 0


def kept(broker: Broker, count: int) -> list[bytes]:
    """The last so many values."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "reader", "log_level": 0})
    try:
        consumer.assign([TopicPartition("kept", 0, 0)])
        _, high = consumer.get_watermark_offsets(TopicPartition("kept", 0), SECONDS)
        return [message.value() for message in consumer.consume(high, SECONDS)][-count:]
    finally:
        consumer.close()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_b1_b2_what_was_acknowledged_survives_and_clients_come_back(broker: Broker, producer: Any, end: str) -> None:
    values = [f"{end}-{n}".encode() for n in range(50)]
    for value in values:
        produce(producer, value)
    getattr(broker, end)()
    producer.produce("kept", b"while it was away")
    assert producer.flush(0.5) == 1, "somebody answered for a broker that is gone"
    broker.start()
    assert producer.flush(SECONDS) == 0, "the client does not find it again"
    assert kept(broker, 51) == [*values, b"while it was away"]


def test_b3_a_paused_broker_answers_nothing_until_it_goes_on(broker: Broker, producer: Any) -> None:
    produce(producer, b"before")
    broker.pause()
    producer.produce("kept", b"during")
    assert producer.flush(1) == 1
    broker.resume()
    assert producer.flush(SECONDS) == 0
    assert kept(broker, 2) == [b"before", b"during"]


def test_a_context_that_is_left_ends_the_process_even_when_it_is_paused(kafka: str, tmp_path: Path) -> None:
    with Broker(tmp_path / "b", proxied=True) as broker:
        pid = int((tmp_path / "b" / "broker.json").read_text().split('"pid": ')[1].split(",")[0])
        broker.pause()
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), SECONDS, "the process is gone")
