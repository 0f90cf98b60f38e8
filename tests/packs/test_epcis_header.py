"""What partners receive of shipments under US law: documents of which they can take statement, master data and goods as
the guideline has them. They validate against the official schemas, and read by this pack they lack nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from schemas.pack import Record, Refusal
from schemas.packs import documents
from schemas.packs.epcis.transaction import LONGEST
from streams.delivery.render import FORMS, render
from tests.packs.epcis_dscsa_inputs import (
    ADDRESS,
    BUYER,
    GTIN,
    MAKER,
    NOTICE,
    PRODUCT,
    Document,
    changed_by,
    dscsa,
    events,
    good,
    put,
    xml_1_2,
)
from tests.packs.epcis_inputs import codes_of, outcomes, pack
from tests.packs.epcis_schemas import Judge, json_judge, xml_judge
from tests.packs.test_epcis_bodies import member
from topology.partner import BodyForm

GOOD = json.dumps(good()).encode()
OFFICIAL: dict[BodyForm, Callable[[Path], Judge]] = {
    "epcis-json": json_judge,
    "epcis-xml": xml_judge,
    "epcis-xml-1.2": lambda cases: xml_judge(cases, "XSL/1.2/XSD/EPCglobal-epcis-1_2.xsd"),
}
every_form = pytest.mark.parametrize("form", OFFICIAL)


def payloads(document: bytes, profile: str = "strict") -> list[bytes]:
    """Of a document whose events are all taken."""
    found = outcomes(document, by=dscsa(profile))
    assert all(isinstance(one, Record) for one in found), found
    return [one.payload for one in found if isinstance(one, Record)]


def write(form: BodyForm, held: list[bytes]) -> bytes:
    return documents("epcis")[form](held, "name")


@pytest.mark.cases
@every_form
@pytest.mark.parametrize("document", [GOOD, xml_1_2()], ids=["json", "xml-1.2"])
def test_a_partner_that_asks_what_we_ask_finds_nothing_missing(cases: Path, form: BodyForm, document: bytes) -> None:
    held = payloads(document)
    body = write(form, held)
    assert OFFICIAL[form](cases)(body) == []
    back = outcomes(body, by=dscsa())
    assert [codes_of(one) for one in back] == [[], [], []]
    again = [one.payload for one in back if isinstance(one, Record)]
    before, after = json.loads(held[2]), json.loads(again[2])
    assert after["transaction"] == before["transaction"]
    assert after["event"] == before["event"]
    if document != GOOD or form != "epcis-xml-1.2":  # 1.2 has no document without a sender
        assert again == held
    assert write(form, held) == body


def test_the_statement_and_the_master_data_in_full() -> None:
    """A change of these bytes needs a new version of the form, since retries must repeat them (DI3)."""
    body = json.loads(write("epcis-json", payloads(GOOD)))
    assert body["@context"][1]["gs1ushc"] == "http://epcis.gs1us.org/hc/ns#"
    assert body["gs1ushc:dscsaTransactionStatement"] == {
        "gs1ushc:affirmTransactionStatement": "true",
        "gs1ushc:legalNotice": NOTICE,
    }
    products, places = body["epcisHeader"]["epcisMasterData"]["vocabularyList"]
    assert products["type"] == "urn:epcglobal:epcis:vtype:EPCClass"
    (product,) = products["vocabularyElementList"]
    assert product["id"] == "urn:epc:idpat:sgtin:030001.0012345.*"
    assert {one["id"]: one["attribute"] for one in product["attributes"]} == {
        f"cbvmda:{name}": text for name, text in PRODUCT.items()
    }
    assert places["type"] == "urn:epcglobal:epcis:vtype:Location"
    assert [place["id"] for place in places["vocabularyElementList"]] == [
        "urn:epc:id:sgln:030001.111111.0",
        "urn:epc:id:sgln:039999.999999.0",
    ]
    xml = write("epcis-xml-1.2", payloads(xml_1_2())).decode()
    attributes = "".join(
        f'<attribute id="urn:epcglobal:cbv:mda#{name}">{ADDRESS[name]}</attribute>' for name in sorted(ADDRESS)
    )
    assert (
        "</sbdh:StandardBusinessDocumentHeader><extension><EPCISMasterData><VocabularyList><Vocabulary "
        'type="urn:epcglobal:epcis:vtype:EPCClass"><VocabularyElementList><VocabularyElement '
        'id="urn:epc:idpat:sgtin:030001.0012345.*">'
    ) in xml
    assert (
        f'<VocabularyElement id="urn:epc:id:sgln:039999.999999.0">{attributes}</VocabularyElement>'
        "</VocabularyElementList></Vocabulary></VocabularyList></EPCISMasterData></extension>"
        "<gs1ushc:dscsaTransactionStatement><gs1ushc:affirmTransactionStatement>true"
        f"</gs1ushc:affirmTransactionStatement><gs1ushc:legalNotice>{NOTICE}</gs1ushc:legalNotice>"
        "</gs1ushc:dscsaTransactionStatement></EPCISHeader>"
    ) in xml


@every_form
def test_without_the_option_nothing_stands_beside_the_events(form: BodyForm) -> None:
    held = [one.payload for one in outcomes(GOOD, by=pack()) if isinstance(one, Record)]
    assert len(held) == 3
    for word in (b"dscsa", b"Vocabulary", b"vocabulary"):
        assert word not in write(form, held)


@every_form
def test_a_batch_that_was_tried_before_is_repeated_in_the_form_it_had(form: BodyForm) -> None:
    """DI3: its digest stands with the first attempt."""
    held = payloads(xml_1_2())
    batch = {"batch_id": b"\xab" * 32, "count": len(held)}
    members = [member(payload) for payload in held]
    older = render(batch, members, dscsa(), FORMS[form] - 3)
    assert b"dscsa" not in older
    assert older != render(batch, members, dscsa(), FORMS[form])
    assert [codes_of(one) for one in outcomes(older, by=pack())] == [[], [], []]


def _second(notice: str = NOTICE, product: str = "Examplamide") -> bytes:
    """Another shipment of the same goods, a day later."""

    def change(document: Document) -> None:
        statement = document["gs1ushc:dscsaTransactionStatement"]
        statement["gs1ushc:legalNotice"] = notice
        put(document, "regulatedProductName", product)
        for event in events(document):
            event["eventTime"] = event["eventTime"].replace("2026-03-02", "2026-03-03")

    return changed_by(change)


@pytest.mark.cases
@every_form
def test_notices_that_differ_are_all_told(cases: Path, form: BodyForm) -> None:
    body = write(form, payloads(GOOD) + payloads(_second("Another & <notice>.")))
    assert OFFICIAL[form](cases)(body) == []
    found = outcomes(body, by=dscsa())
    assert [codes_of(one) for one in found] == [[]] * 6
    assert NOTICE.encode() in body
    assert b"Another " in body


@every_form
def test_of_master_data_that_differs_the_latest_shipment_s_is_told(form: BodyForm) -> None:
    first, second = payloads(GOOD), payloads(_second(product="Examplamide forte"))
    for held in (first + second, second + first):
        back = outcomes(write(form, held), by=dscsa())
        said = [json.loads(one.payload).get("transaction") for one in back if isinstance(one, Record)]
        assert [one["trade_items"][GTIN]["regulatedProductName"] for one in said if one] == ["Examplamide forte"] * 2


@every_form
def test_no_statement_is_made_of_a_shipment_that_came_without(form: BodyForm) -> None:
    """Not even beside one that had it: a document's statement is about all that it ships."""
    unaffirmed = payloads(changed_by(lambda made: made.pop("gs1ushc:dscsaTransactionStatement")), "lenient")
    body = write(form, payloads(_second()) + unaffirmed)
    assert b"TransactionStatement" not in body
    assert b"EPCClass" in body


