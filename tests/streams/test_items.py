"""State rules in the batch stage: random histories with crashes, rebalances, lost commits, releases and replays, judged
by what the rules say to whoever reads the log once, from its beginning. The rules here are a toy; the stage knows no
better."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from schemas.canonical import RawPosition, record_id
from schemas.errors import OUT_OF_RANGE, Finding
from schemas.pack import Record
from schemas.state import Concerned, Domain, Judged
from streams.batch import items
from streams.batch.agent import BatchStage
from streams.batch.items import FACTS, Items
from streams.deadletter import DeadLetters
from streams.progress import Identity
from streams.runtime.log import LogGap
from streams.runtime.runner import Runner
from streams.stage import Work
from streams.tables import MemoryRows
from tests.streams.batch_desk import Desk
from tests.streams.batch_oracle import decisions
from tests.streams.batch_world import (
    CODEC,
    KEEP,
    LawBroken,
    Published,
    audit_entries,
    failures,
    validated,
)
from tests.streams.things_world import OnDisk, SaidThings, ThingsWorld
from topology.model import Pipeline
from topology.sections import Chunking, ItemHistory

WORDS = ("make", "make", "use", "use", "end")


class ToyRules:
    """A thing is made, used and ended; each once, but for the use."""

    domains = frozenset({"k"})

    def facts(self, record: Record) -> bytes | None:
        """Not asked for here."""

    def judge(
        self,
        facts: bytes,
        domain: Domain,
        place: str,
        find: Callable[[str], str | None],
        died: Callable[[str], bool],
    ) -> Judged:
        do, thing = facts.decode().split()
        made, _, ended = (find(thing) or "").partition("|")
        if ended and died(ended):
            ended = ""
        if made and not ended and died(made):
            made = ""
        if (do == "make") == bool(made) or ended:
            return Judged((Finding(OUT_OF_RANGE, "", f"{do} {thing}: {made} {ended}"),))
        if do == "use":
            return Judged()
        return Judged((), {thing: place if do == "make" else f"{made}|{place}"})

    def awaited(self, key: str) -> str:
        """Not asked for here."""
        return key

    def concerns(self, facts: bytes, find: Callable[[str], str | None]) -> Concerned:
        """Not asked for here: nothing waits."""
        raise AssertionError


class ItemWorld(ThingsWorld):
    """Nothing waits."""

    rules = ToyRules

    def made(self) -> Pipeline:
        return super().made().model_copy(update={"items": ItemHistory(domain="k")})

    def tale(self, home: int) -> str:
        return f"{self.random.choice(WORDS)} thing-{self.random.randrange(3)}-{home}"

    def _judge_audit(self) -> None:
        for partition in range(self.partitions):
            expected = decisions(self.log_of(partition), "conflict", KEEP * 1000, ToldThings(self.told))
            got = [entry for entry in audit_entries(self.broker, partition) if entry[1] not in self.poison]
            if got != expected:
                at = next((n for n, (a, b) in enumerate(zip(got, expected, strict=False)) if a != b), -1)
                raise LawBroken(f"state: entry {at} is {got[at:][:1]}, the rules say {expected[at:][:1]}")

    def _judge_tables(self) -> None:
        super()._judge_tables()
        for worker in self.workers:
            for partition, stores in worker.runner._stores.items():
                rows = self.broker.partitions("items")[partition]
                fresh = MemoryRows()
                fresh.apply([(m.key or b"", m.value) for m in rows], len(rows))
                if dict(fresh.items()) != dict(stores["items"].items()):
                    raise LawBroken("TX1: the store of items is not what its changelog says")


class ToldThings(SaidThings):
    """The verdict on each record."""

    def returns(self, raw: RawPosition) -> bool:
        """Nothing waits here."""
        return False

    def may(self, raw: RawPosition, offset: int) -> str:
        """Of what passed, what died last counts no longer."""
        do, thing = self._told[raw].split()
        said = list(self._said.get(thing, ()))
        while said and said[-1][1] in self._dead:
            said.pop()
        last = said[-1][0] if said else "nothing"
        return "ADMIT" if (do == "make") == (last == "nothing") and last != "end" else "REJECT"


def test_no_history_breaks_a_state_rule() -> None:
    broken = failures(range(250), ItemWorld)
    assert not broken, "\n".join([f"{len(broken)} of 250 histories:", *broken[:10]])


def test_a_chunk_with_many_rows_is_cut_and_its_rest_is_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is cut anew at each record, and the cuts fall elsewhere when all is told again (law 6)."""
    monkeypatch.setattr(items, "MOST_ROWS", 2)
    broken = failures(range(80), ItemWorld)
    assert not broken, broken[:5]
    d = desk()
    for number in range(6):
        d.tell_of(f"make {number}", f"made {number}")
    d.run()
    assert [action for action, _ in d.chain()] == ["ADMIT"] * 6
    assert len(d.broker.all("heads")) > 2, "one chunk took it all"


def test_a_partition_that_was_cut_is_not_gone_on_with_in_the_same_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker's slices bring the messages of one partition in several runs."""
    monkeypatch.setattr(items, "MOST_ROWS", 2)
    d = desk()
    d.run()
    for number in range(4):
        d.tell_of(f"make {number}", f"made {number}")
    work, told = Work(), d.broker.partitions("validated")[0]
    for run in (told[:2], told[2:]):
        d.lot.take_all(work, run, 0, {}, 10**9, lambda: 10**9)
    assert work.resume == {0: 1}
    assert d.lot.progress.processed_through == 0


