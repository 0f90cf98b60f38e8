"""Random histories for the batch stage on the product's own code: stage, runner and in-memory log, with a made-up
validate before it and a made-up dispatch behind it. The judge asks for the laws of the design, and that every record
was decided as `tests/streams/batch_oracle.py` does, which knows neither chunks nor windows.

The product has no switches: a test that wants to see a rule matter replaces the code that keeps it.
"""

from __future__ import annotations

import marshal
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise, zip_longest
from typing import Any, NamedTuple

from audit.block import read_block
from schemas.canonical import RawPosition, sha256
from schemas.codec import WireError
from schemas.messages import position_of as raw_position
from streams.batch.agent import BatchStage
from streams.batch.identity import MemoryVersions, VersionStore
from streams.batch.items import WAITED
from streams.deadletter import DeadLetters
from streams.progress import Identity
from streams.runtime.log import Fetched
from streams.runtime.memory import MemoryBroker, MemoryLog
from streams.runtime.runner import Runner
from tests.streams.batch_oracle import Said, decisions
from topology.model import Pipeline, partition_for
from topology.partner import Adaptive, HttpPartner
from topology.sections import Batching, Chunking

CAP, LINGER, KEEP = 3, 8, 40
"""Records, seconds, seconds: small, so that every rule has its moment within forty actions."""


class MarshalCodec:
    """Stands in for Avro, ten times faster; framing is tested elsewhere."""

    def header(self, name: str) -> None:
        """No Avro here."""

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

GARBLED = (b"no message", CODEC.encode("validated", {"key": "and nothing else"}))
VERSION_FIELDS = ("key", "digest", "raw_topic", "raw_incarnation", "raw_partition", "raw_offset", "raw_index")


class Answer(NamedTuple):
    kind: str
    life: int


class ChosenLog(MemoryLog):
    """Takes as many messages as the history wants; `disturbed` moves the group on while the chunk is worked."""

    take = 1
    disturbed = False

    def fetch(
        self, records: int, size: int, linger: float, timeout: float, held: frozenset[int] = frozenset()
    ) -> Fetched:
        fetched = super().fetch(min(records, self.take), size, linger, timeout, held)
        if self.disturbed and fetched.messages:
            self._broker.rebalance(self._group)
        return fetched


class Worker(NamedTuple):
    """One process of the batch stage."""

    log: ChosenLog
    runner: Runner


def pipeline(policy: str, deterministic: bool, r: random.Random) -> Pipeline:
    """The pipeline of a history. Bounds are far below what a file may ask for, so that they matter."""
    made = Pipeline(
        pipeline="sim",
        pack="none",
        partitions=1 if deterministic else r.choice([1, 2]),
        partition_by=["k"],
        idempotency=["k"],
        partner="p",
        on_conflict=policy,
        ordering_by="o",
        keep=KEEP,
        batching=Batching(
            max_records=CAP, linger=LINGER, idle=5, max_reread=r.choice([12, 30]) if deterministic else None
        ),
        deterministic=deterministic,
        partners={"p": HttpPartner(kind="http", url="http://p", adaptive=Adaptive(min_records=1, step=1))},
    )
    bounds = {"max_bytes": r.choice([10**6, 10**6, 1100]), "max_open_bytes": r.choice([10**6, 1300])}
    return made.model_copy(update={"batching": made.batching.model_copy(update=bounds)})


