"""A broker that a test may do anything to."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from waybill.broker import Broker, BrokerUnavailable
from waybill.kafka_jars import find_java, kafka_libs

REQUIRED = os.environ.get("CI") == "true" or os.environ.get("WAYBILL_REQUIRE_KAFKA") == "1"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of this test alone, not started; whatever the test does to it, it is stopped at the end."""
    mine = Broker(tmp_path / "broker", brief=True)
    try:
        find_java()
        kafka_libs(print)
    except BrokerUnavailable as absent:
        missing(str(absent), REQUIRED)
    yield mine
    mine.stop()
