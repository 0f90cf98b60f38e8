"""One batch worker on an in-memory log, and what a test says to it: examples in a few lines."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from audit.block import read_block
from schemas.canonical import RawPosition
from streams.batch.agent import BatchStage
from streams.batch.identity import MemoryVersions
from streams.batch.lot import Lot
from streams.deadletter import DeadLetters
from streams.progress import Identity
from streams.runtime.memory import MemoryBroker
from streams.runtime.runner import Runner
from tests.streams.batch_world import CODEC, ChosenLog, Published, replay_of, validated
from topology.model import Pipeline
from topology.sections import Batching, Chunking

S = 1000
"""Milliseconds of a second."""


class Desk:
    """One batch worker and what a test says to it."""

    def __init__(self, **settings: Any) -> None:
        batching = {"max_records": 3, "linger": 10} | settings.pop("batching", {})
        chosen: dict[str, Any] = {
            "pipeline": "desk", "pack": "none", "partitions": 1, "partition_by": ["k"], "idempotency": ["k"],
            "partner": "p", "keep": 100, "ordering_by": "o", "deterministic": False,
        }  # fmt: skip
        self.pipeline = Pipeline(**(chosen | settings), batching=Batching(**batching))
        self.broker = MemoryBroker(self.pipeline)
        self.wall = 0
        self.offset = 0
        self.start()

    def start(self) -> None:
        for member in list(self.broker.members.get(self.pipeline.group_id("batch"), [])):
            self.broker.leave(self.pipeline.group_id("batch"), member)
        self.stage = BatchStage(
            self.pipeline, CODEC, Identity("w", "0", "1"), DeadLetters(CODEC, 1), lambda p: MemoryVersions()
        )
        self.log = ChosenLog(self.broker, "batch", "validated")
        self.log.take = 100
        self.runner = Runner(self.log, self.stage, Chunking(), clock=lambda: self.wall)

    @property
    def lot(self) -> Lot:
        return self.stage._lots[0]

    def say(
        self, key: str, content: str = "x", at: float = 0, date: str = "d1", group: str = "g", order: str | None = None
    ) -> RawPosition:
        """A validated record of the next raw offset, recorded at `at` seconds."""
        raw = RawPosition("raw", 0, 0, self.offset, 0)
        self.offset += 1
        digest = sha256(content.encode()).digest()
        message = validated(Published(key, digest, group, date, int(at * S), raw))
        self.tell("validated", message | {"ordering": order or f"{raw.offset:05}"})
        return raw

    def tell(self, kind: str, message: Mapping[str, Any]) -> None:
        self.broker.append("validated", 0, b"k", CODEC.encode(kind, message))

    def run(self) -> None:
        for _ in range(50):
            step = self.runner.step(timeout=0)
            end, position = self.broker.end("validated", 0), self.runner.positions.get(0)
            if step.result == "idle" and position is not None and self.log.nothing_between(0, position, end):
                return
        raise AssertionError("never idle")

    def batches(self) -> list[dict[str, Any]]:
        decoded = [CODEC.decode(m.value or b"") for m in self.broker.all("batched")]
        return [m for name, m in decoded if name == "batched"]

    def offsets(self) -> list[list[int]]:
        """Raw offsets of the members, batch by batch."""
        return [[CODEC.decode(m)[1]["raw_offset"] for m in batch["records"]] for batch in self.batches()]

    def reasons(self) -> list[str]:
        return [batch["close_reason"] for batch in self.batches()]

    def chain(self) -> list[tuple[str, int]]:
        """(action, raw offset) of every audit entry."""
        return [
            (entry.action, entry[5])
            for m in self.broker.all("audit")
            for entry in read_block(m.value or b"").entries
        ]  # fmt: skip

    def table(self, name: str) -> dict[bytes | None, Any]:
        rows: dict[bytes | None, Any] = {}
        for m in self.broker.all(name):
            rows[m.key] = None if m.value is None else CODEC.decode(m.value)[1]
        return {key: row for key, row in rows.items() if row is not None}

    def written(self) -> int:
        return sum(len(self.broker.all(topic)) for topic in ("sent", "dead-letter", "audit", "batched", "heads"))

    @property
    def committed(self) -> int | None:
        return self.broker.committed(self.pipeline.group_id("batch"), 0)

    def release(self, raw: RawPosition, key: str) -> None:
        names = {f"raw_{name}": value for name, value in raw._asdict().items()}
        self.tell("release", {"key": key, "digest": bytes(32), "batch_id": bytes(32), **names})

    def retain(self, batch: Mapping[str, Any], begin: bool) -> None:
        members = [CODEC.decode(m)[1] for m in batch["records"]]
        self.tell("retain", {"batch_id": batch["batch_id"], "begin": begin, "keys": members})

    def replay(self, batch: dict[str, Any], offsets: list[int]) -> None:
        self.tell("replay", replay_of(batch | {"offset": 0}, offsets))

    def lives(self) -> int:
        """Batches asked to be delivered again."""
        return sum(CODEC.decode(m.value or b"")[0] == "batched_again" for m in self.broker.all("batched"))
