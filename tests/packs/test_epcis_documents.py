"""The EPCIS pack on documents of our own: one event in every syntax, events that refuse themselves, identity."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.errors import CODES, ErrorClass
from schemas.pack import CANONICAL_TYPE, Record, Refusal, Submission
from tests.packs.epcis_inputs import (
    COMMISSIONING,
    CONTEXT,
    PACKING,
    SBDH,
    SHIPPING,
    SHIPPING_1_2,
    SHIPPING_2_0,
    bare,
    changed,
    codes_of,
    document,
    event_of,
    only,
    outcomes,
    pack,
    record,
    refused,
    xml,
)

QUERY = {
    "@context": CONTEXT,
    "type": "EPCISQueryDocument",
    "schemaVersion": "2.0",
    "creationDate": "2026-03-02T10:00:00Z",
    "epcisBody": {"queryResults": {"queryName": "SimpleEventQuery", "resultsBody": {"eventList": [SHIPPING]}}},
}
XML_QUERY = xml(SHIPPING_2_0).replace(b"EPCISDocument", b"EPCISQueryDocument").replace(
    b"urn:epcglobal:epcis:xsd:2", b"urn:epcglobal:epcis-query:xsd:2"
).replace(
    b"<EPCISBody>", b"<EPCISBody><epcis:QueryResults><queryName>q</queryName><resultsBody>"
).replace(b"</EPCISBody>", b"</resultsBody></epcis:QueryResults></EPCISBody>")  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        document(SHIPPING),
        bare(SHIPPING),
        json.dumps(QUERY).encode(),
        xml(SHIPPING_2_0),
        xml(SHIPPING_1_2, version="1.2"),
        XML_QUERY,
        xml(SHIPPING_2_0).decode().replace("UTF-8", "ISO-8859-1").encode("latin-1"),
        xml(SHIPPING_2_0).decode().replace("UTF-8", "UTF-16").encode("utf-16"),
        b"\xef\xbb\xbf" + xml(SHIPPING_2_0),
        SHIPPING_2_0.replace("<ex:", '<ex:').replace("<ObjectEvent>", '<ObjectEvent xmlns:ex="https://ns.example.com/epcis/">').encode(),
    ],
    ids=["json", "bare-json", "json-query", "xml-2.0", "xml-1.2", "xml-query", "latin-1", "utf-16", "bom", "bare-xml"],
)  # fmt: skip
def test_one_event_is_one_record_in_every_syntax_and_version(value: bytes) -> None:
    found, wanted = record(value), record(document(SHIPPING))
    assert event_of(found) == event_of(wanted)
    assert (found.payload, found.digest, found.fields) == (wanted.payload, wanted.digest, wanted.fields)


def test_what_a_record_says() -> None:
    found = record(document(SHIPPING))
    assert found.event_time == 1_772_440_200_000
    assert dict(found.fields) | {"event_hash": ""} == {
        "event_hash": "",
        "declaration": "none",
        "event_id": "none",
        "event_type": "ObjectEvent",
        "action": "OBSERVE",
        "biz_step": "shipping",
        "disposition": "in_transit",
        "read_point": "urn:epc:id:sgln:030001.111111.0",
        "biz_location": "none",
        "sender": "0300011111116",
        "receiver": "0399999999991",
        "owner": "0300011111116",
        "new_owner": "0399999999991",
        "jurisdiction": "none",
        "issuer": "030001",
        "event_time": "2026-03-02T08:30:00.000Z",
        "day": "2026-03-02",
    }
    event = event_of(found)
    assert event["{https://ns.example.com/epcis/}temperature"] == "5.5"
    assert event["eventTimeZoneOffset"] == "+01:00"


def test_the_header_names_sender_and_receiver() -> None:
    found = record(xml(SHIPPING_1_2, version="1.2", header=SBDH))
    assert (found.fields["sender"], found.fields["receiver"]) == ("0300011111116", "0399999999991")
    found = record(document(COMMISSIONING, sender="https://id.gs1.org/417/0300011111116", receiver="4012345"))
    assert (found.fields["sender"], found.fields["receiver"]) == ("0300011111116", "4012345")
    # A header that says what the event says makes no other record of it.
    with_header, without = (record(xml(SHIPPING_1_2, version="1.2", header=header)) for header in (SBDH, ""))
    assert with_header.payload == without.payload
    by = pack(jurisdictions=[{"match": "0399*", "name": "US"}])
    assert record(document(SHIPPING), by=by).fields["jurisdiction"] == "US"


@pytest.mark.parametrize(
    "value",
    [
        document(COMMISSIONING, changed(SHIPPING, action="LOOK"), PACKING),
        document(COMMISSIONING, '{"type": "ObjectEvent", "eventTime": }', PACKING),
        document(COMMISSIONING, "17", PACKING),
        xml(SHIPPING_2_0, SHIPPING_2_0.replace("OBSERVE", "LOOK"), SHIPPING_2_0),
        xml(SHIPPING_2_0, SHIPPING_2_0.replace("ObjectEvent", "StrangeEvent"), SHIPPING_2_0),
    ],
    ids=["json-value", "json-syntax", "json-type", "xml-value", "xml-type"],
)
def test_a_broken_event_refuses_itself_and_not_its_neighbours(value: bytes) -> None:
    first, second, third = outcomes(value)
    assert isinstance(first, Record)
    assert isinstance(second, Refusal)
    assert isinstance(third, Record)


def test_a_refused_event_is_kept_with_its_header_and_without_master_data() -> None:
    value = xml(SHIPPING_1_2, SHIPPING_1_2.replace("OBSERVE", "LOOK"), version="1.2", header=SBDH)
    refusal = outcomes(value)[1]
    assert isinstance(refusal, Refusal)
    assert not refusal.canonical
    assert refusal.original.count(b"<ObjectEvent>") == 1
    assert b"LOOK" in refusal.original
    assert b"EPCISMasterData" not in refusal.original
    mended = record(refusal.original.replace(b"LOOK", b"OBSERVE"))
    assert mended.payload == record(xml(SHIPPING_1_2, version="1.2", header=SBDH)).payload
    # Of a text in another encoding the bytes are a transcription, and marked so.
    other = value.decode().replace("UTF-8", "UTF-16").encode("utf-16")
    refusal = outcomes(other)[1]
    assert isinstance(refusal, Refusal)
    assert refusal.canonical


def test_an_error_declaration_is_a_new_record_of_the_same_event() -> None:
    declaration = {"declarationTime": "2026-03-03T00:00:00Z", "reason": "incorrect_data"}
    event, declared = record(document(SHIPPING)), record(document(changed(SHIPPING, errorDeclaration=declaration)))
    assert event.fields["event_hash"] == declared.fields["event_hash"]
    assert event.fields["declaration"] == "none"
    assert declared.fields["declaration"] == "2026-03-03T00:00:00.000Z"


def test_what_does_not_belong_to_an_event_does_not_change_it() -> None:
    """recordTime is the receiver's; order of lists and spelling of times and numbers mean nothing."""
    again = changed(
        SHIPPING,
        recordTime="2026-03-02T09:31:00Z",
        eventTime="2026-03-02T08:30:00Z",
        epcList=list(reversed(SHIPPING["epcList"])),
        bizStep="https://ref.gs1.org/cbv/BizStep-shipping",
    )
    assert record(document(again)).payload == record(document(SHIPPING)).payload


