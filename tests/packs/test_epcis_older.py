"""A batch as an EPCIS 1.2 document: it validates against the official XSD, says the same events, and what it cannot say
is told beforehand."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from schemas.pack import Record, Submission
from schemas.packs import document_checks, documents
from tests.packs import epcis_inputs as inputs
from tests.packs.epcis_inputs import changed, document, event_of, outcomes, pack, record
from tests.packs.epcis_schemas import xml_judge

FORM = "epcis-xml-1.2"
WRITE, CHECK = documents("epcis")[FORM], document_checks("epcis")[FORM]
LINK = "https://id.gs1.org/01/00300010123455/21/1001"


def found(event: dict[str, Any]) -> list[tuple[str, str]]:
    """(code, path) of what 1.2 cannot say of an event."""
    return [(one.code, one.path) for one in CHECK(record(document(event), by=pack("schema")).payload)]


def test_the_document_in_full() -> None:
    """A change of these bytes needs a new version of the form, since retries must repeat them (DI3)."""
    declared = {"declarationTime": "2026-03-05T00:00:00Z", "reason": "incorrect_data"}
    event = changed(inputs.SHIPPING, epcList=["urn:epc:id:sgtin:030001.0012345.1001"], errorDeclaration=declared)
    body = WRITE([record(document(event)).payload], "name").decode()
    assert body.partition("<EPCISBody>")[2] == (
        "<EventList><ObjectEvent><eventTime>2026-03-02T08:30:00.000Z</eventTime>"
        "<eventTimeZoneOffset>+01:00</eventTimeZoneOffset><baseExtension><errorDeclaration>"
        "<declarationTime>2026-03-05T00:00:00.000Z</declarationTime>"
        "<reason>urn:epcglobal:cbv:er:incorrect_data</reason></errorDeclaration></baseExtension>"
        "<epcList><epc>urn:epc:id:sgtin:030001.0012345.1001</epc></epcList><action>OBSERVE</action>"
        "<bizStep>urn:epcglobal:cbv:bizstep:shipping</bizStep>"
        "<disposition>urn:epcglobal:cbv:disp:in_transit</disposition>"
        "<readPoint><id>urn:epc:id:sgln:030001.111111.0</id></readPoint><bizTransactionList>"
        '<bizTransaction type="urn:epcglobal:cbv:btt:po">urn:epcglobal:cbv:bt:0300011111116:PO-1</bizTransaction>'
        '</bizTransactionList><extension><sourceList><source type="urn:epcglobal:cbv:sdt:owning_party">'
        "urn:epc:id:pgln:030001.111111</source></sourceList><destinationList>"
        '<destination type="urn:epcglobal:cbv:sdt:owning_party">urn:epc:id:pgln:039999.999999</destination>'
        "</destinationList></extension><ext1:temperature>5.5</ext1:temperature></ObjectEvent></EventList></EPCISBody>"
        "</epcis:EPCISDocument>"
    )
    assert 'xmlns:epcis="urn:epcglobal:epcis:xsd:1"' in body
    assert 'schemaVersion="1.2"' in body
    assert "<sbdh:TypeVersion>1.2</sbdh:TypeVersion>" in body


def test_what_1_2_can_say_comes_back_as_it_was() -> None:
    held = [
        one.payload
        for value in (
            document(inputs.COMMISSIONING, inputs.PACKING, inputs.SHIPPING),
            inputs.xml(inputs.SHIPPING_1_2, version="1.2", header=inputs.SBDH),
        )
        for one in outcomes(value)
        if isinstance(one, Record)
    ]
    assert len(held) == 4
    assert not any(map(CHECK, held))
    for part in (held[:3], held[3:]):
        assert [one.payload for one in outcomes(WRITE(part, "n")) if isinstance(one, Record)] == part


def test_what_1_2_has_no_place_for_is_left_out_and_told() -> None:
    sensed = [{"sensorReport": [{"type": "Temperature", "value": 4.5, "uom": "CEL"}]}]
    kept = {"set": ["completeness_verified"]}
    event = changed(inputs.SHIPPING, sensorElementList=sensed, persistentDisposition=kept, disposition="conformant")
    assert found(event) == [
        ("DROPPED_IN_1_2", "sensorElementList"),
        ("DROPPED_IN_1_2", "persistentDisposition"),
        ("NEWER_THAN_1_2", "disposition"),
    ]
    (back,) = outcomes(WRITE([record(document(event)).payload], "n"))
    assert event_of(back) == event_of(record(document(changed(inputs.SHIPPING, disposition="conformant"))))


def test_an_event_that_1_2_cannot_say_at_all_is_refused_beforehand() -> None:
    association = changed(inputs.PACKING, type="AssociationEvent")
    sensed = [{"sensorReport": [{"type": "Temperature", "value": 4.5, "uom": "CEL"}]}]
    readings = changed(inputs.SHIPPING, epcList=None, sensorElementList=sensed)
    assert found(association) == [("NOT_IN_1_2", "type")]
    assert ("NOT_IN_1_2", "") in found(readings)
    with pytest.raises(ValueError, match="AssociationEvent"):
        WRITE([record(document(association), by=pack("schema")).payload], "n")


def test_a_link_becomes_a_urn_where_a_urn_of_the_event_names_its_company_prefix() -> None:
    """And never by a guess: the length of the prefix is not in the link."""
    told = changed(inputs.COMMISSIONING, epcList=[LINK])
    held = record(document(told))
    (back,) = outcomes(WRITE([held.payload], "n"))
    assert event_of(back)["epcList"] == ["urn:epc:id:sgtin:030001.0012345.1001"]
    assert isinstance(back, Record)
    assert back.fields["event_hash"] == held.fields["event_hash"]
    untold = changed(told, readPoint={"id": "https://example.com/places/7"})
    assert found(untold) == [("NOT_IN_1_2", "epcList[0]")]
    with_lot = changed(told, epcList=[LINK.replace("/21/", "/10/L1/21/")])
    assert found(with_lot) == [("DROPPED_IN_1_2", "epcList[0]")]


@pytest.mark.cases
def test_every_public_event_that_1_2_can_say_becomes_a_valid_document(cases: Path) -> None:
    judge, by = xml_judge(cases, "XSL/1.2/XSD/EPCglobal-epcis-1_2.xsd"), pack("schema")
    with (cases / "epcis/EXPECTED.csv").open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    whole = parts = 0
    for name in names:
        for one in by.unpack(Submission((cases / name).read_bytes())).records():
            told = [finding.code for finding in CHECK(one.payload)] if isinstance(one, Record) else ["NOT_IN_1_2"]
            if not isinstance(one, Record) or "NOT_IN_1_2" in told:
                continue
            body = WRITE([one.payload], "name")
            assert judge(body) == [], name
            (back,) = outcomes(body, by=by)
            assert isinstance(back, Record), name
            if "DROPPED_IN_1_2" in told:
                parts += 1
            else:
                whole += 1
                assert back.fields["event_hash"] == one.fields["event_hash"], name
    assert whole >= 80
    assert parts >= 60
