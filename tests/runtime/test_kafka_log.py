"""The Kafka log on a real broker: what it promises to the runner."""

from __future__ import annotations

import pytest

from streams.runtime.kafka import KafkaLog
from tests.runtime.world import World, fetched, out, started

pytestmark = pytest.mark.kafka


def test_round_trip(world: World, log: KafkaLog) -> None:
    world.publish("validated", [b"one", b"two"], headers=[("h", b"v")])
    world.publish("validated", [b"three"], partition=1)
    started(log)
    messages, token = fetched(log, 3)
    assert sorted((m.partition, m.offset, m.key, m.value, m.headers) for m in messages) == [
        (0, 0, b"0", b"one", (("h", b"v"),)),
        (0, 1, b"1", b"two", (("h", b"v"),)),
        (1, 0, b"0", b"three", ()),
    ]
    assert all(m.timestamp > 1_600_000_000_000 for m in messages)
    assert log.committed(0) is None
    log.transact([out(b"A"), out(None, "windows", b"row"), out(b"B", partition=1)], {0: 2, 1: 1}, token)
    assert (log.committed(0), log.committed(1)) == (2, 1)
    assert world.read("sent") == [b"A"]
    assert world.read("sent", 1) == [b"B"]
    assert world.read("windows") == [None]
    assert log.bounds(0) == (0, 2)
