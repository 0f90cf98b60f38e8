"""How long a worker takes to be ready again with many idempotency keys, and how much memory, for both stores.

The keys come there through the product: validate and batch over readings with distinct keys. That is done once, with
rocksdb; every start afterwards restores from the same changelog. After each, repeats of readings from all over the
table must be recognised: a worker that is ready with a part of its table would be quick, too.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from bench.deployed import WorkerProcess, deploy, http_partner, wait_for
from bench.report import Figure
from bench.world import fill
from schemas.packs.cold_chain.sample import START, sensors
from schemas.packs.cold_chain.times import iso_text
from topology.model import Pipeline

RAW = "bench.raw.keys"
PROBES = 420
INTERVAL = 60_000
"""Milliseconds between two readings of a probe."""
REPEATS = 1_000
"""At most."""
STAGES = "validate,batch"
SECONDS = 600.0


def measure(bootstrap: str, folder: Path, keys: int) -> list[Figure]:
    """keys: rows of the idempotency table."""
    settings = {"raw": {"topic": RAW}, "partner": "clinic", "store": "rocksdb", "batching": "telemetry-run"}
    file, made = deploy(bootstrap, folder, "bench-keys", settings, {"clinic": http_partner(9)})  # nothing is sent
    found = _start(bootstrap, file, made, "empty", 0)
    fill(bootstrap, RAW, readings(keys), made.partitions)
    with WorkerProcess(file, bootstrap, STAGES) as worker:
        wait_for(lambda: _admitted(worker) >= keys, SECONDS, f"batch has admitted {keys:,} keys")
        found.append(Figure("restart rocksdb peak while filling", worker.peak, "MiB"))
    found += _start(bootstrap, file, made, "rocksdb", keys)
    shutil.rmtree(file.parent / "home")
    found += _start(bootstrap, file, made, "rocksdb-rebuilt", keys)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"store": "memory"}))
    return found + _start(bootstrap, file, made, "memory", keys)


def readings(
    count: int, every: int = 1, probes: int = PROBES, size: int = 0, interval: int = INTERVAL
) -> Iterator[tuple[str, bytes]]:
    """Readings of which no two have the same key; `every`: only each so manieth of them.

    probes: sensors they come from. size: bytes each has at least; its zone is made longer for that, with other letters
    in each reading. interval: milliseconds between two readings of a probe.
    """
    all_probes = sensors(probes)
    for number in range(0, count, every):
        probe = all_probes[number % probes]
        reading: dict[str, Any] = {
            "sensor_id": probe.name,
            "timestamp_utc": iso_text(START + number // probes * interval),
            "temperature_c": probe.middle,
            "zone_id": probe.zone,
            "product": probe.product,
        }
        value = json.dumps(reading).encode()
        if size > len(value):
            reading["zone_id"] += f"-{Random(number).randbytes((size - len(value)) // 2).hex().upper()}"
            value = json.dumps(reading).encode()
        yield probe.name, value


def repeats(keys: int) -> list[tuple[str, bytes]]:
    """Readings from all over a table of so many keys."""
    return list(readings(keys, -(-keys // REPEATS)))


def _start(bootstrap: str, file: Path, made: Pipeline, name: str, keys: int) -> list[Figure]:
    """Starts a worker, looks at it when it is ready, and stops it."""
    with WorkerProcess(file, bootstrap, STAGES) as worker:
        whole = worker.ready()
        restoring = time.time() - worker.log_time("frame started")
        found = [
            Figure(f"restart {name} seconds until ready", whole, "s"),
            Figure(f"restart {name} seconds of it behind the frame's start", restoring, "s"),
            Figure(f"restart {name} peak", worker.peak, "MiB"),
        ]
        if keys:
            asked = repeats(keys)
            fill(bootstrap, RAW, asked, made.partitions)
            wait_for(lambda: _repeats(worker) >= len(asked), SECONDS, "repeats are recognised")
            found.append(Figure(f"restart {name} repeats recognised", _repeats(worker), f"of {len(asked):,}"))
    return found


def _admitted(worker: WorkerProcess) -> float:
    return worker.metric("messaging_client_sent_messages_total", stage="batch", topic="idempotency")


def _repeats(worker: WorkerProcess) -> float:
    return worker.metric("messaging_client_sent_messages_total", stage="batch", topic="sent")
