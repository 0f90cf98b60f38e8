"""How fast ready batches reach a partner, beside loops that hand over the same bodies and do nothing else.

Frozen batches are made once by the product's own validate and batch, and every contender gets the same ones: the
product as messages of `batched`, roof and peer as the bodies that the product renders. Each run is judged by what
arrived: every body, none twice, no byte another.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Producer

from bench import world
from bench.contenders import Mismatch, Turn, prepare
from bench.peers.benthos import program
from bench.peers.job import PARTITIONS, create_topics
from bench.process import Measurement, Report, last_line, run
from bench.sink import Sink
from bench.world import fill, messages, read
from schemas.packs import load_pack
from schemas.registry import codec_for
from streams.dispatch.agent import new_row
from streams.dispatch.bodies import Bodies, Fault
from streams.runtime.kafka import INPUTS
from streams.stage import Message
from topology.model import Pipeline

RAW = "bench.raw.delivery"
CONNECTIONS = 32
"""Bodies under way at a time over HTTP."""
SLOTS = 8
"""The same of a folder, which is no setting of the product."""
SECONDS = 60.0
"""For copying the batches: longer means that the broker hangs."""


class Shape(NamedTuple):
    """What is delivered."""

    suffix: str
    """Of the contenders' names."""
    size: int
    """Records in a batch."""
    body: str
    """See `topology.partner.BODY`."""
    folder: bool
    """Whether to a folder, too."""


SHAPES = (Shape("", 100, "batch", folder=True), Shape("-single", 1, "record", folder=False))


class Ready(NamedTuple):
    """A batch as its partner gets it."""

    key: str
    path: str
    body: str


class Batches(NamedTuple):
    """What every contender is to deliver."""

    shape: Shape
    records: int
    source: Pipeline
    """Whose topic `batched` holds them."""
    ready: list[Ready]
    file: Path
    """`ready` as JSON."""

    @property
    def digests(self) -> Counter[tuple[str, str]]:
        """Key and SHA-256 of each."""
        return Counter((one.key, sha256(one.body.encode()).hexdigest()) for one in self.ready)


def make(bootstrap: str, folder: Path, readings: list[tuple[str, bytes]], shape: Shape) -> Batches:
    """Batches of the readings; what does not fill one is in smaller ones. Raises Mismatch."""
    raw = f"{RAW}{shape.suffix}"
    prepare(bootstrap, raw, readings)
    turn = Turn(bootstrap, folder, len(readings), 0, raw)
    made = turn.pipeline(f"batches{shape.suffix}")
    settings: dict[str, Any] = {"partner": _folder(folder, shape), "batch": shape.size}
    due: dict[str, int | None] = {"validate": len(readings), "batch": len(readings)}
    turn.ours("batches", made, due, delivery=settings)
    ready, records = [], 0
    for batch in _rendered(bootstrap, made.model_copy(update=world.delivering(**settings))):
        ready.append(batch[0])
        records += batch[1]
    file = folder / f"bodies{shape.suffix}.json"
    file.write_text(json.dumps(ready))
    return Batches(shape, records, made, ready, file)


def _rendered(bootstrap: str, made: Pipeline) -> Iterator[tuple[Ready, int]]:
    """What the frozen batches of a pipeline send, and how many records each has. Raises Mismatch."""
    codec, pack = codec_for(made.registry), load_pack(made.pack, made.options, made.profile)
    bodies = Bodies(made, codec, pack, lambda partition, offset: None)
    for message in messages(bootstrap, made.topic(INPUTS["dispatch"])):
        ours = Message(message.partition(), message.offset(), message.timestamp()[1], message.key(), message.value())
        frozen = bodies.read(ours, codec.decode(message.value())[1])
        row = new_row(frozen.batched, ours.partition, ours.offset, 0)
        bodies.keep(row, frozen)
        body = bodies.render(row)
        bodies.release(row)
        if isinstance(body, Fault):
            raise Mismatch(body.why)
        yield Ready(frozen.batched["batch_id"].hex(), body.path, body.data.decode()), len(frozen.records)


