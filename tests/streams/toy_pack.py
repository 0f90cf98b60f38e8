"""One raw partition of one-line records on the in-memory log: the smallest whole validate stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from schemas.codec import SingleObjectCodec
from streams.claims import NO_CLAIMS
from streams.deadletter import Claim, DeadLetters
from streams.progress import Identity
from streams.runtime.log import Fetched
from streams.runtime.memory import MemoryBroker, MemoryLog
from streams.runtime.runner import Runner
from streams.stage import Chunk, Work
from streams.validate.agent import ValidateStage
from streams.validate.spanning import Unpack
from tests.streams.batch_world import audit_entries
from tests.streams.line_pack import LinePack
from topology.model import Pipeline
from topology.sections import Chunking, Topic
from topology.topics import LEAST_INLINE

CODEC = SingleObjectCodec()


def line_pipeline(**changes: Any) -> Pipeline:
    """The toy pipeline; `changes` are fields of Pipeline."""
    settings: dict[str, Any] = {
        "pipeline": "toy", "pack": "lines", "partitions": 1, "partition_by": ["k"], "idempotency": ["k"],
        "group_by": ["g"], "partner": "p",
    }  # fmt: skip
    return Pipeline(**(settings | changes))


class ShortLog(MemoryLog):
    """Takes at most `take` messages at a time."""

    take = 1_000_000

    def fetch(
        self, records: int, size: int, linger: float, timeout: float, held: frozenset[int] = frozenset()
    ) -> Fetched:
        return super().fetch(min(records, self.take), size, linger, timeout, held)


class Toy:
    """One validate worker on an in-memory log."""

    def __init__(
        self,
        pipeline: Pipeline | None = None,
        claim: Claim = NO_CLAIMS.put,
        inline: int = 1000,
        broker: MemoryBroker | None = None,
        slot: int = 0,
        unpack: Unpack | None = None,
        room: int = LEAST_INLINE,
        pack: LinePack | None = None,
    ) -> None:
        """`inline`: bytes of an original inside a dead letter; `room`: bytes of a `validated` message."""
        self.pipeline = pipeline or line_pipeline()
        self.broker = broker or MemoryBroker(self.pipeline)
        self.pack = pack or LinePack()
        self.now = 0
        self.slot, self.claim, self.inline, self.unpack, self.room = slot, claim, inline, unpack, room
        self.hand_over: Callable[[Chunk], Work] | None = None
        self.start()

    def start(self) -> None:
        """A new process: nothing in memory, the same transactional id."""
        self.stage = ValidateStage(
            self.pipeline, CODEC, self.pack, Identity("w", "0", "lines/1"),
            DeadLetters(CODEC, self.pipeline.partitions, self.claim, self.inline), clock=lambda: 0.0,
            unpack=self.unpack, claim=self.claim, inline=self.room,
        )  # fmt: skip
        self.log = ShortLog(self.broker, "validate", "raw", self.slot)
        self.runner = Runner(self.log, self.stage, self.pipeline.chunk, None, self.hand_over, lambda: self.now)

    def kill(self) -> None:
        """kill -9 and a restart: the group notices first."""
        group = self.pipeline.group_id("validate")
        self.broker.leave(group, self.log._member)
        self.start()

    def publish(self, *submissions: str, partition: int = 0, timestamp: int | None = None) -> None:
        for text in submissions:
            self.broker.append("raw", partition, None, text.encode(), (), timestamp)

    def run(self, turns: int = 10_000) -> list[str]:
        """Turns until nothing is left to do; what each came to."""
        results = []
        for _ in range(turns):
            step = self.runner.step(timeout=0)
            results.append(step.result)
            if step.result == "idle" and all(
                self.runner.positions.get(p, -1) >= self.broker.end("raw", p) for p in range(self.pipeline.partitions)
            ):
                return results
        raise AssertionError(f"not done after {turns} turns, last {results[-5:]}")

    def validated(self) -> list[dict[str, Any]]:
        return [CODEC.decode(m.value or b"")[1] for m in self.broker.all("validated")]

    def dead(self) -> list[dict[str, Any]]:
        return [CODEC.decode(m.value or b"")[1] for m in self.broker.all("dead-letter")]

    def answers(self) -> list[tuple[int, int, int]]:
        """(partition, offset, index) of every record that was written on, sorted."""
        return sorted((m["raw_partition"], m["raw_offset"], m["raw_index"]) for m in [*self.validated(), *self.dead()])

    def head(self, partition: int = 0) -> dict[str, Any]:
        return CODEC.decode(self.broker.partitions("heads")[partition][-1].value or b"")[1]

    def audited(self) -> list[Any]:
        return audit_entries(self.broker)


def small_chunks(records: int) -> Pipeline:
    """Validate cuts a chunk by bytes at twice chunk.bytes; the outputs here are about 900 bytes each."""
    return line_pipeline(chunk=Chunking(bytes=max(1024, records * 450)))


def create_time(max_ahead: float, **changes: Any) -> Pipeline:
    """Raw stamped by publishers, clamped to `max_ahead` seconds of the worker's clock (VA5)."""
    return line_pipeline(raw=Topic(timestamps="create", max_ahead=max_ahead), **changes)
