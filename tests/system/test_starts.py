"""Thirty starts and stops in a row: the frame's control topic is empty, full, or compacted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from schemas.packs.cold_chain.sample import sample
from streams.runtime.admin import create_topics
from tests.support import Names, wait_for
from tests.system.judge import Judge, control_messages
from tests.system.plant import READY_SECONDS, STOP_SECONDS, Plant
from topology.model import CONTROL_TOPIC
from topology.topics import topic_specs

pytestmark = pytest.mark.kafka
STARTS = 10
MESSAGES = 2_000


def renew(plant: Plant, compacted: bool) -> None:
    """An empty control topic."""
    admin: Any = AdminClient({"bootstrap.servers": plant.bootstrap})
    admin.delete_topics([CONTROL_TOPIC])[CONTROL_TOPIC].result(READY_SECONDS)
    wait_for(lambda: CONTROL_TOPIC not in admin.list_topics(timeout=10).topics, READY_SECONDS, "it is gone")
    spec = topic_specs(plant.pipeline)[-1]
    # rolled and cleaned at once
    fast = {"segment.ms": "100", "min.cleanable.dirty.ratio": "0.01", "max.compaction.lag.ms": "100"}
    create_topics(plant.bootstrap, [spec._replace(config=spec.config | (fast if compacted else {}))])


def fill(bootstrap: str, count: int, keys: int) -> None:
    """So many messages under so many keys."""
    producer: Any = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    for number in range(count):
        producer.produce(CONTROL_TOPIC, b"x" * 100, b"%d" % (number % keys), 0)
    assert producer.flush(READY_SECONDS) == 0


@pytest.mark.parametrize("control", ["empty", "full", "compacted"])
def test_ten_starts_and_stops(kafka: str, tmp_path: Path, names: Names, control: str) -> None:
    with Plant(kafka, tmp_path, names.prefix) as plant:
        renew(plant, control == "compacted")
        if control == "full":
            fill(kafka, MESSAGES, MESSAGES)
        if control == "compacted":
            fill(kafka, MESSAGES, 10)

            def cleaned() -> bool:
                fill(kafka, 1, 1)  # only closed segments are cleaned, and only a new message closes one
                return control_messages(kafka) < MESSAGES // 2

            wait_for(cleaned, READY_SECONDS, "the log cleaner has been there")
        assert (control_messages(kafka) == 0) == (control == "empty")
        for _ in range(STARTS):
            worker = plant.worker().wait_ready()
            assert worker.stop(STOP_SECONDS) == 0


def test_a_worker_that_gets_no_partition_is_ready_and_takes_over(kafka: str, tmp_path: Path, names: Names) -> None:
    """More workers than partitions: the spare ones wait, and an orchestrator must not take them for broken."""
    with Plant(kafka, tmp_path, names.prefix, partitions=1) as plant:
        first = plant.worker(0).wait_ready()
        spare = plant.worker(1).wait_ready()
        load = list(sample(200))
        plant.publish(load[:100])
        wait_for(lambda: Judge(plant).answers(), READY_SECONDS, "the first works")
        first.kill()
        plant.publish(load[100:])
        wait_for(lambda: len(Judge(plant).answers()) == len(load), READY_SECONDS, "the spare one goes on")
        assert spare.stop() == 0