class Delivery:
    """Contenders over the same batches; none leaves anything behind that another one sees."""

    def __init__(self, bootstrap: str, folder: Path, sink: Sink, batches: Batches, number: int) -> None:
        """number: unlike that of any other turn on this broker."""
        self._bootstrap, self._folder, self._sink = bootstrap, folder, sink
        self._batches, self._number, self._shape = batches, number, batches.shape
        self._turn = Turn(bootstrap, folder, batches.records, number, f"{RAW}{self._shape.suffix}")

    def contenders(self, benthos: bool) -> Iterator[Measurement]:
        """Each once; benthos: it can be had. Raises Mismatch where one did not deliver every body, once and as it
        is."""
        name, url = f"delivery-http{self._shape.suffix}", self._sink.url
        api = {"kind": "http", "url": url, "connections": CONNECTIONS, "body": self._shape.body}
        yield self._ours(name, api)
        yield self._roof(f"roof-{name}", "http", url, CONNECTIONS)
        if benthos:
            yield self._benthos(f"benthos-{name}")
        if self._shape.folder:
            lakes = [self._folder / f"{who}-folder-{self._number}" for who in ("ours", "roof")]
            for lake in lakes:
                lake.mkdir()
            name = f"delivery-folder{self._shape.suffix}"
            yield self._ours(name, _folder(lakes[0], self._shape), lakes[0])
            yield self._roof(f"roof-{name}", "folder", str(lakes[1]), SLOTS, lakes[1])

    def _ours(self, name: str, partner: dict[str, Any], lake: Path | None = None) -> Measurement:
        made = self._turn.pipeline(name)
        self._copy(made)
        settings = {"partner": partner, "batch": self._shape.size}
        measured = self._turn.ours(name, made, {"dispatch": len(self._batches.ready)}, delivery=settings)
        acks = sum(1 for _ in read(self._bootstrap, made.topic("sent")))
        if acks != self._batches.records:
            raise Mismatch(f"{name}: {acks} acks for {self._batches.records} records")
        self._check(name, lake)
        return measured

    def _roof(self, name: str, kind: str, to: str, at_once: int, lake: Path | None = None) -> Measurement:
        job = {"kind": kind, "to": to, "bodies": str(self._batches.file), "at_once": at_once}
        measured = run(name, "bench.delivery_roof", {**job, "records": self._batches.records})
        self._check(name, lake)
        return measured

    def _benthos(self, name: str) -> Measurement:
        """It reads ready bodies, so it renders nothing."""
        topic = f"{name}-{self._number}"
        create_topics(self._bootstrap, [topic])
        fill(self._bootstrap, topic, [(one.key, one.body.encode()) for one in self._batches.ready], PARTITIONS)
        job = {
            "bootstrap": self._bootstrap, "application": topic, "topic": topic, "url": self._sink.url,
            "at_once": CONNECTIONS, "bodies": len(self._batches.ready), "records": self._batches.records,
        }  # fmt: skip
        ended = last_line(name, [str(program.build()), json.dumps(job)])
        self._check(name, None)
        return Measurement(name, Report(**ended.said), ended.cpu, ended.peak_mib, ended.broker_cpu)

    def _copy(self, made: Pipeline) -> None:
        """The frozen batches into another pipeline's topic."""
        producer = Producer({"bootstrap.servers": self._bootstrap, "linger.ms": 20, "compression.type": "lz4"})
        target = made.topic(INPUTS["dispatch"])
        for message in messages(self._bootstrap, self._batches.source.topic(INPUTS["dispatch"])):
            sent = message.value(), message.key(), message.partition()
            while True:
                try:
                    producer.produce(target, *sent, headers=message.headers())
                    break
                except BufferError:
                    producer.poll(0.05)
        if left := producer.flush(SECONDS):
            raise RuntimeError(f"{left} batches could not be copied in {SECONDS:g} s")

    def _check(self, name: str, lake: Path | None) -> None:
        arrived = Counter((one.key, one.digest) for one in self._sink.taken()) if lake is None else objects(lake)
        compare(name, self._batches.digests, arrived)


def objects(lake: Path) -> Counter[tuple[str, str]]:
    """Batch id and SHA-256 of every object of a folder; sidecars are none."""
    found = [path for path in lake.rglob("batch_*") if not path.name.endswith(".meta.json")]
    return Counter((path.stem.removeprefix("batch_"), sha256(path.read_bytes()).hexdigest()) for path in found)


def compare(name: str, sent: Counter[tuple[str, str]], arrived: Counter[tuple[str, str]]) -> None:
    """Key and digest of what was sent and of what arrived. Raises Mismatch."""
    if sent != arrived:
        raise Mismatch(
            f"{name}: of {sent.total()} batches {(sent - arrived).total()} did not arrive as they were sent, "
            f"{(arrived - sent).total()} came twice or were none of them"
        )


def _folder(lake: Path, shape: Shape) -> dict[str, Any]:
    return {"kind": "object-store", "url": lake.as_uri(), "prefix": "coldchain", "body": shape.body}
