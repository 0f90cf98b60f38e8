"""A point: workers that are ready with nothing to do, readings published at full speed, and what that took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.deployed import WorkerProcess, deploy, wait_for
from bench.process import cpu_of
from bench.restart import readings
from bench.scale.axes import BASE, Point
from bench.world import fill
from waybill.broker import Broker

STAGES = ("validate", "batch", "dispatch")
BATCHING = {"max_records": 2_000, "linger": 2, "idle": 1}
"""The last windows close a second after the last reading."""
PROBES = 420
SECONDS = 3_600.0
"""For one point: longer means that it hangs."""
LOOK_SECONDS = 0.5
"""Between two looks at the metrics, which a worker has to write each time."""
SECOND = 1_000
"""Between two readings of a sensor, ms: all of them lie in one day."""


def measure(bootstrap: str, folder: Path, point: Point) -> dict[str, float]:
    """All three stages, a folder as partner."""
    at: dict[str, Any] = BASE | {point.axis: point.x}
    name = f"scale-{point.axis}-{point.x}"
    settings = {
        "raw": {"topic": f"{name}.raw"},
        "partitions": at["partitions"],
        "batching": BATCHING,
        "partner": "lake",
    }
    probes = PROBES
    if point.axis == "groups":
        settings["group_by"], probes = ["sensor_id"], point.x
    size = at["bytes"] if point.axis == "bytes" else 0
    lake = {"lake": {"kind": "object-store", "url": (folder / name / "lake").as_uri(), "prefix": "scale"}}
    file, made = deploy(bootstrap, folder, name, settings, lake)
    with ExitStack() as stack:
        workers = [stack.enter_context(WorkerProcess(file, bootstrap, slot=n)) for n in range(at["processes"])]
        for stage in STAGES:
            wait_for(lambda stage=stage: _assigned(workers, stage) == made.partitions, SECONDS, f"{stage} is restored")  # type: ignore[misc]
        broker = Broker(folder / "broker").status().pid or 0
        begun, before, broker_before = time.monotonic(), [worker.cpu for worker in workers], cpu_of(broker)
        fill(bootstrap, made.raw_topic, readings(point.records, 1, probes, size, SECOND), made.partitions)
        wait_for(lambda: _answered(workers) >= point.records, SECONDS, "all readings are answered", LOOK_SECONDS)
        seconds = time.monotonic() - begun
        spent = sum(worker.cpu for worker in workers) - sum(before)
        broker_spent = cpu_of(broker) - broker_before
        return {
            "seconds": seconds,
            "rate": point.records / seconds,
            "cpu": spent,
            "cpu_per_million": spent / point.records * 1e6,
            "broker_cpu_per_million": broker_spent / point.records * 1e6,
            "log_bytes_per_record": _log_bytes(folder, made.application) / point.records,
            "peak_mib": max(worker.peak for worker in workers),
            "batches": _sum(workers, "messaging_client_sent_messages_total", stage="batch", topic="batched"),
        }


def _log_bytes(folder: Path, application: str) -> int:
    """What the broker holds of everything that the workers wrote and read, compressed as it is."""
    return sum(file.stat().st_size for file in (folder / "broker" / "data").glob(f"{application}.*/*.log"))


def _assigned(workers: Sequence[WorkerProcess], stage: str) -> float:
    return _sum(workers, "waybill_partitions", stage=stage)


def _answered(workers: Sequence[WorkerProcess]) -> float:
    return _sum(workers, "messaging_client_sent_messages_total", stage="dispatch", topic="sent")


def _sum(workers: Sequence[WorkerProcess], name: str, **labels: str) -> float:
    return sum(worker.metric(name, **labels) for worker in workers)
