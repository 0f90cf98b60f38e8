"""The short way for plain events says what the thorough one says, or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.pack import Record, Unpacked, finish
from schemas.packs.epcis import json_submission, plain, plain_json, plain_xml, xml_submission
from schemas.packs.epcis.judge import Rules
from schemas.packs.epcis.options import Options
from schemas.packs.epcis.pieces import MOST_ODD, Pieces
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
LOT = "urn:epc:class:lgtin:030001.0012345.L1"
FIELDS = ["eventTime", "recordTime", "eventTimeZoneOffset", "eventID", "parentID", "action", "bizStep", "type"]


def module_of(value: bytes) -> Any:
    return xml_submission if value[:1] == b"<" else json_submission


def read(value: bytes, rules: Rules) -> list[Record | None] | None:
    """The short way alone."""
    xml = module_of(value) is xml_submission
    return plain_xml.read(value, rules) if xml else plain_json.read(value, rules, json_submission._party)


def thorough(value: bytes, rules: Rules = STRICT) -> Unpacked:
    """The thorough way alone."""
    made: Unpacked = finish(module_of(value)._thorough(value, rules, lambda document: None))
    return made


def both(value: bytes, rules: Rules = STRICT) -> tuple[Unpacked | None, Unpacked, bool]:
    """What the short way and the thorough one make of a document, and whether the first did without the second."""
    asked = []

    def other() -> Unpacked:
        asked.append(value)
        return thorough(value, rules)

    kind = module_of(value)
    name = kind.XML if kind is xml_submission else kind.JSON
    quick = plain.unpack(name, value, rules, lambda document: read(document, rules), other)
    return quick, thorough(value, rules), quick is not None and not asked


def same(value: bytes, rules: Rules = STRICT) -> bool:
    """Whether the short way answers; then it must answer as the thorough one does."""
    value = value.replace(b"\\u0661", "\u0661".encode())  # an escape is not plain
    quick, slow, _ = both(value, rules)
    if quick is None:
        return False
    assert (quick.content_type, quick.count) == (slow.content_type, slow.count)
    assert list(quick.records()) == list(slow.records())
    return True


def spy(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[tuple[Any, ...]]:
    """What a function is given from now on."""
    given: list[tuple[Any, ...]] = []
    own = getattr(owner, name)

    def spied(*arguments: Any) -> Any:
        given.append(arguments)
        return own(*arguments)

    monkeypatch.setattr(owner, name, spied)
    return given


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


OWN: list[dict[str, Any]] = [
    {"ex:order": "4711"},
    {"ex:order": " 4711.50 "},
    {"ex:order": ["b", "a", "a"]},
    {"ex:order": {"ex:line": {"ex:number": "1"}, "other": "2"}},
    {"ex:order": {"@value": "4711", "@type": "xsd:string"}},
    {"ex:order": {"@context": {"ex": "https://other.example/"}, "ex:line": "1"}},
    {"ex:order": "1", "https://ns.example.com/epcis/order": "2"},
    {"ex:" + "n" * 300: "1"},
    {"ex:order": "a" * 1001},
    {"no:order": "1"},
    {"order": "1"},
    {"epcis:bizStep": "receiving"},
    {"rdfs:comment": "left out of the hash"},
    {"ex:order": 1},
    {"ex:order": None},
    {"ex:order": []},
    {"ex:order": "\u0000"},
]


def test_fields_of_ones_own_are_read_the_same_either_way() -> None:
    for own in OWN:
        assert same(document(PLAIN, {**PLAIN, **own}, {**PLAIN, **own})) or "\u0000" in own.values()
    assert both(document({**PLAIN, **OWN[0]}, {**PLAIN, **OWN[3]}))[2], "without the thorough way"
    parts = [
        "",
        "<ex:n/>",
        "<ex:n> 1.50 </ex:n>",
        "<ex:n>1</ex:n><ex:n>2</ex:n>",
        "<ex:n><ex:m ex:a='1'>2</ex:m></ex:n>",
    ]
    parts += ["<n>1</n>", f"<ex:{'n' * 300}>1</ex:{'n' * 300}>", "<ex:n a='1'>2</ex:n>", "<ex:n><m>1</m></ex:n>"]
    for version, event in (("2.0", PLAIN_2_0), ("1.2", PLAIN_1_2)):
        for place in ("</ObjectEvent>", "<action>"):
            assert same(xml(*(event.replace(place, part + place) for part in parts), version=version, header=SBDH))
    assert both(xml(PLAIN_2_0.replace("</ObjectEvent>", "<ex:n>1</ex:n></ObjectEvent>")))[2]


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
    quick, slow, _ = both(value)
    assert quick is None or list(quick.records()) == list(slow.records())
    if not isinstance(next(iter(slow.records())), Record):
        assert quick is None or not isinstance(next(iter(quick.records())), Record)


@pytest.mark.parametrize("syntax", ["JSON-LD", "XML 2.0", "XML 1.2"])
def test_a_large_document_is_read_the_same_either_way(syntax: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its plain events some at a time, each of the others by itself."""
    if syntax == "JSON-LD":
        events = [{**COMMISSIONING, "epcList": [f"{SGTIN}{number}"]} for number in range(600)]
        events[7:200:20] = [{**COMMISSIONING, "eventTime": text} for text in TEXTS[:10]]
        value = document(*events, PLAIN, SHIPPING, PACKING, sender="0300011111116")
    else:
        event = PLAIN_2_0 if syntax == "XML 2.0" else PLAIN_1_2
        item = "urn:epc:id:sgtin:030001.0012345.1002"
        assert item in event
        several = [event.replace(item, f"{SGTIN}{number}") for number in range(300)]
        several[7:200:20] = [event.replace(item, text) for text in TEXTS[:10]]
        value = xml(*several, event.replace("<action>", "<!-- --><action>"), version=syntax[-3:], header=SBDH)
    assert len(value) > plain.LARGEST
    slow = list(thorough(value).records())
    singly = spy(monkeypatch, Pieces, "_one")
    quick = finish(module_of(value).opening(value, STRICT))
    assert list(quick.records()) == slow
    assert 0 < len(singly) < 40, "the rest went the short way"
    for start in (1, 6, 7, len(slow) - 1):
        assert list(quick.records(start)) == slow[start:]


