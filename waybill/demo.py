"""What `waybill demo` runs: the shipped sample through a whole pipeline, on real Kafka or, without Java, in memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from waybill.context import HOME_VARIABLE, client_settings
from waybill.output import Fault, Meter, say
from waybill.surroundings import Surroundings

if TYPE_CHECKING:
    from streams.driver import TopologyDriver
    from topology.model import Pipeline
    from waybill.books import Tally

RUN_SECONDS = 300.0
"""For the whole run; it takes a tenth of that. Beyond it something is wrong, and the worker's log says what."""


@dataclass
class Shown:
    """What a run came to."""

    pipeline: str
    tally: Tally
    seconds: float
    where: str
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


def on_kafka(name: str, readings: int, seed: int, folder: Path) -> Shown:
    """The run on real Kafka: publish, one worker to the end of the topics, books from the log."""
    from topology.load import load_pipeline
    from waybill.commands.reconcile import tally

    with Surroundings(None, partner_sim=True) as around:
        pipeline = load_pipeline(name)
        around.create_topics([pipeline])
        say(f"publishing {readings:,} readings to {pipeline.raw_topic}")
        publish(around.bootstrap, pipeline, readings, seed)
        say("running validate, then batch, then dispatch to their ends: most answers come with the last")
        say(f"the worker's log is {folder / 'worker.log'}")
        started = time.monotonic()
        with Answers(around.bootstrap, pipeline) as answers, Meter(readings, "answered").following(answers.count):
            run_worker(around.bootstrap, name, folder)
        seconds = time.monotonic() - started
        say(f"done in {seconds:.1f} s; drawing the books from every topic")
        shown = Shown(name, tally(around.bootstrap, pipeline), seconds, f"Apache Kafka at {around.bootstrap}")
        describe_topics(around.bootstrap, pipeline, shown)
        effects = [attempt for attempt in around.partner.partner.lines if attempt["kind"] == "effect"]
        shown.at_partner = partners_have(pipeline, folder, len(effects))
        return shown


def publish(bootstrap: str, pipeline: Pipeline, readings: int, seed: int) -> None:
    """Publishes the sample and waits for the broker's acks. Raises Fault if one does not come."""
    from confluent_kafka import Producer

    from schemas.packs.cold_chain.sample import sample

    producer = Producer(
        client_settings(bootstrap, **{"enable.idempotence": True, "linger.ms": 20, "compression.type": "lz4"})
    )
    meter = Meter(readings, "published")
    for number, (key, value) in enumerate(sample(readings, seed)):
        producer.produce(pipeline.raw_topic, value, key)
        if number % 10_000 == 0:
            producer.poll(0)
            producer.flush(30)
            meter.show(number)
    meter.close()
    if left := producer.flush(60):
        raise Fault(f"{left} readings were not acknowledged by the broker")


class Answers:
    """How many answers there are by now: counted from the log, without looking into them."""

    def __init__(self, bootstrap: str, pipeline: Pipeline) -> None:
        from waybill.reader import Reader

        self._reader = Reader(bootstrap)
        self._read: dict[str, dict[int, int]] = {pipeline.topic(short): {} for short in ("sent", "dead-letter")}
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


def run_worker(bootstrap: str, name: str, folder: Path) -> None:
    """One worker process with every stage, to the end of what is there. Raises Fault if it fails."""
    command = [sys.executable, "-m", "waybill.main", "worker", "--brokers", bootstrap, "--pipeline", name]
    command += ["--until-end", "--web-port", "0"]
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


def in_memory(name: str, readings: int, seed: int, folder: Path) -> Shown:
    """The same run on the log in memory, with the same stages and real partners."""
    from schemas.packs.cold_chain.sample import sample
    from streams.delivery.engine import DeliveryEngine
    from streams.delivery.exchange import EngineExchange
    from streams.driver import TopologyDriver
    from topology.load import load_pipeline
    from waybill.books import Books, Progress
    from waybill.partner_sim import Server

    with Server() as partner:
        os.environ["WAYBILL_CLINIC_URL"] = partner.url
        pipeline = load_pipeline(name)
        engine = DeliveryEngine(pipeline.partners)
        engine.start()
        try:
            driver = TopologyDriver(pipeline, exchange=EngineExchange(engine))
            say(f"publishing {readings:,} readings to the log in memory")
            started = time.monotonic()
            for key, value in sample(readings, seed):
                driver.publish(key, value)
            say("running validate, batch and dispatch to their ends")
            with Meter(readings, "answered").following(lambda: answered(driver)):
                driver.finish()
            seconds = time.monotonic() - started
            say(f"done in {seconds:.1f} s; drawing the books from every topic")
        finally:
            engine.close(5)
        broker, codec = driver.broker, driver.codec
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
        books = Books(name, pipeline.raw_topic, pipeline.topic("validated"), pipeline.topic("batched"), progress)
        for message in driver.read("dead-letter"):
            books.dead_letter(message)
        for stored in driver.messages("sent"):
            books.sent(*codec.decode(stored.value or b""))
        for stored in driver.messages("validated"):
            books.validated(stored.partition, stored.offset, *codec.decode(stored.value or b""))
        for stored in driver.messages("raw"):
            books.raw(stored.partition, stored.offset, stored.timestamp)
        shown = Shown(name, books.balance(complete=True), seconds, "the log in memory")
        for short in ("dead-letter", "batched"):
            for stored in driver.messages(short):
                count(shown, *codec.decode(stored.value or b""))
        effects = [line for line in partner.partner.lines if line["kind"] == "effect"]
        shown.at_partner = partners_have(pipeline, folder, len(effects))
        return shown


def answered(driver: TopologyDriver) -> int:
    """Answers in the log in memory: messages, for offsets count the ends of transactions too."""
    return sum(len(held) for short in ("sent", "dead-letter") for held in driver.broker.partitions(short))


def objects(folder: Path) -> Iterator[Path]:
    """Delivered objects in the demo's lake, without their sidecars."""
    for path in sorted((folder / "lake").rglob("batch_*.json")):
        if not path.name.endswith(".meta.json"):
            yield path


def partners_have(pipeline: Pipeline, folder: Path, http_effects: int) -> dict[str, int]:
    """Batches by partner, counted at the partner and not by us."""
    kinds = {name: partner.kind for name, partner in pipeline.partners.items()}
    return {name: http_effects if kind == "http" else sum(1 for _ in objects(folder)) for name, kind in kinds.items()}


def warmest(folder: Path, product: str = "refrigerator") -> tuple[str, list[tuple[int, float]]]:
    """The sensor of a product with the most excursions in what was delivered, and its readings (time ms, °C) of the
    day it had them; empty where nothing was delivered."""
    worst, best = ("", "", 0), None
    bodies = []
    for path in objects(folder):
        body = orjson.loads(path.read_bytes())
        if body["group"] != product:
            continue
        bodies.append(body)
        for sensor in body["summary"]["sensors"]:
            if len(sensor["excursions"]) > worst[2]:
                worst = sensor["sensor_id"], body["date"], len(sensor["excursions"])
                best = sensor
    if best is None:
        return "", []
    readings = {
        record["record"]["event_time"]: float(record["record"]["temperature_c"])
        for body in bodies
        if body["date"] == worst[1]
        for record in body["records"]
        if record["record"]["sensor_id"] == worst[0] and record["record"].get("temperature_c")
    }
    return worst[0], sorted(readings.items())
