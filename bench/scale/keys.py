"""A point of the axis `keys`: a table of so many rows, filled through the product, then a worker that starts over it.

After a start, repeats of readings from all over the table must be recognised: a worker that is ready with a part of its
table would be quick, too.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from bench.deployed import WorkerProcess, deploy, http_partner, wait_for
from bench.restart import STAGES, readings, repeats
from bench.scale.axes import ROCKSDB, Point
from bench.scale.load import LOOK_SECONDS, SECONDS
from bench.world import fill
from topology.model import Pipeline


def measure(bootstrap: str, folder: Path, point: Point) -> dict[str, float]:
    """Raises RuntimeError where a repeat is not recognised."""
    name, keys = f"scale-keys-{point.store}-{point.x}", point.x
    settings = {
        "raw": {"topic": f"{name}.raw"},
        "partner": "clinic",
        "store": point.store,
        "batching": "telemetry-run",
    }
    file, made = deploy(bootstrap, folder, name, settings, {"clinic": http_partner(9)})  # nothing is sent
    with WorkerProcess(file, bootstrap, STAGES) as worker:
        worker.ready()
        begun, before = time.monotonic(), worker.cpu
        fill(bootstrap, made.raw_topic, readings(keys), made.partitions)
        wait_for(
            lambda: _sent(worker, "idempotency") >= keys, SECONDS, f"batch has admitted {keys:,} keys", LOOK_SECONDS
        )
        found = {"seconds": time.monotonic() - begun, "cpu": worker.cpu - before, "peak_mib": worker.peak}
    found["cpu_per_million"] = found["cpu"] / keys * 1e6
    found["restore_seconds"], found["restore_peak_mib"] = _start(bootstrap, file, made, keys)
    if point.store == ROCKSDB:
        stores = file.parent / "home" / "stores"
        found["store_mib"] = sum(one.stat().st_size for one in stores.rglob("*") if one.is_file()) / 2**20
        shutil.rmtree(file.parent / "home")
        found["rebuild_seconds"], _ = _start(bootstrap, file, made, keys)
    return found


def _start(bootstrap: str, file: Path, made: Pipeline, keys: int) -> tuple[float, float]:
    """Seconds from the frame's start until ready, and peak MiB."""
    with WorkerProcess(file, bootstrap, STAGES) as worker:
        worker.ready(SECONDS)
        restoring, peak = time.time() - worker.log_time("frame started"), worker.peak
        fill(bootstrap, made.raw_topic, asked := repeats(keys), made.partitions)
        wait_for(lambda: _sent(worker, "sent") >= len(asked), SECONDS, "repeats are recognised")
        return restoring, peak


def _sent(worker: WorkerProcess, topic: str) -> float:
    return worker.metric("messaging_client_sent_messages_total", stage="batch", topic=topic)