def message(value: bytes) -> str:
    """The words of the one finding for which a whole submission is refused."""
    found = only(value)
    assert isinstance(found, Refusal)
    (finding,) = found.findings
    return finding.message


def test_a_bare_event_without_a_context_is_told_which_one_to_state() -> None:
    found = only(json.dumps(COMMISSIONING).encode())
    assert isinstance(found, Refusal)
    [said] = [one.message for one in found.findings if one.path == "@context"]
    assert f'"@context": ["{CONTEXT[0]}"]' in said


def test_the_envelope_decides_for_all() -> None:
    assert refused(document(SHIPPING, schemaVersion=2.0)) == ["WRONG_TYPE"]
    assert refused(document(SHIPPING, creationDate="yesterday")) == ["BAD_TIME"]
    assert (
        refused(document(SHIPPING).replace(b'"creationDate"', b'"created"'))
        == ["UNNAMED_EXTENSION", "MISSING_FIELD"][::-1]
    )
    assert refused(xml(SHIPPING_2_0).replace(b"schemaVersion", b"schema")) == ["MISSING_FIELD"]
    assert refused(document()) == ["EMPTY_SUBMISSION"]
    assert refused(xml()) == ["EMPTY_SUBMISSION"]
    assert refused(b'{"type": "Poll"}') == ["UNKNOWN_ROOT"]
    assert refused(b"<html/>") == ["UNKNOWN_ROOT"]
    assert refused(b"hello") == ["UNKNOWN_CONTENT"]
    assert message(b'{"hello": 1}') == (
        "the object has no `type` that is text; EPCIS in JSON-LD is one object whose `type` is `EPCISDocument`, "
        "`EPCISQueryDocument` or an event's, such as `ObjectEvent`"
    )
    assert message(b"[1]").startswith("the text is an array; EPCIS in JSON-LD is one object whose `type` is ")
    held = record(document(SHIPPING)).payload
    assert message(held).endswith("; this looks like a record's payload: say content-type " + CANONICAL_TYPE)
    # 1.2 knows no 2.0 fields, whatever schemaVersion says: the namespace decides.
    lying = xml(SHIPPING_2_0).replace(b"urn:epcglobal:epcis:xsd:2", b"urn:epcglobal:epcis:xsd:1")
    assert set(refused(lying)) == {"UNEXPECTED_ELEMENT"}


XSI = 'xmlns:i="http://www.w3.org/2001/XMLSchema-instance"'
ACTION = "<action>OBSERVE</action>"


