"""The gateway as a process of its own on the real broker, asked with the page's own commands."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from streams.runtime.admin import create_topics
from tests.support import Names, wait_for
from topology.load import load_pipeline
from topology.model import Pipeline
from topology.topics import topic_specs
from waybill.reader import Reader

pytestmark = pytest.mark.kafka

PAGE = Path(__file__).resolve().parents[2] / "docs" / "gateway.md"
PIPELINE = """\
pipeline: cold-chain
application: {prefix}
raw: {{topic: {prefix}.raw}}
pack: cold_chain
partitions: 2
partition_by: [sensor_id]
idempotency: [sensor_id, event_time]
batching: {{max_records: 2}}
partner: lake
"""


@pytest.fixture
def pipeline(kafka: str, names: Names, tmp_path: Path) -> Pipeline:
    (tmp_path / "partners.yaml").write_text("lake: {kind: object-store, url: 'file:lake'}\n")
    (tmp_path / "cold-chain.yaml").write_text(PIPELINE.format(prefix=names.prefix))
    loaded = load_pipeline("cold-chain", folder=tmp_path)
    create_topics(kafka, [spec for spec in topic_specs(loaded) if spec.short == "raw"])
    return loaded


@pytest.fixture
def shell(tmp_path: Path) -> list[str]:
    """The page's first shell blocks, before the gateway and the request; those of the capture interface follow."""
    first, second, *_ = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    before, command, _ = first.partition("waybill gateway cold-chain epcis --tokens tokens\n")
    assert command
    ran = subprocess.run(["bash", "-ec", f"{before}cat token"], cwd=tmp_path, capture_output=True, check=True)
    return [ran.stdout.decode().strip(), second]


@pytest.fixture
def process(kafka: str, pipeline: Pipeline, shell: list[str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    words = ["gateway", "cold-chain", "--tokens", "tokens", "--port", "0", "--brokers", kafka, "--folder", "."]
    with subprocess.Popen(
        [sys.executable, "-m", "waybill.main", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PAGE.parents[1])},
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        yield started
        started.kill()


def test_what_the_page_shows_works_and_nothing_more_is_taken_than_may_wait(
    kafka: str, pipeline: Pipeline, shell: list[str], process: subprocess.Popen[str], tmp_path: Path
) -> None:
    token, request = shell
    assert process.stderr is not None
    said = process.stderr.readline()
    found = re.match(r"ready: http://127\.0\.0\.1:(\d+)/", said)
    assert found, said + process.stderr.read()
    port = int(found[1])

    ran = subprocess.run(
        ["bash", "-ec", request.replace("8080", str(port))], cwd=tmp_path, capture_output=True, check=True,
    )  # fmt: skip
    answer = json.loads(ran.stdout)
    [row] = answer["submissions"]
    (shown,) = json.loads(re.findall(r"^```json\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)[0])[
        "submissions"
    ]
    assert row["bytes"] == shown["bytes"]
    assert row["digest"].startswith(shown["digest"].rstrip("…"))
    with Reader(kafka) as reader:
        [message] = list(reader.all(pipeline.raw_topic))
        assert f"{pipeline.raw_topic}/{message.partition}/{message.offset}" == row["position"] == row["id"]
        assert message.value is not None
        assert sha256(message.value).hexdigest() == row["digest"]
        assert len(message.value) == row["bytes"]
        headers = dict(message.headers)
        assert re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", headers.pop("waybill-received-at") or b"")
        assert headers == {
            "waybill-digest": row["digest"].encode(), "content-type": b"application/json",
            "waybill-source": b"ward-7/fridge-07", "waybill-publisher": b"ward-7", "waybill-channel": b"http",
        }  # fmt: skip

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def publish() -> int:
        connection.request("POST", "/v1/cold-chain/records", b"{}", {"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        response.read()
        return response.status

    taken = 1

    def filled() -> bool:
        nonlocal taken
        taken += publish() == 202
        return taken == 5

    wait_for(filled, 60, "twice max_records wait, and the one that was let in at the mark")
    assert {publish() for _ in range(10)} == {429}

    group = pipeline.group_id("validate")
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": group, "enable.auto.commit": False})
    with Reader(kafka) as reader:
        ends = reader.ends(pipeline.raw_topic).high
    consumer.commit(
        offsets=[TopicPartition(pipeline.raw_topic, number, end) for number, end in ends.items()], asynchronous=False
    )
    consumer.close()
    wait_for(lambda: publish() == 202, 60, "validate has caught up")
    connection.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, process.stderr.read()
