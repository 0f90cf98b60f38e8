"""A table, a topic and an SFTP folder behind a real worker: each batch arrives once, whatever kills the worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.packs.cold_chain.sample import manifest, sample
from tests.delivery.servers import Postgres, Sftp
from tests.delivery.worlds import batches_on, kafka_topic, postgres, sftp, table_of_the_page
from tests.support import Names, make_topic
from tests.system.judge import judge
from tests.system.plant import DRAIN_SECONDS, Other, Plant, died_of_kill
from topology.partner import Partner

pytestmark = pytest.mark.kafka

RECORDS = 300
RULE = {
    "by": "product",
    "map": {"refrigerator": "topic", "freezer": "topic", "ultra-low": "drop", "cool": "drop"},
    "default": "table",
}


def declared(partner: Partner) -> dict[str, object]:
    """As an operator would write it, with nothing in it that has its default."""
    return partner.model_dump(mode="json", exclude_unset=True)


def test_each_batch_arrives_once_though_the_worker_is_killed_after_a_send(
    kafka: str, table_server: Postgres, drop_server: Sftp, tmp_path: Path, names: Names
) -> None:
    table, topic, folder = names.prefix, names("batches"), names.prefix
    table_server.query(table_of_the_page().replace("waybill_batches", table))
    make_topic(kafka, topic, 2)
    others = {
        "table": Other(
            declared(postgres(table_server, table=table, timeout=60.0)),
            lambda: [row["batch_id"].hex() for row in table_server.query(f"SELECT batch_id FROM {table}")],
        ),
        "topic": Other(
            declared(kafka_topic(kafka, topic, timeout=60.0)), lambda: [key for key, _ in batches_on(kafka, topic)]
        ),
        "drop": Other(
            declared(sftp(drop_server, folder, timeout=60.0)),
            lambda: [path.stem.removeprefix("batch_") for path in (drop_server.root / folder).rglob("batch_*.json")],
        ),
    }
    with Plant(kafka, tmp_path, names.prefix, others=others) as plant:
        plant.write_pipeline(partner=RULE)
        plant.publish(sample(RECORDS))
        worker = plant.worker(failpoint="dispatch:after-send:1")
        assert died_of_kill(worker, DRAIN_SECONDS), worker.tail()
        plant.finish()
        found = judge(plant)
        assert found.outcomes()["delivered"] == manifest(RECORDS).acknowledged
        assert all(plant.held()[name] for name in others)
        answers = [ack["answer"] for _, ack in found.decoded("sent") if ack["outcome"] == "delivered"]
        assert any(answer.startswith("already there") for answer in answers), "nothing was sent twice"
