"""Commissionings that come late, with the pack's own rules in the batch stage: what was a history without a fault stays
one, whichever of its commissionings are put off."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from schemas.pack import Record
from schemas.packs.epcis import Options
from schemas.packs.epcis.engine import EpcisPack
from schemas.packs.epcis.state import ItemRules
from tests.packs.epcis_dscsa_inputs import CASE as SHIPPED
from tests.packs.epcis_dscsa_inputs import ITEMS
from tests.packs.epcis_inputs import document, outcomes
from tests.packs.test_epcis_goods import alone
from tests.packs.test_epcis_state import CASE, PALLET, A, B, C, Model, Told, declared, gone, made, packed, seen, used
from tests.packs.test_epcis_state import unpacked as taken_out
from tests.streams.waiting_world import WaitingDesk

MAKE: dict[str, Callable[..., dict[str, Any]]] = {
    "made": made,
    "seen": seen,
    "gone": gone,
    "packed": packed,
    "unpacked": taken_out,
}


def story(r: random.Random) -> list[tuple[str, str, list[str]]]:
    """Events that all may happen in this order; each item is commissioned by an event of its own."""
    names, model = [A, B, C, CASE, PALLET], Model()
    told: list[tuple[str, str, list[str]]] = []
    for _ in range(100):
        kind = r.choice(["made", "made", "seen", "packed", "packed", "unpacked", "gone"])
        parent = r.choice([CASE, PALLET]) if kind in ("packed", "unpacked") else ""
        few = r.sample([name for name in names if name != parent], 1 if kind in ("made", "gone") else r.randint(1, 3))
        event = (kind, parent, [] if kind == "unpacked" and r.random() < 0.5 else few)
        if (kind != "gone" or r.random() < 0.3) and model.tell(*event):
            told.append(event)
    return told


def put_off(r: random.Random, told: list[tuple[str, str, list[str]]]) -> list[tuple[str, str, list[str]]]:
    """The same events, with commissionings up to ten places later."""
    places = [(at + (r.choice([0, 3, 10]) if event[0] == "made" else 0), at) for at, event in enumerate(told)]
    return [told[at] for _, at in sorted(places)]


def rules(cascade: bool = True) -> ItemRules:
    return ItemRules(Options(cascade=cascade), lenient=False)


def facts_of(event: dict[str, object]) -> str:
    told = Told()
    (found,) = outcomes(document(event), by=told.pack)
    assert isinstance(found, Record), found
    return (told.rules.facts(found) or b"").decode()


@pytest.mark.parametrize("cascade", [True, False])
def test_a_valid_history_stays_one_however_late_its_commissionings_come(cascade: bool) -> None:
    waited = 0
    for seed in range(20):
        r = random.Random(seed)
        told = story(r) if cascade else [event for event in story(r) if event[0] != "gone" or event[2][0] in (A, B, C)]
        d = WaitingDesk(rules=rules(cascade))
        for kind, parent, items in put_off(r, told):
            d.tell_of(facts_of(MAKE[kind](*([parent] if parent else []), *items)))
            if r.random() < 0.3:
                d.run()
            if r.random() < 0.1:
                d.start()
        d.run()
        assert d.letters() == [], (seed, d.letters()[0]["findings"])
        assert (d.stage.waits, sum(entry.startswith("ADMIT") for entry in d.told())) == ({0: 0}, len(told))
        waited += sum(entry.startswith("RETAIN called") for entry in d.told())
    assert waited > 50


def test_what_a_transformation_makes_waits_for_it_while_it_waits_itself() -> None:
    d = WaitingDesk(rules=rules())
    for event in (used([A], [B]), seen(B), made(A)):
        d.tell_of(facts_of(event))
    d.run()
    assert d.told()[:2] == ["RETAIN waits 0", "RETAIN behind 1"]
    assert d.told()[-2:] == ["ADMIT 0", "ADMIT 1"]


def test_a_transformation_that_waits_is_not_held_up_by_what_waits_for_its_outcome() -> None:
    d = WaitingDesk(rules=rules())
    for event in (seen(B), used([A], [B]), made(A)):
        d.tell_of(facts_of(event))
    d.run()
    assert d.told()[-4:] == ["RETAIN called 1", "ADMIT 1", "RETAIN called 0", "ADMIT 0"]


def test_an_error_declaration_stands_behind_the_event_that_it_declares() -> None:
    d = WaitingDesk(rules=rules())
    late = seen(A)
    for event in (late, declared(late), made(A)):
        d.tell_of(facts_of(event))
    d.run()
    assert d.told()[:2] == ["RETAIN waits 0", "RETAIN behind 1"]
    assert d.told()[-2:] == ["ADMIT 0", "ADMIT 1"]


def test_an_event_with_another_fault_does_not_wait() -> None:
    d = WaitingDesk(rules=rules())
    for event in (made(A), gone(A), seen(A, B)):
        d.tell_of(facts_of(event))
    d.run()
    (letter,) = d.letters()
    assert [finding["code"] for finding in letter["findings"]] == ["ITEM_DECOMMISSIONED", "ITEM_NOT_COMMISSIONED"]


def test_what_a_container_held_waits_behind_its_decommissioning_without_cascade_too() -> None:
    d = WaitingDesk(rules=rules(cascade=False))
    for event in (made(A), made(CASE), made(PALLET), packed(CASE, A), gone(CASE, B), packed(PALLET, A), made(B)):
        d.tell_of(facts_of(event))
        d.run()
    d.run()
    assert d.letters() == []


@pytest.mark.parametrize("late", ["the packing of its case", "the unpacking of its case"])
def test_a_shipment_under_us_law_waits_behind_events_about_what_lies_inside(late: str) -> None:
    """Its goods are looked up down to the items, so all of these concern it."""
    p = EpcisPack(Options(dscsa=True), "strict", state=True)
    d = WaitingDesk(rules=p.state_rules)
    first, other = ITEMS[:2]
    before, last = {
        "the packing of its case": ([packed(PALLET, SHIPPED), packed(SHIPPED, *ITEMS)], made(*ITEMS)),
        "the unpacking of its case": (
            [made(first), packed(SHIPPED, first), packed(PALLET, SHIPPED), taken_out(SHIPPED, first, other)],
            made(other),
        ),
    }[late]
    for told in (*map(document, [made(SHIPPED, PALLET), *before]), alone(epcList=[PALLET]), document(last)):
        (found,) = outcomes(told, by=p)
        assert isinstance(found, Record), found
        d.tell_of((p.state_rules.facts(found) or b"").decode())
        d.run()
    d.run()
    codes = [finding["code"] for letter in d.letters() for finding in letter["findings"]]
    assert codes == ([] if late == "the packing of its case" else ["CONTENTS_UNKNOWN"])


@pytest.mark.parametrize(
    "late", ["its packing", "the packing of a case on it", "all of its goods", "its commissioning"]
)
def test_a_shipment_under_us_law_waits_for_no_packing(late: str) -> None:
    """Not even where it waits for something else meanwhile. Sent again behind it, it passes."""
    p = EpcisPack(Options(dscsa=True), "strict", state=True)
    d = WaitingDesk(rules=p.state_rules)
    shipment = alone(epcList=[PALLET])
    here, case, goods = document(made(PALLET)), document(made(SHIPPED, *ITEMS)), document(packed(SHIPPED, *ITEMS))
    on_it = document(packed(PALLET, SHIPPED))
    told = {
        "its packing": [here, case, goods, shipment, on_it],
        "the packing of a case on it": [here, case, on_it, shipment, goods],
        "all of its goods": [shipment, here, case, goods, on_it],
        "its commissioning": [case, goods, shipment, on_it, here],
    }[late]
    for value in (*told, shipment):
        (found,) = outcomes(value, by=p)
        assert isinstance(found, Record), found
        d.tell_of((p.state_rules.facts(found) or b"").decode())
        d.run()
    (letter,) = d.letters()
    assert [finding["code"] for finding in letter["findings"]] == ["CONTENTS_UNKNOWN"]
    assert (d.stage.waits, d.told()[-1]) == ({0: 0}, "ADMIT 5")
