"""Workers come and go under load; records come back corrected; equal input gives equal results."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from schemas.packs.cold_chain.sample import manifest, sample
from streams.runtime.worker import EXIT_DRAIN
from tests.support import Names, wait_for
from tests.system.judge import Judge, judge, place
from tests.system.plant import DRAIN_SECONDS, READY_SECONDS, STOP_SECONDS, Plant
from waybill.partner_sim import Partner

pytestmark = pytest.mark.kafka


def reading(sensor: str, celsius: float) -> tuple[str, bytes]:
    message = {"sensor_id": sensor, "timestamp_utc": "2026-03-02T00:00:00Z", "temperature_c": celsius}
    return sensor, orjson.dumps(message | {"product": "refrigerator"})


def test_two_workers_one_killed_one_added_under_load(kafka: str, tmp_path: Path, names: Names) -> None:
    load = list(sample(1500))
    with Plant(kafka, tmp_path, names.prefix) as plant:
        plant.partner.faults.extend(["store_then_reset", "none", "status:503", "none", "none", "truncated"])
        first, second = plant.worker(0), plant.worker(1)
        first.wait_ready()
        second.wait_ready()
        plant.publish(load[:500])
        wait_for(lambda: plant.partner.attempts, DRAIN_SECONDS, "the first batch reaches the partner")
        first.kill()
        plant.publish(load[500:1000])
        third = plant.worker(2)
        plant.publish(load[1000:])
        third.wait_ready()
        delivered = manifest(1500).acknowledged
        wait_for(lambda: Judge(plant).outcomes()["delivered"] == delivered, DRAIN_SECONDS, "everything is delivered")
        assert second.stop() == 0
        assert third.stop() == 0
        found = judge(plant)
        assert found.outcomes()["duplicate"] == manifest(1500).duplicate


@pytest.mark.parametrize("answer", ["status:400", "status:422"])
def test_ba8_a_record_refused_by_the_partner_is_admitted_when_it_was_corrected(
    kafka: str, tmp_path: Path, names: Names, answer: str
) -> None:
    with Plant(kafka, tmp_path, names.prefix) as plant:
        plant.worker().wait_ready()
        plant.partner.faults.append(answer)
        (refused,) = plant.publish([reading("FRIDGE-1", 4.0)])
        wait_for(lambda: Judge(plant).answers().get((*refused, 0)), DRAIN_SECONDS, "the dead letter")
        assert Judge(plant).answers()[(*refused, 0)] == ["dead in dispatch"]
        (corrected,) = plant.publish([reading("FRIDGE-1", 5.0)])
        wait_for(lambda: Judge(plant).answers().get((*corrected, 0)), DRAIN_SECONDS, "the answer to the corrected one")
        (late,) = plant.publish([reading("FRIDGE-1", 6.0)])
        wait_for(lambda: Judge(plant).answers().get((*late, 0)), DRAIN_SECONDS, "the answer to another correction")
        assert plant.workers[0].stop() == 0
        found = judge(plant).answers()
        assert found[(*corrected, 0)] == ["delivered"]
        assert found[(*late, 0)] == ["dead in batch"], "the delivered version guards its key"
        (body,) = plant.partner.bodies.values()
        assert b'"mkt_c":"5"' in body


def test_law_6_one_raw_topic_read_three_times_gives_equal_results(kafka: str, tmp_path: Path, names: Names) -> None:
    """Three applications, chunks of other sizes, one of them killed on the way."""
    load = list(sample(700))
    outcomes: list[Any] = []
    raw = names("raw")
    common: dict[str, Any] = {
        "raw": {"topic": raw},
        "partitions": 1,
        "deterministic": True,
        "batching": {"max_records": 20, "linger": 0.2, "max_reread": 400},
    }
    published: dict[tuple[int, int], bytes | None] = {}
    for number, (chunk, failpoint) in enumerate([(37, ""), (5000, ""), (11, "batch:before-commit:9")]):
        with Plant(
            kafka, tmp_path / str(number), names(f"app{number}"), chunk={"records": chunk, "linger": 0.02}, **common
        ) as plant:
            if not published:
                plant.publish(load[:350])
                later = time.monotonic() + 0.3
                wait_for(
                    lambda later=later: time.monotonic() > later,  # type: ignore[misc]
                    10,
                    "recorded time passes the linger",
                )
                plant.publish(load[350:])
                published = plant.published
            plant.published = published
            if failpoint:
                plant.worker(failpoint=failpoint, options=["--until-end"]).wait(DRAIN_SECONDS)
            plant.finish()
            found = judge(plant)
            heads = {row["stage"]: row["chain"] for row in found.table("heads").values()}
            outcomes.append(
                {
                    "batches": [batch["batch_id"] for _, batch in found.decoded("batched")],
                    "reasons": [batch["close_reason"] for _, batch in found.decoded("batched")],
                    "heads": (heads["validate"], heads["batch"]),
                    "sent": {(ack["batch_id"], place(ack), ack["outcome"]) for _, ack in found.decoded("sent")},
                }
            )
    assert len(outcomes[0]["batches"]) > 20
    assert {"count", "linger", "end"} <= set(outcomes[0]["reasons"])
    assert outcomes[0] == outcomes[1]
    assert outcomes[0] == outcomes[2]


def test_a_stop_waits_for_nothing_that_a_restart_can_do(kafka: str, tmp_path: Path, names: Names) -> None:
    """A partner that never answers holds up a stop for the drain deadline only; the batch is delivered afterwards."""
    with Plant(kafka, tmp_path, names.prefix) as plant:
        worker = plant.worker().wait_ready()
        plant.partner.faults.append("hang")
        plant.publish([reading("FRIDGE-1", 4.0)])
        wait_for(lambda: plant.partner.attempts, READY_SECONDS, "the partner has the batch in hand")
        assert worker.stop(STOP_SECONDS) == EXIT_DRAIN  # it says so: a partner owes an answer
        plant.finish()
        assert judge(plant).outcomes() == {"delivered": 1}


class Slow(Partner):
    """Answers when the gate is open."""

    def __init__(self) -> None:
        super().__init__(keep_bodies=True)
        self.gate = threading.Event()

    def take(self, request: web.Request, body: bytes) -> tuple[int, dict[str, str]]:
        assert self.gate.wait(READY_SECONDS)
        return super().take(request, body)


def test_di1_a_planned_rebalance_settles_the_call_that_is_open(kafka: str, tmp_path: Path, names: Names) -> None:
    """The partner answers while the group is asked to rebalance: delivered at the first attempt, and not unknown."""
    partner = Slow()
    with Plant(kafka, tmp_path, names.prefix, partner=partner) as plant:
        first = plant.worker(0).wait_ready()
        plant.publish([reading("FRIDGE-1", 4.0)])
        wait_for(lambda: partner.attempts, DRAIN_SECONDS, "the partner has the batch in hand")
        second = plant.worker(1)
        told = "settling before a rebalance"
        wait_for(lambda: told in first.log.read_text(), READY_SECONDS, "the first is asked for its partitions")
        partner.gate.set()
        second.wait_ready()
        wait_for(lambda: Judge(plant).outcomes(), DRAIN_SECONDS, "the answer")
        assert first.stop() == 0
        assert second.stop() == 0
        found = judge(plant)
        (row,) = found.table("delivery").values()
        assert (row["state"], row["attempt"], row["unknown"]) == ("sent", 1, False)
        assert len(partner.attempts) == 1
