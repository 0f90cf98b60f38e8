"""One real round for the checker's tests: a load of every kind through a real pipeline, its evidence in a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from chaos.load import Load, Sent
from chaos.round import facts_of
from tests.system.plant import Plant


def publish(plant: Plant, load: Iterable[Sent]) -> list[Sent]:
    """Publishes a load and notes where each message lies."""
    producer: Any = Producer({"bootstrap.servers": plant.bootstrap, "enable.idempotence": True, "log_level": 0})
    sent = list(load)
    for message in sent:

        def written(error: Any, stored: Any, message: Sent = message) -> None:
            assert error is None, error
            message.partition, message.offset = stored.partition(), stored.offset()

        producer.produce(plant.pipeline.raw_topic, message.value, message.key, on_delivery=written)
        producer.poll(0)
    assert producer.flush(60) == 0
    return sent


def repeats(load: Iterable[Sent]) -> Iterator[Sent]:
    """Every plain reading of a load once more, as duplicates."""
    for sent in load:
        if sent.kind in ("good", "late"):
            yield Sent(sent.key, sent.value, "duplicate", [{**sent.records[0], "kind": "duplicate"}])


def newer(load: Iterable[Sent]) -> Iterator[Sent]:
    """Newer versions of good readings, under ids that are above those of the load."""
    for sent in load:
        if sent.kind == "good":
            value = sent.records[0]["value"] | {"temperature_c": 4.25, "zone_id": f"Z-{sent.records[0]['id']}"}
            data = json.dumps(value, separators=(",", ":")).encode()
            digest = sha256(data).hexdigest()
            about = {"id": value["zone_id"], "kind": "supersede", "sha256": digest, "value": value}
            yield Sent(sent.key, data, "supersede", [{**sent.records[0], **about}])


def run(plant: Plant, folder: Path, seed: int, supersede: bool) -> None:
    """Two phases with partner faults, and what they left behind as the checker's input."""
    load = Load(seed)
    faults = ["status:404", "store_then_reset", "status:404", "reset_after_read", "status:503,1"]
    plant.partner.faults.extend(["status:400"] * 4 + faults)  # batches of several records go on in halves, and halves
    first = publish(plant, load.take(200))
    plant.finish()
    second = [*repeats(first), *(newer(first[::7]) if supersede else ()), *load.take(100)]
    sent = first + publish(plant, second)
    plant.finish()
    write(plant, folder, seed, sent)


def write(plant: Plant, folder: Path, seed: int, sent: list[Sent]) -> None:
    """The files of the evidence, but for what is read from Kafka."""
    facts = {
        "seed": seed,
        **facts_of(plant.pipeline),
        "harmed": [],
        "deadline_met": True,
        "drained": True,
        "restarts": {"0": 0},
        "max_restarts": 3,
        "exits": [{"slot": 0, "code": 0, "by": "", "up": True}] * 2,
    }
    (folder / "bodies").mkdir(parents=True)
    (folder / "round.json").write_text(json.dumps(facts))
    (folder / "manifest.jsonl").write_text("".join(json.dumps(message.line()) + "\n" for message in sent))
    (folder / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in plant.partner.lines))
    for key, body in plant.partner.bodies.items():
        (folder / "bodies" / key).write_bytes(body)
    with (folder / "objects.jsonl").open("w") as lines:
        for path in sorted(path for path in plant.lake.rglob("*") if path.is_file()):
            name, data = str(path.relative_to(plant.lake)), path.read_bytes()
            copy = folder / "objects" / "lake" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(data)
            about = {"sha256": sha256(data).hexdigest(), "versions": 1, "time": path.stat().st_mtime}
            line = {"partner": "lake", "path": name, **about}
            lines.write(json.dumps(line) + "\n")
