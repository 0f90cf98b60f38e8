"""Publishes readings at an even pace, and notes when: `python -m bench.pacing JOB`.

A process of its own, so that whoever reads what comes of them cannot hold it up. What is late is published at once,
and the schedule stays as it was: a stall of the generator is seen as such (`late`) and does not lower the pace.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Producer

from bench.process import last_line
from topology.model import partition_for

SECONDS = 60.0
"""For the last messages to be acknowledged: longer means that the broker hangs."""

Reading = tuple[str, bytes]


class Published(NamedTuple):
    """What a run of the generator says."""

    at: list[int]
    """When each reading was handed to the client, ns since epoch, in their order."""
    late: list[float]
    """How much later than it was due, ms."""


def paced(
    due: Iterable[float],
    send: Callable[[int], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[float]:
    """Calls `send` with 0, 1, … when each is due, seconds from now on, in order; how late each call was, s."""
    begun = clock()
    late = []
    for number, when in enumerate(due):
        ahead = begun + when - clock()
        if ahead > 0:
            sleep(ahead)
            ahead = begun + when - clock()
        late.append(max(0.0, -ahead))
        send(number)
    return late


def publish(bootstrap: str, topic: str, partitions: int, readings: list[Reading], pace: float, file: Path) -> Published:
    """Publishes readings, by key, so many a second, from another process that reads them from `file`."""
    file.write_text(json.dumps([(key, value.decode()) for key, value in readings]))
    job = {"bootstrap": bootstrap, "topic": topic, "partitions": partitions, "pace": pace, "file": str(file)}
    said = last_line("the load generator", [sys.executable, "-m", "bench.pacing", json.dumps(job)]).said
    return Published(**said)


def main() -> None:
    """Job: bootstrap, topic, partitions, pace (records/s), file (of readings)."""
    job = json.loads(sys.argv[1])
    messages = [
        (value.encode(), key.encode(), partition_for(key, job["partitions"]))
        for key, value in json.loads(Path(job["file"]).read_text())
    ]
    # linger.ms as it comes (5): a request for each reading would take the broker half a core at 1,000 a second.
    producer = Producer({"bootstrap.servers": job["bootstrap"]})
    producer.list_topics(job["topic"], SECONDS)  # the first message finds a connection and knows where to go
    at: list[int] = []

    def send(number: int) -> None:
        at.append(time.time_ns())
        producer.produce(job["topic"], *messages[number])
        producer.poll(0)

    late = paced((number / job["pace"] for number in range(len(messages))), send)
    if left := producer.flush(SECONDS):
        raise SystemExit(f"{left} readings could not be published in {SECONDS:g} s")
    print(json.dumps({"at": at, "late": [round(seconds * 1000, 3) for seconds in late]}))


if __name__ == "__main__":
    main()
