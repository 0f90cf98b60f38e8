"""What a capture job says is what the topics of a real broker say, whichever gateway is asked."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from schemas.canonical import RawPosition
from streams.stage import Output
from tests.commands.bench_kafka import Bench
from tests.support import Names
from waybill.gateway.capture import Job
from waybill.gateway.jobs import KafkaJobs
from waybill.life import Finder, Life
from waybill.reader import Decoder, Reader

pytestmark = pytest.mark.kafka


def reading(sensor: str, celsius: float | str) -> dict[str, object]:
    return {"sensor_id": sensor, "timestamp_utc": "2026-03-02T00:00:00Z", "temperature_c": celsius, "zone_id": "A1",
            "product": "refrigerator"}  # fmt: skip


def test_a_job_is_read_off_the_topics_at_each_step_of_its_records(kafka: str, names: Names, tmp_path: Path) -> None:
    bench = Bench(kafka, names.prefix, tmp_path / "topology")
    first = [reading("FRIDGE-01", 4.5), reading("FRIDGE-01", 4.5), reading("FRIDGE-01", "warm")]
    bench.write(Output("raw", 0, b"k", json.dumps(first).encode(), (("waybill-publisher", b"ward"),)))
    bench.write(Output("raw", 0, b"k", json.dumps(reading("FRIDGE-02", 4.5)).encode()))

    def job(offset: int) -> Job:
        jobs = KafkaJobs(kafka)  # as of a gateway that was started just now
        try:
            found = asyncio.run(jobs.find(bench.pipeline, 0, offset))
        finally:
            jobs.close()
        assert found is not None
        return found

    async def absent(jobs: KafkaJobs) -> list[Job | None]:
        return [await jobs.find(bench.pipeline, partition, offset) for partition, offset in ((0, 2), (1, 0), (7, 0))]

    jobs = KafkaJobs(kafka)
    assert asyncio.run(absent(jobs)) == [None, None, None]
    jobs.close()
    found = job(0)
    assert (found.publisher, found.records, found.running) == ("ward", None, True)
    bench.validate()
    bench.batch()
    found = job(0)
    assert [(one.place, one.stage) for one in found.answers] == [(1, None), (2, "validate")]
    assert (found.records, found.running) == (3, True), "the first waits for its partner"
    bench.dispatch()
    found = job(0)
    assert [(one.place, one.stage) for one in found.answers] == [(0, None), (1, None), (2, "validate")]
    assert not found.running
    assert [one["code"] for one in found.answers[2].findings] == ["WRONG_TYPE"]
    assert (job(1).records, job(1).running) == (1, False)

    bench.write(Output("raw", 0, b"k", json.dumps(reading("FRIDGE-03", 4.5)).encode()))
    bench.validate()
    bench.batch(fails="KeyError: 'x'")
    bench.write(Output("raw", 0, b"k", json.dumps([reading("FRIDGE-04", 4.5), reading("FRIDGE-05", 4.5)]).encode()))
    bench.validate()
    bench.batch()
    bench.dispatch(fails="KeyError: 'x'")
    for offset, stage, records in ((2, "batch", 1), (3, "dispatch", 2)):
        found = job(offset)
        assert (found.records, found.running) == (records, False), "nothing of it is worked any more"
        assert [(one.stage, one.findings[0]["code"]) for one in found.answers] == [(stage, "UNPROCESSABLE")] * records
        lives = traced(bench, RawPosition(bench.pipeline.raw_topic, 0, 0, offset, -1))
        assert [(life.state, life.in_flight) for life in lives] == [("FAILED", False)] * records


def traced(bench: Bench, position: RawPosition) -> list[Life]:
    with Reader(bench.bootstrap) as reader:
        return Finder(reader, Decoder(bench.pipeline), bench.pipeline).lives([position])
