"""Histories of records that come before what they need: the worlds of `batch_world`, with things that several records
are about, and a judge that knows who waits for what.

What becomes of a record follows from the log alone (`WaitingThings`, written from ADR 22, not from the product's code).
When a wait ends does not: a clock may say it. So the judge walks along the audit chain, which has it, and asks of every
end whether it was due, and of every moment whether one is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from audit.block import read_block
from schemas.canonical import RawPosition
from schemas.errors import OUT_OF_RANGE, Finding
from schemas.pack import Record
from schemas.state import Concerned, Domain, Judged, StateRules
from streams.batch.agent import BatchStage
from streams.batch.items import FACTS
from streams.deadletter import DeadLetters
from streams.progress import Identity
from streams.runtime.runner import Runner
from streams.tables import MemoryRows
from tests.streams.batch_desk import Desk, S
from tests.streams.batch_oracle import each_decision
from tests.streams.batch_world import CODEC, KEEP, LawBroken, Published, validated
from tests.streams.things_world import SaidThings, ThingsWorld
from topology.model import Pipeline
from topology.sections import Chunking, ItemHistory

ABSENT = Finding(OUT_OF_RANGE, "", "it is not there")
ENDED = Finding(OUT_OF_RANGE, "", "it was made already, or ended")
WORDS = ("make", "make", "make", "use", "use", "use", "end")


class ManyRules:
    """Things are made, used and ended; a record is about one or two of them."""

    domains = frozenset({"k"})

    def facts(self, record: Record) -> bytes | None:
        """Not asked for here."""

    def awaited(self, key: str) -> str:
        """Not asked for here."""
        return key

    def concerns(self, facts: bytes, find: Callable[[str], str | None]) -> Concerned:
        do, *things = facts.decode().split()
        return Concerned(frozenset(things), frozenset(things if do == "make" else ()))

    def judge(
        self,
        facts: bytes,
        domain: Domain,
        place: str,
        find: Callable[[str], str | None],
        died: Callable[[str], bool],
    ) -> Judged:
        do, *things = facts.decode().split()
        findings, lacks, changes = [], set(), {}
        for thing in things:
            made, _, ended = (find(thing) or "").partition("|")
            if ended and died(ended):
                ended = ""
            if made and not ended and died(made):
                made = ""
            if ended or (do == "make" and made):
                findings.append(ENDED)
            elif do != "make" and not made:
                findings.append(ABSENT)
                lacks.add(thing)
            elif do != "use":
                changes[thing] = place if do == "make" else f"{made}|{place}"
        if findings:
            return Judged(tuple(findings), lacks=frozenset(lacks) if ENDED not in findings else frozenset())
        return Judged((), changes)


class Stands(NamedTuple):
    """A record that waits, as the judge knows it."""

    raw: RawPosition
    offset: int
    things: frozenset[str]
    since: int
    behind: bool = False
    """It was not judged yet: whether it lacks anything is not known."""


class WaitingThings(SaidThings):
    """And who waits."""

    def __init__(self, told: dict[RawPosition, str], wait: int) -> None:
        """told: what each record says. wait: ms."""
        super().__init__(told)
        self._wait = wait
        self.waits: dict[RawPosition, Stands] = {}
        self.on_the_way: dict[RawPosition, str] = {}
        """Those that were called, and why."""
        self._back: tuple[Stands, str] | None = None

    # ---- what batch_oracle asks ----

    def returns(self, raw: RawPosition) -> bool:
        if raw not in self.on_the_way:
            return False
        self._back = self.waits.pop(raw), self.on_the_way.pop(raw)
        return True

    def may(self, raw: RawPosition, offset: int) -> str:
        do, *things = self._told[raw].split()
        back, self._back = self._back, None
        if back is not None and back[0].raw != raw:
            back = None  # that one was a duplicate, or a conflict
        first = back[0] if back else Stands(raw, offset, frozenset(), self.time)
        uses = set() if do == "make" else set(things)
        before = [one for one in self._in_order() if one.offset < first.offset and one.things & uses]
        verdict = self.verdict(raw)
        late = back is not None and (back[1] == "over" or self.time >= first.since + self._wait)
        if before or (verdict == "lacks" and not late):
            about = frozenset(things).union(*(one.things for one in before))
            self.waits[raw] = first._replace(things=about, behind=bool(before))
            return "RETAIN"
        return "ADMIT" if verdict == "passes" else "REJECT"

    # ---- what the judge asks ----

    def verdict(self, raw: RawPosition) -> str:
        """passes, lacks or fails: by the rules alone."""
        do, *things = self._told[raw].split()
        verdicts = set()
        for thing in things:
            said = list(self._said.get(thing, ()))
            while said and said[-1][1] in self._dead:
                said.pop()
            last = said[-1][0] if said else "nothing"
            if last == "end" or (do == "make" and last == "make"):
                verdicts.add("fails")
            elif do != "make" and last == "nothing":
                verdicts.add("lacks")
        return "fails" if "fails" in verdicts else "lacks" if verdicts else "passes"

    def free(self) -> list[RawPosition]:
        """Those that should have been called: nothing before them stands still, and they lack nothing."""
        return [one.raw for one in self._in_order() if self._free(one) and not self._lacks(one)]

    def _lacks(self, one: Stands) -> bool:
        return not one.behind and self.verdict(one.raw) == "lacks"

    def _free(self, one: Stands) -> bool:
        held = (o for o in self._in_order() if o.offset < one.offset and o.raw not in self.on_the_way)
        return one.raw not in self.on_the_way and not any(other.things & one.things for other in held)

    def called(self, raw: RawPosition, why: str) -> str:
        """What is wrong with the end of a wait; empty: nothing."""
        one = self.waits.get(raw)
        if one is None or raw in self.on_the_way:
            return "it does not wait"
        lacks = self._lacks(one)
        if not self._free(one):
            return "one before it stands still"
        if lacks != (why == "over"):
            return "it lacks something" if lacks else "it lacks nothing"
        self.on_the_way[raw] = why
        return ""

    def _in_order(self) -> list[Stands]:
        return sorted(self.waits.values(), key=lambda one: one.offset)


class WaitingWorld(ThingsWorld):
    """Records that wait."""

    rules = ManyRules

    def __init__(self, *of: Any) -> None:
        self.reached: dict[str, int] = {}
        """How often an audit entry of a kind was seen, for those who ask whether the histories get anywhere."""
        super().__init__(*of)

    def made(self) -> Pipeline:
        self.deterministic = False
        self.wait = self.random.choice([3, 15])
        return super().made().model_copy(update={"items": ItemHistory(domain="k", wait=self.wait)})

    def tale(self, home: int) -> str:
        do = self.random.choice(WORDS)
        things = self.random.sample(range(4), 1 if do == "make" else self.random.choice([1, 2]))
        return " ".join([do, *(f"thing-{thing}-{home}" for thing in things)])

    def chunk(self, slot: int, size: int, fault: str) -> None:
        self.broker.now = self.wall  # stamps what is written
        super().chunk(slot, size, fault)

    def _at_end(self) -> bool:
        """Nobody waits either: time goes on until nobody does."""
        self.wall += 1000
        return super()._at_end() and not any(self._table("waiting", p) for p in range(self.partitions))

    def _table(self, name: str, partition: int) -> dict[bytes, bytes]:
        rows = MemoryRows()
        held = self.broker.partitions(name)[partition]
        rows.apply([(m.key or b"", m.value) for m in held], len(held))
        return dict(rows.items())

    def _judge_audit(self) -> None:
        for partition in range(self.partitions):
            things = WaitingThings(self.told, self.wait * 1000)
            rules = each_decision(self.log_of(partition), "conflict", KEEP * 1000, things)
            for place, (action, code, raw) in enumerate(self._chain(partition)):
                self.reached[f"{action} {code}"] = self.reached.get(f"{action} {code}", 0) + 1
                if action == "RETAIN" and code in ("called", "over"):
                    if wrong := things.called(raw, code):
                        raise LawBroken(f"state: entry {place}, {raw} is {code}, but {wrong}")
                    continue
                if late := things.free():
                    raise LawBroken(f"state: entry {place} comes, and {late} were not called")
                wanted = next(rules, ("nothing", None))
                if (action, raw) != wanted:
                    raise LawBroken(f"state: entry {place} is {action} {code} of {raw}, the rules say {wanted}")
            if (missing := next(rules, None)) is not None:
                raise LawBroken(f"state: {missing} is missing at the end of the chain")
            self._judge_time(partition)

    def _chain(self, partition: int) -> list[tuple[str, str, RawPosition]]:
        entries = []
        for message in self.broker.partitions("audit")[partition]:
            block = read_block(message.value or b"")
            entries += [(entry.action, entry.code, RawPosition(*entry[2:7])) for entry in block.entries]
        return [entry for entry in entries if entry[2] not in self.poison]

    def _judge_time(self, partition: int) -> None:
        """Nobody's wait is over before its time, by the stream's clock or by the wall's."""
        time, wait = 0, self.wait * 1000
        first: dict[bytes, tuple[int, int]] = {}
        for message in self.broker.partitions("validated")[partition]:
            headers = dict(message.headers)
            if FACTS not in headers or message.value is None:
                continue
            time = max(time, CODEC.decode(message.value)[1]["recorded_at"])
            why = headers.get("waybill-waited", b"").decode()
            if not why:
                first.setdefault(message.value, (time, message.timestamp))
            elif why.startswith("over "):
                since, put = first[message.value]
                if time < since + wait and message.timestamp < put + 2 * wait:
                    raise LawBroken(f"state: the wait of {why} ended too early")

    def _judge_tables(self) -> None:
        super()._judge_tables()
        for worker in self.workers:
            for partition, stores in worker.runner._stores.items():
                for table in ("items", "waiting"):
                    if self._table(table, partition) != dict(stores[table].items()):
                        raise LawBroken(f"TX1: the store of {table} is not what its changelog says")


