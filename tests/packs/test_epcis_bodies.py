"""A batch as an EPCIS document: it validates against the official schemas, and unpacked it gives the same records."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.members import Member, member_of
from schemas.pack import Pack, Record, Submission
from schemas.packs import Document, documents
from streams.delivery.render import FORMS, render
from tests.packs import epcis_inputs as inputs
from tests.packs.epcis_inputs import changed, document, outcomes, pack, record
from tests.packs.epcis_schemas import Judge, json_judge, xml_judge
from tests.schemas.samples import example

JSON, XML = (documents("epcis")[form] for form in ("epcis-json", "epcis-xml"))
NO_JSON = {
    # XML takes what the JSON schema has no place for: a sensor report without type, a field of one's own without
    # namespace. Such events are written as they are, and by the JSON schema the document is invalid.
    "SensorDataExamples.xml": '"type" is a required',
    "ObjectEvent.xml": "myField",
}


NO_XML = {
    # The reverse, and an element of XML 1.2 that has no namespace either.
    "AssociationEvent.xml": "sensorMetaData",
    "ObjectEvent.xml": "myField",
}
either = pytest.mark.parametrize("write", [JSON, XML], ids=["json", "xml"])


def payloads(*values: bytes, by: Pack | None = None) -> list[bytes]:
    return [one.payload for value in values for one in outcomes(value, by=by) if isinstance(one, Record)]


def member(payload: bytes) -> Member:
    return member_of(example("validated") | {"payload": payload, "claim": None})


def read_back(body: bytes, by: Pack | None = None) -> list[bytes]:
    return [one.payload for one in outcomes(body, by=by) if isinstance(one, Record)]


DECLARED = changed(
    inputs.SHIPPING, errorDeclaration={"declarationTime": "2026-03-05T00:00:00Z", "reason": "incorrect_data"}
)


def test_the_document_in_full() -> None:
    """A change of these bytes needs a new version of the form, since retries must repeat them (DI3)."""
    event = changed(inputs.SHIPPING, epcList=["urn:epc:id:sgtin:030001.0012345.1001"])
    quantities = [{"epcClass": "urn:epc:class:lgtin:030001.0012345.L1", "quantity": 200.50, "uom": "KGM"}]
    held = payloads(document(changed(event, quantityList=quantities)), document(inputs.COMMISSIONING))
    batch = {"batch_id": bytes.fromhex("ab" * 32), "count": 2}
    body = render(batch, [member(payload) for payload in held], pack(), FORMS["epcis-json"])
    assert body.decode() == (
        '{"@context":["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",'
        '{"ext1":"https://ns.example.com/epcis/"}],'
        '"type":"EPCISDocument","schemaVersion":"2.0","creationDate":"2026-03-02T08:30:00.000Z",'
        f'"instanceIdentifier":"{"ab" * 32}","epcisBody":{{"eventList":['
        '{"type":"ObjectEvent","action":"OBSERVE","bizStep":"shipping",'
        '"bizTransactionList":[{"bizTransaction":"urn:epcglobal:cbv:bt:0300011111116:PO-1","type":"po"}],'
        '"destinationList":[{"destination":"urn:epc:id:pgln:039999.999999","type":"owning_party"}],'
        '"disposition":"in_transit","epcList":["urn:epc:id:sgtin:030001.0012345.1001"],'
        '"eventTime":"2026-03-02T08:30:00.000Z","eventTimeZoneOffset":"+01:00",'
        '"quantityList":[{"epcClass":"urn:epc:class:lgtin:030001.0012345.L1","quantity":200.5,"uom":"KGM"}],'
        '"readPoint":{"id":"urn:epc:id:sgln:030001.111111.0"},'
        '"sourceList":[{"source":"urn:epc:id:pgln:030001.111111","type":"owning_party"}],"ext1:temperature":"5.5"},'
        '{"type":"ObjectEvent","action":"ADD","bizStep":"commissioning","disposition":"active",'
        '"epcList":["urn:epc:id:sgtin:030001.0012345.1001"],"eventTime":"2026-03-02T08:00:00.000Z",'
        '"eventTimeZoneOffset":"+01:00",'
        '"ilmd":{"cbvmda:itemExpirationDate":"2028-12-31","cbvmda:lotNumber":"L1"},'
        '"readPoint":{"id":"urn:epc:id:sgln:030001.111111.0"}}]}}'
    )


@either
def test_a_document_gives_back_the_records_it_was_made_of(write: Document) -> None:
    own = {"ext1:note": {"ext1:deep": ["2", "1"], "plain": "x"}, "https://other.example/ns#b": "c"}
    context = [inputs.CONTEXT[0], {"ext1": "urn:of:the:sender", "ex": "https://ns.example.com/epcis/"}]
    held = payloads(
        document(inputs.COMMISSIONING, inputs.PACKING, inputs.SHIPPING, DECLARED),
        inputs.xml(inputs.SHIPPING_1_2, version="1.2"),
        document(changed(inputs.SHIPPING, **own), **{"@context": context}),
    )
    assert len(held) == 6
    assert read_back(write(held, "name")) == held


def test_a_prefix_of_ours_is_not_taken_for_one_that_a_sender_left_undeclared() -> None:
    held = payloads(document(changed(inputs.SHIPPING, **{"ext1:note": "1", "bizStep": "ext2:step"})))
    assert read_back(JSON(held, "name")) == held
    assert b'"ext3":"https://ns.example.com/epcis/"' in JSON(held, "name")


@either
def test_the_names_in_a_header_are_kept_where_all_have_the_same(write: Document) -> None:
    headed = payloads(inputs.xml(inputs.SHIPPING_1_2, version="1.2", header=inputs.SBDH))
    other = payloads(document(inputs.SHIPPING, sender="0300011111116", receiver="0614141000005"))
    assert json.loads(other[0])["receiver"] == "0614141000005"
    assert read_back(write(headed, "name")) == headed
    assert read_back(write(other, "name")) == other
    both = [json.loads(payload) for payload in read_back(write([*headed, *other], "name"))]
    assert not any("receiver" in payload for payload in both)


def test_the_document_in_xml_in_full() -> None:
    """As above: a change of these bytes needs a new version of the form."""
    body = render({"batch_id": b"\xab" * 32, "count": 1}, [member(payloads(document(DECLARED))[0])], pack(), 7)
    assert body.decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<epcis:EPCISDocument xmlns:epcis="urn:epcglobal:epcis:xsd:2" xmlns:ext1="https://ns.example.com/epcis/" '
        'schemaVersion="2.0" creationDate="2026-03-05T00:00:00.000Z"><EPCISHeader><sbdh:StandardBusinessDocumentHeader '
        'xmlns:sbdh="http://www.unece.org/cefact/namespaces/StandardBusinessDocumentHeader">'
        "<sbdh:HeaderVersion>1.0</sbdh:HeaderVersion>"
        "<sbdh:Sender><sbdh:Identifier>0300011111116</sbdh:Identifier></sbdh:Sender>"
        "<sbdh:Receiver><sbdh:Identifier>0399999999991</sbdh:Identifier></sbdh:Receiver>"
        "<sbdh:DocumentIdentification><sbdh:Standard>EPCglobal</sbdh:Standard><sbdh:TypeVersion>2.0</sbdh:TypeVersion>"
        f"<sbdh:InstanceIdentifier>{'ab' * 32}</sbdh:InstanceIdentifier><sbdh:Type>Events</sbdh:Type>"
        "<sbdh:CreationDateAndTime>2026-03-05T00:00:00.000Z</sbdh:CreationDateAndTime></sbdh:DocumentIdentification>"
        "</sbdh:StandardBusinessDocumentHeader></EPCISHeader><EPCISBody><EventList><ObjectEvent>"
        "<eventTime>2026-03-02T08:30:00.000Z</eventTime><eventTimeZoneOffset>+01:00</eventTimeZoneOffset>"
        "<errorDeclaration><declarationTime>2026-03-05T00:00:00.000Z</declarationTime>"
        "<reason>https://ref.gs1.org/cbv/ER-incorrect_data</reason></errorDeclaration>"
        "<epcList><epc>urn:epc:id:sgtin:030001.0012345.1001</epc><epc>urn:epc:id:sgtin:030001.0012345.1002</epc>"
        "</epcList><action>OBSERVE</action><bizStep>https://ref.gs1.org/cbv/BizStep-shipping</bizStep>"
        "<disposition>https://ref.gs1.org/cbv/Disp-in_transit</disposition>"
        "<readPoint><id>urn:epc:id:sgln:030001.111111.0</id></readPoint><bizTransactionList>"
        '<bizTransaction type="https://ref.gs1.org/cbv/BTT-po">urn:epcglobal:cbv:bt:0300011111116:PO-1</bizTransaction>'
        '</bizTransactionList><sourceList><source type="https://ref.gs1.org/cbv/SDT-owning_party">'
        "urn:epc:id:pgln:030001.111111</source></sourceList><destinationList>"
        '<destination type="https://ref.gs1.org/cbv/SDT-owning_party">urn:epc:id:pgln:039999.999999</destination>'
        "</destinationList><ext1:temperature>5.5</ext1:temperature></ObjectEvent></EventList></EPCISBody>"
        "</epcis:EPCISDocument>"
    )


def test_a_document_is_dated_by_what_its_events_state() -> None:
    """Not by a clock: a retry repeats it byte for byte (law 3)."""
    held = payloads(document(inputs.SHIPPING), document(DECLARED))
    assert json.loads(JSON(held[:1], "name"))["creationDate"] == "2026-03-02T08:30:00.000Z"
    assert json.loads(JSON(held, "name"))["creationDate"] == "2026-03-05T00:00:00.000Z"


def test_a_disposition_that_the_json_schema_does_not_take_goes_by_its_full_name() -> None:
    event = changed(inputs.PACKING, **{"epcis:persistentDisposition": {"set": ["completeness_verified"]}})
    held = payloads(document(event))
    assert json.loads(held[0])["event"]["persistentDisposition"] == {"set": ["completeness_verified"]}
    (written,) = json.loads(JSON(held, "name"))["epcisBody"]["eventList"]
    assert written["epcis:persistentDisposition"] == {"set": ["completeness_verified"]}
    assert read_back(JSON(held, "name")) == held


@pytest.mark.cases
@pytest.mark.parametrize(
    ("write", "official", "known"), [(JSON, json_judge, NO_JSON), (XML, xml_judge, NO_XML)], ids=["json", "xml"]
)
def test_every_public_event_becomes_a_valid_document(
    cases: Path, write: Document, official: Callable[[Path], Judge], known: dict[str, str]
) -> None:
    judge, by = official(cases), pack("schema")
    with (cases / "epcis/EXPECTED.csv").open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    count, invalid = 0, {}
    for name in names:
        for one in by.unpack(Submission((cases / name).read_bytes())).records():
            if not isinstance(one, Record):
                continue
            count += 1
            body = write([one.payload], "name")
            if found := judge(body):
                invalid[Path(name).name] = found[-1]
            else:
                assert read_back(body, by) == [one.payload], name
    assert count >= 240
    assert invalid.keys() == known.keys(), invalid
    assert all(known[name] in found for name, found in invalid.items()), invalid


def test_numbers_keep_their_digits_and_truth_is_no_text() -> None:
    report: dict[str, Any] = {"type": "Temperature", "value": 0.1, "uom": "CEL", "booleanValue": True}
    event = changed(
        inputs.SHIPPING,
        sensorElementList=[{"sensorMetadata": {"time": "2026-03-02T08:00:00Z"}, "sensorReport": [report]}],
    )
    body = JSON([record(document(event)).payload], "name")
    assert b'"booleanValue":true' in body
    assert b'"value":0.1' in body
