"""What contenders are measured on: a pipeline of its own topics, readings, and reading topics back to compare."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from pydantic import TypeAdapter

from schemas.packs.cold_chain.sample import sample
from streams.runtime.admin import Cluster
from topology.load import load_pipeline
from topology.model import Pipeline, partition_for
from topology.partner import ObjectStorePartner, Partner
from topology.sections import Batching, Topic
from topology.topics import topic_specs
from waybill.broker import Broker

RAW = "bench.raw"
SLICE = 5_000
SECONDS = 300.0
"""For filling or reading a topic."""

NEVER = Batching(max_records=100_000, max_bytes=24 * 2**20, linger=86_400, idle=86_400, max_open_bytes=2**40)
"""Windows that do not fill with a few hundred thousand small readings in groups of a day."""

Pair = tuple[bytes | None, bytes | None]


@contextmanager
def broker() -> Iterator[tuple[str, Path]]:
    """A broker: where it is, and a folder for everything; both are gone afterwards, also where we are told to end or
    our terminal goes away."""
    with _ended_by(signal.SIGTERM, signal.SIGHUP), tempfile.TemporaryDirectory(prefix="waybill-bench-") as scratch:
        made = Broker(Path(scratch) / "broker")
        try:
            yield made.start(), Path(scratch)
        finally:
            made.stop()


@contextmanager
def _ended_by(*numbers: signal.Signals) -> Iterator[None]:
    """These signals raise SystemExit, so that every `with` block around us is left; one that is ignored (nohup) stays
    so."""
    before = {number: signal.getsignal(number) for number in numbers}
    for number in (number for number, handler in before.items() if handler is not signal.SIG_IGN):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def pipeline(application: str, lake: str, raw: str = RAW, **more: Any) -> Pipeline:
    """The shipped cold-chain pipeline with topics of its own, all batches to a local folder. more: other fields."""
    shipped = load_pipeline("cold-chain")
    store = ObjectStorePartner(kind="object-store", url=Path(lake).as_uri(), prefix="coldchain")
    changed = {"application": application, "raw": Topic(topic=raw), "partner": "lake", "partners": {"lake": store}}
    return shipped.model_copy(update=changed | more)


def delivering(partner: Mapping[str, Any], batch: int) -> dict[str, Any]:
    """Fields of a pipeline that sends batches of so many records to one partner (an entry of partners.yaml), each
    without waiting for another one of its group."""
    read: Any = TypeAdapter(Partner)
    batching = Batching(max_records=batch, linger=3_600)
    return {"partners": {"lake": read.validate_python(partner)}, "ordering": "none", "batching": batching}


def create(bootstrap: str, made: Pipeline) -> None:
    """The topics of a pipeline."""
    cluster(bootstrap).create(topic_specs(made))


def cluster(bootstrap: str) -> Cluster:
    """Questions to the broker, by a client that says nothing of its own."""
    return Cluster({"bootstrap.servers": bootstrap, "log_level": 4})


def readings(count: int) -> list[tuple[str, bytes]]:
    """The first `count` readings of the sample that every stage lets pass: valid, and each key once."""
    from schemas.pack import Record, Submission
    from schemas.packs import load_pack

    made = load_pipeline("cold-chain")
    pack = load_pack(made.pack, made.options, made.profile)
    seen: set[tuple[str, ...]] = set()

    def good() -> Iterator[tuple[str, bytes]]:
        for key, value in sample(count * 2):
            item = next(iter(pack.unpack(Submission(value)).records()))
            if not isinstance(item, Record):
                continue
            identity = tuple(item.fields[name] for name in made.idempotency)
            if identity not in seen:
                seen.add(identity)
                yield key, value

    found = list(islice(good(), count))
    if len(found) < count:
        raise RuntimeError(f"the sample has only {len(found)} such readings, not {count}")
    return found


def fill(
    bootstrap: str, topic: str, messages: Iterable[tuple[str, bytes]], partitions: int, packed: str = "lz4"
) -> None:
    """Publishes messages, by key, and waits until all are there."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "compression.type": packed})
    for key, value in messages:
        while True:
            try:
                producer.produce(topic, value, key.encode(), partition_for(key, partitions))
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
    if left := producer.flush(SECONDS):
        raise RuntimeError(f"{left} messages could not be published to {topic} in {SECONDS:g} s")


def read(bootstrap: str, topic: str) -> Iterator[Pair]:
    """Committed messages of a topic as (key, value), each partition in its order."""
    return ((message.key(), message.value()) for message in messages(bootstrap, topic))


def messages(bootstrap: str, topic: str) -> Iterator[Any]:
    """As read, the client's own messages. Raises RuntimeError where the topic cannot be read."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench.reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.queue.backoff.ms": 10,
            "fetch.wait.max.ms": 10,
        }
    )
    deadline = time.monotonic() + SECONDS
    try:
        partitions = cluster(bootstrap).partitions()[topic]
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
        while partitions:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{topic} could not be read in {SECONDS:g} s")
            for message in consumer.consume(SLICE, 0.1):
                error: Any = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    partitions -= 1
                else:
                    raise RuntimeError(f"{topic}: {error.str()}")
    finally:
        consumer.close()