class WaitingDesk(Desk):
    """One batch worker whose records wait 10 s."""

    def __init__(self, wait: float = 10, rules: StateRules | None = None) -> None:
        """rules: None for ManyRules."""
        self.rules = rules or ManyRules()
        super().__init__(items=ItemHistory(domain="k", wait=wait), partition_by=["k"], batching={"linger": 40})

    def start(self) -> None:
        super().start()
        self.stage = BatchStage(
            self.pipeline, CODEC, Identity("w", "0", "1"), DeadLetters(CODEC, 1), self.stage._new_versions, self.rules
        )
        self.runner = Runner(self.log, self.stage, Chunking(), clock=lambda: self.wall)

    def tell_of(self, facts: str, key: str = "", at: float = 0, size: int = 0) -> RawPosition:
        raw = RawPosition("raw", 0, 0, self.offset, 0)
        self.offset += 1
        record = validated(Published(key or str(raw.offset), bytes(32), "g", "d", int(at * S), raw))
        value = CODEC.encode("validated", record | {"payload": b"x" * size})
        self.broker.append("validated", 0, b"k", value, ((FACTS, facts.encode()),))
        return raw

    def told(self) -> list[str]:
        """The chain, as `ACTION code offset`."""
        entries = [e for m in self.broker.all("audit") for e in read_block(m.value or b"").entries]
        return [" ".join(filter(None, (e.action, e.code, str(e[5])))) for e in entries]

    def letters(self) -> list[dict[str, Any]]:
        return [CODEC.decode(m.value or b"")[1] for m in self.broker.all("dead-letter")]
