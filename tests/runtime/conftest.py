"""A small pipeline of its own on the real broker for each test, and logs that are closed afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streams.runtime.kafka import KafkaLog
from tests.runtime.world import World
from tests.support import Names


@pytest.fixture
def world(kafka: str, names: Names) -> Iterator[World]:
    """Topics of two partitions with short time-outs."""
    world = World(kafka, names.prefix)
    yield world
    world.close()


@pytest.fixture
def log(world: World) -> KafkaLog:
    """The batch stage's log of slot 0."""
    return world.log()
