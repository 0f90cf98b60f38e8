"""What a cluster says about its topics, and creating them. Every call has a deadline and ends with words.

Transient errors are asked again; an error that stays ends in Fatal, an unknown topic in Fatal at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from streams.runtime.clients import CLIENT_LOG
from streams.runtime.log import Fatal
from streams.runtime.topic_watch import Seen
from topology.topics import TopicSpec, TopicState

T = TypeVar("T")

ADMIN_SECONDS = 30.0
"""For a broker that restarts: longer than that is no restart."""
REQUEST_SECONDS = 5.0
"""One request: a lost connection must not eat the whole deadline."""
POLL_SECONDS = 0.05
"""Between two looks at metadata that has yet to spread."""

GONE = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}


class Cluster:
    """Questions to one cluster, over one admin client."""

    def __init__(self, settings: Mapping[str, str | int | bool], seconds: float = ADMIN_SECONDS) -> None:
        self._client = AdminClient(dict(settings), logger=CLIENT_LOG)
        self._seconds = seconds

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Log start and high watermark (TX4: read_uncommitted, or the answer would be the last stable offset)."""
        where = TopicPartition(topic, partition)

        def ask(spec: Any) -> int:
            try:
                return offsets(self._client, {where: spec}, IsolationLevel.READ_UNCOMMITTED, REQUEST_SECONDS)[where]
            except KafkaException as failed:
                if failed.args[0].code() == KafkaError._NOENT:  # no leader: for now, or because the topic is gone
                    self.topic_id(topic)
                raise

        what = f"offsets of {topic}[{partition}]"
        # the end first: a log start moved up in between is still at or below it
        high = self._ask(what, lambda: ask(OffsetSpec.latest()))
        return self._ask(what, lambda: ask(OffsetSpec.earliest())), high

    def ends(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int] | None:
        """High watermarks, in one request; None where the cluster does not answer it now."""
        where = {TopicPartition(topic, partition): OffsetSpec.latest() for topic, partition in partitions}
        try:
            found = offsets(self._client, where, IsolationLevel.READ_UNCOMMITTED, REQUEST_SECONDS)
        except KafkaException:
            return None
        return {(tp.topic, tp.partition): offset for tp, offset in found.items()}

    def look(self, topics: Iterable[str]) -> dict[str, Seen] | None:
        """Those of the topics that exist, in one request; None where the cluster does not answer it now."""
        asked = self._client.describe_topics(TopicCollection(list(topics)), request_timeout=REQUEST_SECONDS)
        seen = {}
        for topic, future in asked.items():
            try:
                found = future.result()
            except KafkaException as failed:
                if failed.args[0].code() not in GONE:
                    return None
            else:
                seen[topic] = Seen(str(found.topic_id), len(found.partitions))
        return seen

    def topic_id(self, topic: str) -> str:
        """Kafka's id of a topic."""

        def ask() -> str:
            asked = self._client.describe_topics(TopicCollection([topic]), request_timeout=REQUEST_SECONDS)
            return str(asked[topic].result().topic_id)

        return self._ask(f"topic {topic}", ask)

    def partitions(self) -> dict[str, int]:
        """Every topic of the cluster with its number of partitions."""

        def ask() -> dict[str, int]:
            found = self._client.list_topics(timeout=REQUEST_SECONDS).topics
            return {name: len(meta.partitions) for name, meta in found.items() if meta.error is None}

        return self._ask("list of topics", ask)

    def configs(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        """Settings in force by topic, defaults included."""

        def ask() -> dict[str, dict[str, str]]:
            resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
            asked = self._client.describe_configs(resources, request_timeout=REQUEST_SECONDS)
            answers = {resource.name: future.result() for resource, future in asked.items()}
            return {topic: {k: str(v.value) for k, v in answer.items()} for topic, answer in answers.items()}

        return self._ask(f"settings of {', '.join(topics)}", ask) if topics else {}

    def create(self, specs: Sequence[TopicSpec]) -> None:
        """Creates what is missing and waits until all of it can be written to."""
        wanted = [NewTopic(s.name, s.partitions, s.replication, config=s.config) for s in specs]
        if not wanted:
            return

        def ask() -> None:
            for future in self._client.create_topics(wanted, request_timeout=REQUEST_SECONDS).values():
                try:
                    future.result()
                except KafkaException as refused:
                    if refused.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                        raise

        self._ask(f"creating {', '.join(s.name for s in specs)}", ask)
        deadline = time.monotonic() + self._seconds
        while missing := self._not_ready({s.name for s in specs}):
            if time.monotonic() >= deadline:
                raise Fatal(f"topics were created but cannot be seen after {self._seconds:g} s: {', '.join(missing)}")
            time.sleep(POLL_SECONDS)

    def _not_ready(self, names: set[str]) -> list[str]:
        found = self._ask("list of topics", lambda: self._client.list_topics(timeout=REQUEST_SECONDS).topics)

        def ready(name: str) -> bool:
            partitions = found[name].partitions.values() if name in found else ()
            return bool(partitions) and all(p.leader >= 0 and p.error is None for p in partitions)

        return sorted(name for name in names if not ready(name))

    def _ask(self, what: str, ask: Callable[[], T]) -> T:
        deadline = time.monotonic() + self._seconds
        while True:
            try:
                return ask()
            except KafkaException as failed:
                error = failed.args[0]
                if error.code() in GONE:
                    raise Fatal(f"{what}: there is no such topic or partition in the cluster") from failed
                passing = error.retriable() or error.code() in PASSING
                if not passing or time.monotonic() >= deadline:
                    raise Fatal(f"{what}: the cluster does not answer it: {error.str()} ({error.name()})") from failed
            time.sleep(POLL_SECONDS)


PASSING = {
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._RESOLVE,
    KafkaError._NOENT,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NOT_CONTROLLER,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}
"""Errors of a cluster that is starting, moving leaders or out of reach for a moment."""


LED_ON = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH}
"""Errors of PASSING that do not pass for an admin client: it keeps what it knows of leaders for a quarter of an hour
(metadata.max.age.ms), and these errors do not make it ask anew, as they do a consumer (librdkafka 2.16)."""


def offsets(client: Any, wanted: Mapping[TopicPartition, Any], level: Any, seconds: float) -> dict[TopicPartition, int]:
    """Offsets of logs, by an admin client. Raises KafkaException; when asked again, the client knows who leads now.
    Also where it gives no offset and no error either (-1001, seen with 2.16.1 when a request had come to nothing on a
    busy machine)."""
    asked = client.list_offsets(dict(wanted), isolation_level=level, request_timeout=seconds)
    try:
        found = {where: int(future.result().offset) for where, future in asked.items()}
    except KafkaException as failed:
        if failed.args[0].code() in LED_ON:
            client.list_topics(timeout=seconds)
        raise
    if min(found.values(), default=0) < 0:
        raise KafkaException(KafkaError(KafkaError.OFFSET_NOT_AVAILABLE))
    return found


def create_topics(bootstrap: str, specs: Iterable[TopicSpec]) -> None:
    """Creates the topics that are missing and waits until they can be used. Existing ones are left as they are."""
    Cluster({"bootstrap.servers": bootstrap}).create(list(specs))


def describe_cluster_topics(bootstrap: str, names: Iterable[str]) -> dict[str, TopicState]:
    """The named topics as the cluster has them, for `topology.topics.check_cluster`; missing ones are left out."""
    cluster = Cluster({"bootstrap.servers": bootstrap})
    partitions = cluster.partitions()
    present = [name for name in names if name in partitions]
    configs = cluster.configs(present)
    return {name: TopicState(partitions[name], configs[name]) for name in present}
