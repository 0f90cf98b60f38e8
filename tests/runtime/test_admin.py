"""What is asked of a cluster in disorder: a leader that is missing comes back, a topic that is gone does not."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.runtime.admin import Cluster
from streams.runtime.log import Fatal
from tests.support import Names, make_topic

pytestmark = pytest.mark.kafka


class Leaderless:
    """An admin client to which, the first few times, no partition has a leader."""

    def __init__(self, client: Any, times: int) -> None:
        self._client, self.left = client, times

    def list_offsets(self, asked: dict[Any, Any], **more: Any) -> Any:
        if not self.left:
            return self._client.list_offsets(asked, **more)
        self.left -= 1
        answer: Future[Any] = Future()
        answer.set_exception(KafkaException(KafkaError(KafkaError._NOENT, "No leaders found")))
        return dict.fromkeys(asked, answer)

    def describe_topics(self, *asked: Any, **more: Any) -> Any:
        return self._client.describe_topics(*asked, **more)


def test_a_partition_without_a_leader_is_asked_again(kafka: str, names: Names) -> None:
    topic = names("t")
    make_topic(kafka, topic)
    cluster = Cluster({"bootstrap.servers": kafka})
    leaderless = Leaderless(cluster._client, times=2)
    cluster._client = leaderless
    assert cluster.bounds(topic, 0) == (0, 0)
    assert leaderless.left == 0


def test_a_topic_that_is_gone_is_said_at_once(kafka: str, names: Names) -> None:
    with pytest.raises(Fatal, match="no such topic"):
        Cluster({"bootstrap.servers": kafka}).bounds(names("absent"), 0)
