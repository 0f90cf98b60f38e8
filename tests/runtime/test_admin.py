"""What is asked of a cluster in disorder: a leader that is missing comes back, a topic that is gone does not."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException

from streams.runtime.admin import Cluster
from streams.runtime.log import Fatal
from tests.support import Names, make_topic
from waybill import reader

pytestmark = pytest.mark.kafka


class Moving:
    """An admin client to which, the first few times, a partition's leader is on the move."""

    def __init__(self, client: Any, times: int, error: KafkaError) -> None:
        self._client, self.left, self._error = client, times, error

    def list_offsets(self, asked: dict[Any, Any], **more: Any) -> Any:
        if not self.left:
            return self._client.list_offsets(asked, **more)
        self.left -= 1
        answer: Future[Any] = Future()
        answer.set_exception(KafkaException(self._error))
        return dict.fromkeys(asked, answer)

    def describe_topics(self, *asked: Any, **more: Any) -> Any:
        return self._client.describe_topics(*asked, **more)

    def list_topics(self, **more: Any) -> Any:
        return self._client.list_topics(**more)


class Behind(Moving):
    """An admin client that knows former leaders, and takes them for the present ones until it asks who leads."""

    def list_topics(self, **more: Any) -> Any:
        self.left = 0
        return super().list_topics(**more)


@pytest.mark.parametrize(
    "error",
    [
        KafkaError(KafkaError._NOENT, "No leaders found"),
        KafkaError(KafkaError.LEADER_NOT_AVAILABLE),
        KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION),
        KafkaError(KafkaError.FENCED_LEADER_EPOCH),
        KafkaError(KafkaError.UNKNOWN_LEADER_EPOCH),
        KafkaError(KafkaError.OFFSET_NOT_AVAILABLE),
    ],
    ids=KafkaError.name,
)
def test_a_partition_whose_leader_moves_is_asked_again(kafka: str, names: Names, error: KafkaError) -> None:
    topic = names("t")
    make_topic(kafka, topic)
    cluster = Cluster({"bootstrap.servers": kafka})
    moving = Moving(cluster._client, 2, error)
    cluster._client = moving
    assert cluster.bounds(topic, 0) == (0, 0)
    assert moving.left == 0


@pytest.mark.parametrize(
    "code",
    [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH],
)
def test_whoever_knows_former_leaders_asks_who_leads_now(
    kafka: str, names: Names, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client does not by itself, for a quarter of an hour: seen when the broker's process stood still for a minute,
    was fenced, and led on with another epoch."""
    topic = names("t")
    make_topic(kafka, topic)
    cluster = Cluster({"bootstrap.servers": kafka}, seconds=1)
    known = cluster._client
    cluster._client = Behind(known, 10**9, KafkaError(code))
    assert cluster.bounds(topic, 0) == (0, 0)
    cluster._client = Behind(known, 10**9, KafkaError(code))
    assert cluster.ends([(topic, 0)]) is None
    assert cluster.ends([(topic, 0)]) == {(topic, 0): 0}
    monkeypatch.setattr(reader, "PATIENCE", 1)
    with reader.Reader(kafka) as commands:
        commands._admin = Behind(commands._admin, 10**9, KafkaError(code))
        assert commands.ends(topic) == ({0: 0}, {0: 0})


class NoAnswer(Moving):
    """An admin client whose answer, the first few times, has neither an offset nor an error."""

    def list_offsets(self, asked: dict[Any, Any], **more: Any) -> Any:
        if not self.left:
            return self._client.list_offsets(asked, **more)
        self.left -= 1
        answer: Future[Any] = Future()
        answer.set_result(SimpleNamespace(offset=OFFSET_INVALID))
        return dict.fromkeys(asked, answer)


def test_an_offset_that_was_not_answered_is_no_end_of_the_log(kafka: str, names: Names) -> None:
    """Seen with two workers on a busy machine: one took -1001 for the end of its input, and ended with a gap."""
    topic = names("t")
    make_topic(kafka, topic)
    cluster = Cluster({"bootstrap.servers": kafka})
    silent = NoAnswer(cluster._client, 2, KafkaError(KafkaError._NOENT))
    cluster._client = silent
    assert cluster.bounds(topic, 0) == (0, 0)
    assert silent.left == 0
    silent.left = 1
    assert cluster.ends([(topic, 0)]) is None
    assert cluster.ends([(topic, 0)]) == {(topic, 0): 0}
    with reader.Reader(kafka) as commands:
        commands._admin = NoAnswer(commands._admin, 2, KafkaError(KafkaError._NOENT))
        assert commands.ends(topic) == ({0: 0}, {0: 0})


def test_a_topic_that_is_gone_is_said_at_once(kafka: str, names: Names) -> None:
    with pytest.raises(Fatal, match="no such topic"):
        Cluster({"bootstrap.servers": kafka}).bounds(names("absent"), 0)