def test_the_histories_reach_what_they_are_for() -> None:
    seen = dict.fromkeys(("REJECT", "RELEASE", "REPLAY", "ADMIT"), 0)
    for seed in range(60):
        world = ItemWorld(seed).run()
        for partition in range(world.partitions):
            for action, _ in audit_entries(world.broker, partition):
                if action in seen:
                    seen[action] += 1
    assert all(seen.values()), seen


class ItemsOnDisk(OnDisk, ItemWorld):
    """The same, in RocksDB."""


def test_histories_with_items_on_disk(tmp_path: Path) -> None:
    ItemsOnDisk.folders = (tmp_path / str(number) for number in count())
    broken = failures([seed for seed in range(60) if ItemWorld(seed).partitions == 1][:15], ItemsOnDisk)
    assert not broken, broken


@pytest.mark.parametrize("rule", ["pending", "released", "committed"])
def test_histories_find_a_broken_rule(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if rule == "pending":
        find = Items._find

        def committed_only(self: Items, domain: str, key: str) -> str | None:
            kept, self._pending = self._pending, {}
            try:
                return find(self, domain, key)
            finally:
                self._pending = kept

        monkeypatch.setattr(Items, "_find", committed_only)
    elif rule == "committed":  # what an aborted chunk wrote is dropped with its lot, and only what committed is kept
        monkeypatch.setattr(Items, "_put", put_at_once)
    else:
        monkeypatch.setattr(Items, rule, lambda *of: None)
    assert failures(range(80), ItemWorld)


def put_at_once(self: Items, work: Work, offset: int, domain: str, key: str, row: str | None) -> None:
    """Changes the store before the commit."""
    name = f"{domain}\x1f{key}".encode()
    message = {"domain": domain, "key": key, "offset": offset, "row": row}
    value = None if row is None else CODEC.encode("item", message)
    self._store.apply([(name, value)], self._store.position)


class ItemDesk(Desk):
    """One batch worker with the toy rules."""

    def start(self) -> None:
        super().start()
        self.stage = BatchStage(
            self.pipeline, CODEC, Identity("w", "0", "1"), DeadLetters(CODEC, 1), self.stage._new_versions, ToyRules()
        )
        self.runner = Runner(self.log, self.stage, Chunking(), clock=lambda: self.wall)

    def tell_of(self, facts: str, key: str) -> RawPosition:
        raw = RawPosition("raw", 0, 0, self.offset, 0)
        self.offset += 1
        value = CODEC.encode("validated", validated(Published(key, bytes(32), "g", "d", 0, raw)))
        self.broker.append("validated", 0, b"k", value, ((FACTS, facts.encode()),))
        return raw


def desk() -> ItemDesk:
    return ItemDesk(items=ItemHistory(domain="k"), partition_by=["k"])


def test_a_record_that_may_not_follow_is_a_dead_letter_and_its_key_is_free() -> None:
    d = desk()
    d.tell_of("use a", "early")
    d.tell_of("make a", "made")
    d.tell_of("use a", "early")
    d.run()
    assert d.chain() == [("REJECT", 0), ("ADMIT", 1), ("ADMIT", 2)]
    (letter,) = [CODEC.decode(m.value or b"")[1] for m in d.broker.all("dead-letter")]
    assert (letter["stage"], letter["raw_offset"], letter["findings"][0]["code"]) == ("batch", 0, OUT_OF_RANGE)
    assert letter["original"] == b"{}"
    (row,) = d.table("items").values()
    assert (row["domain"], row["key"], row["offset"], row["row"]) == ("k", "a", 1, "raw/0/1/0")


def test_a_record_that_died_says_no_more() -> None:
    d = desk()
    raw = d.tell_of("make a", "made")
    d.run()
    d.release(raw, "made")
    d.tell_of("use a", "used")
    d.tell_of("make a", "made")
    d.run()
    assert [action for action, _ in d.chain()] == ["ADMIT", "RELEASE", "REJECT", "ADMIT"]
    d.start()
    d.run()
    d.tell_of("make a", "again")
    d.run()
    assert d.chain()[-1] == ("REJECT", 3)


def test_a_record_that_is_delivered_after_all_counts_again() -> None:
    d = desk()
    raw = d.tell_of("make a", "made")
    d.run()
    d.runner.drain(ending=True)
    (batch,) = d.batches()
    d.release(raw, "made")
    d.tell_of("use a", "early")
    d.replay(batch | {"life": 1}, [0])
    d.tell_of("use a", "used")
    d.run()
    assert [action for action, _ in d.chain()] == ["ADMIT", "RELEASE", "REJECT", "REPLAY", "ADMIT"]
    assert [row["key"] for row in d.table("items").values()] == ["a"]


def test_a_row_that_cannot_be_read_ends_the_stage() -> None:
    d = desk()
    d.broker.append("items", 0, b"k\x1fa", b"garbage")
    d.tell_of("use a", "one")
    with pytest.raises(LogGap, match=r"items.*cannot be read"):
        d.run()


def test_a_duplicate_is_not_judged_again() -> None:
    d = desk()
    d.tell_of("make a", "made")
    d.tell_of("make a", "made")
    d.run()
    assert d.chain() == [("ADMIT", 0), ("DUPLICATE", 1)]


def test_without_rules_there_is_no_table() -> None:
    plain = Desk()
    assert "items" not in plain.stage.tables
    assert record_id(plain.say("a")) == "raw/0/0/0"
    plain.run()
    assert not plain.broker.all("items")
