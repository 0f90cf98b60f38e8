"""What `waybill demo` runs: the shipped samples through every shipped pipeline, on real Kafka or, without Java, in
memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from waybill.context import HOME_VARIABLE, client_settings
from waybill.demo_views import objects
from waybill.output import Fault, Meter, say
from waybill.surroundings import CLINIC_VARIABLE, Surroundings

if TYPE_CHECKING:
    from schemas.packs.manifest import Manifest, Sample
    from streams.driver import TopologyDriver
    from topology.model import Pipeline
    from waybill.books import Tally

RUN_SECONDS = 600.0
"""For the whole run; it takes far less than a tenth of that. Beyond it something is wrong, and the worker's log says
what."""


@dataclass(frozen=True)
class Show:
    """A shipped pipeline, and how much of its pack's sample goes through it."""

    pipeline: Pipeline
    sample: Sample
    expected: Manifest
    messages: int
    unit: str
    """What a message is, in words."""
    seed: int


def load_show(name: str, messages: int, unit: str, seed: int) -> Show:
    """The show of a shipped pipeline. Its partners' places are read from the environment now."""
    from schemas.packs import load_sample
    from topology.load import load_pipeline

    pipeline = load_pipeline(name)
    sample, manifest = load_sample(pipeline.pack)
    return Show(pipeline, sample, manifest(messages, seed), messages, unit, seed)


@dataclass
class Shown:
    """What a run came to."""

    show: Show
    tally: Tally
    seconds: float
    where: str
    together: bool = False
    """Whether the seconds are those of all pipelines, which ran at once."""
    codes: Counter[str] = field(default_factory=Counter)
    """Dead letters by their first code."""
    batches: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Batches by partner and close reason."""
    at_partner: dict[str, int] = field(default_factory=dict)
    """Batches that each partner has, by its own count."""


def fresh_home(base: Path) -> Path:
    """A folder of its own for each demo, emptied: the sample is the same every time, so a second run on the same
    topics would be all duplicates."""
    folder = base / "demo"
    if folder.exists():
        stop_broker(folder)
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    os.environ[HOME_VARIABLE] = str(folder)
    return folder


def stop_broker(folder: Path) -> None:
    """Ends a broker that an interrupted demo has left behind."""
    from waybill.broker import Broker

    Broker(folder / "broker").stop()


def on_kafka(shows: Callable[[], Sequence[Show]], folder: Path) -> list[Shown]:
    """The run on real Kafka: publish, one worker with all pipelines to the end of the topics, books from the log.
    `shows` is asked once the partners are there."""
    from waybill.commands.reconcile import tally

    with Surroundings(None, partner_sim=True) as around:
        chosen = shows()
        around.create_topics([show.pipeline for show in chosen])
        for show in chosen:
            say(f"publishing {show.messages:,} {show.unit} to {show.pipeline.raw_topic}")
            publish(around.bootstrap, show)
        say("running validate, then batch, then dispatch to their ends: most answers come with the last")
        say(f"the worker's log is {folder / 'worker.log'}")
        started = time.monotonic()
        pipelines = [show.pipeline for show in chosen]
        records = sum(show.expected.received for show in chosen)
        with Answers(around.bootstrap, pipelines) as answers, Meter(records, "answered").following(answers.count):
            run_worker(around.bootstrap, pipelines, folder)
        seconds = time.monotonic() - started
        say(f"done in {seconds:.1f} s; drawing the books from every topic")
        effects = sum(attempt["kind"] == "effect" for attempt in around.partner.partner.lines)
        shown = []
        for show in chosen:
            where = f"Apache Kafka at {around.bootstrap}"
            shown.append(Shown(show, tally(around.bootstrap, show.pipeline), seconds, where, together=True))
            describe_topics(around.bootstrap, show.pipeline, shown[-1])
            shown[-1].at_partner = partners_have(show.pipeline, effects)
        return shown


def publish(bootstrap: str, show: Show) -> None:
    """Publishes a sample and waits for the broker's acks. Raises Fault if one does not come."""
    from confluent_kafka import Producer

    producer = Producer(
        client_settings(bootstrap, **{"enable.idempotence": True, "linger.ms": 20, "compression.type": "lz4"})
    )
    meter = Meter(show.messages, "published")
    for number, (key, value) in enumerate(show.sample(show.messages, show.seed)):
        producer.produce(show.pipeline.raw_topic, value, key)
        if number % 10_000 == 0:
            producer.poll(0)
            producer.flush(30)
            meter.show(number)
    meter.close()
    if left := producer.flush(60):
        raise Fault(f"{left} {show.unit} were not acknowledged by the broker")


class Answers:
    """How many answers there are by now: counted from the log, without looking into them."""

    def __init__(self, bootstrap: str, pipelines: Sequence[Pipeline]) -> None:
        from waybill.reader import Reader

        self._reader = Reader(bootstrap)
        self._read: dict[str, dict[int, int]] = {
            pipeline.topic(short): {} for pipeline in pipelines for short in ("sent", "dead-letter")
        }
        self._count = 0

    def count(self) -> int:
        """Reads on from where it was; a broker that does not answer just now is no reason to fail."""
        from confluent_kafka import KafkaException

        for topic, position in self._read.items():
            try:
                ends = self._reader.ends(topic)
                start = {partition: position.get(partition, low) for partition, low in ends.low.items()}
                found = sum(map(len, self._reader.read(topic, start, ends.high)))
            except (Fault, KafkaException):
                break
            self._count += found
            position.update(ends.high)
        return self._count

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()


