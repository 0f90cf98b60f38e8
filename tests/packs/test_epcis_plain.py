"""The short way for plain events says what the thorough one says, or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.pack import Record, Unpacked, finish
from schemas.packs.epcis import json_submission, plain, plain_json, plain_xml, xml_submission
from schemas.packs.epcis.judge import Rules
from schemas.packs.epcis.options import Options
from schemas.packs.epcis.sample import sample
from tests.packs.epcis_inputs import (
    COMMISSIONING,
    PACKING,
    SBDH,
    SHIPPING,
    SHIPPING_1_2,
    SHIPPING_2_0,
    changed,
    document,
    xml,
)

STRICT = Rules(Options(), "strict")
PLAIN = changed(SHIPPING, **{"ex:temperature": None})
PLAIN_2_0, PLAIN_1_2 = (
    event.replace("<ex:temperature>5.5</ex:temperature>", "") for event in (SHIPPING_2_0, SHIPPING_1_2)
)
SGTIN = "urn:epc:id:sgtin:030001.0012345."
TEXTS = [
    *(SGTIN + serial for serial in ("", "a" * 20, "a" * 21, "a.b", "*", "%2F1", "\u0661", "1 ")),
    "urn:epc:id:sgtin:030001.001234.1", "urn:epc:class:lgtin:030001.0012345.1", "urn:epc:id:sscc:030001.41234567890",
    "https://id.gs1.org/01/00300010123455/21/1", "https://id.gs1.org/01/00300010123456/21/1",
    "https://id.gs1.org/01/00300010123455/21/1?17=280101", "https://id.gs1.org/01/00300010123455/10/1", "", "x",
    "2026-03-02T09:30:00.000Z", "2026-03-02T09:30:60.000Z", "2026-03-02T24:00:00.000Z", "2026-02-30T09:30:00.000Z",
    "2026-03-02T09:30:0\u0661.000Z", "2026-03-02t09:30:00.000z", "2026-03-02T09:30:00+14:00", "2026-03-02T09:30:00",
    "+00:00", "+14:01", "ADD", "OBSERVE", "add", "shipping", "https://ref.gs1.org/cbv/BizStep-shipping", "teleporting",
]  # fmt: skip
FIELDS = ["eventTime", "recordTime", "eventTimeZoneOffset", "eventID", "parentID", "action", "bizStep", "type"]


def both(value: bytes, rules: Rules = STRICT) -> tuple[Unpacked | None, Unpacked, bool]:
    """What the short way and the thorough one make of a document, and whether the first did without the second."""
    asked = []

    def thorough() -> Unpacked:
        asked.append(value)
        made: Unpacked = finish(module._thorough(value, rules))
        return made

    module = xml_submission if value[:1] == b"<" else json_submission
    if module is xml_submission:
        quick = plain_xml.unpack(value, rules, thorough)
    else:
        quick = plain_json.unpack(value, rules, json_submission._party, thorough)
    return quick, finish(module._thorough(value, rules)), quick is not None and not asked


def same(value: bytes, rules: Rules = STRICT) -> bool:
    """Whether the short way answers; then it must answer as the thorough one does."""
    value = value.replace(b"\\u0661", "\u0661".encode())  # an escape is not plain
    quick, thorough, _ = both(value, rules)
    if quick is None:
        return False
    assert (quick.content_type, quick.count) == (thorough.content_type, thorough.count)
    assert list(quick.records()) == list(thorough.records())
    return True


@pytest.mark.parametrize("profile", ["strict", "lenient", "schema"])
def test_the_sample_is_read_the_same_either_way(profile: Any) -> None:
    documents = [value for _, value in sample(60)]
    for value in documents:
        same(value, Rules(Options(), profile))
    assert sum(both(value)[2] for value in documents) > 50  # the rest holds something broken


def test_single_fields_are_read_the_same_either_way() -> None:
    for name in FIELDS:
        assert same(document(*({**COMMISSIONING, name: text} for text in TEXTS), PACKING))
    assert same(document(*({**COMMISSIONING, "epcList": [SGTIN + "7", text]} for text in TEXTS)))
    assert same(document(*({**PACKING, "childEPCs": [text], "parentID": SGTIN + "7"} for text in TEXTS)))
    assert same(document(*({**COMMISSIONING, "readPoint": {"id": text}} for text in TEXTS)))
    assert same(document(*({**PLAIN, "sourceList": [{"type": "location", "source": text}]} for text in TEXTS)))
    for before in ("2026-03-02T09:30:00.000+01:00", "urn:epc:id:sgtin:030001.0012345.1002", "OBSERVE"):
        for version, event in (("2.0", PLAIN_2_0), ("1.2", PLAIN_1_2)):
            assert same(xml(*(event.replace(before, text) for text in TEXTS), version=version, header=SBDH))


@pytest.mark.parametrize(
    "value",
    [
        document(COMMISSIONING).replace(b'"action"', b'"action": "ADD", "action"'),
        document(COMMISSIONING).replace(b'"schemaVersion"', b'"schemaVersion" : "2.0", "schemaVersion"'),
        document(COMMISSIONING, sender=123456789012345678901),
        document(COMMISSIONING).replace(b"commissioning", b"commission\\u0069ng"),
        xml(SHIPPING_2_0.replace("<action>", "<!-- --><action>")),
        xml(SHIPPING_2_0).replace(b"<EventList>", b"<EventList><?x?>"),
        xml(SHIPPING_2_0.replace("<epcList>", "<epcList xmlns='urn:x'>")),
        document(COMMISSIONING, **{"@context": {"a": "x" * plain.LARGEST}}),
    ],
    ids=["key twice", "twice around", "a huge number", "an escape", "a comment", "a target", "a prefix", "long"]
)  # fmt: skip
def test_what_is_not_plain_is_left_to_the_thorough_way(value: bytes) -> None:
    quick, thorough, _ = both(value)
    assert quick is None or list(quick.records()) == list(thorough.records())
    if not isinstance(next(iter(thorough.records())), Record):
        assert quick is None or not isinstance(next(iter(quick.records())), Record)


def test_a_document_that_others_judge_too_goes_the_thorough_way() -> None:
    official: Any = object()
    party = json_submission._party
    for rules in (Rules(Options(), "strict", official), Rules(Options(dscsa=True), "strict")):
        shipment = document(PLAIN)
        assert plain_json.unpack(shipment, rules, party, lambda: pytest.fail("read")) is None
        assert plain_xml.unpack(xml(PLAIN_2_0), rules, lambda: pytest.fail("read")) is None
    assert both(document(PLAIN))[2]
    assert both(xml(PLAIN_2_0))[2]
