"""Who stands behind whom: random lines of records that wait, against a model that compares all with all; the table says
the same; and what many in one line cost."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from gc import collect, get_objects

import pytest

from schemas.canonical import RawPosition
from streams.batch.precedence import _Place
from streams.batch.waiting import Wait, Waiting
from streams.stage import Work
from streams.tables import MemoryRows
from tests.streams.batch_desk import Desk
from tests.streams.batch_world import CODEC
from tests.streams.waiting_world import WaitingDesk

PIPELINE = Desk().pipeline


@dataclass(eq=False)
class One:
    """A record that waits, as the model has it: with all it is about, also by those it stands behind."""

    at: int
    about: frozenset[bytes]
    still: bool = True

    def behind(self, other: One) -> bool:
        return other.at < self.at and bool(other.about & self.about)


class Model:
    """The rule as ADR 22 has it."""

    def __init__(self) -> None:
        self.all: dict[int, One] = {}

    def enter(self, at: int, things: frozenset[bytes]) -> None:
        one = One(at, things)
        one.about = things.union(*(other.about for other in self.all.values() if one.behind(other)))
        self.all[at] = one

    def held(self, at: int) -> bool:
        return any(other.still and self.all[at].behind(other) for other in self.all.values())

    def behind(self, at: int) -> list[int]:
        return sorted(other.at for other in self.all.values() if other.behind(self.all[at]))


class Line:
    """The product, the model, and the table; records come, are called, and are read again in the order of their calls,
    when they may take their places again."""

    def __init__(self, seed: int, makers: float = 0, endless: bool = False) -> None:
        """makers: how many of the records bring something into being; the model knows nothing of that. endless: all are
        about one thing and few others, and one goes only while others stand behind it."""
        self.random, self.makers, self.endless = random.Random(seed), makers, endless
        self.rows, self.model = MemoryRows(), Model()
        self.waiting = self.restored()
        self.offset = 0
        self.told: dict[int, tuple[frozenset[bytes], frozenset[bytes]]] = {}
        self.called: deque[int] = deque()
        self.again = 0

    def restored(self) -> Waiting:
        return Waiting(PIPELINE, CODEC, 0, self.rows)

    def step(self) -> None:
        r, work = self.random, Work()
        self.offset += 1
        ready = [one for one in self.waiting if not one.returning and not self.waiting.held(one)]
        if self.endless and len(self.waiting) < 3:
            self.come(work)
        elif self.called and r.random() < (0.5 if self.endless else 0.35):
            self.read(work, self.called.popleft())
        elif ready and r.random() < 0.5:
            self.call(work, r.choice(ready))
        else:
            self.come(work)
        self.rows.apply([(o.key or b"", o.value) for o in work.outputs], self.offset)
        restored = self.restored()
        for at in self.told:
            if (wait := self.waiting.get(f"raw/0/{at}/0")) is not None:
                again = restored.get(wait.id)
                assert again is not None
                assert list(restored._order.behind(at)) == list(self.waiting._order.behind(at)), f"behind {at}"
                assert restored.held(again) == self.waiting.held(wait)
        assert restored._weight == self.waiting._weight
        if not self.makers:
            self.compare(self.waiting)

    def come(self, work: Work) -> None:
        r = self.random
        if self.endless:
            things = frozenset([b"pallet--", *(b"thing-%02d" % one for one in r.sample(range(4), r.choice([0, 1, 4])))])
        else:
            things = frozenset(b"thing-%02d" % one for one in r.sample(range(8), r.choice([1, 1, 2, 3])))
        brings = frozenset([b"made--%02d" % r.randrange(4)]) if r.random() < self.makers else frozenset()
        if brings & {one for wait in self.waiting for one in wait.makes}:
            brings = frozenset()  # by one alone, or it is refused in the end
        if r.random() < self.makers:
            things |= {b"made--%02d" % r.randrange(4)} - brings
        self.told[self.offset] = things | brings, brings
        self.enter(work, self.offset)

    def enter(self, work: Work, at: int) -> None:
        things, brings = self.told[at]
        raw = RawPosition("raw", 0, 0, at, 0)
        self.model.enter(at, things)
        self.waiting.enter(work, Wait(raw, at, bytes(32), b"k", b"v", b"f", things, brings, (), 0, 0, 0))

    def call(self, work: Work, wait: Wait) -> None:
        self.waiting.called(work, wait)
        self.model.all[wait.offset].still = False
        self.called.append(wait.offset)
        for other in self.waiting.behind(wait):
            if self.random.random() < 0.7:
                break
            self.waiting.called(work, other)
            self.model.all[other.offset].still = False
            self.called.append(other.offset)

    def read(self, work: Work, at: int) -> None:
        wait = self.waiting.get(f"raw/0/{at}/0")
        assert wait is not None
        self.waiting.leave(work, wait, self.offset)
        del self.model.all[at]
        if self.random.random() < 0.4:
            self.again += 1
            self.enter(work, at)

    def compare(self, product: Waiting) -> None:
        for at in self.model.all:
            wait = product.get(f"raw/0/{at}/0")
            assert wait is not None
            assert product.held(wait) == self.model.held(at), f"whether {at} is held"
            assert list(product._order.behind(at)) == self.model.behind(at), f"behind {at}"
        for thing in {thing for one in self.model.all.values() for thing in one.about}:
            new = One(self.offset + 1, frozenset([thing]))
            wanted = [one.at for one in self.model.all.values() if new.behind(one)]
            found = {w.offset for w in product.before([thing], self.offset + 1)}
            assert found == {at for at in wanted if not any(b in wanted for b in self.model.behind(at))}, thing


@pytest.mark.parametrize("makers", [0, 0.4])
def test_lines_are_in_the_order_that_their_things_ask_for_and_the_table_says_the_same(makers: float) -> None:
    again = 0
    for seed in range(20):
        line = Line(seed, makers)
        for _ in range(40):
            line.step()
        again += line.again
    assert again > 20


@pytest.mark.parametrize("makers", [0, 0.2])
def test_a_line_that_never_empties_has_the_same_order_after_a_restart_and_no_more_rows(makers: float) -> None:
    most = 0
    for seed in range(6):
        line = Line(seed, makers, endless=True)
        for _ in range(120):
            line.step()
            most = max(most, *(len(wait.legacies) for wait in line.waiting))
    assert most <= 10, "rows of those that went, for one heir: as many as there are things, and one that leads to it"


def test_an_heir_is_about_what_it_makes_like_who_went_also_after_a_restart() -> None:
    line, work = Line(0), Work()
    for at, things, brings in ((1, {b"pallet--", b"made--00"}, set()), (2, {b"pallet--", b"made--00"}, {b"made--00"})):
        line.told[at] = frozenset(things), frozenset(brings)
        line.enter(work, at)
    first, second = line.waiting
    line.waiting.called(work, first)
    line.waiting.leave(work, first, 3)
    line.told[1] = frozenset({b"made--00"}), frozenset()
    line.enter(work, 1)
    line.rows.apply([(o.key or b"", o.value) for o in work.outputs], 4)
    assert line.waiting.held(second)
    assert line.restored().held(second)


def test_an_heir_behind_who_makes_a_thing_of_who_went_stands_behind_it_as_after_a_restart() -> None:
    """Who went came before that one, and was not the first about the thing."""
    line, work = Line(0), Work()
    for at, things, brings in (
        (1, {b"made--00"}, set()),
        (2, {b"made--00", b"thing-00"}, set()),
        (3, {b"made--00"}, {b"made--00"}),
        (4, {b"thing-00"}, set()),
    ):
        line.told[at] = frozenset(things), frozenset(brings)
        line.enter(work, at)
    first, second, _, heir = line.waiting
    for wait in first, second:
        line.waiting.called(work, wait)
    line.waiting.leave(work, second, 5)
    line.rows.apply([(o.key or b"", o.value) for o in work.outputs], 6)
    assert line.waiting.held(heir)
    assert line.restored().held(heir)


def places() -> int:
    """Places that lie in memory."""
    collect()
    return sum(isinstance(one, _Place) for one in get_objects())


def test_a_line_that_never_empties_weighs_what_waits_in_it() -> None:
    """Each event names the same 50 things, and as many come as are read a second time: none is refused for room."""
    d = WaitingDesk(wait=99)
    d.log.take = 1
    things = " ".join(f"item-{one}" for one in range(50))
    d.tell_of(f"make {things}")
    d.tell_of(f"use pallet first {things}")
    d.tell_of("make pallet first")
    for _ in range(3):
        d.tell_of(f"use pallet {things}")
    seen = []
    for step in range(121):
        d.runner.step(timeout=0)
        if step % 2:
            d.tell_of(f"use pallet {things}")
        if step in (40, 120):
            assert d.lot.items is not None
            waiting = d.lot.items.waiting
            held = max(len(place.estate.things) for place in waiting._order._places.values())
            seen.append((len(waiting), len(d.table("waiting")), waiting._weight // 1000, held, places()))
    early, late = seen
    assert 1 < late[0] < 6, "it never emptied"
    assert late == early, "waiting, rows, weight, things, places"
    assert d.letters() == []


# ---- what many in one line cost --------------------------------------------------------------------


def calls(work: Callable[[], object]) -> int:
    """Calls of functions while something is done, of ours and of the interpreter's own."""
    found = 0

    def count(frame: object, event: str, what: object) -> None:
        nonlocal found
        found += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return found


