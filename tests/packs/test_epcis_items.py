"""An item is found in whatever spelling a record names it, and nothing else is taken for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.pack import ItemSearch
from schemas.packs import brief, item_search
from tests.packs import epcis_inputs as inputs
from tests.packs.epcis_inputs import document, record

ITEM = "urn:epc:id:sgtin:030001.0012345.1001"
CASE = "urn:epc:id:sscc:030001.41234567890"
EVENT = "urn:uuid:8a4f0c1e-93b1-4d5e-a1a5-1f2b3c4d5e6f"


def search(text: str) -> ItemSearch:
    found = item_search("epcis", text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ITEM, "https://id.gs1.org/01/00300010123455/21/1001"),
        (ITEM, "https://example.com/a/01/00300010123455/10/LOT/21/1001?17=281231"),
        ("urn:epc:id:sgtin:030001.0012345.A%2Fb", "https://id.gs1.org/01/00300010123455/21/A%2fb"),
        (CASE, "https://id.gs1.org/00/403000112345678901"),
        ("urn:epc:class:lgtin:030001.0012345.L1", "https://id.gs1.org/01/00300010123455/10/L1"),
        ("urn:epc:id:grai:030001.123456.7", "https://id.gs1.org/8003/003000112345637"),
        ("urn:epc:id:giai:030001.X-1", "https://id.gs1.org/8004/030001X-1"),
    ],
)
def test_one_thing_is_found_in_either_spelling(one: str, other: str) -> None:
    for asked, spelt in ((one, other), (other, one), (one, one), (other, other)):
        for text in (f'{{"epcList":["{spelt}"]}}', f"<epc>{spelt}</epc>", f"<epc>\n {spelt}\n</epc>"):
            assert search(asked).mark in text.encode()
            assert search(asked).names(text.encode()), (asked, text)


def test_what_is_alike_is_not_the_same() -> None:
    other = [ITEM + "0", ITEM.replace("0012345", "0012346"), "urn:epc:class:lgtin:030001.0012345.1001", CASE, "1001"]
    assert not any(search(ITEM).names(f'"{text}"'.encode()) for text in other)


LOT = "urn:epc:class:lgtin:030001.0012345.L1"


def test_a_lot_is_found_where_the_event_that_commissions_its_items_says_it() -> None:
    """In ILMD, as most senders state it, of the GTIN that is asked for and of nothing else in the event."""
    held = record(document(inputs.COMMISSIONING)).payload
    assert b'lotNumber":"L1"' in held
    for asked in (LOT, "https://id.gs1.org/01/00300010123455/10/L1"):
        assert search(asked).mark in held
        assert search(asked).names(held)
    assert not search(LOT + "0").names(held)
    assert not search(LOT.replace("0012345", "0012346")).names(held)
    assert not search("urn:epc:idpat:sgtin:030001.0012345.*").names(held), "a product is not its lots"
    assert not search(LOT).names(record(document(inputs.PACKING)).payload), "a packing says no lot"
    named = {"cbvmda:lotNumber": "L/1", "cbvmda:itemExpirationDate": "2028-12-31"}
    slashed = record(document(inputs.COMMISSIONING | {"ilmd": named})).payload
    assert search(LOT.replace("L1", "L%2F1")).names(slashed)


def test_of_a_transformation_the_lot_is_that_of_its_outputs() -> None:
    made = {
        "type": "TransformationEvent", "eventTime": "2026-03-01T08:00:00Z", "eventTimeZoneOffset": "+00:00",
        "inputEPCList": ["urn:epc:id:sgtin:030001.0054321.1"], "outputEPCList": [ITEM],
        "ilmd": {"cbvmda:lotNumber": "L1", "cbvmda:itemExpirationDate": "2028-12-31"},
    }  # fmt: skip
    held = record(document(made)).payload
    assert search(LOT).names(held)
    assert not search(LOT.replace("0012345", "0054321")).names(held)


@pytest.mark.parametrize(
    "data", [b"", b"L1", b"[]", b"{}", b'{"event": 1}', b'{"event": {"ilmd": []}}', b'{"event": {"ilmd": {"a": "L1"}}}',
             b'{"event": {"epcList": 1, "ilmd": {"{urn:epcglobal:cbv:mda}lotNumber": "L1"}}}']
)  # fmt: skip
def test_what_is_no_payload_names_no_lot(data: bytes) -> None:
    """A publisher's refused bytes may be anything."""
    assert not search(LOT).names(data)


def test_records_and_refusals_of_an_item() -> None:
    held = record(document(inputs.PACKING)).payload
    assert search(ITEM).names(held)
    assert search(CASE).names(held)
    assert not search("urn:epc:id:sgtin:030001.0012345.100").names(held)
    assert search(ITEM).names(inputs.xml(inputs.SHIPPING_1_2.replace("OBSERVE", "NONSENSE"), version="1.2"))


@pytest.mark.parametrize(
    "text", ["urn:epc:id:sgln:030001.111111.0", "https://id.gs1.org/414/0300011111116", "epcis.raw/0/0", "1001", ""]
)
def test_other_texts_name_no_item(text: str) -> None:
    assert item_search("epcis", text) is None
    assert item_search("cold_chain", ITEM) is None


def test_an_event_is_found_by_the_id_that_it_states_in_whatever_syntax_it_came() -> None:
    event = inputs.changed(inputs.PACKING, eventID=EVENT)
    for data in (record(document(event)).payload, document(event), document(event | {"action": "NONSENSE"})):
        assert search(EVENT).mark in data
        assert search(EVENT).names(data)
    assert search("https://x.example/a/1?b&c").names(b"<e:eventID>\n https://x.example/a/1?b&amp;c </e:eventID>")
    assert search("https://x.example/a/1").names(b'{"eventID" : "https:\\/\\/x.example\\/a\\/1"}')


def test_an_event_is_found_by_its_hash() -> None:
    found = record(document(inputs.PACKING))
    assert search(found.fields["event_hash"]).names(found.payload)
    other = record(document(inputs.COMMISSIONING)).payload
    assert not search(found.fields["event_hash"]).names(other)


def test_what_only_speaks_of_an_event_is_not_that_event() -> None:
    declared = {"declarationTime": "2026-04-01T00:00:00Z", "correctiveEventIDs": [EVENT]}
    for event in (inputs.changed(inputs.PACKING, eventID=EVENT + "0"), inputs.PACKING | {"errorDeclaration": declared}):
        assert not search(EVENT).names(document(event))
        assert not search(EVENT).names(record(document(event)).payload)
    assert not search(EVENT).names(f"<correctiveEventID>{EVENT}</correctiveEventID>".encode())


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (inputs.COMMISSIONING, {"type": "ObjectEvent", "action": "ADD", "bizStep": "commissioning"}),
        (inputs.PACKING, {"type": "AggregationEvent", "action": "ADD", "bizStep": "packing", "parentID": CASE}),
    ],
)
def test_a_few_words_tell_a_commissioning_from_a_packing(event: dict[str, Any], words: dict[str, str]) -> None:
    assert brief("epcis", record(document(event)).payload) == words
    assert brief("epcis", json.dumps(event).encode()) == words
    assert brief("cold_chain", json.dumps(event).encode()) == {}


@pytest.mark.parametrize(
    "data", [b"", b"<a/>", b"[1]", b'{"event": 7}', b'{"event": {"type": [1], "action": null}}', b"\xff"]
)
def test_what_is_no_event_gets_no_words(data: bytes) -> None:
    assert brief("epcis", data) == {}