@every_form
def test_several_senders_and_receivers_leave_each_event_its_own(form: BodyForm) -> None:
    other = xml_1_2().replace(b"urn:epc:id:sgln:039999.999999.0</sbdh", b"urn:epc:id:sgln:010001.111111.0</sbdh")
    held = payloads(xml_1_2()) + payloads(other.replace(b"2026-03-02", b"2026-03-03"))
    back = outcomes(write(form, held), by=dscsa())
    assert [codes_of(one) for one in back] == [[]] * 6
    parties = [(one.fields["sender"], one.fields["receiver"]) for one in back if isinstance(one, Record)]
    assert parties[2] == parties[5] == (MAKER, BUYER)


def test_master_data_that_no_document_may_carry_is_refused_before_it_is_written() -> None:
    found = outcomes(changed_by(lambda made: put(made, "regulatedProductName", "Ex\x01ample")), by=dscsa())[-1]
    assert isinstance(found, Refusal), found
    assert [(one.code, one.path) for one in found.findings] == [
        ("CONTROL_CHARACTER", f"header.masterData.{GTIN}.regulatedProductName")
    ]


@pytest.mark.parametrize("where", ["notice", "master data"])
def test_what_would_be_cut_off_for_a_partner_is_refused_instead(where: str) -> None:
    def change(document: Document, size: int) -> None:
        if where == "notice":
            document["gs1ushc:dscsaTransactionStatement"]["gs1ushc:legalNotice"] = "n" * size
        else:
            put(document, "regulatedProductName", "n" * size)

    path = {"notice": "legalNotice", "master data": f"masterData.{GTIN}.regulatedProductName"}[where]
    for size, found in ((LONGEST, []), (LONGEST + 1, [("TOO_LARGE", f"header.{path}")])):
        made = outcomes(changed_by(partial(change, size=size)), by=dscsa())[-1]
        findings = made.findings if isinstance(made, Refusal) else ()
        assert [(one.code, one.path) for one in findings] == found


def test_a_company_prefix_that_no_urn_names_is_not_guessed() -> None:
    def linked(document: Document) -> None:
        text = json.dumps(events(document))
        for urn, link in (
            ("urn:epc:id:sgtin:030001.0012345.", f"https://id.gs1.org/01/{GTIN}/21/"),
            ("urn:epc:id:sscc:030001.41234567890", "https://id.gs1.org/00/403000112345678901"),
            ("urn:epc:id:pgln:030001.111111", f"https://id.gs1.org/417/{MAKER}"),
            ("urn:epc:id:pgln:039999.999999", f"https://id.gs1.org/417/{BUYER}"),
            ("urn:epc:id:sgln:030001.111111.0", f"https://id.gs1.org/414/{MAKER}"),
        ):
            text = text.replace(urn, link)
        document["epcisBody"]["eventList"] = json.loads(text)

    held = payloads(changed_by(linked))
    body = write("epcis-json", held)
    assert f'"https://id.gs1.org/01/{GTIN}"'.encode() in body
    assert f'"https://id.gs1.org/414/{BUYER}"'.encode() in body
    assert [one.payload for one in outcomes(body, by=dscsa()) if isinstance(one, Record)] == held
