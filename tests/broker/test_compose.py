"""The compose file is the cluster the design speaks of; read as YAML, so no container engine is needed."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT

BROKERS = ("kafka-1", "kafka-2", "kafka-3")


@pytest.fixture(scope="module")
def compose() -> Any:
    return YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def environment(compose: Mapping[str, Any], service: str) -> dict[str, str]:
    return {name: str(value) for name, value in compose["services"][service]["environment"].items()}


def listeners(text: str) -> dict[str, str]:
    return dict(entry.split("://", 1) for entry in text.split(","))


def test_every_broker_is_a_different_node_of_one_cluster(compose: Any) -> None:
    nodes = [environment(compose, name) for name in BROKERS]
    assert sorted(node["KAFKA_NODE_ID"] for node in nodes) == ["1", "2", "3"]
    assert len({node["CLUSTER_ID"] for node in nodes}) == 1
    for name, node in zip(BROKERS, nodes, strict=True):
        voters = dict(entry.split("@") for entry in node["KAFKA_CONTROLLER_QUORUM_VOTERS"].split(","))
        controller_port = listeners(node["KAFKA_LISTENERS"])[node["KAFKA_CONTROLLER_LISTENER_NAMES"]]
        assert voters[node["KAFKA_NODE_ID"]] == f"{name}{controller_port}"
        assert len(voters) == 3
        assert f"{name}:/var/lib/kafka/data" in compose["services"][name]["volumes"]
        assert node["KAFKA_LOG_DIRS"] == "/var/lib/kafka/data"


def test_clients_inside_and_outside_are_told_addresses_they_can_reach(compose: Any) -> None:
    outside = set()
    for name in BROKERS:
        node = environment(compose, name)
        listening, told = listeners(node["KAFKA_LISTENERS"]), listeners(node["KAFKA_ADVERTISED_LISTENERS"])
        security = dict(entry.split(":") for entry in node["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
        assert set(listening) == set(security)
        assert set(told) == set(listening) - {node["KAFKA_CONTROLLER_LISTENER_NAMES"]}
        assert node["KAFKA_INTER_BROKER_LISTENER_NAME"] == "INSIDE"
        assert told["INSIDE"] == f"{name}{listening['INSIDE']}"
        (published,) = compose["services"][name]["ports"]
        assert published == f"{told['OUTSIDE']}{listening['OUTSIDE']}"
        outside.add(told["OUTSIDE"])
    assert len(outside) == 3
    inside = ",".join(listeners(environment(compose, name)["KAFKA_ADVERTISED_LISTENERS"])["INSIDE"] for name in BROKERS)
    assert environment(compose, "worker")["WAYBILL_BROKERS"] == inside
    assert environment(compose, "schema-registry")["SCHEMA_REGISTRY_KAFKASTORE_BOOTSTRAP_SERVERS"] == inside


@pytest.mark.parametrize("broker", BROKERS)
def test_one_node_may_be_lost_without_losing_a_record(compose: Any, broker: str) -> None:
    node = environment(compose, broker)
    replication = {name: value for name, value in node.items() if name.endswith("REPLICATION_FACTOR")}
    assert set(replication.values()) == {"3"}
    assert {name.removeprefix("KAFKA_").removesuffix("_REPLICATION_FACTOR") for name in replication} == {
        "DEFAULT",
        "OFFSETS_TOPIC",
        "TRANSACTION_STATE_LOG",
        "SHARE_COORDINATOR_STATE_TOPIC",
    }
    in_sync = {name: value for name, value in node.items() if name.endswith(("MIN_ISR", "MIN_INSYNC_REPLICAS"))}
    assert len(in_sync) == 3
    assert set(in_sync.values()) == {"2"}
    assert node["KAFKA_UNCLEAN_LEADER_ELECTION_ENABLE"] == "false"
    assert node["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert int(node["KAFKA_MESSAGE_MAX_BYTES"]) > 32 * 2**20
    assert int(node["KAFKA_REPLICA_FETCH_MAX_BYTES"]) >= int(node["KAFKA_MESSAGE_MAX_BYTES"])


def test_images_are_pinned_and_nothing_is_open_to_the_network(compose: Any) -> None:
    for name, service in compose["services"].items():
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), f"{name}: {service['image']} names no exact version"
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name}: {port} is open to the network"
    assert compose["services"]["kafka-1"]["image"] == "apache/kafka:4.2.1"  # the version the local broker runs


def test_what_runs_is_watched_and_waited_for(compose: Any) -> None:
    services = compose["services"]
    for name, service in services.items():
        if name != "tool":
            assert "healthcheck" in service, f"{name} has no health check"
        for needed, how in service.get("depends_on", {}).items():
            assert needed in services
            assert how == {"condition": "service_healthy"}
    assert {*BROKERS, "object-store", "partner"} <= set(services["worker"]["depends_on"])


def test_the_worker_reaches_the_lake_and_the_partner(compose: Any) -> None:
    worker, store = environment(compose, "worker"), environment(compose, "object-store")
    assert worker["AWS_ENDPOINT_URL"] == f"http://object-store{store['VGW_PORT']}"
    assert (worker["AWS_ACCESS_KEY_ID"], worker["AWS_SECRET_ACCESS_KEY"]) == (
        store["ROOT_ACCESS_KEY"],
        store["ROOT_SECRET_KEY"],
    )
    bucket = worker["WAYBILL_LAKE"].removeprefix("s3://")
    assert f"mkdir -p /data/{bucket} " in compose["services"]["object-store"]["entrypoint"][-1]
    command = compose["services"]["partner"]["command"]
    assert worker["WAYBILL_CLINIC_URL"] == f"http://partner:{command[command.index('--port') + 1]}/batches"
    partners = (ROOT / "topology" / "partners.yaml").read_text(encoding="utf-8")
    assert "${WAYBILL_LAKE:-" in partners
    assert "${WAYBILL_CLINIC_URL:-" in partners


def test_the_image_takes_the_pinned_packages_and_runs_without_rights() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert lines.index("USER waybill") < next(i for i, line in enumerate(lines) if line.startswith("ENTRYPOINT"))
    assert "RUN pip install --no-cache-dir --require-hashes -r requirements.lock" in lines
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]}
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[0] == "!"}
    assert copied == kept
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"accelerate", "tests", "bench", "chaos"}
    assert packages <= copied
    assert all((ROOT / name).exists() for name in copied - {"README.md"})


def test_ci_skips_nothing() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    assert "export CI=true" in script
    assert "make check" in script
    assert "make test" in script
