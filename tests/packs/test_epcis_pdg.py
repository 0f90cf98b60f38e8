"""Reports of exceptions: what goods and data disagree about, as PDG's schema has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema_rs
import pytest

from schemas.pack import Record, Refusal
from schemas.packs.epcis.known import Product
from schemas.packs.epcis.pdg import (
    Fault,
    Reporter,
    Scan,
    Shipped,
    compare,
    is_of_order,
    items_of,
    master_data_errors,
    read_scan,
    report,
)
from schemas.packs.epcis.transaction import read_transaction
from tests.packs.epcis_dscsa_inputs import GTIN, changed_by, dscsa, good, put
from tests.packs.epcis_inputs import outcomes

CASE = UUID(int=7)
FNC1 = "\x1d"
BY = Reporter("PO-1", "exceptions@example.com", "0399999999991")


def data(*serials: str, lot: str = "L1") -> dict[str, Shipped]:
    return {f"01/{GTIN}/21/{one}": Shipped(Product(lot, "2028-12-31"), "raw/0/1") for one in serials}


def scan(serial: str, lot: str = "L1", expiry: str = "2028-12-31") -> Scan:
    return Scan(GTIN, serial, lot, expiry)


@pytest.mark.parametrize(
    ("text", "scanned"),
    [
        (f"(01){GTIN}(21)1001(17)281231(10)L1", scan("1001")),
        (f"]d201{GTIN}211001{FNC1}1728123110L1", scan("1001")),
        (f"(01){GTIN}(17)280200(21)5", Scan(GTIN, "5", "", "2028-02-29")),
        (f"(01){GTIN}", Scan(GTIN, "", "", "")),
    ],
)
def test_what_a_code_says(text: str, scanned: Scan) -> None:
    assert read_scan(text) == scanned


@pytest.mark.parametrize("text", ["", "hello", "(00)403000112345678901", "(01)00300010123456"])
def test_a_code_that_names_no_product_says_why(text: str) -> None:
    assert isinstance(read_scan(text), str)


def test_goods_and_data_that_agree_give_nothing() -> None:
    assert compare(data("1", "2"), [scan("1"), scan("2"), scan("2")], {GTIN: 2}, CASE) == {}


CASES: list[tuple[dict[str, Shipped], list[Scan], dict[str, int], dict[str, list[dict[str, Any]]]]] = [
    (data("1"), [scan("1"), scan("2", lot="")], {}, {
        "missing_product_data": [{"product_gtin": GTIN, "product_serial": "2", "observation_source": "Scan"}]}),
    ({}, [Scan(GTIN, "", "", "")], {}, {"missing_product_data": [{"product_serial": None}]}),
    (data("1", "2"), [scan("1")], {}, {"missing_product": [{"product_serial": "2", "file_id": "raw/0/1"}]}),
    (data("1"), [scan("1", lot="L2")], {}, {
        "data_misalignment": [{"received_product_lot": "L2", "product_data_lot": "L1",
                               "received_product_expiry": "12312028"}]}),
    (data("1"), [scan("1", expiry="2027-01-01")], {}, {"data_misalignment": [{"received_product_expiry": "01012027"}]}),
    (data("1", "2"), [scan("1"), scan("3")], {}, {
        "data_misalignment": [{"received_product_serial": "3", "product_data_serial": "2"}]}),
    (data("1", "2"), [scan("3"), scan("4")], {}, {  # which is which nobody can tell
        "missing_product_data": [{"product_serial": "3"}, {"product_serial": "4"}],
        "missing_product": [{"product_serial": "1"}, {"product_serial": "2"}]}),
    (data("1"), [scan("1")], {GTIN: 3}, {"underages": [{"quantity_ordered": 3, "quantity_received": 1}]}),
    (data("1", "2"), [scan("1"), scan("2")], {GTIN: 1}, {
        "overages": [{"quantity_ordered": 1, "quantity_received": 2, "resolution_request": "Debit account"}]}),
]  # fmt: skip


@pytest.mark.cases
@pytest.mark.parametrize(("said", "scans", "ordered", "wanted"), CASES)
def test_what_differs_is_told_by_its_kind_and_validates(
    said: dict[str, Shipped],
    scans: list[Scan],
    ordered: dict[str, int],
    wanted: dict[str, list[dict[str, Any]]],
    cases: Path,
) -> None:
    found = compare(said, scans, ordered, CASE)
    assert found.keys() == wanted.keys()
    for kind, rows in wanted.items():
        assert len(found[kind]) == len(rows)
        for row, part in zip(found[kind], rows, strict=True):
            assert row | part == row
    check(report(BY, found, [], CASE, 1_772_452_800), cases)
    assert found == compare(said, scans, ordered, CASE), "the same again, identifiers included"


def check(made: dict[str, Any], cases: Path) -> None:
    schema = json.loads((cases / "epcis/pdg_exceptions/report_schema.json").read_text())
    jsonschema_rs.validate(schema, json.loads(json.dumps(made)))
    names = set(schema["$defs"]["Exceptions"]["properties"])
    assert made["exceptions"].keys() <= names, "the schema lets pass what it does not know"


@pytest.mark.cases
def test_master_data_errors_are_those_of_refused_records(cases: Path) -> None:
    refused = outcomes(changed_by(lambda d: put(d, "additionalTradeItemIdentification", "0001-0123-46")), by=dscsa())[2]
    assert isinstance(refused, Refusal)
    payload = json.loads(refused.original)
    faults = [Fault(*finding, payload) for finding in refused.findings]
    faults += [Fault("PARTNER_NOT_LISTED", path, "is not listed", payload) for path in ("sender", "owner", "new_owner")]
    found, others = master_data_errors(faults, CASE)
    assert [one["invalid_gln"] for one in found["gln_errors"]] == ["0300011111116", "0399999999991"]
    assert [one["invalid_gtin"] for one in found["gtin_errors"]] == [GTIN]
    assert others[0].startswith("NDC_DIFFERS header.masterData")
    made = report(BY, {"master_data_errors": found}, others, CASE, 1_772_452_800)
    check(made, cases)
    assert not made["case_resolved"]


def test_a_shipment_is_taken_apart_into_its_items() -> None:
    found = outcomes(json.dumps(good()).encode(), by=dscsa())[2]
    assert isinstance(found, Record)
    payload = json.loads(found.payload)
    transaction = read_transaction(payload["transaction"])
    assert transaction is not None
    product = Product("L1", "2028-12-31")
    assert items_of(payload, transaction) == {f"01/{GTIN}/21/100{n}": product for n in (1, 2)}
    assert is_of_order(payload["event"], "PO-1")
    assert is_of_order(payload["event"], "urn:epcglobal:cbv:bt:0300011111116:PO-1")
    assert not is_of_order(payload["event"], "PO-11")
