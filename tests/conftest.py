"""What tests share: one real Kafka broker per run, names of their own, the folder of public cases.

Nothing is skipped silently: a test that needs Kafka or the cases is skipped with one line, and fails instead where
CI=true (or, for Kafka, WAYBILL_REQUIRE_KAFKA=1) says that this machine must have them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hypothesis
import pytest

from bench.cases import VARIABLE, cases_folder
from chaos.brokers import free_ports
from chaos.proxy import Proxy
from tests.support import Names, unique_names
from waybill.broker import Broker, BrokerUnavailable, Proxied

if TYPE_CHECKING:
    from tests.delivery.servers import Postgres, Sftp

ROOT = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI") == "true"

hypothesis.settings.register_profile("local", deadline=None)  # shared cores: time says nothing about correctness
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if IN_CI else "local")

LONG = (
    "chaos/test_rounds", "streams/test_batch_histories", "system/", "simulation/", "chaos/",
    "streams/test_dispatch_histories", "broker/test_restart",
)  # fmt: skip
"""Files of the tests that take longest, by how their names begin: they are begun first, in this order."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first: one that began late would run alone at the end, with nothing beside it."""

    def turn(item: pytest.Item) -> int:
        name = item.path.relative_to(ROOT / "tests").as_posix()
        return next((place for place, long in enumerate(LONG) if name.startswith(long)), len(LONG))

    items.sort(key=turn)


def missing(what: str, required: bool) -> NoReturn:
    """Skip with one line, or fail where it is required."""
    if required:
        pytest.fail(f"{what} (required here: CI=true or WAYBILL_REQUIRE_KAFKA=1)", pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def kafka_proxy() -> Iterator[Proxy]:
    """In front of the broker of this run, for clients that shall meet faults; whoever plays some heals them."""
    behind, front = free_ports(2)
    with Proxy(behind, front) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def kafka_broker(kafka_proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The broker of this run, started when the first test asks for it. Shared: a test that stops it makes its own."""
    second = Proxied(kafka_proxy.upstream, kafka_proxy.port)
    broker = Broker(tmp_path_factory.mktemp("kafka"), proxied=second, brief=True)
    before = signal.signal(signal.SIGTERM, _ended)  # `timeout pytest` must not leave a broker behind
    try:
        broker.start()
    except BrokerUnavailable as absent:
        missing(str(absent), IN_CI or os.environ.get("WAYBILL_REQUIRE_KAFKA") == "1")
    try:
        yield broker
    finally:
        broker.stop()
        signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def kafka(kafka_broker: Broker) -> str:
    """The bootstrap address of this run's real broker."""
    bootstrap = kafka_broker.status().bootstrap
    assert bootstrap is not None, f"the broker of this run is gone: see {kafka_broker.log_file}"
    return bootstrap


@pytest.fixture(scope="session")
def table_server() -> Iterator[Postgres]:
    """A PostgreSQL server of this run; each test makes tables of its own."""
    from tests.delivery.servers import postgres_server

    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def drop_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sftp]:
    """An SFTP server of this run; each test has a folder of its own."""
    from tests.delivery.servers import sftp_server

    with sftp_server(tmp_path_factory.mktemp("sftp")) as server:
        yield server


@pytest.fixture
def names() -> Names:
    """Topic, group and application names of this test alone: `names("raw")`, `names.prefix`."""
    return unique_names()


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of public cases: WAYBILL_CASES, else ../shared/data beside the repository."""
    folder = cases_folder()
    if not folder.is_dir():
        missing(f"no public cases at {folder}: set {VARIABLE} to their folder", IN_CI)
    return folder


def _ended(number: int, frame: object) -> NoReturn:
    pytest.exit("ended by SIGTERM", returncode=143)
