"""Random histories for the batch stage on the product's own code: stage, runner and in-memory log, with a made-up
validate before it and a made-up dispatch behind it. What the judge asks for are the laws of the design.

`Rules` names one rule per field; switching it off replaces the product's code by what somebody would write who did
not know the rule, and the histories must then fail. The product itself has no such switches.
"""

from __future__ import annotations

import marshal
import random
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from schemas.canonical import RawPosition, sha256
from schemas.codec import WireError
from streams.batch import BatchStage, raw_position
from streams.deadletter import DeadLetters
from streams.identity import MemoryVersions, VersionStore
from streams.progress import Identity
from streams.runtime.log import Fetched
from streams.runtime.memory import MemoryBroker, MemoryLog
from streams.runtime.runner import Runner
from topology.model import Batching, Chunking, Pipeline

CAP, LINGER, KEEP = 3, 8, 40
"""Records, seconds, seconds: small, so that every rule has its moment within forty actions."""


class MarshalCodec:
    """Stands in for Avro, ten times faster; framing is tested elsewhere."""

    def encode(self, name: str, message: Mapping[str, Any]) -> bytes:
        return marshal.dumps((name, dict(message)))

    def decode(self, data: bytes) -> tuple[str, dict[str, Any]]:
        try:
            name, message = marshal.loads(data)
        except (ValueError, EOFError, TypeError) as error:
            raise WireError(str(error)) from error
        return name, message


class LawBroken(AssertionError):
    """A history ended with a law broken."""


class Crash(BaseException):
    """kill -9 of the worker at this moment."""


class Published(NamedTuple):
    """One record as validate decided it."""

    key: str
    digest: bytes
    group: str
    date: str
    recorded_at: int
    raw: RawPosition


CODEC = MarshalCodec()


class Answer(NamedTuple):
    kind: str
    life: int


class ChosenLog(MemoryLog):
    """Takes as many messages as the history wants."""

    take = 1

    def fetch(self, records: int, size: int, linger: float, timeout: float) -> Fetched:
        return super().fetch(min(records, self.take), size, linger, timeout)


def pipeline(policy: str, deterministic: bool) -> Pipeline:
    """The pipeline of a history."""
    return Pipeline(
        pipeline="sim",
        pack="none",
        partitions=1,
        partition_by=["k"],
        idempotency=["k"],
        partner="p",
        on_conflict=policy,
        ordering_by="o",
        keep=KEEP,
        batching=Batching(max_records=CAP, linger=LINGER, idle=5, max_reread=30 if deterministic else None),
        deterministic=deterministic,
    )


