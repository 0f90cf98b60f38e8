"""What may happen to an item next: each state rule on a history of its own, and random histories against a model that
knows neither rows nor keys."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from schemas.pack import Record
from schemas.packs.epcis import Options
from schemas.packs.epcis.engine import EpcisPack
from schemas.packs.epcis.state import issuer, item_key
from schemas.state import Domain, StateRules, state_rules
from tests.packs.epcis_inputs import COMMISSIONING, PACKING, SHIPPING, changed, document, outcomes

A, B, C = (f"urn:epc:id:sgtin:030001.0012345.{serial}" for serial in (1, 2, 3))
CASE, PALLET = (f"urn:epc:id:sscc:030001.4000000000{end}" for end in (1, 2))
MINUTE = iter(range(10**6))


class Told:
    """One domain as the rules see it: what a stage keeps for them, in dicts."""

    def __init__(self, field: str = "", **options: Any) -> None:
        self.pack = EpcisPack(Options(**options), "strict")
        rules = state_rules(self.pack)
        assert rules is not None
        self.rules: StateRules = rules
        self.field = field
        self.rows: dict[str, str] = {}
        self.dead: set[str] = set()
        self.number = 0

    def tell(self, event: dict[str, Any]) -> list[tuple[str, str]]:
        """(code, path) of what is found; a valid event changes the rows."""
        (found,) = outcomes(document(event), by=self.pack)
        assert isinstance(found, Record), found
        self.number += 1
        facts = self.rules.facts(found)
        if facts is None:
            return []
        domain = Domain(self.field, found.fields[self.field] if self.field else "")
        judged = self.rules.judge(facts, domain, f"raw/0/{self.number}/0", self.rows.get, self.dead.__contains__)
        assert not (judged.findings and judged.changes)
        for key, row in judged.changes.items():
            if row is None:
                del self.rows[key]
            else:
                self.rows[key] = row
        return [(one.code, one.path) for one in judged.findings]

    def all(self, *events: dict[str, Any]) -> Told:
        """Tells what must pass."""
        for event in events:
            assert self.tell(event) == [], event
        return self

    def died(self) -> None:
        """What was told last is known not to have been delivered."""
        self.dead.add(f"raw/0/{self.number}/0")


def at(event: dict[str, Any]) -> dict[str, Any]:
    """The event at a time that no other has: equal events are one event."""
    minute = next(MINUTE)
    return changed(event, eventTime=f"2026-03-{1 + minute // 1440 % 28:02}T{minute // 60 % 24:02}:{minute % 60:02}:00Z")


def made(*items: str) -> dict[str, Any]:
    return at(changed(COMMISSIONING, epcList=list(items)))


def seen(*items: str) -> dict[str, Any]:
    return at(changed(SHIPPING, epcList=list(items)))


def gone(*items: str) -> dict[str, Any]:
    return at(
        changed(SHIPPING, epcList=list(items), action="DELETE", bizStep="decommissioning", disposition="inactive")
    )


def packed(parent: str, *items: str) -> dict[str, Any]:
    return at(changed(PACKING, parentID=parent, childEPCs=list(items)))


def unpacked(parent: str, *items: str) -> dict[str, Any]:
    return at(changed(PACKING, parentID=parent, childEPCs=list(items) or None, action="DELETE", bizStep="unpacking"))


def used(inputs: list[str], outputs: list[str]) -> dict[str, Any]:
    event = changed(COMMISSIONING, type="TransformationEvent", action=None, epcList=None, bizStep="repackaging")
    return at(event | {"inputEPCList": inputs, "outputEPCList": outputs})


def declared(event: dict[str, Any]) -> dict[str, Any]:
    return event | {"errorDeclaration": {"declarationTime": "2026-05-01T00:00:00Z", "reason": "incorrect_data"}}


NEVER, TWICE, GONE = "ITEM_NOT_COMMISSIONED", "ITEM_COMMISSIONED_TWICE", "ITEM_DECOMMISSIONED"
OTHER, ITSELF = "ITEM_IN_OTHER_PARENT", "PACKED_INTO_ITSELF"
Story = Callable[[], list[dict[str, Any]]]
STORIES: dict[str, tuple[Story, list[tuple[str, str]]]] = {
    "ship what was never commissioned": (lambda: [made(A), seen(A, B)], [(NEVER, "epcList[1]")]),
    "decommission what was never commissioned": (lambda: [gone(A)], [(NEVER, "epcList[0]")]),
    "pack what was never commissioned": (lambda: [made(CASE), packed(CASE, A)], [(NEVER, "childEPCs[0]")]),
    "pack into what was never commissioned": (lambda: [made(A), packed(CASE, A)], [(NEVER, "parentID")]),
    "transact what was never commissioned": (
        lambda: [at(changed(SHIPPING, type="TransactionEvent", action="ADD", epcList=[A]))],
        [(NEVER, "epcList[0]")],
    ),
    "use up what was never commissioned": (lambda: [used([A], [B])], [(NEVER, "inputEPCList[0]")]),
    "commission twice": (lambda: [made(A), made(B, A)], [(TWICE, "epcList[0]")]),
    "make what is there": (lambda: [made(A, B), used([A], [B])], [(TWICE, "outputEPCList[0]")]),
    "pack what lies in another": (
        lambda: [made(A, CASE, PALLET), packed(CASE, A), packed(PALLET, A)],
        [(OTHER, "childEPCs[0]")],
    ),
    "pack what lies there": (lambda: [made(A, CASE), packed(CASE, A), packed(CASE, A)], []),
    "pack what was unpacked": (
        lambda: [made(A, CASE, PALLET), packed(CASE, A), unpacked(CASE, A), packed(PALLET, A)],
        [],
    ),
    "unpack all": (
        lambda: [made(A, B, CASE, PALLET), packed(CASE, A, B), unpacked(CASE), packed(PALLET, A, B)],
        [],
    ),
    "unpack one of two": (
        lambda: [made(A, B, CASE, PALLET), packed(CASE, A, B), unpacked(CASE, A), packed(PALLET, A, B)],
        [(OTHER, "childEPCs[1]")],
    ),
    "unpack from where it does not lie": (
        lambda: [made(A, CASE, PALLET), packed(CASE, A), unpacked(PALLET, A), packed(PALLET, A)],
        [(OTHER, "childEPCs[0]")],
    ),
    "a pallet into a case on it": (
        lambda: [made(CASE, PALLET), packed(PALLET, CASE), packed(CASE, PALLET)],
        [(ITSELF, "childEPCs[0]")],
    ),
    "ship what was decommissioned": (lambda: [made(A), gone(A), seen(A)], [(GONE, "epcList[0]")]),
    "commission what was decommissioned": (lambda: [made(A), gone(A), made(A)], [(GONE, "epcList[0]")]),
    "ship what was used up": (lambda: [made(A), used([A], [B]), seen(B, A)], [(GONE, "epcList[0]")]),
    "a pallet takes all along": (
        lambda: [made(A, CASE, PALLET), packed(CASE, A), packed(PALLET, CASE), gone(PALLET), seen(A, CASE)],
        [(GONE, "epcList[0]"), (GONE, "epcList[1]")],
    ),
    "unpacked before, it stays": (
        lambda: [made(A, CASE), packed(CASE, A), unpacked(CASE), gone(CASE), seen(A)],
        [],
    ),
    "one item by two spellings": (
        lambda: [made(A), seen("https://id.gs1.org/01/00300010123455/21/1"), seen("https://a.b/01/00300010123455/21/2")],
        [(NEVER, "epcList[0]")],
    ),
    "a commissioning that was an error": (
        lambda: (lambda first: [first, declared(first), made(A), seen(A)])(made(A)),
        [],
    ),
    "an item whose commissioning was an error": (
        lambda: (lambda first: [first, declared(first), seen(A)])(made(A)),
        [(NEVER, "epcList[0]")],
    ),
    "a packing that was an error": (
        lambda: (lambda first: [made(A, CASE, PALLET), first, declared(first), packed(PALLET, A)])(packed(CASE, A)),
        [],
    ),
    "an unpacking that was an error": (
        lambda: (lambda first: [
            made(A, CASE, PALLET), packed(CASE, A), first, declared(first), packed(PALLET, A),
        ])(unpacked(CASE)),
        [(OTHER, "childEPCs[0]")],
    ),
    "an unpacking that was an error, when others were packed since": (
        lambda: (lambda first: [
            made(A, B, CASE), packed(CASE, A), first, packed(CASE, B), declared(first), gone(CASE), seen(A, B),
        ])(unpacked(CASE)),
        [(GONE, "epcList[0]"), (GONE, "epcList[1]")],
    ),
    "a decommissioning that was an error": (
        lambda: (lambda first: [made(A, CASE), packed(CASE, A), first, declared(first), seen(A)])(gone(CASE)),
        [],
    ),
    "an error that others built upon": (
        lambda: (lambda first: [first, made(CASE), packed(CASE, A), declared(first), seen(A)])(made(A)),
        [],
    ),
    "an error declared before its event comes": (
        lambda: (lambda first: [declared(first), first, seen(A)])(made(A)),
        [(NEVER, "epcList[0]")],
    ),
    "the same event from somebody else": (
        lambda: (lambda first: [first, made(CASE), packed(CASE, A), gone(CASE), first])(made(A)),
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STORIES)
def test_state_rules(name: str) -> None:
    story, expected = STORIES[name]
    *before, last = story()
    assert Told().all(*before).tell(last) == expected


def test_without_cascade_what_was_packed_stays_and_can_be_packed_again() -> None:
    told = Told(cascade=False).all(made(A, CASE, PALLET), packed(CASE, A), gone(CASE), seen(A), packed(PALLET, A))
    assert told.tell(seen(CASE)) == [(GONE, "epcList[0]")]


def test_what_did_not_reach_the_partner_may_be_told_again_or_otherwise() -> None:
    told = Told().all(first := made(A))
    told.died()
    assert told.tell(seen(A)) == [(NEVER, "epcList[0]")]
    told.all(made(A), seen(A))
    again = Told().all(first)
    again.died()
    again.all(first, seen(A))
    assert again.tell(made(A)) == [(TWICE, "epcList[0]")]


def test_a_second_telling_that_died_takes_nothing_back() -> None:
    told = Told().all(first := made(A), first)
    told.died()
    told.all(seen(A))


def test_an_event_about_items_of_several_companies_is_refused_where_each_has_its_own_history() -> None:
    theirs = "urn:epc:id:sgtin:061414.0012345.1"
    mixed = made(A, theirs)
    assert Told("issuer").tell(mixed) == [("ITEMS_IN_SEVERAL_DOMAINS", "")]
    Told().all(mixed)
    Told("sender").all(mixed)


@pytest.mark.parametrize(
    ("epcs", "expected"),
    [
        ([], "none"),
        ([A, CASE], "030001"),
        (["https://id.gs1.org/01/00300010123455/21/1", A], "030001"),
        (["https://id.gs1.org/00/403000100000000019", CASE], "030001"),
        (["urn:epc:id:grai:0614141.12345.400", "https://id.gs1.org/8003/00614141123452400"], "061414"),
        (["urn:epc:id:giai:0614141.12345400", "https://id.gs1.org/8004/061414112345400"], "061414"),
        (["urn:uuid:0b2f8b0a-6a3f-4bd1-9dd4-2d1b7e1e9a10", "https://example.com/thing/1"], "others"),
        ([A, "urn:uuid:0b2f8b0a-6a3f-4bd1-9dd4-2d1b7e1e9a10"], "several"),
    ],
)
def test_the_issuer_is_the_same_in_every_spelling(epcs: list[str], expected: str) -> None:
    assert issuer({"epcList": epcs}) == expected


def test_an_item_has_one_key_in_every_spelling_and_a_short_one() -> None:
    assert item_key(A) == item_key("https://example.com/x/01/00300010123455/21/1") == "sgtin:00300010123455:1"
    assert len(item_key("https://example.com/" + "x" * 10**6)) < 100


def test_records_about_no_item_have_no_facts() -> None:
    lot = {"epcClass": "urn:epc:class:lgtin:030001.0012345.L1", "quantity": 5}
    bulk = changed(SHIPPING, epcList=None, quantityList=[lot])
    for event in (bulk, changed(PACKING, childEPCs=None, childQuantityList=[lot], action="DELETE", parentID=CASE)):
        (found,) = outcomes(document(event))
        assert isinstance(found, Record)
        rules = state_rules(EpcisPack(Options(), "strict"))
        assert rules is not None
        assert rules.facts(found) is None


def test_an_error_declaration_that_the_partner_refused_counts_no_longer() -> None:
    told, event = Told(), made(A)
    told.all(event, declared(event)).died()
    assert told.tell(seen(A)) == [], "the partner keeps the item"
    told.all(declared(event))
    assert told.tell(seen(A)) == [("ITEM_NOT_COMMISSIONED", "epcList[0]")]


class Model:
    """Items as sets, with every event that changed them in a list: what counts no longer is left out and all is told
    again."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.gone: set[str] = set()
        self.within: dict[str, str] = {}

    def tell(self, kind: str, parent: str, items: list[str]) -> bool:
        """Whether it may happen; then it has."""
        named = [*items, parent] if parent else items
        if kind == "made":
            if any(item in self.there | self.gone for item in items):
                return False
            self.there |= set(items)
            return True
        if any(item not in self.there for item in named):
            return False
        if kind == "packed":
            above, at = set(), parent
            while at:
                above.add(at)
                at = self.within.get(at, "")
            if any(self.within.get(item, parent) != parent or item in above for item in items):
                return False
            self.within |= dict.fromkeys(items, parent)
        elif kind == "unpacked":
            for item in items or list(self.within):
                if self.within.get(item) == parent:
                    del self.within[item]
        elif kind == "gone":
            for item in items:
                self._end(item)
        return True

    def _end(self, item: str) -> None:
        self.there.discard(item)
        self.gone.add(item)
        self.within.pop(item, None)
        for child in [child for child, parent in self.within.items() if parent == item]:
            self._end(child)


def histories(r: random.Random) -> Iterator[tuple[str, str, list[str]]]:
    names = [A, B, C, CASE, PALLET]
    for _ in range(r.randint(10, 40)):
        kind = r.choice(["made", "made", "seen", "packed", "packed", "unpacked", "gone"])
        parent = r.choice([CASE, PALLET]) if kind in ("packed", "unpacked") else ""
        few = r.sample([name for name in names if name != parent], r.randint(1, 3))
        yield kind, parent, [] if kind == "unpacked" and r.random() < 0.5 else few


def test_random_histories_are_judged_as_a_model_of_sets_judges_them() -> None:
    make: dict[str, Callable[..., dict[str, Any]]] = {
        "made": made, "seen": seen, "gone": gone, "packed": packed, "unpacked": unpacked,
    }  # fmt: skip
    verdicts = {True: 0, False: 0}
    for seed in range(20):
        told, model = Told(), Model()
        for step, (kind, parent, items) in enumerate(histories(random.Random(seed))):
            may = model.tell(kind, parent, items)
            found = told.tell(make[kind](*([parent] if parent else []), *items))
            assert (not found) == may, (seed, step, kind, parent, items, found)
            verdicts[may] += 1
    assert min(verdicts.values()) > 50, verdicts
