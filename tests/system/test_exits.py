"""A worker that is fenced, or could skip records, ends with its exit code and never rejoins (TX3)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from schemas.packs.cold_chain.sample import sample
from streams.runtime.admin import create_topics
from streams.runtime.worker import EXIT_FATAL, EXIT_GAP, EXIT_STALLED
from tests.support import Names, wait_for
from tests.system.judge import Judge, judge
from tests.system.plant import DRAIN_SECONDS, READY_SECONDS, Plant
from topology.topics import topic_specs

pytestmark = pytest.mark.kafka


def recreate(plant: Plant, short: str) -> None:
    """The same name, another topic."""
    admin: Any = AdminClient({"bootstrap.servers": plant.bootstrap})
    name = plant.pipeline.topic(short)
    admin.delete_topics([name])[name].result(READY_SECONDS)
    wait_for(lambda: name not in admin.list_topics(timeout=10).topics, READY_SECONDS, f"{name} is gone")
    create_topics(plant.bootstrap, [spec for spec in topic_specs(plant.pipeline) if spec.short == short])


def forget_offsets(plant: Plant, stage: str) -> None:
    """The group with its committed offsets is deleted."""
    admin: Any = AdminClient({"bootstrap.servers": plant.bootstrap})
    group = plant.pipeline.group_id(stage)
    admin.delete_consumer_groups([group])[group].result(READY_SECONDS)


def test_a_worker_that_aborts_for_ever_says_so_and_ends(kafka: str, tmp_path: Path, names: Names) -> None:
    """Its loop turns and its membership stands, so that nobody else would take its partitions."""
    with Plant(kafka, tmp_path, names.prefix) as plant:
        worker = plant.worker(module="tests.system.aborting").wait_ready()
        plant.publish(sample(200))
        wait_for(lambda: not worker.ready(), READY_SECONDS, "it is not ready any more")
        assert worker.wait(READY_SECONDS) == EXIT_STALLED, worker.tail()
        assert "has taken nothing of" in worker.tail()
        assert "cc/batch" in worker.tail()
        plant.finish()
        judge(plant)


def test_tx3_what_could_skip_records_ends_the_worker(kafka: str, tmp_path: Path, names: Names) -> None:
    """Two gaps, one after the other, on one deployment; each is said in words and nothing is written after it."""
    gaps: list[tuple[Callable[[Plant], None], str]] = [
        (lambda plant: forget_offsets(plant, "dispatch"), "no committed offset"),
        (lambda plant: recreate(plant, "heads"), "there is no head"),
    ]
    with Plant(kafka, tmp_path, names.prefix) as plant:
        plant.publish(sample(100))
        plant.finish()
        before = judge(plant).ends("batched")
        for make, words in gaps:
            make(plant)
            plant.publish(list(sample(120))[100:])
            worker = plant.worker()
            assert worker.wait(READY_SECONDS) == EXIT_GAP
            assert words in worker.tail()
            assert Judge(plant).ends("batched") == before


def test_tx3_a_raw_topic_that_was_made_anew_ends_the_worker(kafka: str, tmp_path: Path, names: Names) -> None:
    with Plant(kafka, tmp_path, names.prefix) as plant:
        plant.publish(sample(100))
        plant.finish()
        before = Judge(plant).ends("validated")
        recreate(plant, "raw")
        plant.publish(sample(200))
        worker = plant.worker()
        assert worker.wait(READY_SECONDS) == EXIT_GAP
        assert "deleted and created again" in worker.tail()
        assert Judge(plant).ends("validated") == before


def test_tx2_a_second_owner_of_a_slot_fences_the_first_for_good(kafka: str, tmp_path: Path, names: Names) -> None:
    load = list(sample(300))
    with Plant(kafka, tmp_path, names.prefix) as plant:
        first = plant.worker(0).wait_ready()
        plant.publish(load[:100])
        wait_for(lambda: plant.partner.effects, DRAIN_SECONDS, "the first works")
        second = plant.worker(0).wait_ready()
        plant.publish(load[100:])
        assert first.wait(DRAIN_SECONDS) == EXIT_FATAL
        assert second.stop() == 0
        plant.finish()
        judge(plant)
