"""The Quix Streams peer: parse, check, hash, drop duplicates through its store, two outputs, exactly once.

It is given the product's own reading (a pydantic model and some rules), as stock Faust is, so that only what is around
it differs. Runs in the environment of `environment.py`, so it may import of this repository only what needs no more
than that. State is Quix's own: RocksDB with a changelog, by message key, which on `raw` is the sensor.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

from quixstreams import Application
from quixstreams.checkpointing import Checkpoint
from quixstreams.models import Serializer
from quixstreams.processing import context as processing

from bench.peers.quix.judging import Answer, Judge, Known
from bench.process import Meter, tell


class ValueOf(Serializer):  # type: ignore[misc]  # of a package that is not in this environment
    """The bytes of an answer."""

    def __call__(self, value: Answer, ctx: object) -> bytes:
        return value.value


def application(job: dict[str, Any]) -> Application:
    """Settings as the other contenders have them, where there are any such."""
    return Application(
        broker_address=job["bootstrap"],
        consumer_group=job["application"],
        processing_guarantee="exactly-once",
        auto_offset_reset="earliest",
        commit_interval=job["commit_ms"] / 1000,
        consumer_poll_timeout=0.05,
        state_dir=Path(job["state"]),
        auto_create_topics=True,  # of its changelog; the others are there
        loglevel="WARNING",
        consumer_extra_config={
            "fetch.queue.backoff.ms": 10,
            "fetch.wait.max.ms": 50,
            "session.timeout.ms": 10_000,
        },
        producer_extra_config={
            "transactional.id": job["application"],
            "compression.type": "lz4",
            "linger.ms": job["linger_ms"],
            "batch.size": 256 * 1024,
            "queue.buffering.max.messages": 500_000,
            "retry.backoff.ms": 1,
            "retry.backoff.max.ms": 20,
        },
    )


def run(job: dict[str, Any]) -> None:
    """Until every record is answered and committed; then the process has ended."""
    judging = Judge(job["pack"], job["options"], job["profile"])
    meter = Meter()  # only now: loading the pack is start-up, as it is for ours
    app = application(job)
    validated = app.topic(job["validated"], value_serializer=ValueOf(), key_serializer="bytes")
    dead_letter = app.topic(job["dead_letter"], value_serializer=ValueOf(), key_serializer="bytes")
    raw = app.topic(job["raw"], value_deserializer="bytes", key_deserializer="bytes")
    due: int = job["records"]
    judge, transactions = judging.judge, 0

    def process(value: bytes, state: Known) -> tuple[Answer, ...]:
        if not judging.read:
            meter.fetched(time.perf_counter())
        answers = judge(value, state)
        if judging.read == due:
            app.stop()  # nothing follows: no need to wait for the end of the interval; this commits
        return answers

    class Measured(Checkpoint):  # type: ignore[misc]  # as above
        def commit(self, *, revoking: bool = False) -> None:
            nonlocal transactions
            super().commit(revoking=revoking)
            meter.committed()
            transactions += 1
            if judging.read == due:
                told = meter.report(due, transactions=transactions)
                tell(told, counts=judging.counts)

    processing.Checkpoint = Measured  # a checkpoint is the one place that knows when a transaction has committed
    data = app.dataframe(raw).apply(process, stateful=True, expand=True)
    data = data.set_headers(lambda answer, key, timestamp, headers: answer.headers)
    data.to_topic(lambda answer, key, timestamp, headers: validated if answer.valid else dead_letter)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # as the product has it
    app.run()


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
