"""Contender: the roof. A plain confluent-kafka loop over the same input with the same outputs and no work.

It reads as a member of a group, writes real messages of the product's own run (so that they compress alike), as many
per input message as the product wrote, and commits outputs and offsets in transactions of the product's size, under
the same client settings. What it does not do is look at a message.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from itertools import cycle
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from bench.process import Meter, tell
from bench.world import Pair, pipeline, read
from streams.runtime.clients import client_settings
from streams.runtime.kafka import INPUTS

POOL_BYTES = 32 * 2**20
"""Messages kept of each kind, to be written over and over."""
SLICE = 2_000
"""Messages taken at once; more are no faster and use more memory."""
SECONDS = 60.0


class Kind:
    """One kind of output: messages to write, and how many for the whole of the input."""

    def __init__(self, bootstrap: str, source: str, target: str, count: int) -> None:
        self.target, self.count, self.written = target, count, 0
        pool: list[Pair] = []
        size = 0
        for key, value in read(bootstrap, source):
            pool.append((key, value))
            size += len(value or b"")
            if size > POOL_BYTES:
                break
        self._next = cycle(pool)

    def take(self, done: int, of: int) -> list[Pair]:
        """What is to be written when `done` of `of` input messages have been read."""
        count = self.count * done // of - self.written
        self.written += count
        following = self._next
        return [next(following) for _ in range(count)]


class Loop(threading.Thread):
    """One stage's worth of reading and writing."""

    def __init__(self, job: dict[str, Any], stage: str, counts: dict[str, int], due: int) -> None:
        super().__init__(name=stage, daemon=True)
        source = pipeline(job["application"], job["lake"], job["raw"])
        self._target = pipeline(job["target"], job["lake"], job["raw"])
        self._brokers, self._stage, self._due = job["bootstrap"], stage, due
        self._input, self._chunk = source.topic(INPUTS[stage]), source.chunk
        self._kinds = [
            Kind(job["bootstrap"], source.topic(short), self._target.topic(short), count)
            for short, count in counts.items()
        ]
        self._partitions = source.partitions
        self.meter: Meter
        self.transactions = 0
        self.done = False

    def run(self) -> None:
        settings = client_settings(self._brokers, self._target, self._stage, 0, 0, {})
        consumer = Consumer({**settings.consumer, "auto.offset.reset": "earliest"})
        producer = Producer(dict(settings.producer))
        producer.init_transactions(SECONDS)
        consumer.subscribe([self._input])
        done = 0
        while done < self._due:
            started = time.perf_counter()
            read = size = 0
            last: dict[int, int] = {}
            begun = False
            while read < self._chunk.records and size < self._chunk.bytes and done < self._due:
                messages = consumer.consume(SLICE, 0.05)
                if not messages:
                    if read:
                        break
                    continue
                self.meter.fetched(started)
                if not begun:
                    producer.begin_transaction()
                    begun = True
                read += len(messages)
                done += len(messages)
                for message in messages:
                    size += len(message)
                    last[message.partition()] = message.offset() + 1
                self._write(producer, done)
            if begun:
                offsets = [TopicPartition(self._input, p, o) for p, o in last.items()]
                producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), SECONDS)
                producer.commit_transaction(SECONDS)
                self.meter.committed()
                self.transactions += 1
        self.done = True

    def _write(self, producer: Any, done: int) -> None:
        produce, partitions = producer.produce, self._partitions
        for kind in self._kinds:
            target = kind.target
            for place, (key, value) in enumerate(kind.take(done, self._due)):
                while True:
                    try:
                        produce(target, value, key, place % partitions)
                        break
                    except BufferError:
                        producer.poll(0.02)


def main() -> None:
    """Job: bootstrap, application (whose topics are read), target (whose are written), raw, lake, records,
    stages: {name: {due, counts: {short topic: messages}}}."""
    job = json.loads(sys.argv[1])
    loops = [Loop(job, stage, part["counts"], part["due"]) for stage, part in job["stages"].items()]
    meter = Meter()  # only now: filling the pools is no part of it
    for loop in loops:
        loop.meter = meter
        loop.start()
    for loop in loops:
        loop.join()
    if not all(loop.done for loop in loops):
        raise SystemExit("a loop ended early")
    tell(meter.report(job["records"], transactions=sum(loop.transactions for loop in loops)))


if __name__ == "__main__":
    main()
