"""Shipments under US law whose goods were told of in earlier documents: rows of items answer with the codes that a
document is judged by."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from schemas.pack import CANONICAL_TYPE, Record, Refusal, Submission
from schemas.packs.epcis import Options
from schemas.packs.epcis.engine import EpcisPack
from schemas.packs.epcis.goods import key_of, name_of
from schemas.packs.epcis.known import item_name
from schemas.packs.epcis.state import item_key
from schemas.profiles import Profile
from schemas.state import Domain
from tests.laws.test_packs import check_laws
from tests.packs.epcis_dscsa_inputs import CASE, GTIN, ITEMS, Document, changed_by, dscsa, events, put, without
from tests.packs.epcis_inputs import changed, codes_of, outcomes
from tests.packs.test_epcis_state import PALLET, Told, declared, gone, made, packed, unpacked

LATER = "2026-09-01T10:00:00Z"
"""Behind everything that `at` dates."""
STATED = changed_by(lambda document: None)
Change = Callable[[Document], Any]


def alone(change: Change = lambda document: None, **event: Any) -> bytes:
    """The document of the shipment with statement and master data, and no event beside it."""

    def only_shipping(document: Document) -> None:
        shipping = events(document)[2]
        document["epcisBody"]["eventList"] = [changed(shipping, eventTime=LATER, **event)]
        change(document)

    return changed_by(only_shipping)


class Shipping(Told):
    """A pipeline with state rules and `dscsa`."""

    def __init__(self, profile: Profile = "strict", **options: Any) -> None:
        super().__init__()
        self.pack = EpcisPack(Options(dscsa=True, **options), profile, state=True)
        self.rules = self.pack.state_rules

    def ship(self, document: bytes) -> list[tuple[str, str]]:
        """(code, path) of what is found where the last event of a document is validated, or behind that by the rows."""
        found = outcomes(document, by=self.pack)[-1]
        if isinstance(found, Refusal):
            return [(one.code, one.path) for one in found.findings]
        facts = self.rules.facts(found)
        assert facts is not None
        self.number += 1
        place = f"raw/0/{self.number}/0"
        judged = self.rules.judge(facts, Domain("", ""), place, self.rows.get, self.dead.__contains__)
        assert not judged.changes, "a shipment changes nothing"
        return [(one.code, one.path) for one in judged.findings]


def told(*more: dict[str, Any], profile: Profile = "strict", **options: Any) -> Shipping:
    """Items commissioned and packed into a case, each in a document of its own, and what came then."""
    here = Shipping(profile, **options)
    here.all(made(*ITEMS), made(CASE, PALLET), packed(CASE, *ITEMS), *more)
    return here


def test_what_earlier_documents_said_of_the_goods_counts() -> None:
    assert told().ship(alone()) == []
    (refusal,) = outcomes(alone(), by=dscsa())
    assert set(codes_of(refusal)) == {"CONTENTS_UNKNOWN"}, "without state it is judged by its document"


def test_a_shipment_passes_once_what_it_lacked_was_told() -> None:
    here = Shipping()
    here.all(made(*ITEMS), made(CASE))
    assert here.ship(alone()) == [("CONTENTS_UNKNOWN", "epcList[0]")]
    here.all(packed(CASE, *ITEMS))
    assert here.ship(alone()) == []


ON_PALLET = packed(PALLET, CASE)
WHERE = f"header.masterData[{GTIN}]"
LACKING: dict[str, tuple[Callable[[], Shipping], bytes, list[tuple[str, str]]]] = {
    "unpacked again": (lambda: told(unpacked(CASE)), alone(), [("CONTENTS_UNKNOWN", "epcList[0]")]),
    "all decommissioned": (lambda: told(gone(*ITEMS)), alone(), [("CONTENTS_UNKNOWN", "epcList[0]")]),
    "one is left": (lambda: told(gone(ITEMS[0])), alone(), []),
    "an empty pallet": (told, alone(epcList=[PALLET, CASE]), [("CONTENTS_UNKNOWN", "epcList[0]")]),
    "a case on a pallet": (lambda: told(packed(PALLET, CASE)), alone(epcList=[PALLET]), []),
    "an empty case on a pallet": (
        lambda: told(packed(PALLET, CASE), unpacked(CASE)),
        alone(epcList=[PALLET]),
        [("CONTENTS_UNKNOWN", "epcList[0]")],
    ),
    "a packing declared an error": (
        lambda: told(ON_PALLET, declared(ON_PALLET)),
        alone(epcList=[PALLET]),
        [("CONTENTS_UNKNOWN", "epcList[0]")],
    ),
    "items themselves": (told, alone(epcList=list(ITEMS)), []),
    "never commissioned": (told, alone(epcList=[CASE, ITEMS[0] + "9"]), [("ITEM_NOT_COMMISSIONED", "epcList[0]")]),
    "children of a parent": (told, alone(type="AggregationEvent", epcList=None, parentID=PALLET, childEPCs=[CASE]), []),
    "an association": (
        told,
        alone(type="AssociationEvent", epcList=None, parentID=PALLET, childEPCs=[PALLET[:-1] + "5"]),
        [("CONTENTS_UNKNOWN", "childEPCs[0]")],
    ),
    "a case that is gone, and not what was in it": (
        lambda: told(gone(CASE), cascade=False),
        alone(type="AssociationEvent", epcList=None, parentID=PALLET, childEPCs=[CASE]),
        [("CONTENTS_UNKNOWN", "childEPCs[0]")],
    ),
    "a class": (
        told,
        alone(epcList=None, quantityList=[{"epcClass": "urn:epc:class:lgtin:030001.0012345.L1", "quantity": 5}]),
        [("ITEM_NOT_SERIALIZED", "quantityList[0].epcClass")],
    ),
    "no master data": (told, alone(lambda d: d.pop("epcisHeader")), [
        ("PARTY_DATA_MISSING", "sourceList"), ("PARTY_DATA_MISSING", "destinationList")]),
    "no strength": (told, alone(lambda d: without(d, "strengthDescription")), [("PRODUCT_DATA_MISSING", WHERE)]),
    "another code": (
        told,
        alone(lambda d: put(d, "additionalTradeItemIdentification", "0001-0123-46")),
        [("NDC_DIFFERS", f"{WHERE}.additionalTradeItemIdentification")],
    ),
    "no statement": (
        told,
        alone(lambda d: d.pop("gs1ushc:dscsaTransactionStatement")),
        [("STATEMENT_MISSING", "header.dscsaTransactionStatement.affirmTransactionStatement")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("here", "document", "expected"), LACKING.values(), ids=LACKING)
def test_what_rows_do_not_know_is_a_code_at_its_place(
    here: Callable[[], Shipping], document: bytes, expected: list[tuple[str, str]]
) -> None:
    rows = here()
    before = dict(rows.rows)
    assert rows.ship(document) == expected
    assert rows.rows == before
    check_laws(rows.pack, Submission(document))


def _without(name: str) -> dict[str, Any]:
    event = made(*ITEMS)
    return event | {"ilmd": {key: text for key, text in event["ilmd"].items() if key != f"cbvmda:{name}"}}


@pytest.mark.parametrize(("name", "code"), [("lotNumber", "LOT"), ("itemExpirationDate", "EXPIRY")])
def test_lot_and_expiration_date_are_asked_of_the_rows_of_each_item(name: str, code: str) -> None:
    here = Shipping("lenient")
    here.all(_without(name), made(CASE), packed(CASE, *ITEMS))
    assert here.ship(alone()) == [(f"ITEM_WITHOUT_{code}", "epcList[0]")] * 2


def test_the_lenient_profile_lets_pass_what_it_lets_pass_of_a_document() -> None:
    document = alone(lambda d: without(d, "strengthDescription"))
    assert told(profile="lenient").ship(document) == []
    assert told(profile="lenient").ship(alone(lambda d: d.pop("epcisHeader"))) == []
    bad = alone(lambda d: put(d, "additionalTradeItemIdentification", "0001-0123-46"))
    assert [code for code, _ in told(profile="lenient").ship(bad)] == ["NDC_DIFFERS"]


def _with_case(document: Document) -> None:
    """State rules want the case commissioned, too."""
    events(document)[0]["epcList"] = [*ITEMS, CASE]


DROPPED: dict[str, Change] = {
    "nothing": lambda document: None,
    "packing": lambda document: events(document).pop(1),
    "children": lambda document: events(document)[1].update(childEPCs=ITEMS[:1]),
    "unpacked": lambda document: events(document).insert(
        2, {**events(document)[1], "action": "DELETE", "eventTime": "2026-03-02T08:20:00Z"}
    ),
    "strength": lambda document: without(document, "strengthDescription"),
    "lot": lambda document: events(document)[0]["ilmd"].pop("cbvmda:lotNumber"),
    "expiry": lambda document: events(document)[0]["ilmd"].pop("cbvmda:itemExpirationDate"),
    "code": lambda document: put(document, "additionalTradeItemIdentification", "0001-0123-46"),
}


@pytest.mark.parametrize("profile", ["strict", "lenient"])
@pytest.mark.parametrize("change", DROPPED.values(), ids=DROPPED)
def test_told_by_one_document_or_by_many_a_shipment_gets_the_same_codes(profile: Profile, change: Change) -> None:
    def both(document: Document) -> None:
        _with_case(document)
        change(document)

    whole = changed_by(both)
    *before, judged = outcomes(whole, by=dscsa(profile))
    expected = [(f.code, f.path) for f in judged.findings] if isinstance(judged, Refusal) else []
    taken = all(isinstance(one, Record) for one in before)
    if not taken:
        expected = [("ITEM_NOT_COMMISSIONED", "epcList[0]")]  # the commissioning was refused: state says it first
    here = Shipping(profile)
    parts = json.loads(whole)
    for event in events(parts):
        document = json.dumps({**parts, "epcisBody": {"eventList": [event]}}).encode()
        (found,) = outcomes(document, by=here.pack)
        if event["bizStep"] == "shipping":
            assert sorted(set(here.ship(document))) == sorted(set(expected))
        elif isinstance(found, Record):
            assert (here.tell(event) == []) is taken


def test_a_packing_that_was_refused_makes_no_contents() -> None:
    """Not even where it stands in the shipment's own document."""
    here = Shipping()
    here.all(made(*ITEMS), made(CASE, PALLET), packed(PALLET, *ITEMS))
    document = changed_by(_with_case)
    (code, _), *_ = here.tell(events(json.loads(document))[1])
    assert code == "ITEM_IN_OTHER_PARENT"
    assert here.ship(document) == [("CONTENTS_UNKNOWN", "epcList[0]")]


