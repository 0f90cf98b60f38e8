"""The option `dscsa`: a shipment that has all is taken; one thing taken away, and one code says which."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.pack import CANONICAL_TYPE, Gradual, Pack, Record, Refusal, Submission
from schemas.packs.epcis.dscsa import check_contents
from schemas.packs.epcis.engine import AT_ONCE
from schemas.packs.epcis.known import Product, item_name
from tests.laws.test_packs import check_laws, mutated
from tests.packs.epcis_dscsa_inputs import (
    BUYER,
    CASE,
    GTIN,
    ITEMS,
    MAKER,
    NOTICE,
    PRODUCT,
    Document,
    changed_by,
    dscsa,
    events,
    good,
    put,
    without,
    xml_1_2,
)
from tests.packs.epcis_inputs import codes_of, outcomes, pack

GOOD = json.dumps(good()).encode()
NAMES = [f"01/{GTIN}/21/1001", f"01/{GTIN}/21/1002"]
SSCC = "00/403000112345678901"


def shipment(document: bytes, profile: str = "strict") -> Record | Refusal:
    """What the last event of a document comes to."""
    return outcomes(document, by=dscsa(profile))[-1]


@pytest.mark.parametrize("document", [GOOD, xml_1_2()], ids=["json", "xml-1.2"])
def test_a_shipment_with_all_that_is_asked_carries_it(document: bytes) -> None:
    found = shipment(document)
    assert isinstance(found, Record), found
    assert not found.warnings
    said = json.loads(found.payload)["transaction"]
    assert said["items"] == [{"epcs": NAMES, "expiry": "2028-12-31", "lot": "L1"}]
    assert said["containers"] == {SSCC: NAMES}
    assert (said["affirmed"], said["notice"]) == ("true", NOTICE)
    assert said["trade_items"] == {GTIN: PRODUCT}
    assert sorted(said["parties"]) == [MAKER, BUYER]
    assert (found.fields["owner"], found.fields["new_owner"]) == (MAKER, BUYER)


def test_every_syntax_gives_one_record() -> None:
    one, other = shipment(GOOD), shipment(xml_1_2())
    assert isinstance(one, Record)
    assert isinstance(other, Record)
    differing = {"event", "event_hash"}  # the JSON event has a field of its own
    first, second = (json.loads(found.payload) for found in (one, other))
    assert {k: v for k, v in first.items() if k not in differing} == {
        k: v for k, v in second.items() if k not in differing
    }


def _drop_event(place: int) -> Callable[[Document], Any]:
    return lambda document: events(document).pop(place)


def _drop(place: int, *path: str) -> Callable[[Document], Any]:
    def change(document: Document) -> None:
        part = events(document)[place]
        for name in path[:-1]:
            part = part[name]
        del part[path[-1]]

    return change


def _set(place: int, name: str, value: Any) -> Callable[[Document], Any]:
    return lambda document: events(document)[place].update({name: value})


ALTERED: list[tuple[str, Callable[[Document], Any], str, str]] = [
    ("statement", lambda d: d.pop("gs1ushc:dscsaTransactionStatement"), "STATEMENT_MISSING",
     "header.dscsaTransactionStatement.affirmTransactionStatement"),
    ("not affirmed", lambda d: d["gs1ushc:dscsaTransactionStatement"].update(
        {"gs1ushc:affirmTransactionStatement": "false"}), "STATEMENT_MISSING",
     "header.dscsaTransactionStatement.affirmTransactionStatement"),
    ("notice", lambda d: d["gs1ushc:dscsaTransactionStatement"].pop("gs1ushc:legalNotice"), "STATEMENT_MISSING",
     "header.dscsaTransactionStatement.legalNotice"),
    ("name", lambda d: without(d, "regulatedProductName"), "PRODUCT_DATA_MISSING", f"header.masterData[{GTIN}]"),
    ("strength", lambda d: without(d, "strengthDescription"), "PRODUCT_DATA_MISSING", f"header.masterData[{GTIN}]"),
    ("dosage form", lambda d: without(d, "dosageFormType"), "PRODUCT_DATA_MISSING", f"header.masterData[{GTIN}]"),
    ("container size", lambda d: without(d, "netContentDescription"), "PRODUCT_DATA_MISSING",
     f"header.masterData[{GTIN}]"),
    ("code", lambda d: without(d, "additionalTradeItemIdentification"), "PRODUCT_DATA_MISSING",
     f"header.masterData[{GTIN}]"),
    ("type of code", lambda d: without(d, "additionalTradeItemIdentificationTypeCode"), "PRODUCT_DATA_MISSING",
     f"header.masterData[{GTIN}].additionalTradeItemIdentificationTypeCode"),
    ("another code", lambda d: put(d, "additionalTradeItemIdentification", "0001-0123-46"), "NDC_DIFFERS",
     f"header.masterData[{GTIN}].additionalTradeItemIdentification"),
    ("no code", lambda d: put(d, "additionalTradeItemIdentification", "0001-0123"), "BAD_NDC",
     f"header.masterData[{GTIN}].additionalTradeItemIdentification"),
    ("address", lambda d: without(d, "streetAddressOne", vocabulary=1), "PARTY_DATA_MISSING", "sourceList"),
    ("seller", _set(2, "sourceList", [{"type": "possessing_party", "source": "urn:epc:id:pgln:030001.111111"}]),
     "OWNER_MISSING", "sourceList"),
    ("buyer", _set(2, "destinationList", [{"type": "location", "destination": "urn:epc:id:sgln:039999.999999.0"}]),
     "OWNER_MISSING", "destinationList"),
    ("packing", _drop_event(1), "CONTENTS_UNKNOWN", "epcList[0]"),
    ("packed later", _set(1, "eventTime", "2026-03-02T09:30:00Z"), "CONTENTS_UNKNOWN", "epcList[0]"),
    ("unpacked before", lambda d: events(d).insert(2, {**events(d)[1], "action": "DELETE",
     "eventTime": "2026-03-02T08:20:00Z"}), "CONTENTS_UNKNOWN", "epcList[0]"),
    ("one of two", _set(0, "epcList", ITEMS[:1]), "ITEM_WITHOUT_COMMISSIONING", "epcList[0]"),
    ("class", _set(2, "quantityList", [{"epcClass": "urn:epc:class:lgtin:030001.0012345.L1", "quantity": 5}]),
     "ITEM_NOT_SERIALIZED", "quantityList[0].epcClass"),
    ("no drug", lambda d: (events(d)[0]["epcList"].append("urn:epc:id:sgtin:0614141.012345.1"),
     events(d)[1]["childEPCs"].append("urn:epc:id:sgtin:0614141.012345.1")), "GTIN_NOT_NDC",
     "header.masterData[00614141123452]"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "code", "path"), [row[1:] for row in ALTERED], ids=[row[0] for row in ALTERED])
def test_one_thing_taken_away_is_one_code_at_its_place(change: Callable[[Document], Any], code: str, path: str) -> None:
    document = changed_by(change)
    found = shipment(document)
    assert isinstance(found, Refusal), found
    assert (code, path) in [(finding.code, finding.path) for finding in found.findings]
    assert {finding.code for finding in found.findings} <= {code, "PRODUCT_DATA_MISSING"}
    assert found.canonical
    for outcome in outcomes(document, by=pack()):
        assert isinstance(outcome, Record), "without the option it is taken"
    check_laws(dscsa(), Submission(document))


@pytest.mark.parametrize(
    ("name", "code", "shipped"),
    [("lotNumber", "LOT_MISSING", "ITEM_WITHOUT_LOT"), ("itemExpirationDate", "EXPIRY_MISSING", "ITEM_WITHOUT_EXPIRY")],
)
def test_lot_and_expiration_date_are_asked_of_each_item(name: str, code: str, shipped: str) -> None:
    document = changed_by(_drop(0, "ilmd", f"cbvmda:{name}"))
    commissioned, _, refused = outcomes(document, by=dscsa())
    assert codes_of(commissioned) == [code]
    assert set(codes_of(refused)) == {"ITEM_WITHOUT_COMMISSIONING"}, "a refused commissioning is none"
    commissioned, _, refused = outcomes(document, by=dscsa("lenient"))
    assert codes_of(commissioned) == [f"{code}_TOLERATED"]
    assert set(codes_of(refused)) == {shipped}
    check_laws(dscsa("lenient"), Submission(document))


def test_lenient_lets_pass_what_partners_leave_out() -> None:
    found = shipment(changed_by(lambda made: made.pop("epcisHeader")), "lenient")
    assert isinstance(found, Record)
    assert set(codes_of(found)) == {"PRODUCT_DATA_MISSING_TOLERATED", "PARTY_DATA_MISSING_TOLERATED"}


def test_a_shipment_alone_lacks_what_its_document_had() -> None:
    alone = json.dumps({"@context": good()["@context"], **events(good())[2]}).encode()
    found = shipment(alone)
    assert set(codes_of(found)) == {"STATEMENT_MISSING", "PARTY_DATA_MISSING", "CONTENTS_UNKNOWN"}


def test_what_a_record_says_of_its_transaction_is_no_other_than_it_writes() -> None:
    found = shipment(GOOD)
    assert isinstance(found, Record)
    payload = json.loads(found.payload)
    for forged in ({"items": 5}, {"more": "x"}, {"items": [{"epcs": ["b", "a"], "expiry": "", "lot": ""}]}, [1]):
        data = json.dumps(payload | {"transaction": forged}, separators=(",", ":"), sort_keys=True).encode()
        (back,) = dscsa().unpack(Submission(data, CANONICAL_TYPE)).records()
        assert codes_of(back)[0] in ("NOT_CANONICAL", "WRONG_TYPE")


def test_what_lies_in_many_containers_is_looked_into_once() -> None:
    """Or a document of a few megabytes would ask for thousands of millions of steps."""
    cases = [f"urn:epc:id:sscc:030001.{number:011d}" for number in range(50)]
    asked: list[str] = []

    class Shared:
        def product(self, name: str) -> Product | None:
            return None

        def children(self, name: str) -> tuple[str, ...]:
            asked.append(name)
            return (SSCC,) if name[:3] == "00/" and name != SSCC else tuple(NAMES) if name == SSCC else ()

    gtins: set[str] = set()
    seen: set[str] = set()
    found = [one.code for epc in cases for one in check_contents("epcList", item_name(epc), Shared(), gtins, seen)]
    assert len(asked) == len(set(asked)) == len(cases) + 1 + len(NAMES)
    assert gtins == {GTIN}
    assert found.count("ITEM_WITHOUT_COMMISSIONING") == len(NAMES)


def test_a_document_that_mentions_too_many_items_is_refused_as_a_whole() -> None:
    (found,) = outcomes(GOOD, by=dscsa(max_file_items=4))
    assert codes_of(found) == ["TOO_MANY_ITEMS"]
    assert len(outcomes(GOOD, by=dscsa(max_file_items=5))) == 3
    again = changed_by(lambda made: events(made).append({**events(made)[2], "eventTime": "2026-03-02T09:00:00Z"}))
    (found,) = outcomes(again, by=dscsa(max_file_items=5))
    assert codes_of(found) == ["TOO_MANY_ITEMS"], "two shipments of three each"


@pytest.mark.parametrize("children", [[], ["urn:epc:id:sgtin:030001.0012345.9"]])
def test_what_has_to_be_read_for_each_shipment_counts_too(children: list[str]) -> None:
    """A container packed and unpacked without end, and shipped as often: each shipment would read all of it."""

    def change(document: Document) -> None:
        _, packing, shipping = events(document)
        emptied = {name: value for name, value in packing.items() if name != "childEPCs"}
        emptied |= {"action": "DELETE"} | ({"childEPCs": children} if children else {})
        changes = [emptied | {"eventTime": f"2026-03-02T08:{minute}:00Z"} for minute in range(11, 31)]
        ships = [shipping | {"eventTime": f"2026-03-02T08:{minute}:00Z"} for minute in range(31, 41)]
        events(document)[2:] = [*changes, *ships]

    found = outcomes(changed_by(change), by=dscsa(max_file_items=100))
    assert [codes_of(one) for one in found] == [["TOO_MANY_ITEMS"]]
    assert len(outcomes(changed_by(change), by=dscsa(max_file_items=1000))) == 32


def test_containers_in_a_circle_end() -> None:
    def change(document: Document) -> None:
        events(document)[1]["childEPCs"] = ["urn:epc:id:sscc:030001.41234567891"]
        events(document).insert(2, {**events(document)[1], "parentID": "urn:epc:id:sscc:030001.41234567891",
                                    "childEPCs": [CASE], "eventTime": "2026-03-02T08:10:00Z"})  # fmt: skip
        events(document)[1]["eventTime"] = "2026-03-02T08:05:00Z"

    assert isinstance(shipment(changed_by(change)), Record), "what lies in a circle is for the rules of state"


def test_the_schema_profile_has_no_such_rules() -> None:
    with pytest.raises(ValueError, match="dscsa"):
        pack("schema", dscsa=True)


@pytest.mark.parametrize("profile", ["strict", "lenient"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(draw=st.data())
def test_laws_hold_for_mutated_shipments(profile: str, draw: st.DataObject) -> None:
    data = mutated(draw.draw(st.sampled_from([GOOD, xml_1_2()])), draw)
    check_laws(dscsa(profile), Submission(data))


@pytest.mark.parametrize("value", [GOOD, xml_1_2()], ids=["json", "xml"])
def test_a_document_with_shipments_is_opened_an_event_at_a_time(value: bytes) -> None:
    """All of its events are judged before its first record: one of many must not take longer than a process may."""
    by = dscsa()
    assert isinstance(by, Gradual)
    assert len(list(by.opening(Submission(value)))) > by.unpack(Submission(value)).count


@pytest.mark.parametrize(
    ("size", "by", "heavy"),
    [(AT_ONCE + 1, dscsa(), True), (AT_ONCE, dscsa(), False), (AT_ONCE + 1, pack(), False)],
    ids=["large", "small", "without dscsa"],
)
def test_a_large_document_with_shipments_is_judged_elsewhere_whatever_its_syntax(
    size: int, by: Pack, heavy: bool
) -> None:
    """All of its events are judged before its first record: that must not hold up a worker."""
    padded = GOOD + b" " * (size - len(GOOD))
    assert by.heavy(Submission(padded, "application/ld+json")) == heavy
    assert not by.heavy(Submission(padded.replace(b"shipping", b"receiving")[:size], "application/ld+json"))
