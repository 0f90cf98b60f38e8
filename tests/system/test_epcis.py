"""The shipped EPCIS pipeline on real Kafka, from a publisher's documents to those that the partner has."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Producer

from schemas.packs.epcis.sample import manifest, sample
from streams.runtime.admin import create_topics
from tests.commands.conftest import Cli, cli
from tests.packs.epcis_schemas import json_judge
from tests.support import Names
from topology.load import load_pipeline, topology_folder
from topology.topics import topic_specs
from waybill.demo_views import objects

__all__ = ["cli"]

pytestmark = [pytest.mark.kafka, pytest.mark.cases, pytest.mark.timeout(1200)]

MESSAGES, SEED = 60, 4
"""With everything in it: lots from commissioning to decommissioning, a declaration, repeats, late and broken ones."""
WAIT_SECONDS = 600


def test_the_sample_goes_from_raw_to_documents_that_validate(
    kafka: str, names: Names, cli: Cli, tmp_path: Path, cases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "epcis.yaml"
    shipped = (topology_folder() / "epcis.yaml").read_text()
    file.write_text(f"{shipped}\nregion: {names.prefix}\n".replace("telemetry-run", "{linger: 1, idle: 1}"))
    (tmp_path / "partners.yaml").write_text((topology_folder().parent / "partners.yaml").read_text())
    monkeypatch.setenv("WAYBILL_BROKERS", kafka)
    pipeline = load_pipeline(str(file))
    create_topics(kafka, topic_specs(pipeline))
    producer = Producer({"bootstrap.servers": kafka})
    for key, value in sample(MESSAGES, SEED):
        producer.produce(pipeline.raw_topic, value, key)
    assert producer.flush(60) == 0
    expected = manifest(MESSAGES, SEED)
    assert expected.kinds.keys() == {"bad", "broken", "declaration", "duplicate", "good", "late"}

    command = [sys.executable, "-m", "waybill.main", "up", str(file), "--web-port", "0"]
    with (tmp_path / "up.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as up:
        try:
            books = cli("reconcile", file, "--wait", WAIT_SECONDS)
            up.send_signal(signal.SIGINT)
            assert up.wait(120) == 0
        finally:
            up.kill()
    assert books.out.splitlines()[-1] == (
        f"conservation: received={expected.received} acknowledged={expected.acknowledged} dead={expected.dead} "
        f"duplicate={expected.duplicate} in-flight=0"
    ), (tmp_path / "up.log").read_text()
    assert books.code == 0

    bodies = [path.read_bytes() for path in objects(Path(os.environ["WAYBILL_HOME"]))]
    judge = json_judge(cases)
    assert [judge(body) for body in bodies] == [[]] * len(bodies)
    events = [event for body in bodies for event in json.loads(body)["epcisBody"]["eventList"]]
    assert len(events) == expected.acknowledged
    assert sum("errorDeclaration" in event for event in events) == expected.kinds["declaration"]
    steps = {event.get("bizStep") for event in events}
    assert {"commissioning", "packing", "shipping", "receiving", "decommissioning"} <= steps

    item = next(event["epcList"][0] for event in events if event.get("bizStep") == "decommissioning")
    traced = cli("trace", item, "--pipeline", file, "--json")
    assert traced.code == 0, traced.err
    times = [row["event_time"] for row in traced.rows if row["step"] == "VALIDATED"]
    assert times == sorted(times)
    named = [event for event in events if item in (*event.get("epcList", ()), *event.get("childEPCs", ()))]
    assert {event["eventTime"] for event in named} <= set(times)
    assert len(named) >= 3, "commissioned, packed, decommissioned"

    acks = [row["value"] for row in cli("tail", file, "sent", "--until-end", "--json").rows]
    repeats = [ack for ack in acks if ack.get("outcome") == "duplicate"]
    keys = {}
    for row in cli("tail", file, "validated", "--until-end", "--json").rows:
        value = row["value"]
        keys[value["raw_partition"], value["raw_offset"], value["raw_index"]] = value["key"]
    assert len(repeats) == expected.duplicate
    for ack in repeats:
        first = ack["duplicate_of"]
        positions = [(one["raw_partition"], one["raw_offset"], one["raw_index"]) for one in (first, ack)]
        assert keys[positions[0]] == keys[positions[1]]
        assert positions[0] < positions[1]
