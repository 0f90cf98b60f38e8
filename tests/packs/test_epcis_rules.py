"""Each rule of the strict profile: one change to a good event, one code, at one place."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.pack import Refusal
from schemas.packs.epcis.rules import check_identifier
from tests.packs.epcis_inputs import (
    COMMISSIONING,
    PACKING,
    SHIPPING,
    SHIPPING_2_0,
    changed,
    codes_of,
    document,
    only,
    pack,
    record,
    refused,
    xml,
)

SGTIN = "urn:epc:id:sgtin:030001.0012345."
QUANTITY = {"epcClass": "urn:epc:class:lgtin:030001.0012345.L1", "quantity": 5}
SENSED: dict[str, Any] = {
    "sensorMetadata": {"time": "2026-03-02T08:00:00Z"},
    "sensorReport": [{"type": "Temperature", "value": 5, "uom": "CEL"}],
}
DECLARED = {"declarationTime": "2026-03-01T00:00:00Z", "reason": "did_not_occur"}


def ship(**changes: Any) -> dict[str, Any]:
    return changed(SHIPPING, **changes)


def place(gln: str) -> dict[str, str]:
    return {"id": f"https://id.gs1.org/414/{gln}"}


ANOTHERS = f"ni:///sha-256;{'0' * 64}?ver=CBV2.0"
"""The hash of another event."""
RULES: list[tuple[dict[str, Any], str, str]] = [
    # structure (EPCIS 2.0, 7.4)
    (ship(eventTime=None), "MISSING_FIELD", "eventTime"),
    (ship(eventTime="2026-02-30T00:00:00Z"), "BAD_TIME", "eventTime"),
    (ship(eventTime="2026-03-02T09:30:00"), "TIME_WITHOUT_ZONE", "eventTime"),
    (ship(eventTime="1969-12-31T23:59:59Z"), "TIME_OUT_OF_RANGE", "eventTime"),
    (ship(eventTimeZoneOffset="+14:30"), "BAD_FORMAT", "eventTimeZoneOffset"),
    (ship(action=None), "MISSING_FIELD", "action"),
    (ship(action="ADDED"), "BAD_FORMAT", "action"),
    (ship(type="QuantityEvent"), "UNKNOWN_EVENT_TYPE", "type"),
    (ship(epcList=None), "NOTHING_OBSERVED", ""),
    (ship(epcList=[]), "NOTHING_OBSERVED", ""),
    (ship(ilmd={"cbvmda:lotNumber": "L1"}), "ILMD_WITHOUT_ADD", "ilmd"),
    (ship(epcList=[SGTIN + "1", SGTIN + "1"]), "REPEATED_VALUE", "epcList"),
    (ship(persistentDisposition={}), "MISSING_FIELD", "persistentDisposition"),
    (ship(quantityList=[QUANTITY | {"quantity": "5"}]), "WRONG_TYPE", "quantityList[0].quantity"),
    (ship(sourceList=[{"source": "urn:epc:id:pgln:030001.111111"}]), "MISSING_FIELD", "sourceList[0].type"),
    (ship(sensorElementList=[{"sensorReport": []}]), "OUT_OF_RANGE", "sensorElementList[0].sensorReport"),
    (changed(PACKING, childEPCs=None), "NOTHING_OBSERVED", ""),
    (changed(PACKING, parentID=None), "NO_PARENT", "parentID"),
    (changed(PACKING, childEPCs=[PACKING["parentID"]]), "OWN_CHILD", "childEPCs"),
    (changed(PACKING, type="TransactionEvent", childEPCs=None), "MISSING_FIELD", "bizTransactionList"),
    (changed(PACKING, type="TransformationEvent", action=None, childEPCs=None, parentID=None), "NOTHING_OBSERVED", ""),
    # identifiers (EPC Tag Data Standard, Digital Link)
    (ship(epcList=["urn:epc:id:sgtin:030001.00123456.1"]), "BAD_IDENTIFIER", "epcList[0]"),
    (ship(epcList=[SGTIN]), "BAD_IDENTIFIER", "epcList[0]"),  # VAL-16: the serial number
    (ship(epcList=["https://id.gs1.org/01/00300010123456/21/1"]), "CHECK_DIGIT_WRONG", "epcList[0]"),
    (ship(epcList=[SGTIN + "1/2"]), "IDENTIFIER_NOT_ESCAPED", "epcList[0]"),
    (ship(epcList=["urn:epc:class:lgtin:030001.0012345.L1"]), "WRONG_KIND_OF_IDENTIFIER", "epcList[0]"),
    (ship(quantityList=[QUANTITY | {"epcClass": SGTIN + "1"}]), "WRONG_KIND_OF_IDENTIFIER", "quantityList[0].epcClass"),
    (ship(readPoint=place("0300011111117")), "CHECK_DIGIT_WRONG", "readPoint.id"),
    # quantities (EPCIS 2.0, 7.3.3.3)
    (ship(quantityList=[QUANTITY | {"quantity": 1.5}]), "BAD_QUANTITY", "quantityList[0].quantity"),
    (ship(quantityList=[QUANTITY | {"quantity": -1}]), "BAD_QUANTITY", "quantityList[0].quantity"),
    (ship(quantityList=[{"epcClass": QUANTITY["epcClass"], "uom": "KGM"}]), "UNIT_MISSING", "quantityList[0].uom"),
    # vocabulary (CBV 2.0)
    (ship(bizStep="moving"), "UNKNOWN_TERM", "bizStep"),
    (ship(disposition="https://ref.gs1.org/cbv/Disp-moved"), "UNKNOWN_TERM", "disposition"),
    (ship(bizTransactionList=[{"type": "order", "bizTransaction": "urn:x:1"}]), "UNKNOWN_TERM",
     "bizTransactionList[0].type"),
    # times and sensors (M122)
    (ship(errorDeclaration=DECLARED), "DECLARED_BEFORE_EVENT", "errorDeclaration.declarationTime"),
    (ship(sensorElementList=[SENSED | {"sensorMetadata": {"time": "2026-03-02T08:31:00Z"}}]), "SENSOR_AFTER_EVENT",
     "sensorElementList[0].sensorMetadata.time"),
    (ship(sensorElementList=[SENSED | {"sensorMetadata": {"startTime": "2026-03-02T08:00:00Z",
     "endTime": "2026-03-02T07:00:00Z"}}]), "SENSOR_SPAN_REVERSED", "sensorElementList[0].sensorMetadata.endTime"),
    # product data (VAL-16)
    (changed(COMMISSIONING, ilmd={"cbvmda:itemExpirationDate": "2028-12-31"}), "LOT_MISSING", "ilmd.lotNumber"),
    (changed(COMMISSIONING, ilmd={"cbvmda:lotNumber": "L1"}), "EXPIRY_MISSING", "ilmd.itemExpirationDate"),
    (changed(COMMISSIONING, ilmd=COMMISSIONING["ilmd"] | {"cbvmda:lotNumber": "L" * 21}), "BAD_LOT", "ilmd.lotNumber"),
    (changed(COMMISSIONING, ilmd=COMMISSIONING["ilmd"] | {"cbvmda:itemExpirationDate": "2028-02-30"}), "BAD_EXPIRY",
     "ilmd.itemExpirationDate"),
    (ship(sourceList=None), "PARTY_MISSING", "sourceList"),
    (ship(destinationList=None), "PARTY_MISSING", "destinationList"),
    (ship(bizTransactionList=None), "TRANSACTION_MISSING", "bizTransactionList"),
    # texts
    (ship(**{"ex:note": "a\x01b"}), "CONTROL_CHARACTER", "{https://ns.example.com/epcis/}note"),
    (ship(epcList=["urn:x:\x1f"]), "BAD_FORMAT", "epcList[0]"),
]  # fmt: skip


FOLLOWING = {
    "CONTROL_CHARACTER",
    "NOTHING_OBSERVED",
    "MISSING_FIELD",
    "UNEXPECTED_ELEMENT",
    "UNNAMED_EXTENSION",
    "PARTY_MISSING",
}
"""Codes that come with another one: a field in the wrong type of event is missing in the right one."""


@pytest.mark.parametrize(("event", "code", "path"), RULES, ids=[f"{code}-{path}" for _, code, path in RULES])
def test_a_rule(event: dict[str, Any], code: str, path: str) -> None:
    found = only(document(event))
    assert isinstance(found, Refusal), found
    assert (code, path) in [(finding.code, finding.path) for finding in found.findings]
    others = {finding.code for finding in found.findings} - {code}
    assert others <= FOLLOWING


@pytest.mark.parametrize("stated", ["2026-03-02T09:30:00", "2026-02-30T00:00:00Z", "1969-12-31T23:59:59Z", None])
def test_a_wrong_event_time_hides_no_other_finding(stated: str | None) -> None:
    """Only what is compared with it is not looked at: a declaration is neither before nor after it."""
    declared = {"declarationTime": "1970-01-02T00:00:00Z", "reason": "incorrect_data"}
    later = SENSED | {"sensorMetadata": {"time": "2999-01-01T00:00:00Z"}}
    wrong_digit = ["https://id.gs1.org/01/00300010123456/21/1"]
    lacking = ship(eventTime=stated, epcList=wrong_digit, sourceList=None, bizTransactionList=None)
    compared = ship(eventTime=stated, errorDeclaration=declared, sensorElementList=[later], eventID=ANOTHERS)
    for event, others in (
        (lacking, {"CHECK_DIGIT_WRONG", "PARTY_MISSING", "TRANSACTION_MISSING"}),
        (compared, set()),
    ):
        found = only(document(event))
        assert isinstance(found, Refusal)
        about_time = [one.code for one in found.findings if one.path == "eventTime"]
        assert len(about_time) == 1
        assert {one.code for one in found.findings} == others | set(about_time)


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("01/00300010123456/21/1", "has check digit 6 in 00300010123456, which should be 5"),
        ("414/0300011111117", "has check digit 7 in 0300011111117, which should be 6"),
        ("8003/03912345000771serial", "has check digit 1 in 3912345000771, which should be 5"),
        ("253/39123450007719", "has check digit 1 in 3912345000771, which should be 5"),
        ("8006/003000101234560102/21/1", "has check digit 6 in 00300010123456, which should be 5"),
    ],
)
def test_a_wrong_check_digit_is_shown_with_its_digits_and_the_right_one(link: str, words: str) -> None:
    text = f"https://id.gs1.org/{link}"
    (found,) = [one for one in check_identifier(text, "epcList[0]", "") if one.code == "CHECK_DIGIT_WRONG"]
    assert found.message == f"'{text}' {words}"


@pytest.mark.parametrize("stated", [None, "", " "])
def test_no_offset_is_one_finding(stated: str | None) -> None:
    element = "<eventTimeZoneOffset>+01:00</eventTimeZoneOffset>"
    assert element in SHIPPING_2_0
    spelt = "" if stated is None else element.replace("+01:00", stated)
    code = "MISSING_FIELD" if stated is None else "BAD_FORMAT"
    assert refused(document(ship(eventTimeZoneOffset=stated))) == [code]
    assert refused(xml(SHIPPING_2_0.replace(element, spelt))) == [code]


def test_schema_asks_no_business_rules() -> None:
    for event, code, _ in RULES:
        if code in ("CHECK_DIGIT_WRONG", "NO_PARENT", "LOT_MISSING", "SENSOR_AFTER_EVENT", "PARTY_MISSING"):
            record(document(event), by=pack("schema"))


def test_the_same_rules_hold_for_xml() -> None:
    assert refused(xml(SHIPPING_2_0.replace("BizStep-shipping", "BizStep-moving"))) == ["UNKNOWN_TERM"]
    assert refused(xml(SHIPPING_2_0.replace("+01:00</eventTimeZoneOffset>", "CET</eventTimeZoneOffset>"))) == [
        "BAD_FORMAT"
    ]
    assert refused(xml(SHIPPING_2_0.replace("1002</epc>", "1001</epc>"))) == ["REPEATED_VALUE"]
    assert refused(xml(SHIPPING_2_0.replace(".1002<", ".&#xE9;<"))) == ["BAD_IDENTIFIER"]


def test_trading_partners_are_checked_where_they_are_known() -> None:
    """VAL-17."""
    by = pack(partners=["0300011111116", "0399999999991"])
    record(document(SHIPPING), by=by)
    refusal = only(document(SHIPPING), by=pack(partners=["0300011111116"]))
    assert codes_of(refusal) == ["UNKNOWN_PARTNER"]


def test_options_are_checked() -> None:
    for wrong in ({"partners": ["0300011111117"]}, {"max_items": 0}, {"unknown": 1}):
        with pytest.raises(ValueError, match=r"\S"):
            pack(**wrong)
    with pytest.raises(ValueError, match="profile"):
        pack("easy")


def test_an_event_hash_that_is_stated_and_differs_is_said() -> None:
    stated = "ni:///sha-256;" + "0" * 64 + "?ver=CBV2.0"
    found = record(document(ship(eventID=stated)))
    assert codes_of(found) == ["EVENT_ID_DIFFERS"]
    assert codes_of(record(document(ship(eventID=found.fields["event_hash"])))) == []
