"""The index of what was packed into a container: it names all that may lie in it, whatever is taken back, and what a
packing costs does not grow with what lies there."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from schemas.packs.epcis import Options, contents, item_case
from schemas.packs.epcis.contents import contents_of
from schemas.packs.epcis.item_rows import find_item
from schemas.packs.epcis.state import ItemRules
from schemas.state import Domain, Judged

CASE, PALLET = "sscc:030001400000000017", "sscc:030001400000000024"


class Kept:
    """Rows of one domain, and how much is read and written."""

    def __init__(self) -> None:
        self.rules = ItemRules(Options(), lenient=False)
        self.rows: dict[str, str] = {}
        self.dead: set[str] = set()
        self.number = self.read = self.written = 0

    def find(self, key: str) -> str | None:
        self.read += 1
        return self.rows.get(key)

    def tell(self, do: str, *items: str, parent: str = "", event: str = "") -> list[str]:
        """The codes of what is found. event: none for one of its own."""
        self.number += 1
        facts: dict[str, Any] = {"event": event or f"event-{self.number}", "do": do, "on": {"childEPCs": items}}
        facts |= {"parent": parent} if parent else {}
        domain, place = Domain("", ""), f"raw/0/{self.number}/0"
        found: Judged = self.rules.judge(orjson.dumps(facts), domain, place, self.find, self.dead.__contains__)
        for key, row in found.changes.items():
            self.written += len(key) + len(row or "")
            if row is None:
                del self.rows[key]
            else:
                self.rows[key] = row
        return [finding.code for finding in found.findings]

    def all(self, do: str, *items: str, parent: str = "") -> Kept:
        """What must pass."""
        assert self.tell(do, *items, parent=parent) == []
        return self

    def named(self, container: str) -> list[str]:
        return contents_of(container, self.rows.get).names(self.rows.get)

    def index(self, container: str) -> list[str]:
        """Keys of its rows."""
        kinds = ("children", "page")
        return [key for key in self.rows if key.split("\x1f")[0] in kinds and key.endswith(container)]


def small(monkeypatch: pytest.MonkeyPatch, **names: int) -> None:
    """Bounds that a short history reaches."""
    for name, value in names.items():
        monkeypatch.setattr(contents, name, value)
    monkeypatch.setattr(item_case, "MOST_CHILDREN", contents.MOST_CHILDREN)


def items(number: int) -> list[str]:
    return [f"sgtin:00300010123455:{serial}" for serial in range(number)]


def cost(number: int, do: str) -> tuple[int, int]:
    """Rows read and bytes written where so many items are packed into one container one by one, or unpacked."""
    kept = Kept().all("add", CASE, *items(number))
    for step in ["pack"] if do == "pack" else ["pack", do]:
        kept.read = kept.written = 0
        for item in items(number):
            kept.all(step, item, parent=CASE)
    return kept.read, kept.written


@pytest.mark.parametrize("do", ["pack", "unpack"])
def test_packing_one_by_one_costs_each_the_same_however_many_lie_in_the_container(do: str) -> None:
    reads, bytes_written = cost(200, do)
    more_reads, more_bytes = cost(800, do)
    assert more_reads < 5 * reads  # 4 times as many items; 16 times would be the square
    assert more_bytes < 5 * bytes_written


def test_a_container_does_not_name_all_that_it_ever_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, _MOST_LEFT=50)
    kept = Kept().all("add", CASE, PALLET, *items(1000))
    for start in range(0, 1000, 10):
        trip = items(1000)[start : start + 10]
        kept.all("pack", *trip, parent=CASE).all("unpack all", parent=CASE)
        assert set(trip) <= set(kept.named(CASE))
    assert len(kept.named(CASE)) < 300
    for _ in range(100):
        kept.all("pack", *items(2), parent=PALLET).all("unpack all", parent=PALLET)
    assert contents_of(PALLET, kept.rows.get).size < 100
    assert len(kept.index(PALLET)) < 10, "pages that are needed no more are gone"


def test_an_index_forgets_first_what_was_packed_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """A logger that goes along on each trip has been in the container longest, and was taken out last."""
    small(monkeypatch, _MOST_LEFT=5)
    logger, other, *goods = items(12)
    kept = Kept().all("add", CASE, logger, other, *goods)
    for trip in ([logger], goods, [logger]):
        kept.all("pack", *trip, parent=CASE).all("unpack all", parent=CASE)
    last = f"event-{kept.number}"
    while goods[0] in kept.named(CASE):
        kept.all("pack", other, parent=CASE).all("unpack", other, parent=CASE)
    assert kept.tell("declare", event=last) == []
    assert kept.all("delete", CASE).tell("observe", logger) == ["ITEM_DECOMMISSIONED"]


def test_the_most_that_lie_in_a_container_are_counted_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, MOST_CHILDREN=5)
    a, b, c, d, e, f = items(6)
    kept = Kept().all("add", CASE, PALLET, *items(6)).all("pack", a, b, c, parent=CASE).all("unpack", a, parent=CASE)
    kept.all("pack", a, parent=PALLET).all("pack", a, parent=PALLET).all("pack", d, e, parent=CASE)
    before = dict(kept.rows)
    assert kept.all("unpack", a, parent=PALLET).tell("pack", a, f, parent=CASE) == ["TOO_MANY_CHILDREN"]
    assert kept.named(CASE) == contents_of(CASE, before.get).names(before.get)
    kept.all("pack", a, parent=CASE).all("pack", *items(5), parent=CASE)
    assert kept.tell("pack", f, parent=CASE) == ["TOO_MANY_CHILDREN"]
    kept.all("unpack", b, parent=CASE).all("pack", f, parent=CASE)


def test_an_index_that_was_written_as_one_list_is_read() -> None:
    a, b, c = items(3)
    kept = Kept().all("add", CASE, PALLET, a, b, c).all("pack", a, b, parent=CASE)
    (key,) = kept.index(CASE)
    kept.rows[key] = orjson.dumps([a, b]).decode()
    assert kept.named(CASE) == [a, b]
    kept.all("pack", c, parent=CASE)
    assert kept.named(CASE) == [a, b, c]
    assert kept.all("delete", CASE).tell("observe", a, b, c) == ["ITEM_DECOMMISSIONED"] * 3


def test_an_index_names_all_that_may_lie_in_its_container_whatever_is_taken_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An item whose row names a container may lie in it now, or does as soon as an event counts no longer, or counts
    again."""
    small(monkeypatch, _PAGE=2, _SLACK=1)
    pages = tidied = taken_back = 0
    things = [CASE, PALLET, *items(6)]
    for seed in range(20):
        r, kept, told = random.Random(seed), Kept(), [""]
        for thing in things:
            kept.all("add", thing)
        for _ in range(80):
            do = r.choices(["pack", "unpack", "unpack all", "delete", "declare", "die"], [9, 5, 2, 0.3, 1, 1])[0]
            parent = r.choice([CASE, PALLET]) if "pack" in do else ""
            few = r.sample(things[2:] if r.random() < 0.9 else things, r.randint(1, 2))
            if do == "die":
                place = f"raw/0/{r.randint(1, kept.number + 1)}/0"
                kept.dead ^= {place}
            elif do == "declare":
                taken_back += not kept.tell(do, event=r.choice(told))
            elif not kept.tell(do, *(() if do == "unpack all" else few), parent=parent):
                told.append(f"event-{kept.number}")
            for container in (CASE, PALLET):
                named = kept.named(container)
                for name in things:
                    item = find_item(kept.rows.get, name)
                    may = item is not None and container in (item.parent, item.was)
                    assert not may or name in named, (seed, kept.number, container, name)
                index = contents_of(container, kept.rows.get)
                assert len(kept.index(container)) in (0, index.pages + 1)
                pages, tidied = max(pages, index.pages), max(tidied, index.tidied)
    assert min(pages, tidied) > 1
    assert taken_back > 25
