"""A real worker with three lanes: a high record overtakes low batches that wait for the partner, and the books are
one."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from tests.support import Names, wait_for
from tests.system.plant import DRAIN_SECONDS, Plant
from topology.lanes import lane_named, lanes_of
from waybill.commands.audit import check
from waybill.commands.reconcile import progress_of, tally, wait_until_quiet
from waybill.partner_sim import Partner
from waybill.reader import Decoder, Reader

pytestmark = pytest.mark.kafka

LOW = 120


class Holding(Partner):
    """Answers nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.asked = 0

    async def _batch(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        while not self.go.is_set():
            await asyncio.sleep(0.02)
        return await super()._batch(request)


def reading(sensor: str) -> tuple[str, bytes]:
    message = {"sensor_id": sensor, "timestamp_utc": "2026-03-02T00:00:00Z", "temperature_c": 5.0}
    return sensor, orjson.dumps({**message, "product": "refrigerator"})


def test_a_high_record_goes_before_low_batches_that_wait_for_the_partner(
    kafka: str, tmp_path: Path, names: Names
) -> None:
    partner = Holding()
    changes = {
        "lanes": ["high", "standard", "low"],
        "ordering": "none",
        "batching": {"max_records": 4, "linger": 1, "idle": 1},
    }
    with Plant(kafka, tmp_path, names.prefix, partner, None, **changes) as plant, Reader(kafka) as reader:
        clinic = {"kind": "http", "url": plant.server.url, "timeout": 2 * DRAIN_SECONDS, "connections": 1}
        (tmp_path / "partners.yaml").write_text(json.dumps({"clinic": clinic}))
        plant.write_pipeline(partner="clinic")
        high, low = (lane_named(plant.pipeline, lane) for lane in ("high", "low"))

        def batches(lane: str) -> list[str]:
            one = lane_named(plant.pipeline, lane)
            return [batch_id.hex() for batch_id in progress_of(reader, Decoder(one), one).settled]

        plant.publish([reading(f"LOW-{number}") for number in range(LOW)], topic=low.raw_topic)
        worker = plant.worker().wait_ready()
        wait_for(lambda: len(batches("low")) >= LOW // 4, DRAIN_SECONDS, "the low batches wait for the partner")
        plant.publish([reading("HIGH")], topic=high.raw_topic)
        wait_for(lambda: batches("high"), DRAIN_SECONDS, "the high one waits, too")
        assert partner.asked == 1, "what a partner takes at a time is one limit for all lanes"
        partner.go.set()
        assert wait_until_quiet(kafka, plant.pipeline, time.monotonic() + DRAIN_SECONDS)
        assert worker.stop() == 0
        sent = [attempt["key"] for attempt in partner.attempts]
        assert set(batches("high")) < set(sent[: len(sent) // 2]), "it came after half of the low ones"
        assert sorted(sent) == sorted(batches("high") + batches("low")), "each batch is sent once"
        books = tally(kafka, plant.pipeline)
        assert (books.pipeline, books.holds, books.received, books.acknowledged) == ("cc", True, LOW + 1, LOW + 1)
        for lane in lanes_of(plant.pipeline).values():
            assert check(reader, Decoder(lane), lane).findings == ()