def test_a_record_of_a_large_document_is_read_alone_where_it_is_asked_for_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A record that breaks its reader must not take the one before it along."""
    value = document(*({**COMMISSIONING, "epcList": [f"{SGTIN}{number}"]} for number in range(600)))
    opened = finish(json_submission.opening(value, STRICT))
    seen = spy(monkeypatch, plain_json, "read")
    assert next(iter(opened.records(300))) == next(iter(thorough(value).records(300)))
    assert [data.count(b'"epcList"') for data, *_ in seen] == [1]


def test_a_document_with_shipments_under_us_law_is_read_the_same_either_way() -> None:
    rules = Rules(Options(dscsa=True), "strict")
    for value in (document(COMMISSIONING, PLAIN, PACKING, COMMISSIONING), xml(PLAIN_2_0, PLAIN_2_0)):
        quick = finish(module_of(value).opening(value, rules))
        assert list(quick.records()) == list(thorough(value, rules).records())


def test_a_document_of_no_plain_events_is_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    value = document(*({**PLAIN, "quantityList": [{"epcClass": LOT, "quantity": 1}]} for _ in range(400)))
    assert len(value) > plain.LARGEST
    tried = spy(monkeypatch, plain_json, "read")
    assert len(list(finish(json_submission.opening(value, STRICT)).records())) == 400
    assert len(tried) == 1 + MOST_ODD  # the document once


def test_a_document_that_others_judge_too_goes_the_thorough_way() -> None:
    official: Any = object()
    for value in (document(PLAIN), xml(PLAIN_2_0)):
        assert read(value, Rules(Options(), "strict", official)) is None
        assert both(value, Rules(Options(dscsa=True), "strict"))[0] is None
        assert both(value)[2]
