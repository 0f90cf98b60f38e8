"""How long a reading takes from publisher to `validated`, at a steady pace far below what the stage can do.

The publisher writes its time into the `waybill-received-at` header, which validate carries on; a reader of committed
messages looks at the clock when it has the message in hand. Same machine, same clock.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from bench.process import ROOT
from bench.world import create, pipeline
from schemas.codec import SingleObjectCodec
from topology.model import partition_for

PACE = 1_000
"""Records a second."""
WARM_UP = 2.0
"""Seconds that are not counted: the first chunks wait for the group."""
DEADLINE = 60.0


def measure(bootstrap: str, folder: Path, messages: list[tuple[str, bytes]], seconds: float) -> dict[str, float]:
    """p50 and p99 in milliseconds."""
    lake = folder / "lake-latency"
    lake.mkdir()
    made = pipeline("bench-latency", str(lake), "bench.raw.paced")
    create(bootstrap, made)
    count = min(len(messages), int((seconds + WARM_UP) * PACE))
    job = {
        "bootstrap": bootstrap, "application": made.application, "raw": made.raw_topic, "lake": str(lake),
        "records": count, "due": {"validate": count}, "frame": True,
    }  # fmt: skip
    stage = subprocess.Popen([sys.executable, "-m", "bench.ours", json.dumps(job)], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        reader = _reader(bootstrap, made.topic("validated"), made.partitions)
        running = threading.Event()
        publisher = threading.Thread(
            target=_publish, args=(bootstrap, made.raw_topic, made.partitions, running, messages[:count])
        )
        publisher.start()
        waits = _read(reader, count, running)
        publisher.join()
        reader.close()
        stage.wait(DEADLINE)
    finally:
        if stage.poll() is None:
            stage.kill()
            stage.wait()
    counted = sorted(waits[int(WARM_UP * PACE) :])
    cuts = statistics.quantiles(counted, n=100)
    return {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1)}


def _reader(bootstrap: str, topic: str, partitions: int) -> Any:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench.latency",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 10,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    return consumer


def _publish(
    bootstrap: str, topic: str, partitions: int, running: threading.Event, messages: list[tuple[str, bytes]]
) -> None:
    """One message to see the stage at work, then the others at their pace."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    begun = time.monotonic()
    for number, (key, value) in enumerate(messages):
        if number == 1:
            producer.flush(DEADLINE)
            running.wait(DEADLINE)
            begun = time.monotonic()
        ahead = begun + number / PACE - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)  # poll would return with the first delivery report
        producer.poll(0)
        headers = [("waybill-received-at", str(time.time_ns()).encode())]
        producer.produce(topic, value, key.encode(), partition_for(key, partitions), headers=headers)
    producer.flush(DEADLINE)


def _read(consumer: Any, count: int, running: threading.Event) -> list[float]:
    """Milliseconds, in the order of arrival."""
    codec = SingleObjectCodec()
    waits: list[float] = []
    deadline = time.monotonic() + DEADLINE + count / PACE
    while len(waits) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {len(waits)} of {count} records were validated")
        for message in consumer.consume(1_000, 0.005):
            if message.error() is None:
                running.set()
                now = time.time_ns()
                published = int(codec.decode(message.value())[1]["received_at"])
                waits.append((now - published) / 1e6)
    return waits