def cost(line: list[str], end: str) -> dict[str, int]:
    """What it costs that records wait in one line, and that they pass."""
    d = WaitingDesk(wait=99)
    d.log.take = 10_000
    for item in {item for facts in line for item in facts.split()[2:]}:
        d.tell_of(f"make {item}")
    d.run()
    for facts in line:
        d.tell_of(facts)
    found = {"coming": calls(d.run)}
    assert d.stage.waits == {0: len(line)}
    found["rows"] = sum(len(m.value or b"") for m in d.broker.all("waiting"))
    assert d.lot.items is not None
    found["weight"] = d.lot.items.waiting._weight
    d.start()
    found["restart"] = calls(d.run)
    d.tell_of(end)
    found["passing"] = calls(d.run)
    found["rows in the end"] = sum(len(m.value or b"") for m in d.broker.all("waiting"))
    assert d.stage.waits == {0: 0}
    assert (d.table("waiting"), d.letters()) == ({}, [])
    return found


LINE: dict[str, Callable[[int], list[str]]] = {
    "into one pallet": lambda many: [f"use pallet item-{one}" for one in range(many)],
    "and again about each": lambda many: [
        *(f"use pallet item-{one}" for one in range(many // 2)),
        *(f"use item-{one} other-{one}" for one in range(many // 2)),
    ],
    "one after the other": lambda many: [
        f"use {f'item-{one - 1}' if one else 'pallet'} item-{one}" for one in range(many)
    ],
}


@pytest.mark.parametrize("shape", LINE)
def test_twice_as_many_in_one_line_cost_twice_as_much(shape: str) -> None:
    few, many = (cost(LINE[shape](number), "make pallet") for number in (60, 120))
    print(shape, few, many)
    assert {name: many[name] / few[name] for name in few if many[name] > 2.1 * few[name]} == {}
