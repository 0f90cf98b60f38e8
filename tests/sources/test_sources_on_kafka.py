"""A source as a process of its own on the real broker, killed before and after its commit: `raw` has each file once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streams.runtime.admin import create_topics
from tests.delivery.servers import Sftp
from tests.support import Names
from topology.lanes import lanes_of
from topology.load import load_pipeline
from topology.topics import topic_specs
from waybill.reader import Reader

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = """\
pipeline: demo
application: {prefix}
raw: {{topic: {prefix}.raw}}
pack: cold_chain
partitions: 2
lanes: [standard, high]
partition_by: [sensor_id]
idempotency: [sensor_id, event_time]
partner: lake
"""
SOURCES = "ward: {{{where}, pipeline: demo, complete: renamed, interval: 0.1}}\n"


@pytest.mark.parametrize("kind", ["folder", "sftp"])
def test_a_source_that_is_killed_at_its_commit_publishes_each_file_once(
    kafka: str, names: Names, tmp_path: Path, drop_server: Sftp, kind: str
) -> None:
    (tmp_path / "partners.yaml").write_text("lake: {kind: object-store, url: 'file:lake'}\n")
    drop, where, lane = tmp_path / "drop", "kind: folder, path: drop", "standard"
    if kind == "sftp":
        drop, lane = drop_server.root / names.prefix, "high"
        where = f"kind: sftp, url: 'sftp://waybill@127.0.0.1:{drop_server.port}/{names.prefix}', lane: high, "
        where += f"known_hosts: '{drop_server.known_hosts}', private_key: '{drop_server.private_key}'"
    (tmp_path / "sources.yaml").write_text(SOURCES.format(where=where))
    (tmp_path / "demo.yaml").write_text(PIPELINE.format(prefix=names.prefix))
    pipeline = load_pipeline("demo", folder=tmp_path)
    create_topics(kafka, [spec for spec in topic_specs(pipeline) if spec.short == "raw"])
    topics = {str(name): one.raw_topic for name, one in lanes_of(pipeline).items()}
    drop.mkdir()
    for number in range(4):
        (drop / f"{number}.json").write_bytes(b"{%d}" % number)

    def run(failpoint: str) -> int:
        words = ["source", "run", "ward", "--until-end", "--brokers", kafka, "--folder", "."]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "WAYBILL_FAILPOINT": failpoint}
        ran = subprocess.run(
            [sys.executable, "-m", "waybill.main", *words], cwd=tmp_path, env=environment, capture_output=True,
            timeout=300,
        )  # fmt: skip
        assert ran.returncode in (0, -signal.SIGKILL), ran.stderr.decode()
        return ran.returncode

    def published() -> list[bytes]:
        with Reader(kafka) as reader:
            found = {name: list(reader.all(topic)) for name, topic in topics.items()}
        ours = found.pop(lane)
        assert not any(found.values())
        assert all(dict(message.headers).get("waybill-priority", b"standard") == lane.encode() for message in ours)
        return sorted(message.value or b"" for message in ours)

    assert run("source:after-commit:2") == -signal.SIGKILL
    assert (published(), len(list(drop.glob("*.json")))) == ([b"{0}", b"{1}"], 3)
    assert run("source:before-commit:1") == -signal.SIGKILL
    assert (published(), len(list(drop.glob("*.json")))) == ([b"{0}", b"{1}"], 2)
    assert run("") == 0
    assert published() == [b"{0}", b"{1}", b"{2}", b"{3}"]
    assert sorted(one.name for one in (drop / "done").iterdir()) == [f"{number}.json" for number in range(4)]