def with_xml(old: str, new: str) -> bytes:
    assert old in SHIPPING_2_0
    return xml(SHIPPING_2_0.replace(old, new))


LENIENT: list[tuple[bytes, str]] = [
    (with_xml(ACTION, "").replace(b"</readPoint>", f"</readPoint>{ACTION}".encode()), "ELEMENT_OUT_OF_ORDER"),
    (with_xml("</readPoint>", "</readPoint>text"), "STRAY_TEXT"),
    (with_xml("<epcList>", '<epcList note="x">'), "UNEXPECTED_ATTRIBUTE"),
    (with_xml(ACTION, "<epcis:action>OBSERVE</epcis:action>"), "QUALIFIED_ELEMENT"),
    (with_xml("</readPoint>", "</readPoint><weight>5</weight>"), "UNEXPECTED_ELEMENT"),
    (with_xml("<ex:temperature>", f'<ex:temperature {XSI} i:type="xsd:int">'), "UNDECLARED_PREFIX"),
    (document(changed(SHIPPING, bizStep="moving")), "UNKNOWN_TERM"),
    (document(changed(SHIPPING, weight="5")), "UNNAMED_EXTENSION"),
    (document(changed(SHIPPING, bizTransactionList=None)), "TRANSACTION_MISSING"),
]


@pytest.mark.parametrize(("value", "code"), LENIENT, ids=[code for _, code in LENIENT])
def test_lenient_lets_a_deviation_pass_with_a_warning(value: bytes, code: str) -> None:
    assert code in refused(value)
    found = only(value, by=pack("lenient"))
    assert isinstance(found, Record), found
    assert codes_of(found) == [code + "_TOLERATED"]
    assert CODES[code + "_TOLERATED"].error_class is ErrorClass.WARNING_DEVIATION


@pytest.mark.parametrize(
    ("value", "code", "path"),
    [
        (with_xml(ACTION, f"{ACTION}<weight>5</weight>"), "UNEXPECTED_ELEMENT", "weight"),
        (with_xml("</readPoint>", "<weight>5</weight></readPoint>"), "UNEXPECTED_ELEMENT", "readPoint.weight"),
        (with_xml("</epc>", "<b/></epc>"), "UNEXPECTED_ELEMENT", "epcList.epc[0].b"),
        (with_xml(ACTION, "<epcis:action>OBSERVE</epcis:action>"), "QUALIFIED_ELEMENT", "action"),
        (with_xml(ACTION, "").replace(b"</readPoint>", f"</readPoint>{ACTION}".encode()), "ELEMENT_OUT_OF_ORDER",
         "action"),
        (xml("<Mystery/>"), "UNKNOWN_EVENT_TYPE", "Mystery"),
        (xml(SHIPPING_2_0.replace("ObjectEvent", "epcis:ObjectEvent")), "QUALIFIED_ELEMENT", "ObjectEvent"),
        (xml("<AssociationEvent/>", version="1.2"), "UNEXPECTED_ELEMENT", "AssociationEvent"),
        (xml("<extension><a/><b/></extension>", version="1.2"), "UNKNOWN_EVENT_TYPE", "extension"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_element_of_xml_is_said_with_its_path(value: bytes, code: str, path: str) -> None:
    found = only(value)
    assert isinstance(found, Refusal)
    assert (code, path) in [(one.code, one.path) for one in found.findings]


def test_a_canonical_record_is_believed_nothing() -> None:
    payload: dict[str, Any] = json.loads(record(document(SHIPPING)).payload)

    def again(**changes: Any) -> list[str]:
        data = json.dumps(payload | changes, sort_keys=True, separators=(",", ":")).encode()
        (found,) = pack().unpack(Submission(data, CANONICAL_TYPE)).records()
        return codes_of(found) if isinstance(found, Refusal) else []

    assert again() == []
    assert again(event_hash="ni:///sha-256;0") == ["NOT_CANONICAL"]
    assert again(event=payload["event"] | {"bizStep": "https://ref.gs1.org/cbv/BizStep-shipping"}) == ["NOT_CANONICAL"]
    assert again(event=payload["event"] | {"bizStep": "moving"}) == ["UNKNOWN_TERM"]
    assert again(event=payload["event"] | {"epcList": {"a": 1}}) == ["WRONG_TYPE"]
    assert again(more=1) == ["NOT_CANONICAL"]


def test_facts_about_a_batch() -> None:
    found = outcomes(document(COMMISSIONING, PACKING, SHIPPING))
    summary = pack().summarize([one.payload for one in found if isinstance(one, Record)])
    assert summary == {
        "events": 3,
        "types": {"AggregationEvent": 1, "ObjectEvent": 2},
        "biz_steps": {"commissioning": 1, "packing": 1, "shipping": 1},
        "error_declarations": 0,
        "items": 3,
        "classes": 0,
        "first": "2026-03-02T08:00:00.000Z",
        "last": "2026-03-02T09:00:00.000Z",
    }
