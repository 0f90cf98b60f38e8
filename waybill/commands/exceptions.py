"""`waybill exceptions`: what the goods of an order and its data disagree about, as a report in PDG's schema."""

from __future__ import annotations

import json as jsonlib
import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import NAMESPACE_URL, UUID, uuid5

import typer

from waybill.context import Brokers, Folder, PipelineName, find_brokers, load, require_topics
from waybill.output import Code, Fault, count, finish, safe, say

if TYPE_CHECKING:
    from schemas.canonical import RawPosition
    from schemas.packs.epcis.pdg import Fault as Found
    from schemas.packs.epcis.pdg import Scan, Shipped
    from streams.stage import Message
    from topology.model import Pipeline
    from waybill.reader import Decoder, Reader

REPORTED = frozenset(
    {"PARTNER_NOT_LISTED", "PARTNER_WITHDRAWN", "LICENCE_NOT_VALID", "PRODUCT_DATA_MISSING", "PARTY_DATA_MISSING",
     "GTIN_NOT_NDC", "BAD_NDC", "NDC_DIFFERS", "CONTENTS_UNKNOWN", "ITEM_WITHOUT_COMMISSIONING", "ITEM_WITHOUT_LOT",
     "ITEM_WITHOUT_EXPIRY", "ITEM_NOT_SERIALIZED", "STATEMENT_MISSING", "OWNER_MISSING"}
)  # fmt: skip
"""Codes of refused shipments that a report tells: as errors of master data where one names a GLN or GTIN."""

Po = Annotated[str, typer.Option("--po", help="purchase order, as shipments name it, or its last part behind `:`")]
Email = Annotated[str, typer.Option(help="where the partner may answer to")]
Scans = Annotated[Path | None, typer.Option(help="file of codes scanned on the goods, a GS1 element string each line")]
Ordered = Annotated[list[str] | None, typer.Option(help="GTIN=NUMBER of items ordered, to be counted; repeatable")]
Gln = Annotated[str | None, typer.Option(help="GLN of who reports")]
Phone = Annotated[str | None, typer.Option(help="of who reports")]
CaseId = Annotated[str | None, typer.Option(help="UUID of the case; default: one that follows from PIPELINE and --po")]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(exceptions)


def exceptions(
    name: PipelineName, po: Po, email: Email, scans: Scans = None, ordered: Ordered = None, gln: Gln = None,
    phone: Phone = None, case: CaseId = None, brokers: Brokers = None, folder: Folder = None,
) -> None:  # fmt: skip
    """Compare the goods of a purchase order with its data, and print a PDG exception report (JSON).

    Data are the shipments of the order on `validated`, refused ones on `dead-letter`. Without --scans goods are not
    compared, and only what was refused is told. Nothing is sent.

    Exit 1: there are exceptions; 3: shipments whose payload is kept by claim check were not looked into.
    """
    from schemas.packs.epcis.pdg import Reporter, compare, master_data_errors, report
    from waybill.reader import Decoder, Reader

    pipeline = load(name, folder)
    if pipeline.pack != "epcis":
        raise Fault(f"{name} has the pack {pipeline.pack}; exceptions are those of shipments, pack epcis")
    counts = dict(_ordered(one) for one in ordered or ())
    if counts and scans is None:
        raise Fault("--ordered counts what was scanned: add --scans")
    scanned = None if scans is None else _scans(scans)
    about = _case(case, pipeline, po)
    cluster = find_brokers(brokers)
    require_topics(cluster, pipeline, "validated", "dead-letter")
    with Reader(cluster) as reader:
        refused, faults = _refused(reader, Decoder(pipeline), pipeline, po)
        data, taken, claimed = _shipments(reader, Decoder(pipeline), pipeline, po, refused)
    found: dict[str, Any] = {} if scanned is None else compare(data, scanned, counts, about)
    untaken = [fault for fault in faults if fault.payload["event_hash"] not in taken]
    wrong, others = master_data_errors(untaken, about)
    if wrong:
        found["master_data_errors"] = wrong
    made = report(Reporter(po, email, gln, phone), found, others, about, int(time.time()))
    typer.echo(jsonlib.dumps(made, indent=2))
    say(
        f"{count(len(data), 'item')} in data" + ("" if scanned is None else f", {count(len(scanned), 'scan')} of goods")
    )
    if claimed:
        say(f"not looked into: {count(claimed, 'record')} whose payload is kept by claim check")
    finish(Code.INCOMPLETE if claimed else Code.FINE if made["case_resolved"] else Code.FOUND)