def test_a_shipment_of_too_many_items_is_refused_and_not_worked_on() -> None:
    assert told(max_file_items=3).ship(alone()) == []
    assert told(max_file_items=2).ship(alone()) == [("TOO_MANY_ITEMS", "")]


def test_master_data_of_too_many_gtins_is_refused_where_it_would_travel_with_the_shipment() -> None:
    def second(document: Document) -> None:
        listed = document["epcisHeader"]["epcisMasterData"]["vocabularyList"][0]["vocabularyElementList"]
        listed.append({**listed[0], "id": "urn:epc:idpat:sgtin:030001.0012346.*"})

    rows = told()
    assert rows.ship(alone(second)) == []
    rows.pack = EpcisPack(Options(dscsa=True, max_items=1), "strict", state=True)
    assert rows.ship(alone(second)) == [("TOO_MANY_ITEMS", "header.masterData")]


def test_a_record_published_again_is_judged_again_by_the_rows() -> None:
    here = told()
    (found,) = outcomes(alone(), by=here.pack)
    assert isinstance(found, Record)
    (again,) = here.pack.unpack(Submission(found.payload, CANONICAL_TYPE)).records()
    assert again == found
    assert here.rules.facts(found) == here.rules.facts(found)


@pytest.mark.parametrize(
    "epc",
    [
        ITEMS[0], CASE, "https://id.gs1.org/01/00300010123455/21/a%2Fb", "urn:epc:id:grai:0614141.12345.400",
        "urn:epc:id:sgln:030001.111111.0", "urn:epc:id:itip:0614141.012345.01.02.5", "urn:epc:id:giai:0614141.12345400",
        "urn:epc:id:upui:1234567.098765.51qIgY", "https://example.com/things/7", "urn:uuid:1",
        "https://example.com/" + "x" * 200,
    ],
)  # fmt: skip
def test_names_of_items_and_keys_of_their_rows_stand_for_each_other(epc: str) -> None:
    key = item_key(epc)
    assert key_of(name_of(key)) == key
    if not key.startswith("sha256:"):
        assert name_of(key) == item_name(epc)