class World:
    """One history: everything that happened, and what the outside saw."""

    policies: tuple[str, ...] = ("supersede", "conflict")

    def __init__(
        self, seed: int, stage_class: type[BatchStage] = BatchStage, log_class: type[ChosenLog] = ChosenLog
    ) -> None:
        self.random = random.Random(seed)
        self.stage_class, self.log_class = stage_class, log_class
        self.deterministic = self.random.random() < 0.5
        self.policy = self.random.choice(self.policies)
        self.pipeline = self.made()
        self.partitions = self.pipeline.partitions
        self.caps = seed % 2 == 1
        """Whether dispatch ever tells of one."""
        self.broker = MemoryBroker(self.pipeline)
        self.now = 0
        self.wall = 0
        self.published: list[Published] = []
        self.by_raw: dict[RawPosition, Published] = {}
        self.batches: dict[bytes, dict[str, Any]] = {}
        self.order: list[bytes] = []
        self.read_batches = 0
        self.read: dict[tuple[str, int], int] = {}
        self.answers: dict[RawPosition, list[Answer]] = {}
        self.effects: list[tuple[int, Published]] = []
        self.partner_has: set[tuple[bytes, int]] = set()
        self.next_fault = "ok"
        self.broker.fault = self._fault
        self.poison: set[RawPosition] = set()
        self.refused_stale = 0
        self.workers = [self.start(slot) for slot in range(self.partitions)]

    def made(self) -> Pipeline:
        """The pipeline of this history."""
        return pipeline(self.policy, self.deterministic, self.random)

    # ---- the worker ------------------------------------------------------------------------------

    def start(self, slot: int) -> Worker:
        """A new worker process, with nothing in memory."""
        stage = self.stage_class(
            self.pipeline, CODEC, Identity("w", "0", "sim/1"), DeadLetters(CODEC, self.partitions), self.versions
        )
        log = self.log_class(self.broker, "batch", "validated", slot)
        return Worker(log, Runner(log, stage, Chunking(), clock=lambda: self.wall))

    def versions(self, partition: int) -> VersionStore:
        return MemoryVersions()

    def crash(self, slot: int) -> None:
        """A worker dies; the group notices; another one starts."""
        self.broker.leave(self.pipeline.group_id("batch"), self.workers[slot].log._member)
        self.workers[slot] = self.start(slot)

    def stop(self, slot: int, fault: str) -> None:
        """A worker is stopped as operators do it, and started again."""
        worker = self.workers[slot]
        self.next_fault, self.crash_after = fault, False
        try:
            worker.runner.drain(ending=False)
            worker.runner.close()
            self.workers[slot] = self.start(slot)
        except Crash:
            self.crash(slot)
        self.next_fault = "ok"
        self.look()

    def _fault(self, stage: str) -> str:
        fault, self.next_fault = self.next_fault, "ok"
        if fault == "crash-before":
            raise Crash
        if fault == "crash-after":
            self.crash_after = True
            return "ok"
        return fault

    def chunk(self, slot: int, size: int, fault: str) -> None:
        """One turn of a worker's loop, with a fault at its commit."""
        worker = self.workers[slot]
        self.next_fault, self.crash_after = ("ok" if fault == "stale" else fault), False
        worker.log.take, worker.log.disturbed = size, fault == "stale"
        before = len(self.broker.all("heads"))
        group = self.pipeline.group_id("batch")
        generation = self.broker.generation[group]
        try:
            step = worker.runner.step(timeout=0)
            if step.result == "failed" and not self.poison:
                raise step.error or AssertionError("failed without an error")
            moved_on = self.broker.generation[group] != generation
            if moved_on and step.work is not None and not step.work.empty:
                self.refused_stale += 1
                if step.result != "stale" or len(self.broker.all("heads")) != before:
                    raise LawBroken(f"law 2: a member of an old generation committed ({step.result})")
        except Crash:
            self.crash(slot)
        worker.log.disturbed = False
        if self.crash_after and len(self.broker.all("heads")) > before:
            self.crash(slot)
        self.next_fault = "ok"
        self.look()

    # ---- what stands before and behind -----------------------------------------------------------

    def put(self, record: Published) -> None:
        self.write(self.home(record.key), "validated", validated(record))

    def home(self, key: str) -> int:
        """The partition of `validated` that a key lies in."""
        return int(key[-1]) // 2 % self.partitions

    def write(self, partition: int, name: str, message: Mapping[str, Any]) -> None:
        self.broker.append("validated", partition, b"k", CODEC.encode(name, message))

    def garble(self) -> None:
        """Bytes on `validated` that nobody can read, or a message that makes processing raise."""
        partition = self.random.randrange(self.partitions)
        offset = self.broker.append("validated", partition, b"k", self.random.choice(GARBLED))
        self.poison.add(RawPosition(self.pipeline.topic("validated"), 0, partition, offset, 0))

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
        batched = self.broker.partitions("batched")[partition_for("p", self.partitions)]
        for message in batched[self.read_batches :]:
            name, batch = CODEC.decode(message.value or b"")
            if name == "batched":
                if batch["batch_id"] in self.batches:
                    raise LawBroken(f"law 3: batch {batch['batch_id'].hex()[:8]} is cut twice")
                batch["offset"] = message.offset
                batch |= {"state": "pending", "life": 1, "unknown": False, "retained": False}
                self.batches[batch["batch_id"]] = batch
            else:
                self.batches[batch["batch_id"]] |= {"state": "pending", "life": batch["life"]}
            self.order.append(batch["batch_id"])
        self.read_batches = len(batched)
        for topic, kind in (("sent", "duplicate"), ("dead-letter", "dead")):
            for partition, messages in enumerate(self.broker.partitions(topic)):
                for message in messages[self.read.get((topic, partition), 0) :]:
                    self._answer(CODEC.decode(message.value or b"")[1], kind, 1)
                self.read[topic, partition] = len(messages)

    def _answer(self, message: Mapping[str, Any], kind: str, life: int) -> None:
        self.answers.setdefault(raw_position(message), []).append(Answer(kind, life))

    def settle(self, how: str | None = None) -> bool:
        """Dispatch settles the oldest unsettled batch of some group."""
        heads: dict[tuple[int, str], bytes] = {}
        for batch_id in self.order:
            batch = self.batches[batch_id]
            if batch["state"] == "pending":
                heads.setdefault((batch["partition"], batch["group"]), batch_id)
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
                self.release(m, batch)
        if batch["retained"]:
            self.retain(batch, begin=False)
        return True

    def releases(self, batch: Mapping[str, Any]) -> bool:
        """DI2: an unknown attempt in any life releases no key."""
        return not batch["unknown"]

    def release(self, record: Mapping[str, Any], batch: Mapping[str, Any]) -> None:
        message = {name: record[name] for name in VERSION_FIELDS} | {"batch_id": batch["batch_id"]}
        self.write(batch["partition"], "release", message)

    def retain(self, batch: dict[str, Any], begin: bool) -> None:
        """A batch that is unsettled for long keeps its versions (BA9), until it is settled."""
        members = [CODEC.decode(m)[1] for m in batch["records"]]
        keys = [{name: m[name] for name in VERSION_FIELDS} for m in members]
        batch["retained"] = begin
        self.write(batch["partition"], "retain", {"batch_id": batch["batch_id"], "begin": begin, "keys": keys})

    def cap(self) -> None:
        """Dispatch tells every partition how many records a batch may have; what is no size is told, too."""
        records = self.random.choice([1, 2, 2, CAP, 10 * CAP, 0, -1])
        for partition in range(self.partitions):
            self.write(partition, "cap", {"partner": "p", "records": records, "reason": "busy"})

    def hold(self) -> None:
        """The oldest unsettled batch waits on."""
        for batch_id in self.order:
            batch = self.batches[batch_id]
            if batch["state"] == "pending" and not batch["retained"]:
                self.retain(batch, begin=True)
                return

    def replay(self) -> None:
        """Somebody asks for a dead batch again."""
        dead = [b for b in self.batches.values() if b["state"] == "dead" and b["life"] == 1]
        if not dead:
            return
        batch = self.random.choice(dead)
        batch["state"] = "asked"
        self.write(batch["partition"], "replay", replay_of(batch, self.offsets_of(batch)))

    def offsets_of(self, batch: Mapping[str, Any]) -> list[int]:
        """Offsets in `validated` of a batch's members: the first place where each raw position stands, or where it
        came back last before it was admitted."""
        first: dict[RawPosition, int] = {}
        for offset, name, value, returned in self.log_of(batch["partition"]):
            if name == "validated" and (returned or raw_position(value) not in first):
                first[raw_position(value)] = offset
        return [first[raw_position(CODEC.decode(m)[1])] for m in batch["records"]]

    def log_of(self, partition: int) -> list[Said]:
        """Everything readable in one partition of `validated`."""
        return read_log(self.broker, partition)

    # ---- a history -------------------------------------------------------------------------------

    def run(self) -> World:
        r = self.random
        faults = ["ok"] * 8 + ["abort", "crash-before", "crash-after", "lost-yes", "lost-no", "stale"]
        for _ in range(r.randint(15, 45)):
            x = r.random()
            self.wall += r.choice([0, 100, 1000, 3000])
            slot = r.randrange(len(self.workers))
            if x < 0.44:
                self.publish()
            elif 0.71 < x < 0.74 and self.caps:
                self.cap()
            elif x < 0.74:
                self.chunk(slot, r.randint(1, 6), r.choice(faults))
            elif x < 0.85:
                self.settle()
            elif x < 0.88:
                self.replay()
            elif x < 0.91:
                self.reemit()
            elif x < 0.93:
                self.hold()
            elif x < 0.94:
                self.broker.rebalance(self.pipeline.group_id("batch"))
            elif x < 0.96:
                self.stop(slot, r.choice(faults[:-1]))
            elif x < 0.965:
                self.garble()
            else:
                self.crash(slot)
        self.finish()
        self.judge()
        return self

    def finish(self) -> None:
        """Publishing has ended: the workers catch up, are drained, everything is settled."""
        for _ in range(2000):
            for slot in range(len(self.workers)):
                self.chunk(slot, self.random.randint(1, 6), "ok")
            if self._at_end():
                for worker in self.workers:
                    worker.runner.drain(ending=True)
                self.look()
                if not self.settle("ok") and self._at_end():
                    return
        raise LawBroken("no progress")

    def _at_end(self) -> bool:
        positions = {p: at for worker in self.workers for p, at in worker.runner.positions.items()}
        return all(
            partition in positions and (not held or positions[partition] > held[-1].offset)
            for partition, held in enumerate(self.broker.partitions("validated"))
        )

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
        for raw in self.poison:
            if [a.kind for a in self.answers.get(raw, [])] != ["dead"]:
                raise LawBroken(f"law 1: unreadable {raw} has answers {self.answers.get(raw)}")
        self._judge_batches()
        for partition in range(self.partitions):
            self._judge_order(partition)
        self._judge_audit()
        self._judge_tables()
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
            self._judge_cap(batch)
            if len({(m["group"], m["date"]) for m in members}) > 1:
                raise LawBroken("law 3: a batch mixes groups or dates")
            if len(raws) > 1 and sum(len(m) for m in batch["records"]) > self.pipeline.batching.max_bytes:
                raise LawBroken("BA5: a batch is larger than its cap")

    def _judge_cap(self, batch: Mapping[str, Any]) -> None:
        """DI7: no record joined a batch that was full by the last cap before it; and none was closed as full that was
        not, by the caps from its last record on."""
        caps = [(at, m["records"]) for at, kind, m, _ in self.log_of(batch["partition"]) if kind == "cap"]
        if not caps:
            return

        def most(offset: int) -> int:
            return min(CAP, max(1, next((records for at, records in reversed(caps) if at < offset), CAP)))

        offsets = self.offsets_of(batch)
        for place, offset in enumerate(offsets):
            if place >= most(offset):
                raise LawBroken(f"DI7: record {place} joined a batch with a cap of {most(offset)}")
        later = [max(1, records) for at, records in caps if at > offsets[-1]]
        if batch["close_reason"] in ("count", "cap") and len(offsets) < min([most(offsets[-1]), *later]):
            raise LawBroken(f"DI7: {len(offsets)} records were closed as full")

    def _judge_order(self, partition: int) -> None:
        """Effects of one key follow the order of its versions, and no content takes effect twice in a row."""
        place = {p.raw: i for i, p in enumerate(self.published)}
        first_at: dict[RawPosition, int] = {}
        stamp: dict[RawPosition, int] = {}
        stream_time = 0
        for offset, name, value, returned in self.log_of(partition):
            if name == "validated":
                raw = raw_position(value)
                stream_time = max(stream_time, value["recorded_at"])
                if returned or raw not in first_at:
                    first_at[raw], stamp[raw] = offset, stream_time
        sent = {raw_position(CODEC.decode(m)[1]) for b in self.batches.values() for m in b["records"]}
        for key in {p.key for p in self.published if self.home(p.key) == partition}:
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

    def _judge_audit(self) -> None:
        for partition in range(self.partitions):
            expected = decisions(self.log_of(partition), self.policy, KEEP * 1000)
            unreadable = {raw for raw in self.poison if raw.partition == partition}
            got = audit_entries(self.broker, partition)
            if {raw for action, raw in got if action == "REJECT"} != unreadable:
                raise LawBroken("audit: unreadable messages without their entry")
            for wanted, (action, raw) in zip_longest(
                expected, [e for e in got if e[0] != "REJECT"], fillvalue=("nothing", None)
            ):
                if (action, raw) != wanted:
                    raise LawBroken(f"audit: {action} of {raw}, the rules say {wanted}")

    def _judge_tables(self) -> None:
        """What a new worker would restore is what the workers hold; nothing sealed is remembered for ever (BA3)."""
        for worker in self.workers:
            for partition, stores in worker.runner._stores.items():
                rows = self.broker.partitions("idempotency")[partition]
                fresh = MemoryVersions()
                fresh.apply([(m.key or b"", m.value) for m in rows], len(rows))
                if dict(fresh.items()) != dict(stores["idempotency"].items()):
                    raise LawBroken("TX1: the store is not what its changelog says")
                windows: dict[bytes | None, bytes | None] = {}
                for m in self.broker.partitions("windows")[partition]:
                    windows[m.key] = m.value
                if any(windows.values()):
                    raise LawBroken("BA3: a line is remembered though nothing of it is open")

    def _judge_determinism(self) -> None:
        """Law 6: the same log in other chunks, without faults, gives the same batches, answers and chain."""
        other = type(self)(0, self.stage_class, self.log_class)
        other.deterministic, other.policy, other.pipeline, other.partitions = True, self.policy, self.pipeline, 1
        other.broker = MemoryBroker(self.pipeline)
        for m in self.broker.partitions("validated")[0]:
            other.broker.append("validated", 0, m.key, m.value, m.headers)
        other.workers = [other.start(0)]
        last = self.broker.end("validated", 0)
        for _ in range(2 * last + 10 + 300 * len(self.poison)):
            other.workers[0].log.take = 5
            other.workers[0].runner.step(timeout=0)
            if other._at_end():
                break
        other.workers[0].runner.drain(ending=True)
        if audit_entries(other.broker) != audit_entries(self.broker):
            raise LawBroken("law 6: another chunking gives another chain")
        for topic in ("batched", "sent", "dead-letter"):
            if [m.value for m in other.broker.all(topic)] != [m.value for m in self.broker.all(topic)]:
                raise LawBroken(f"law 6: another chunking gives other messages on {topic}")


