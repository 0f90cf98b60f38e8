"""A real worker obeys `waybill partner pause` and `resume`, also one that starts later."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from streams.dispatch.orders import Order, subject
from tests.support import Names, wait_for
from tests.system.judge import Judge, judge
from tests.system.plant import DRAIN_SECONDS, READY_SECONDS, Plant
from waybill.commands.partner import give
from waybill.reader import Reader

pytestmark = pytest.mark.kafka


def reading(sensor: str, product: str) -> tuple[str, bytes]:
    message = {"sensor_id": sensor, "timestamp_utc": "2026-03-02T00:00:00Z", "temperature_c": 9.0, "product": product}
    return sensor, orjson.dumps(message)


def test_what_is_paused_gets_nothing_over_a_restart_and_everything_once_when_it_is_resumed(
    kafka: str, tmp_path: Path, names: Names
) -> None:
    with Plant(kafka, tmp_path, names.prefix) as plant:

        def order(version: int, paused: bool) -> None:
            with Reader(kafka) as reader:
                give(
                    reader,
                    Order(subject(plant.pipeline, "clinic"), version, paused, "ann", f"order {version}", version),
                )

        order(1, True)
        first = plant.worker().wait_ready()
        plant.publish([reading(f"FRIDGE-{number}", "refrigerator") for number in range(5)])
        plant.publish([reading("CELLAR-1", "cool")])
        wait_for(lambda: Judge(plant).outcomes()["delivered"], DRAIN_SECONDS, "the other partner gets its batch")
        assert first.stop() == 0
        second = plant.worker().wait_ready()
        plant.publish([reading("CELLAR-2", "cool")])
        wait_for(lambda: Judge(plant).outcomes()["delivered"] == 2, DRAIN_SECONDS, "the second worker delivers")
        assert plant.partner.attempts == []
        order(2, False)
        wait_for(lambda: Judge(plant).outcomes()["delivered"] == 7, DRAIN_SECONDS, "what waited is delivered")
        order(3, True)
        wait_for(lambda: second.log.read_text().count('"partner is paused"') == 2, READY_SECONDS, "it is obeyed")
        sent = len(plant.partner.attempts)
        plant.publish([reading("FRIDGE-9", "refrigerator"), reading("CELLAR-3", "cool")])
        wait_for(lambda: Judge(plant).outcomes()["delivered"] == 8, DRAIN_SECONDS, "the other partner gets it")
        assert len(plant.partner.attempts) == sent
        order(4, False)
        wait_for(lambda: Judge(plant).outcomes()["delivered"] == 9, DRAIN_SECONDS, "the last one, too")
        assert second.stop() == 0
        found = judge(plant)
        assert found.outcomes() == {"delivered": 9}
        assert {row["attempt"] for row in found.table("delivery").values()} == {1}