class World:
    """One history: everything that happened, and what the outside saw."""

    def __init__(self, seed: int, stage_class: type[BatchStage] = BatchStage) -> None:
        self.random = random.Random(seed)
        self.stage_class = stage_class
        self.deterministic = self.random.random() < 0.5
        self.policy = self.random.choice(["supersede", "conflict"])
        self.pipeline = pipeline(self.policy, self.deterministic)
        self.broker = MemoryBroker(self.pipeline)
        self.now = 0
        self.wall = 0
        self.published: list[Published] = []
        self.by_raw: dict[RawPosition, Published] = {}
        self.batches: dict[bytes, dict[str, Any]] = {}
        self.order: list[bytes] = []
        self.read_batches = self.read_sent = self.read_dead = 0
        self.answers: dict[RawPosition, list[Answer]] = {}
        self.effects: list[tuple[int, Published]] = []
        self.partner_has: set[tuple[bytes, int]] = set()
        self.next_fault = "ok"
        self.broker.fault = self._fault
        self.runner = self.start()

    # ---- the worker ------------------------------------------------------------------------------

    def start(self) -> Runner:
        """A new worker process, with nothing in memory."""
        stage = self.stage_class(
            self.pipeline, CODEC, Identity("w", "0", "sim/1"), DeadLetters(CODEC, 1), self.versions
        )
        self.log = ChosenLog(self.broker, "batch", "validated")
        return Runner(self.log, stage, Chunking(), clock=lambda: self.wall)

    def versions(self, partition: int) -> VersionStore:
        return MemoryVersions()

    def crash(self) -> None:
        """The worker dies; the group notices; another one starts."""
        for member in list(self.broker.members.get(self.pipeline.group_id("batch"), [])):
            self.broker.leave(self.pipeline.group_id("batch"), member)
        self.runner = self.start()

    def _fault(self, stage: str) -> str:
        fault, self.next_fault = self.next_fault, "ok"
        if fault == "crash-before":
            raise Crash
        if fault == "crash-after":
            self.crash_after = True
            return "ok"
        return fault

    def chunk(self, size: int, fault: str) -> None:
        """One turn of the worker's loop, with a fault at its commit."""
        self.log.take, self.next_fault, self.crash_after = size, fault, False
        before = len(self.broker.partitions("heads")[0])
        try:
            step = self.runner.step(timeout=0)
            if step.result == "failed":
                raise step.error or AssertionError("failed without an error")
        except Crash:
            self.crash()
        if self.crash_after and len(self.broker.partitions("heads")[0]) > before:
            self.crash()
        self.next_fault = "ok"
        self.look()

    # ---- what stands before and behind -----------------------------------------------------------

    def put(self, record: Published) -> None:
        self.broker.append("validated", 0, b"k", CODEC.encode("validated", validated(record)))

    def publish(self) -> None:
        r = self.random
        self.now += r.choice([0, 1, 1, 2, 3]) if r.random() > 0.02 else 60
        key, partition = r.randrange(4), r.randrange(2)
        offset = sum(1 for p in self.published if p.raw.partition == partition)
        late = r.choice([0, 0, 0, 0, 5, 15, 50])
        record = Published(
            key=f"key-{key}",
            digest=sha256(bytes([r.randrange(3)])),
            group=f"g{key % 2}",
            date=f"2026-01-0{r.randrange(2) + 1}",
            recorded_at=max(0, self.now - late) * 1000,
            raw=RawPosition("raw", 0, partition, offset, 0),
        )
        self.published.append(record)
        self.by_raw[record.raw] = record
        self.put(record)

    def reemit(self) -> None:
        """Validate lost its offsets and writes the end of one raw partition again."""
        partition = self.random.randrange(2)
        mine = [p for p in self.published if p.raw.partition == partition]
        for record in mine[self.random.randint(0, len(mine)) :]:
            self.put(record)

    def look(self) -> None:
        """What the topics say since the last look."""
        batched = self.broker.partitions("batched")[0]
        for message in batched[self.read_batches :]:
            name, batch = CODEC.decode(message.value or b"")
            if name == "batched":
                if batch["batch_id"] in self.batches:
                    raise LawBroken(f"law 3: batch {batch['batch_id'].hex()[:8]} is cut twice")
                batch["offset"] = message.offset
                batch |= {"state": "pending", "life": 1, "unknown": False, "line": len(self.order)}
                self.batches[batch["batch_id"]] = batch
            else:
                self.batches[batch["batch_id"]] |= {"state": "pending", "life": batch["life"]}
            self.order.append(batch["batch_id"])
        self.read_batches = len(batched)
        sent = self.broker.partitions("sent")[0]
        for message in sent[self.read_sent :]:
            self._answer(CODEC.decode(message.value or b"")[1], "duplicate", 1)
        self.read_sent = len(sent)
        dead = self.broker.partitions("dead-letter")[0]
        for message in dead[self.read_dead :]:
            self._answer(CODEC.decode(message.value or b"")[1], "dead", 1)
        self.read_dead = len(dead)

    def _answer(self, message: Mapping[str, Any], kind: str, life: int) -> None:
        self.answers.setdefault(raw_position(message), []).append(Answer(kind, life))

    def settle(self, how: str | None = None) -> bool:
        """Dispatch settles the oldest unsettled batch of some group."""
        heads: dict[str, bytes] = {}
        for batch_id in self.order:
            batch = self.batches[batch_id]
            if batch["state"] == "pending":
                heads.setdefault(batch["group"], batch_id)
        if not heads:
            return False
        batch = self.batches[heads[self.random.choice(sorted(heads))]]
        how = how or self.random.choice(["ok", "ok", "ok", "refused", "unknown"])
        records = [CODEC.decode(m)[1] for m in batch["records"]]
        arrived = how == "ok" or (how == "unknown" and self.random.random() < 0.5)
        if arrived and (batch["batch_id"], 0) not in self.partner_has:
            self.partner_has.add((batch["batch_id"], 0))
            self.effects += [(batch["last_recorded_at"], self.by_raw[raw_position(m)]) for m in records]
        batch["state"] = "done" if how == "ok" else "dead"
        batch["unknown"] = batch["unknown"] or how == "unknown"
        for m in records:
            self._answer(m, "ack" if how == "ok" else "dead", batch["life"])
            if how != "ok" and self.releases(batch):
                self.release(m, batch["batch_id"])
        return True

    def releases(self, batch: Mapping[str, Any]) -> bool:
        """DI2: an unknown attempt in any life releases no key."""
        return not batch["unknown"]

    def release(self, record: Mapping[str, Any], batch_id: bytes) -> None:
        names = ("key", "digest", "raw_topic", "raw_incarnation", "raw_partition", "raw_offset", "raw_index")
        message = {name: record[name] for name in names} | {"batch_id": batch_id}
        self.broker.append("validated", 0, b"k", CODEC.encode("release", message))

    def replay(self) -> None:
        """Somebody asks for a dead batch again."""
        dead = [b for b in self.batches.values() if b["state"] == "dead" and b["life"] == 1]
        if not dead:
            return
        batch = self.random.choice(dead)
        batch["state"] = "asked"
        self.broker.append("validated", 0, b"k", CODEC.encode("replay", replay_of(batch, self.offsets_of(batch))))

    def offsets_of(self, batch: Mapping[str, Any]) -> list[int]:
        """Offsets in `validated` of a batch's members: the first place where each raw position stands."""
        first: dict[RawPosition, int] = {}
        for m in self.broker.partitions("validated")[0]:
            name, value = CODEC.decode(m.value or b"")
            if name == "validated":
                first.setdefault(raw_position(value), m.offset)
        return [first[raw_position(CODEC.decode(m)[1])] for m in batch["records"]]

    # ---- a history -------------------------------------------------------------------------------

    def run(self) -> World:
        r = self.random
        faults = ["ok"] * 8 + ["abort", "crash-before", "crash-after", "lost-yes", "lost-no"]
        for _ in range(r.randint(15, 45)):
            x = r.random()
            self.wall += r.choice([0, 100, 1000, 3000])
            if x < 0.45:
                self.publish()
            elif x < 0.76:
                self.chunk(r.randint(1, 6), r.choice(faults))
            elif x < 0.87:
                self.settle()
            elif x < 0.90:
                self.replay()
            elif x < 0.93:
                self.reemit()
            elif x < 0.96:
                self.broker.rebalance(self.pipeline.group_id("batch"))
            else:
                self.crash()
        self.finish()
        self.judge()
        return self

    def finish(self) -> None:
        """Publishing has ended: the worker catches up, is drained, everything is settled."""
        for _ in range(2000):
            self.chunk(self.random.randint(1, 6), "ok")
            end = self.broker.end("validated", 0)
            if self.runner.positions.get(0, -1) >= end or self._at_end():
                self.runner.drain(ending=True)
                self.look()
                if not self.settle("ok") and self._at_end():
                    return
        raise LawBroken("no progress")

    def _at_end(self) -> bool:
        held = self.broker.partitions("validated")[0]
        position = self.runner.positions.get(0)
        return position is not None and (not held or position > held[-1].offset)

    # ---- the judge -------------------------------------------------------------------------------

    def judge(self) -> None:
        effects = Counter(p.raw for _, p in self.effects)
        for record in self.published:
            answers = self.answers.get(record.raw, [])
            first = [a.kind for a in answers if a.life == 1]
            if len(first) != 1:
                raise LawBroken(f"law 1: {record.raw} has {first or 'no'} answers")
            if len(answers) > 2:
                raise LawBroken(f"law 1: {record.raw} has answers {answers}")
            if any(a.kind == "ack" for a in answers) and effects[record.raw] != 1:
                raise LawBroken(f"law 7: {record.raw} is acknowledged, effects {effects[record.raw]}")
            if first == ["duplicate"] and effects[record.raw]:
                raise LawBroken(f"law 7: duplicate {record.raw} was sent")
            if effects[record.raw] > 1:
                raise LawBroken(f"law 7: {record.raw} took effect {effects[record.raw]} times")
        self._judge_batches()
        self._judge_order()
        self._judge_audit()
        if self.deterministic:
            self._judge_determinism()

    def _judge_batches(self) -> None:
        seen: set[RawPosition] = set()
        for batch in self.batches.values():
            members = [CODEC.decode(m)[1] for m in batch["records"]]
            raws = [raw_position(m) for m in members]
            if seen & set(raws):
                raise LawBroken("law 3: a record is in two batches")
            seen |= set(raws)
            if not 0 < len(raws) <= CAP:
                raise LawBroken(f"law 3: a batch of {len(raws)} with a cap of {CAP}")
            if len({(m["group"], m["date"]) for m in members}) > 1:
                raise LawBroken("law 3: a batch mixes groups or dates")

    def _judge_order(self) -> None:
        """Effects of one key follow the order of its versions, and no content takes effect twice in a row."""
        place = {p.raw: i for i, p in enumerate(self.published)}
        first_at: dict[RawPosition, int] = {}
        for m in self.broker.partitions("validated")[0]:
            name, value = CODEC.decode(m.value or b"")
            if name == "validated":
                first_at.setdefault(raw_position(value), m.offset)
        sent = {raw_position(CODEC.decode(m)[1]) for b in self.batches.values() for m in b["records"]}
        stream_time, stamp = 0, {}
        for m in self.broker.partitions("validated")[0]:
            name, value = CODEC.decode(m.value or b"")
            if name == "validated":
                stream_time = max(stream_time, value["recorded_at"])
                stamp.setdefault(raw_position(value), stream_time)
        for key in {p.key for p in self.published}:
            mine = [p for _, p in self.effects if p.key == key]
            for a, b in pairwise(mine):
                if first_at[b.raw] < first_at[a.raw]:
                    raise LawBroken(f"order: {key} takes effect as {place[b.raw]} after {place[a.raw]}")
                between = [
                    p for p in self.published
                    if p.key == key and p.raw in sent and p.digest != a.digest
                    and first_at[a.raw] < first_at[p.raw] < first_at[b.raw]
                ]  # fmt: skip
                if a.digest == b.digest and not between and stamp[b.raw] - stamp[a.raw] <= KEEP * 1000:
                    raise LawBroken(f"law 7: the same content of {key} takes effect twice")

    def chain(self) -> list[tuple[str, RawPosition]]:
        """Action and position of every audit entry of this stage, in order."""
        return audit_entries(self.broker)

    def _judge_audit(self) -> None:
        counts = Counter(raw for action, raw in self.chain() if action not in ("RELEASE", "RETAIN", "REPLAY"))
        wrong = [p.raw for p in self.published if counts[p.raw] != 1]
        if wrong:
            raise LawBroken(f"audit: {len(wrong)} records without exactly one entry, first {wrong[0]}")

    def _judge_determinism(self) -> None:
        """Law 6: the same log in other chunks, without faults, gives the same batches, answers and chain."""
        other = World(0, self.stage_class)
        other.deterministic, other.policy, other.pipeline = True, self.policy, self.pipeline
        other.broker = MemoryBroker(self.pipeline)
        for m in self.broker.partitions("validated")[0]:
            other.broker.append("validated", 0, m.key, m.value)
        other.by_raw, other.published = self.by_raw, self.published
        other.runner = other.start()
        last = self.broker.end("validated", 0)
        for _ in range(2 * last + 10):
            other.log.take = 5
            other.runner.step(timeout=0)
            if other._at_end():
                break
        other.runner.drain(ending=True)
        if other.chain() != self.chain():
            raise LawBroken("law 6: another chunking gives another chain")
        if batch_ids(other.broker) != batch_ids(self.broker):
            raise LawBroken("law 6: another chunking gives other batches")


