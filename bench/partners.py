"""What an operator sees of delivery: a deployed worker whose partners are paths of one cheap sink.

`sealed_to_delivered` asks how long a batch is on its way from being sealed to having arrived, at an even pace.
`beside_dead` asks what five partners that never answer cost the 195 others of the same worker: each has the same
records to get through, once alone and once beside them. Every record is a batch of its own there, so that dispatch is
what limits the worker.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from bench.contenders import Mismatch
from bench.delivery import compare
from bench.deployed import WorkerProcess, deploy, http_partner, wait_for
from bench.pacing import Reading, publish
from bench.sink import Arrival, Sink
from bench.world import fill, messages, read
from schemas.codec import SingleObjectCodec
from streams.dispatch.bodies import FLUSHED_HEADER
from topology.model import Pipeline

PACE, BATCH, WARM_UP = 1_000, 10, 3.0
"""Of the paced run: records a second, records in a batch, seconds that are not counted."""
PARTNERS, DEAD = 200, 5
TIMEOUT = 2.0
"""Seconds until an attempt at a partner is given up."""
SECONDS = 300.0
"""For one phase: longer means that it hangs."""


def sealed_to_delivered(
    bootstrap: str, folder: Path, sink: Sink, readings: list[Reading], seconds: float
) -> list[float]:
    """Milliseconds of each batch of a paced run, those sealed in its first seconds left out. Raises Mismatch."""
    name = "bench-sealed"
    settings = {"raw": {"topic": f"{name}.raw"}, "batching": {"max_records": BATCH, "linger": 1}, "partner": "api"}
    file, made = deploy(bootstrap, folder, name, settings, {"api": _partner(sink)})
    paced = readings[: int(PACE * (seconds + WARM_UP))]
    with WorkerProcess(file, bootstrap) as worker:
        worker.ready()
        publish(bootstrap, made.raw_topic, made.partitions, paced, PACE, folder / "paced.json")
        wait_for(lambda: _answered(worker) >= len(paced), SECONDS, "every record of the paced run is answered")
    arrived = sink.taken()
    _check(bootstrap, made, arrived, {"api"})
    codec, sealed = SingleObjectCodec(), {}
    for message in messages(bootstrap, made.topic("batched")):
        at = datetime.fromisoformat(dict(message.headers())[FLUSHED_HEADER].decode())
        sealed[codec.decode(message.value())[1]["batch_id"].hex()] = at.timestamp() * 1_000
    begun = min(sealed.values()) + WARM_UP * 1_000
    return [one.at - sealed[one.key] for one in arrived if sealed[one.key] >= begun]


def beside_dead(bootstrap: str, folder: Path, sink: Sink, readings: list[Reading]) -> dict[str, float]:
    """Batches per second of the healthy partners, alone and beside the dead. Raises Mismatch."""
    supply = _spread(readings)
    return {
        phase: _phase(bootstrap, folder, sink, f"bench-partners-{phase}", phase, supply)
        for phase in ("alone", "beside-dead")
    }


def _phase(bootstrap: str, folder: Path, sink: Sink, name: str, phase: str, supply: list[tuple[int, Reading]]) -> float:
    settings = {
        "raw": {"topic": f"{name}.raw"},
        "batching": {"max_records": 1},
        "group_by": ["sensor_id"],
        "partner": {"by": "sensor_id", "map": {_name(n): _name(n) for n in range(PARTNERS)}, "default": _name(0)},
    }
    partners = {_name(n): _partner(sink, "dead" if n < DEAD else "batches") for n in range(PARTNERS)}
    file, made = deploy(bootstrap, folder, name, settings, partners)
    given = [reading for number, reading in supply if phase != "alone" or number >= DEAD]
    healthy = sum(number >= DEAD for number, _ in supply)
    fill(bootstrap, made.raw_topic, given, made.partitions)
    with WorkerProcess(file, bootstrap) as worker:
        wait_for(lambda: _answered(worker) >= healthy, SECONDS, "every record of a healthy partner is answered")
    arrived = sink.taken()
    if len(arrived) != healthy:
        raise Mismatch(f"{name}: {len(arrived)} batches arrived, {healthy} were for partners that answer")
    _check(bootstrap, made, arrived, {_name(n) for n in range(DEAD, PARTNERS)})
    times = [one.at for one in arrived]
    return len(times) / (max(times) - min(times)) * 1_000


def _spread(readings: list[Reading]) -> list[tuple[int, Reading]]:
    """The readings as of one sensor for each partner, in turn: number of the partner, and the reading."""
    found, seen = [], set()
    for place, (_, value) in enumerate(readings):
        number = place % PARTNERS
        reading: dict[str, Any] = orjson.loads(value) | {"sensor_id": _name(number)}
        identity = number, reading["timestamp_utc"]
        if identity not in seen:
            seen.add(identity)
            found.append((number, (_name(number), orjson.dumps(reading))))
    return found


def _name(number: int) -> str:
    return f"site-{number:03}"


def _partner(sink: Sink, path: str = "batches") -> dict[str, Any]:
    return http_partner(sink.port, timeout=TIMEOUT) | {"url": f"http://127.0.0.1:{sink.port}/{path}"}


def _answered(worker: WorkerProcess) -> float:
    return worker.metric("messaging_client_sent_messages_total", stage="dispatch", topic="sent")


def _check(bootstrap: str, made: Pipeline, arrived: list[Arrival], partners: set[str]) -> None:
    """What arrived is what the write-aheads of these partners' batches say, once. Raises Mismatch."""
    codec, rows = SingleObjectCodec(), {}
    for key, value in read(bootstrap, made.topic("delivery")):
        if key is not None and value is not None and len(key) == 32:
            rows[key] = codec.decode(value)[1]
    sent = Counter(
        (key.hex(), row["body_digest"].hex())
        for key, row in rows.items()
        if row["partner"] in partners and row["state"] == "sent"
    )
    compare(made.application, sent, Counter((one.key, one.digest) for one in arrived))
