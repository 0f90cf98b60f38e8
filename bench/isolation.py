"""How long a reading takes from publisher to `sent` while another partner of the same pipeline never answers (P9),
against the same readings alone.

Every reading is a batch of its own, so that no window's waiting hides what dispatch does, and batches do not wait for
their group, so that the dead partner has as many attempts open as it may. Each phase has a pipeline and a worker of its
own: what a dead partner leaves behind must not disturb the next phase. The phases take turns, because machines do.
"""

from __future__ import annotations

import statistics
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from bench.deployed import PartnerProcess, WorkerProcess, deploy, http_partner
from bench.pacing import Reading, paced
from bench.waits import percentile
from schemas.codec import SingleObjectCodec
from topology.model import Pipeline, partition_for
from waybill.commands.run import free_port

PACE = 100
"""Records a second for each of the two partners."""
TIMEOUT = 2.0
"""Seconds until an attempt at a partner is given up."""
WARM_UP = 2.0
"""Seconds that are not counted."""
DEADLINE = 60.0
OTHER = b'"product":"ultra-low"'
"""What goes to the partner that may be dead."""
PHASES = ("alone", "beside-healthy", "beside-dead")


def measure(bootstrap: str, folder: Path, readings: list[Reading], rounds: int, seconds: float) -> dict[str, float]:
    """p99 of the fast partner's records in each phase, ms: the median of the rounds."""
    found: dict[str, list[float]] = {phase: [] for phase in PHASES}
    for number in range(rounds):
        for phase in PHASES:
            waits = _phase(bootstrap, folder, f"bench-isolation{number}-{phase}", phase, readings, seconds)
            found[phase].append(percentile(waits, 0.99))
    return {phase: round(statistics.median(values), 1) for phase, values in found.items()}


def load(readings: list[Reading], phase: str, seconds: float) -> list[tuple[float, bool, Reading]]:
    """What is published in a phase: when, in seconds from its start, whether it is the fast partner's, and what."""
    count = int((seconds + WARM_UP) * PACE)
    fast = [reading for reading in readings if OTHER not in reading[1]][:count]
    other = [reading for reading in readings if OTHER in reading[1]][:count] if phase != "alone" else []
    due = [(number / PACE, True, reading) for number, reading in enumerate(fast)]
    due += [((number + 0.5) / PACE, False, reading) for number, reading in enumerate(other)]
    return sorted(due)


def _phase(bootstrap: str, folder: Path, name: str, phase: str, readings: list[Reading], seconds: float) -> list[float]:
    ports = {"fast": free_port(), "other": free_port()}
    settings = {
        "raw": {"topic": f"{name}.raw"},
        "batching": {"max_records": 1},
        "ordering": "none",
        "partner": {"by": "product", "map": {"ultra-low": "other"}, "default": "fast"},
    }
    partners = {which: http_partner(port, timeout=TIMEOUT) for which, port in ports.items()}
    file, made = deploy(bootstrap, folder, name, settings, partners)
    with ExitStack() as stack:
        simulators = {which: stack.enter_context(PartnerProcess(file.parent, port)) for which, port in ports.items()}
        if phase == "beside-dead":
            simulators["other"].mode(fault="hang")
        worker = stack.enter_context(WorkerProcess(file, bootstrap))
        worker.ready()
        reader = _reader(bootstrap, made)
        stack.callback(reader.close)
        return _waits(bootstrap, made, reader, load(readings, phase, seconds))


def _waits(bootstrap: str, made: Pipeline, reader: Any, due: list[tuple[float, bool, Reading]]) -> list[float]:
    """Milliseconds from publishing to ack, of the fast partner's records after the warm-up."""
    published: dict[tuple[int, int], float] = {}
    publisher = threading.Thread(target=_publish, args=(bootstrap, made, due, published))
    publisher.start()
    answered = _read(reader, sum(fast for _, fast, _ in due), due[-1][0])
    publisher.join()
    begun = min(published.values())
    return [
        (at - published[where]) * 1000
        for where, at in answered.items()
        if where in published and published[where] - begun >= WARM_UP
    ]


def _publish(
    bootstrap: str, made: Pipeline, due: list[tuple[float, bool, Reading]], published: dict[tuple[int, int], float]
) -> None:
    """Publishes at the pace; notes when, by raw position, for the fast partner's records."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})

    def note(at: float, message: Any) -> None:
        published[message.partition(), message.offset()] = at

    def send(number: int) -> None:
        _, fast, (key, value) = due[number]
        at = time.monotonic()
        producer.produce(
            made.raw_topic, value, key.encode(), partition_for(key, made.partitions),
            on_delivery=(lambda _, message: note(at, message)) if fast else None,
        )  # fmt: skip
        producer.poll(0)

    paced((when for when, _, _ in due), send)
    producer.flush(DEADLINE)


def _reader(bootstrap: str, made: Pipeline) -> Any:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench.isolation",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 5,
            "fetch.queue.backoff.ms": 1,
        }
    )
    consumer.assign([TopicPartition(made.topic("sent"), partition, 0) for partition in range(made.partitions)])
    return consumer


def _read(consumer: Any, count: int, seconds: float) -> dict[tuple[int, int], float]:
    """When an answer was in hand, by raw position. Only the fast partner's are waited for."""
    codec = SingleObjectCodec()
    found: dict[tuple[int, int], float] = {}
    fast = 0
    deadline = time.monotonic() + seconds + DEADLINE
    while fast < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {fast} of the fast partner's {count} records were answered")
        for message in consumer.consume(1_000, 0.005):
            if message.error() is None:
                now = time.monotonic()
                ack = codec.decode(message.value())[1]
                found[ack["raw_partition"], ack["raw_offset"]] = now
                fast += ack["partner"] == "fast"
    return found