def _case(text: str | None, pipeline: Pipeline, po: str) -> UUID:
    if text is None:
        return uuid5(NAMESPACE_URL, f"urn:waybill:exceptions:{pipeline.group_id('validate')}:{po}")
    try:
        return UUID(text)
    except ValueError:
        raise Fault(f"{text!r} is no UUID") from None


def _ordered(text: str) -> tuple[str, int]:
    from schemas.gs1.characters import has_check_digit, is_digits

    gtin, _, number = text.partition("=")
    if len(gtin) != 14 or not is_digits(gtin) or not has_check_digit(gtin) or not is_digits(number):
        raise Fault(f"--ordered {text!r}: GTIN of 14 digits, `=`, a number")
    return gtin, int(number)


def _scans(file: Path) -> list[Scan]:
    from schemas.packs.epcis.pdg import read_scan

    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")  # a code may hold other characters that end lines
    except (OSError, UnicodeError) as wrong:
        raise Fault(f"{file}: {wrong}") from wrong
    found = []
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        scan = read_scan(text.rstrip("\r"))
        if isinstance(scan, str):
            raise Fault(f"{file}:{number}: {safe(text[:80])!r} {scan}")
        found.append(scan)
    return found


def _messages(reader: Reader, pipeline: Pipeline, short: str) -> Iterator[Message]:
    """Those of every lane: an order may be in several."""
    from topology.lanes import lanes_of

    for lane in lanes_of(pipeline).values():
        yield from reader.all(lane.topic(short))


def _shipments(
    reader: Reader, decoder: Decoder, pipeline: Pipeline, po: str, refused: Container[RawPosition]
) -> tuple[dict[str, Shipped], set[str], int]:
    """Items by name, hashes of the order's events that were taken, and how many payloads could not be looked into.
    A shipment that was declared an error ships nothing; neither does one that the batch stage `refused`."""
    from schemas.messages import position_of
    from schemas.packs.epcis.pdg import Shipped, is_of_order, items_of
    from schemas.packs.epcis.transaction import is_shipment, read_transaction

    shipments: dict[str, dict[str, Shipped]] = {}
    declared: set[str] = set()
    taken: set[str] = set()
    claimed = 0
    for message in _messages(reader, pipeline, "validated"):
        kind, record = decoder.decode(message.value or b"")
        if kind != "validated":
            continue
        if record["claim"] is not None:
            claimed += 1
            continue
        payload = jsonlib.loads(record["payload"])
        event = payload["event"]
        if not is_of_order(event, po) or position_of(record) in refused:
            continue
        taken.add(payload["event_hash"])
        if "errorDeclaration" in event:
            declared.add(payload["event_hash"])
        elif is_shipment(event) and (transaction := read_transaction(payload.get("transaction", {}))) is not None:
            where = f"{record['raw_topic']}/{record['raw_partition']}/{record['raw_offset']}"
            items = {name: Shipped(product, where) for name, product in items_of(payload, transaction).items()}
            shipments[payload["event_hash"]] = items
    data: dict[str, Shipped] = {}
    for event_hash in shipments.keys() - declared:
        data |= shipments[event_hash]
    return data, taken, claimed


def _refused(reader: Reader, decoder: Decoder, pipeline: Pipeline, po: str) -> tuple[set[RawPosition], list[Found]]:
    """Records that the batch stage refused, and what shipments of the order were refused for."""
    from schemas.messages import position_of
    from schemas.pack import CANONICAL_TYPE
    from schemas.packs.epcis.pdg import Fault as Found
    from schemas.packs.epcis.pdg import is_of_order

    found: list[Found] = []
    refused: set[RawPosition] = set()
    for message in _messages(reader, pipeline, "dead-letter"):
        kind, letter = decoder.decode(message.value or b"")
        if kind == "dead_letter" and letter["stage"] == "batch":
            refused.add(position_of(letter))
        if kind != "dead_letter" or letter["content_type"] != CANONICAL_TYPE or letter["original"] is None:
            continue
        told = [one for one in letter["findings"] if one["code"] in REPORTED]
        if not told:
            continue
        payload = jsonlib.loads(letter["original"])
        if is_of_order(payload["event"], po):
            found += [Found(one["code"], one["path"], one["message"], payload) for one in told]
    return refused, found