def audit_entries(broker: MemoryBroker, partition: int = 0) -> list[tuple[str, RawPosition]]:
    """Action and position of every audit entry of a stage on one partition, in order."""
    entries: list[tuple[str, RawPosition]] = []
    for message in broker.partitions("audit")[partition]:
        block = read_block(message.value or b"")
        entries += [(entry.action, RawPosition(*entry[2:7])) for entry in block.entries]
    return entries


def read_log(broker: MemoryBroker, partition: int) -> list[Said]:
    """Everything readable in one partition of `validated`: offset, kind, message."""
    said = []
    for m in broker.partitions("validated")[partition]:
        if m.value not in GARBLED:
            returned = any(name == WAITED for name, _ in m.headers)
            said.append(Said(m.offset, *CODEC.decode(m.value or b""), returned))
    return said


def validated(record: Published) -> dict[str, Any]:
    """The Validated message of a record."""
    return {
        "key": record.key, "digest": record.digest, "group": record.group, "date": record.date, "partner": "p",
        "recorded_at": record.recorded_at, "event_time": 0, "ordering": f"{record.raw.offset // 2:05}",
        "raw_topic": record.raw.topic, "raw_incarnation": 0, "raw_partition": record.raw.partition,
        "raw_offset": record.raw.offset, "raw_index": 0, "count": 1, "submission_digest": record.digest,
        "source": None, "site": None, "received_at": None, "schema_version": "sim/1", "topology_version": 1,
        "warnings": [], "passport": None, "payload": b"{}", "claim": None,
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


def failures(seeds: Sequence[int], world: Callable[[int], World] = World) -> list[str]:
    """The histories that broke a law, as `seed: what`."""
    broken = []
    for seed in seeds:
        try:
            world(seed).run()
        except LawBroken as error:
            broken.append(f"seed {seed}: {error}")
        except Exception as error:  # noqa: BLE001 - a history that raises is a failure with its seed as well
            broken.append(f"seed {seed}: {type(error).__name__}: {error}")
    return broken
