"""What an operator, a clean-up job or a mistake does to a plant's topics and groups from outside; nothing here is ours
to prevent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from streams.runtime.admin import create_topics
from tests.support import wait_for
from tests.system.judge import STAGES
from tests.system.plant import Plant
from topology.topics import topic_specs

SECONDS = 60.0


def admin_of(plant: Plant) -> Any:
    """A client that must outlive its answers."""
    return AdminClient({"bootstrap.servers": plant.bootstrap})


def recreate(plant: Plant, short: str) -> None:
    """The same name, another topic."""
    admin, name = admin_of(plant), plant.pipeline.topic(short)
    admin.delete_topics([name])[name].result(SECONDS)
    wait_for(lambda: name not in admin.list_topics(timeout=10).topics, SECONDS, f"{name} is gone")
    create_topics(plant.bootstrap, [spec for spec in topic_specs(plant.pipeline) if spec.short == short])


def cut(plant: Plant, short: str, ends: Mapping[int, int]) -> None:
    """Records below these offsets are gone, as by retention. A broker cuts no compacted topic: it is one with a
    retention meanwhile."""
    admin = admin_of(plant)
    table = short in ("heads", "windows", "idempotency", "delivery")
    if table:
        configure(plant, short, {"cleanup.policy": "compact,delete"})
    for partition, end in ends.items():
        where = TopicPartition(plant.pipeline.topic(short), partition, end)
        # the new policy may have yet to reach the log
        _until_done(lambda where=where: admin.delete_records([where])[where], "POLICY_VIOLATION")  # type: ignore[misc]
    if table:
        configure(plant, short, {"cleanup.policy": "compact"})


def add_partition(plant: Plant, short: str) -> None:
    """One more than the pipeline declares."""
    admin, name = admin_of(plant), plant.pipeline.topic(short)
    count = plant.pipeline.partitions + 1
    admin.create_partitions([NewPartitions(name, count)])[name].result(SECONDS)
    wait_for(lambda: len(admin.list_topics(timeout=10).topics[name].partitions) == count, SECONDS, "it is there")


def configure(plant: Plant, short: str, settings: Mapping[str, str]) -> None:
    """Changes settings of a topic."""
    admin = admin_of(plant)
    entries = [ConfigEntry(name, v, incremental_operation=AlterConfigOpType.SET) for name, v in settings.items()]
    resource = ConfigResource(ResourceType.TOPIC, plant.pipeline.topic(short), incremental_configs=entries)
    admin.incremental_alter_configs([resource])[resource].result(SECONDS)


def forget_offsets(plant: Plant, stage: str) -> None:
    """The group with its committed offsets is deleted."""
    admin, group = admin_of(plant), plant.pipeline.group_id(stage)
    _until_done(lambda: admin.delete_consumer_groups([group])[group], "NON_EMPTY_GROUP")


def set_offsets(plant: Plant, stage: str, offsets: Mapping[int, int]) -> None:
    """Gives a group other committed offsets, by partition."""
    admin, group = admin_of(plant), plant.pipeline.group_id(stage)
    where = [TopicPartition(plant.pipeline.topic(STAGES[stage]), p, offset) for p, offset in offsets.items()]
    asked = ConsumerGroupTopicPartitions(group, where)
    found = _until_done(lambda: admin.alter_consumer_group_offsets([asked])[group], "UNKNOWN_MEMBER_ID")
    assert all(one.error is None for one in found.topic_partitions)


def _until_done(ask: Callable[[], Any], not_yet: str) -> Any:
    """What a request comes to that is refused with this error for a while: a member that has ended is in its group
    until its session has run out."""

    def done() -> list[Any]:
        try:
            return [ask().result(SECONDS)]
        except KafkaException as early:
            if early.args[0].name() != not_yet:
                raise
            return []

    return wait_for(done, SECONDS, f"no {not_yet} any more")[0]


def write(plant: Plant, short: str, partition: int, key: bytes, value: bytes | None) -> None:
    """One message from nobody we know."""
    producer = Producer({"bootstrap.servers": plant.bootstrap, "linger.ms": 0})
    producer.produce(plant.pipeline.topic(short), value, key, partition)
    assert producer.flush(SECONDS) == 0
