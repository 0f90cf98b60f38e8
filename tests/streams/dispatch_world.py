"""A small world around dispatch: log, table, consumer group, partners, workers that crash, sleep and lose commits.

Random histories run through it, each from its seed; the judge at the end knows only what the partner has seen and what
was answered. The world stands in for Kafka and the runner; what decides is the product's code behind a `Member`.
Switches in `off` take away what Kafka and the runner must do; rules of dispatch itself are taken away by the tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, NamedTuple, Protocol

from schemas.delivery import Row
from streams.delivery.breaker import OFF, BreakerTerms
from streams.delivery.bucket import FREE, RateTerms
from streams.delivery.protocol import Outcome, OutcomeKind
from streams.dispatch.agent import PARTNER_KEY
from streams.dispatch.attempts import PartnerTerms, Terms
from streams.dispatch.changes import Changes, Prepared, What
from streams.dispatch.deliveries import Deliveries

PARTITIONS = (0, 1)
PARTNERS = ("lake", "clinic")
TIMEOUT = 30_000
"""Milliseconds after which a request that has not arrived never will."""
START = 1_700_000_000_000
PASSPORT = {"reason": "again", "approver": "a person", "attempt": 1, "original_position": "raw/0/0/0"}
SWITCHES = {
    "fence": "DI1: a transaction with offsets of a former generation is refused",
    "whole": "TX1: a member that missed a generation drops everything, also what it gets back",
    "reread": "TX1: after an indeterminate commit the table is read before anything is decided",
    "high-water": "TX1: restore reaches the table's high watermark",
    "write-ahead": "law 7: an attempt leaves only after its write-ahead has committed",
}


class Bad(Exception):
    """A law is broken."""


@dataclass(frozen=True)
class Spec:
    """One frozen batch of this world."""

    batch_id: bytes
    partition: int
    offset: int
    partner: str
    group: str
    size: int
    """Records."""
    poison: frozenset[int]
    """Records that the partner will never take."""

    @property
    def whole(self) -> Unit:
        return Unit(self.batch_id, None, 0, self.size)

    def records(self, unit: Unit) -> tuple[Record, ...]:
        """The records of the batch, or of a part of it."""
        return tuple((self.partition, self.offset, n) for n in range(unit.first, unit.first + unit.size))


Record = tuple[int, int, int]
"""Partition and offset of its batch, and its place in it."""


class Unit(NamedTuple):
    """What is delivered under one id: a batch or a part of one."""

    batch_id: bytes
    parent: bytes | None
    first: int
    size: int


class Entry(NamedTuple):
    """One message of `batched`."""

    spec: Spec
    life: int
    unit: Unit


class Launched(NamedTuple):
    """An attempt to be sent."""

    partition: int
    batch_id: bytes
    life: int
    attempt: int
    body_digest: bytes
    records: tuple[Record, ...]


class Told(NamedTuple):
    """The final answer of every record of a unit in one life."""

    unit: Unit
    life: int
    answer: str
    """`ack`, `dead` (and released) or `dead?`."""
    records: tuple[Record, ...]


class Turn(NamedTuple):
    """What one chunk came to, as the world needs it."""

    rows: dict[tuple[int, bytes], Any]
    answers: list[Told]
    launches: list[Launched]
    offsets: dict[int, int]
    done: Callable[[], None]
    """To be called once it has committed."""


class Member(Protocol):
    """Dispatch inside one worker."""

    def restore(self, partition: int, rows: Mapping[bytes, Any], offset: int | None, now: int) -> int: ...

    def forget(self, partition: int) -> None: ...

    def process(
        self, entries: list[tuple[int, int, Entry]], answers: list[tuple[Launched, Outcome]], now: int, may_send: bool
    ) -> Turn: ...


class Setting(NamedTuple):
    """What a member is made with."""

    seed: int
    terms: Terms
    busy: Callable[[bytes], bool]
    log: dict[int, list[Entry]]


class CoreMember:
    """The pure core alone: fast, so that many histories can be run."""

    deliveries: type[Deliveries] = Deliveries

    def __init__(self, setting: Setting) -> None:
        self.core = self.deliveries(setting.terms, Random(setting.seed), name, setting.busy)
        self.next: dict[int, int] = {}

    def restore(self, partition: int, rows: Mapping[bytes, Any], offset: int | None, now: int) -> int:
        states = [row for row in rows.values() if not isinstance(row, Row)]
        self.core.restore(partition, [row for row in rows.values() if isinstance(row, Row)], states, now)
        self.next[partition] = offset or 0
        return self.next[partition]

    def forget(self, partition: int) -> None:
        self.core.forget(partition)

    def process(
        self, entries: list[tuple[int, int, Entry]], answers: list[tuple[Launched, Outcome]], now: int, may_send: bool
    ) -> Turn:
        core, changes = self.core, Changes()
        core.may_send = may_send
        for sent, outcome in answers:
            core.answer(changes, sent.batch_id, sent.life, sent.attempt, outcome, now)
        touched = set()
        for partition, offset, entry in entries:
            self.next[partition] = offset + 1
            touched.add(partition)
            row = first_row(entry.spec, entry.unit, now)
            if entry.life == 1:
                core.admit(changes, partition, row)
            else:
                core.again(changes, partition, row, entry.life, PASSPORT)  # type: ignore[arg-type]
        core.age(changes, now)
        core.start(changes, now, prepare)
        told = []
        for event in changes.events:
            row = event.row
            if event.what in (What.DELIVERED, What.DEAD):
                answer = "ack" if event.what is What.DELIVERED else "dead?" if row.unknown else "dead"
                told.append(Told(unit_of(row), row.life, answer, records_of(row)))
        launches = [
            Launched(p, row.batch_id, row.life, row.attempt, prepared.digest, records_of(row))
            for p, row, prepared in changes.launches
        ]
        rows: dict[tuple[int, bytes], Any] = {**changes.rows}
        rows.update({(p, PARTNER_KEY + name.encode()): row for (p, name), row in changes.partners.items()})
        touched |= {partition for partition, _ in rows}
        return Turn(rows, told, launches, {p: self.next[p] for p in touched}, nothing)


def nothing() -> None:
    """Nothing is left to do after the commit."""


def prepare(partition: int, row: Row) -> Prepared:
    """A body; the digest alone matters here."""
    return Prepared(row.batch_id, 1, None)


def name(row: Row, first: int, count: int) -> bytes:
    """The id of a part of a batch."""
    return bytes([row.batched_partition, row.batched_offset]) + bytes(28) + bytes([first, count])


def unit_of(row: Row) -> Unit:
    """What a row is about."""
    return Unit(row.batch_id, row.parent, row.first, row.count)


def records_of(row: Row) -> tuple[Record, ...]:
    """The records a row is about."""
    return tuple((row.batched_partition, row.batched_offset, n) for n in range(row.first, row.first + row.count))


def first_row(spec: Spec, unit: Unit, now: int) -> Row:
    """The row of a batch, or of a part, as it is first read."""
    return Row(
        unit.batch_id, spec.partition, spec.offset, spec.partner, spec.group, unit.size, "pending", 1, 0, False, None,
        0, 0, 0, 0, 0, None, False, START, unit.parent, None, first=unit.first, begun_at=now,
    )  # fmt: skip


@dataclass(eq=False)
class Request:
    """An attempt under way."""

    sent: Launched
    worker: Worker
    at: int
    answered: bool = False


@dataclass(eq=False)
class Worker:
    """One process. A crash makes a new one."""

    member: Member
    generation: int = 0
    positions: dict[int, int] = field(default_factory=dict)
    """Partitions it believes to own, with the next offset to read."""
    inbox: list[tuple[Launched, Outcome]] = field(default_factory=list)
    out: set[bytes] = field(default_factory=set)
    """Batches with an attempt whose answer was not taken from the inbox yet."""
    asleep: bool = False
    control_read: bool = False


class World:
    """One history."""

    def __init__(
        self, seed: int, make: Callable[[Setting], Member] = CoreMember, off: Collection[str] = (), life: int = 3
    ) -> None:
        self.r = r = Random(seed)
        self.seed, self.make, self.off, self.max_life = seed, make, off, life
        self.now = START
        self.retention = r.choice((None, 100_000, 400_000))
        margin = None if self.retention is None else self.retention - TIMEOUT
        own = Random(seed + 10**9)  # no draw of the history's
        self.deadlines = {name: own.choice((None, None, 40_000, 200_000)) for name in PARTNERS}
        attempts = r.randint(1, 3)
        breakers = (OFF, BreakerTerms(r.randint(1, attempts), 1_000, 30_000))
        rates = (FREE, FREE, RateTerms(700.0, 2))
        partners = {
            name: PartnerTerms(
                r.randint(1, 3),
                r.choice(breakers),
                r.choice(rates),
                margin,
                r.choice((None, None, 1, 3)),
                deadline=self.deadlines[name],
            )
            for name in PARTNERS
        }
        outage = r.choice((0, 60_000, 7 * 86_400_000))
        self.terms = Terms(attempts, r.randint(1, 4), "packets", 7 * 86_400_000, True, partners, outage)
        self.moody = r.random() < 0.5
        """A partner that may refuse what it has accepted before."""
        self.gated = r.random() < 0.5
        """A partner that looks at the size before the key."""
        self.limit = r.choice((1, 2, 4, 4))
        """Records that a partner takes in one request."""
        self.log: dict[int, list[Entry]] = {}
        self.table: dict[int, dict[bytes, Any]] = {}
        self.before: dict[int, dict[bytes, Any]] = {}
        self.offsets: dict[int, int | None] = {}
        for p in PARTITIONS:
            specs = [
                Spec(bytes([p, o]) + bytes(30), p, o, PARTNERS[p], r.choice("ab"), *self.content())
                for o in range(r.randint(1, 4))
            ]
            self.log[p] = [Entry(spec, 1, spec.whole) for spec in specs]
            self.table[p], self.before[p], self.offsets[p] = {}, {}, None
        self.specs = {(p, entry.spec.offset): entry.spec for p in PARTITIONS for entry in self.log[p]}
        self.lives = {record: 1 for spec in self.specs.values() for record in spec.records(spec.whole)}
        self.calm = False
        self.known: dict[bytes, int] = {}
        """What the partners remember: batch -> since when."""
        self.effects: list[Record] = []
        self.digests: dict[bytes, set[bytes]] = {}
        self.ids: dict[tuple[Record, ...], set[bytes]] = {}
        """The ids under which records were sent together."""
        self.told: dict[tuple[Record, int], list[str]] = {}
        self.ends: dict[tuple[Record, int], int] = {}
        """Lives that have a deadline and no answer: when it is."""
        self.died: dict[tuple[bytes, int], Told] = {}
        self.stray = self.early = 0
        self.wire: list[Request] = []
        self.generation = 0
        self.owner: dict[int, Worker] = {}
        self.workers = [self.start_worker(), self.start_worker()]
        self.rebalance()

    def content(self) -> tuple[int, frozenset[int]]:
        """How many records a batch has, and which of them are poison."""
        size = self.r.choice((1, 1, 2, 3, 4))
        return size, frozenset(n for n in range(size) if self.r.random() < 0.08)

    def start_worker(self) -> Worker:
        """A new process with nothing in memory."""
        out: set[bytes] = set()
        setting = Setting(self.seed, self.terms, out.__contains__, self.log)
        return Worker(self.make(setting), out=out)

    # ---- the consumer group ----------------------------------------------------------------------

    def rebalance(self) -> None:
        self.generation += 1
        awake = [worker for worker in self.workers if not worker.asleep] or self.workers[:1]
        self.owner = {p: self.r.choice(awake) for p in PARTITIONS}
        for worker in self.workers:
            if not worker.asleep:
                self.learn(worker)

    def learn(self, worker: Worker) -> None:
        """The rebalance callback: what is lost is forgotten, what is new is restored."""
        missed = worker.generation < self.generation - 1 and "whole" not in self.off
        worker.generation = self.generation
        for p in list(worker.positions):
            if missed or self.owner[p] is not worker:
                worker.member.forget(p)
                del worker.positions[p]
        for p in PARTITIONS:
            if self.owner[p] is worker and p not in worker.positions:
                self.restore(worker, p)

    def restore(self, worker: Worker, p: int) -> None:
        short = "high-water" in self.off and self.r.random() < 0.3
        rows = self.before[p] if short else self.table[p]
        worker.positions[p] = worker.member.restore(p, rows, self.offsets[p], self.now)

    def rebuild(self, worker: Worker) -> None:
        """The one path for every doubt (TX1)."""
        for p in list(worker.positions):
            worker.member.forget(p)
            del worker.positions[p]
            if self.owner[p] is worker and worker.generation == self.generation:
                self.restore(worker, p)

    # ---- transactions ----------------------------------------------------------------------------

    def transact(self, worker: Worker, turn: Turn, entries: list[tuple[int, int, Entry]]) -> str:
        """`ok`, `stale`, `abort`, or `unknown`: committed or not."""
        how = "ok" if self.calm else self.r.choice(("ok",) * 8 + ("abort", "lost-yes", "lost-no"))
        if turn.offsets and worker.generation != self.generation and "fence" not in self.off:
            return "stale"
        if how == "abort":
            return "abort"
        if how == "lost-no":
            return "unknown"
        owned = {p for p, owner in self.owner.items() if owner is worker}
        if any(launched.partition not in owned for launched in turn.launches):
            self.stray += 1
        for p in {p for p, _ in turn.rows}:
            self.before[p] = dict(self.table[p])
        for (p, batch_id), row in turn.rows.items():
            if row is None:
                self.table[p].pop(batch_id, None)
            else:
                self.table[p][batch_id] = row
        self.offsets.update(turn.offsets)
        for _, _, entry in entries:
            allowed = self.deadlines[entry.spec.partner]
            for key in [(record, entry.life) for record in entry.spec.records(entry.unit)]:
                if allowed is not None and key not in self.told:
                    self.ends.setdefault(key, self.now + allowed)
        for told in turn.answers:
            for record in told.records:
                self.ends.pop((record, told.life), None)
                self.told.setdefault((record, told.life), []).append(told.answer)
            if told.answer != "ack":
                self.died[told.unit.batch_id, told.life] = told
        return "ok" if how == "ok" else "unknown"

    def turn(self, worker: Worker) -> None:
        """One round of the runner: read, process, commit, launch."""
        entries = []
        for p, position in worker.positions.items():
            until = position + self.r.randint(0, 3)
            entries += [(p, o, entry) for o, entry in enumerate(self.log[p][position:until], position)]
        answers, worker.inbox = worker.inbox, []
        for sent, _ in answers:
            worker.out.discard(sent.batch_id)
        may_send = worker.control_read
        turn = worker.member.process(entries, answers, self.now, may_send)
        if not (turn.rows or turn.answers or entries):
            return self.look_at_the_clock(worker)
        result = self.transact(worker, turn, entries)
        if result == "unknown" and "reread" in self.off:
            result = self.transact(worker, turn, entries)
        if result == "ok" or "write-ahead" in self.off:
            self.launch(worker, turn)
        if result == "ok":
            turn.done()
            for p, o, _ in entries:
                worker.positions[p] = o + 1
            return self.look_at_the_clock(worker)
        return self.rebuild(worker)

    def look_at_the_clock(self, worker: Worker) -> None:
        """After a turn of the owner nothing is overdue but what it has out, which is decided when it ends."""
        if worker.generation != self.generation:
            return
        late = {key for key, at in self.ends.items() if at <= self.now and key[0][0] in worker.positions}
        if not late:
            return
        out = [request.sent for request in self.wire if request.worker is worker and not request.answered]
        out += [sent for sent, _ in worker.inbox]
        if late := late - {(record, sent.life) for sent in out for record in sent.records}:
            raise Bad(f"deadline: {min(late)} has no answer {self.now - self.ends[min(late)]} ms after it")

    def launch(self, worker: Worker, turn: Turn) -> None:
        for sent in turn.launches:
            if not worker.control_read:
                self.early += 1
            if sent.batch_id in worker.out:
                raise Bad("an attempt of this batch is still out in this worker")
            if any(self.ends.get((record, sent.life), self.now + 1) <= self.now for record in sent.records):
                raise Bad(f"deadline: attempt {sent.attempt} of {sent.batch_id.hex()} begins after it")
            worker.out.add(sent.batch_id)
            self.digests.setdefault(sent.batch_id, set()).add(sent.body_digest)
            self.ids.setdefault(sent.records, set()).add(sent.batch_id)
            if not self.calm and self.r.random() < 0.1:
                worker.inbox.append((sent, Outcome(OutcomeKind.FAILED, "refused connection")))
            else:
                self.wire.append(Request(sent, worker, self.now))

    # ---- the partners ----------------------------------------------------------------------------

    def arrive(self, request: Request) -> None:
        """A request reaches its partner."""
        self.wire.remove(request)
        if self.now - request.at > TIMEOUT:
            return self.give(request, Outcome(OutcomeKind.UNKNOWN, "timed out"))
        outcome = self.partner(request.sent)
        if not self.calm and self.r.random() < 0.2:
            outcome = Outcome(OutcomeKind.UNKNOWN, "answer lost")
        return self.give(request, outcome)

    def give(self, request: Request, outcome: Outcome) -> None:
        if not request.answered:
            request.answered = True
            request.worker.inbox.append((request.sent, outcome))

    def partner(self, sent: Launched) -> Outcome:
        since = self.known.get(sent.batch_id)
        forgotten = since is not None and self.retention is not None and self.now - since > self.retention
        large = Outcome(OutcomeKind.TOO_LARGE, "413") if len(sent.records) > self.limit else None
        x = 1.0 if self.calm else self.r.random()
        if self.moody and x < 0.15:
            kinds = (OutcomeKind.REFUSED, OutcomeKind.TOO_LARGE, OutcomeKind.INVALID)
            return Outcome(self.r.choice(kinds), "changed my mind")
        if large and self.gated:
            return large
        if since is not None and not forgotten:
            return Outcome(OutcomeKind.DELIVERED, "409 have it")
        if large:
            return large
        if any(n in self.specs[p, o].poison for p, o, n in sent.records):
            return Outcome(OutcomeKind.INVALID, "400")
        if x < 0.25:
            return Outcome(OutcomeKind.UNKNOWN, "500, nothing done")
        if x < 0.30:
            return Outcome(OutcomeKind.PAUSED, "429", 4.0)
        if x < 0.33:
            return Outcome(OutcomeKind.STOPPED, "401")
        self.known[sent.batch_id] = self.now
        self.effects += sent.records
        return Outcome(
            OutcomeKind.UNKNOWN if x < 0.45 else OutcomeKind.DELIVERED, "500, but done" if x < 0.45 else "200"
        )

    # ---- the history -----------------------------------------------------------------------------

    def run(self) -> World:
        for _ in range(self.r.randint(15, 50)):
            self.happen()
        self.settle_down()
        if self.died and self.r.random() < 0.4:  # what died is asked for again, and the faults with it
            self.calm = False
            self.replay()
            for _ in range(self.r.randint(5, 15)):
                self.happen()
            self.settle_down()
        self.judge()
        return self

    def happen(self) -> None:
        r, x = self.r, self.r.random()
        self.now += r.choice((5, 5, 400, 3_000, 20_000))
        worker = r.choice(self.workers)
        if x < 0.40:
            if not worker.asleep or r.random() < 0.4:  # a zombie may wake for one step
                self.turn(worker)
        elif x < 0.60:
            if self.wire:
                self.arrive(r.choice(self.wire))
        elif x < 0.68:
            if self.wire:
                self.give(r.choice(self.wire), Outcome(OutcomeKind.UNKNOWN, "no answer"))
        elif x < 0.74:
            self.rebalance()
        elif x < 0.78:
            worker.asleep = True  # stopped past the session time-out
            self.rebalance()
        elif x < 0.82:
            if worker.asleep:
                worker.asleep = False
                if r.random() < 0.5:
                    self.learn(worker)
        elif x < 0.85:
            self.workers[self.workers.index(worker)] = self.start_worker()  # kill -9 and start again
            self.rebalance()
        elif x < 0.90:
            self.replay()
        elif x < 0.96:
            worker.control_read = True
        elif x < 0.98:
            self.limit = r.choice((1, 2, 4))
        else:
            self.now += r.choice((60_000, 150_000, 600_000))

    def replay(self) -> None:
        """Somebody asks once more for a batch, or a part of one, that died; sometimes twice with the same passport."""
        for key in self.r.sample(sorted(self.died), len(self.died)):
            unit, life, _, records = self.died[key]
            if life < self.max_life and all(self.lives[record] == life for record in records):
                self.lives.update(dict.fromkeys(records, life + 1))
                spec = self.specs[records[0][:2]]
                self.log[spec.partition] += [Entry(spec, life + 1, unit)] * self.r.choice((1, 1, 2))
                return

    def settle_down(self) -> None:
        """Faults end; everything must come to its answer."""
        self.calm = True
        for _ in range(400):
            if all(life in self.told for life in self.lives.items()) and not self.wire:
                return
            self.now += 5_000
            for worker in self.workers:
                worker.asleep, worker.control_read = False, True
                if worker.generation != self.generation:
                    self.learn(worker)
                self.turn(worker)
            for request in list(self.wire):
                self.arrive(request)
        raise Bad(f"law 1: no answer for {[k for k in self.lives.items() if k not in self.told]}")

    # ---- the judge -------------------------------------------------------------------------------

    def judge(self) -> None:
        effects = Counter(self.effects)
        for record, last in self.lives.items():
            for life in range(1, last + 1):
                answers = self.told.get((record, life), [])
                if len(answers) != 1:
                    raise Bad(f"law 1: record {record} life {life} has answers {answers}")
                if answers == ["ack"] and effects[record] != 1:
                    raise Bad(f"law 7: record {record} is acknowledged and took effect {effects[record]} times")
            if self.told[record, last] == ["dead"] and effects[record]:
                raise Bad(f"law 4: record {record} is dead as known and released, but took effect")
            if effects[record] > 1:
                raise Bad(f"law 7: record {record} took effect {effects[record]} times")
        if twice := [batch_id for batch_id, digests in self.digests.items() if len(digests) > 1]:
            raise Bad(f"law 3: batch {twice[0].hex()} was sent with different bytes")
        if twice_named := [records for records, ids in self.ids.items() if len(ids) > 1]:
            raise Bad(f"law 3: records {twice_named[0]} were sent under several ids")
        if extra := self.told.keys() - {(b, life) for b, n in self.lives.items() for life in range(1, n + 1)}:
            raise Bad(f"law 1: answers nobody asked for {extra}")
        if self.stray:
            raise Bad("DI1: an attempt begun by a worker that had lost the partition")
        if self.early:
            raise Bad("DI5: an attempt before the control topic was read")
        for p in PARTITIONS:
            for group in "ab":
                line = [
                    record for record in self.effects
                    if record[0] == p and self.specs[record[:2]].group == group and self.told[record, 1] == ["ack"]
                ]  # fmt: skip
                if line != sorted(line):
                    raise Bad(f"order: group {group} of partition {p} took effect as {line}")


def histories(
    number: int,
    make: Callable[[Setting], Member] = CoreMember,
    off: Collection[str] = (),
    seed: int = 1,
    stop_at: int | None = None,
) -> list[str]:
    """Runs `number` histories and tells what broke in each that failed; stops after `stop_at` failures."""
    broken = []
    for one in map(partial(World, make=make, off=off), range(seed, seed + number)):
        try:
            one.run()
        except Bad as error:
            broken.append(f"seed {one.seed}: {error}")
            if len(broken) == stop_at:
                break
    return broken