def run_worker(bootstrap: str, pipelines: Sequence[Pipeline], folder: Path) -> None:
    """One worker process with every stage, to the end of what is there. Raises Fault if it fails."""
    command = [sys.executable, "-m", "waybill.main", "worker", "--brokers", bootstrap, "--until-end", "--web-port", "0"]
    command += [word for pipeline in pipelines for word in ("--pipeline", pipeline.pipeline)]
    log = folder / "worker.log"
    with log.open("wb") as out:
        try:
            code = subprocess.run(command, stderr=out, stdout=out, timeout=RUN_SECONDS, check=False).returncode
        except subprocess.TimeoutExpired as late:
            raise Fault(f"the worker was not done after {RUN_SECONDS:g} s; see {log}") from late
    if code:
        raise Fault(f"the worker ended with exit code {code}; see {log}")


def describe_topics(bootstrap: str, pipeline: Pipeline, shown: Shown) -> None:
    """Counts dead letters and batches from their topics."""
    from waybill.reader import Decoder, Reader

    decoder = Decoder(pipeline)
    with Reader(bootstrap) as reader:
        for short in ("dead-letter", "batched"):
            topic = pipeline.topic(short)
            for message in reader.all(topic, reader.ends(topic)):
                count(shown, *decoder.codec.decode(message.value or b""))


def count(shown: Shown, name: str, message: Mapping[str, Any]) -> None:
    """Takes one message into the figures."""
    if name == "dead_letter":
        shown.codes[message["findings"][0]["code"]] += 1
    elif name == "batched":
        shown.batches[message["partner"], message["close_reason"]] += 1


def in_memory(shows: Callable[[], Sequence[Show]]) -> list[Shown]:
    """The same runs on logs in memory, one after the other, with the same stages and real partners."""
    from waybill.partner_sim import Server

    with Server() as partner:
        os.environ[CLINIC_VARIABLE] = partner.url
        shown = [one_in_memory(show) for show in shows()]
        effects = sum(line["kind"] == "effect" for line in partner.partner.lines)
        for one in shown:
            one.at_partner = partners_have(one.show.pipeline, effects)
        return shown


def one_in_memory(show: Show) -> Shown:
    """One pipeline on a log in memory."""
    from streams.delivery.engine import DeliveryEngine
    from streams.delivery.exchange import EngineExchange
    from streams.driver import TopologyDriver

    pipeline = show.pipeline
    engine = DeliveryEngine(pipeline.partners)
    engine.start()
    try:
        driver = TopologyDriver(pipeline, exchange=EngineExchange(engine), start=int(time.time() * 1000))
        say(f"publishing {show.messages:,} {show.unit} to the log in memory")
        started = time.monotonic()
        for key, value in show.sample(show.messages, show.seed):
            driver.publish(key, value)
        say("running validate, batch and dispatch to their ends")
        with Meter(show.expected.received, "answered").following(lambda: answered(driver)):
            driver.finish()
        seconds = time.monotonic() - started
        say(f"done in {seconds:.1f} s; drawing the books from every topic")
    finally:
        engine.close(5)
    shown = Shown(show, books_in_memory(driver), seconds, "the log in memory")
    for short in ("dead-letter", "batched"):
        for stored in driver.messages(short):
            count(shown, *driver.codec.decode(stored.value or b""))
    return shown


def books_in_memory(driver: TopologyDriver) -> Tally:
    """The balance of a log in memory."""
    from waybill.books import Books, Progress

    pipeline, broker, codec = driver.pipeline, driver.broker, driver.codec
    offsets = {
        stage: {p: broker.committed(pipeline.group_id(stage), p) for p in range(pipeline.partitions)}
        for stage in driver.runners
    }
    heads = [head for head in driver.read("heads") if head["stage"] == "batch"]
    settled = {row["batch_id"]: row["state"] for row in driver.read("delivery") if "batch_id" in row}
    progress = Progress(
        offsets["validate"],
        offsets["batch"],
        {head["partition"]: head["processed_through"] for head in heads},
        offsets["dispatch"],
        settled,
    )
    name = pipeline.pipeline
    books = Books(name, pipeline.raw_topic, pipeline.topic("validated"), pipeline.topic("batched"), progress)
    for row in {m.key: m.value for m in driver.messages("waiting")}.values():
        name, fields = codec.decode(row) if row is not None else ("", {})
        if name == "waiting":
            books.waits(codec.decode(fields["value"])[1])
    for message in driver.read("dead-letter"):
        books.dead_letter(message)
    for stored in driver.messages("sent"):
        books.sent(*codec.decode(stored.value or b""))
    for stored in driver.messages("validated"):
        books.validated(stored.partition, stored.offset, *codec.decode(stored.value or b""))
    for stored in driver.messages("raw"):
        books.raw(stored.partition, stored.offset, stored.timestamp)
    return books.balance(complete=True)


def answered(driver: TopologyDriver) -> int:
    """Answers in the log in memory: messages, for offsets count the ends of transactions too."""
    return sum(len(held) for short in ("sent", "dead-letter") for held in driver.broker.partitions(short))


def partners_have(pipeline: Pipeline, http_effects: int) -> dict[str, int]:
    """Batches by partner, counted at the partner and not by us: HTTP partners and folders, as the shipped ones are."""
    from streams.delivery.object_store import folder_of
    from topology.partner import ObjectStorePartner

    found = {}
    for name, partner in pipeline.partners.items():
        if partner.kind == "http":
            found[name] = http_effects
        elif isinstance(partner, ObjectStorePartner):
            lake = folder_of(partner.url)
            found[name] = sum(1 for _ in objects(lake / partner.prefix)) if lake else 0
    return found