def batch_ids(broker: MemoryBroker) -> list[bytes]:
    """Ids of the frozen batches in order."""
    decoded = [CODEC.decode(m.value or b"") for m in broker.partitions("batched")[0]]
    return [batch["batch_id"] for name, batch in decoded if name == "batched"]


def audit_entries(broker: MemoryBroker) -> list[tuple[str, RawPosition]]:
    """Every audit entry of the batch stage, in order."""
    from audit.block import read_block

    entries = []
    for message in broker.partitions("audit")[0]:
        block = read_block(message.value or b"")
        entries += [(entry.action, RawPosition(*entry[2:7])) for entry in block.entries]
    return entries


def validated(record: Published) -> dict[str, Any]:
    """The Validated message of a record."""
    return {
        "key": record.key, "digest": record.digest, "group": record.group, "date": record.date, "partner": "p",
        "recorded_at": record.recorded_at, "event_time": 0, "ordering": f"{record.raw.offset:05}{record.raw.partition}",
        "raw_topic": record.raw.topic, "raw_incarnation": 0, "raw_partition": record.raw.partition,
        "raw_offset": record.raw.offset, "raw_index": 0, "count": 1, "submission_digest": record.digest,
        "source": None, "site": None, "received_at": None, "schema_version": "sim/1", "topology_version": 1,
        "warnings": [], "passport": None, "payload": b"{}",
    }  # fmt: skip


def replay_of(batch: Mapping[str, Any], offsets: list[int]) -> dict[str, Any]:
    """The replay message of a dead batch."""
    members = [CODEC.decode(m)[1] for m in batch["records"]]
    names = ("key", "digest", "ordering", "raw_topic", "raw_incarnation", "raw_partition", "raw_offset", "raw_index")
    return {
        "batch_id": batch["batch_id"], "batched_partition": 0, "batched_offset": batch["offset"],
        "life": batch["life"] + 1, "partner": "p", "group": batch["group"], "date": batch["date"],
        "first_recorded_at": batch["first_recorded_at"],
        "records": [{name: m[name] for name in names} | {"offset": o} for m, o in zip(members, offsets, strict=True)],
        "passport": {"reason": "r", "approver": "a", "attempt": 1, "original_position": "x"},
    }  # fmt: skip


def failures(count: int, seed: int, world: Callable[[int], World]) -> list[str]:
    """The histories that broke a law, as `seed: what`."""
    broken = []
    for number in range(seed, seed + count):
        try:
            world(number).run()
        except LawBroken as error:
            broken.append(f"seed {number}: {error}")
    return broken
