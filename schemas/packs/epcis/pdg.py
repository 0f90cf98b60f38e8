"""Exceptions of a shipment as a report of the Partnership for DSCSA Governance (PDG): data and goods compared.

Pure: who reports, when, and what was scanned are handed in. Identifiers of the report's parts follow from what they are
about, so the same comparison gives the same ones again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from schemas.gs1.element_string import parse_element_string
from schemas.gs1.keys import NotAKey
from schemas.packs.epcis.event import Event
from schemas.packs.epcis.known import Product, gtin_of, is_serialized, item_name, shipped
from schemas.packs.epcis.party import of_event
from schemas.packs.epcis.transaction import Transaction, owners_of

SEND_DATA, SEND_PRODUCT = "Send new data", "Send product"
DEBIT = "Debit account"
_GTIN_IN_PATH = re.compile(r"header\.masterData\[(\d{14})\]")
_PARTIES = {"sender": "source", "receiver": "destination", "owner": "source", "new_owner": "destination"}


class Shipped(NamedTuple):
    """What data says of an item."""

    product: Product
    file_id: str
    """Names the submission that said so."""


class Scan(NamedTuple):
    """What the code on a package says; empty where it does not."""

    gtin: str
    serial: str
    lot: str
    expiry: str
    """YYYY-MM-DD."""

    @property
    def name(self) -> str:
        """As `known.item_name`."""
        return f"01/{self.gtin}/21/{self.serial}"


class Fault(NamedTuple):
    """Something a refused record was found to have: code, path, words, and the record's payload."""

    code: str
    path: str
    message: str
    payload: Mapping[str, Any]


class Reporter(NamedTuple):
    """Who reports on which purchase order."""

    po_number: str
    email: str
    gln: str | None = None
    phone: str | None = None


def items_of(payload: Mapping[str, Any], transaction: Transaction) -> dict[str, Product]:
    """The items of a shipment's payload, down through its containers; those it ships as such where nothing is said."""
    names = [item_name(text) for _, text in shipped(payload["event"])]
    seen, found = set(names), {}
    while names:
        name = names.pop()
        inside = [child for child in transaction.children(name) if child not in seen]
        seen.update(inside)
        names += inside
        if is_serialized(name) and not transaction.children(name):
            found[name] = transaction.product(name) or Product()
    return found


def is_of_order(event: Event, po_number: str) -> bool:
    """Whether an event names a purchase order: by its whole identifier, or by its last part behind a colon."""
    named = [pair.get("bizTransaction", "") for pair in event.get("bizTransactionList", ()) if pair.get("type") == "po"]
    return any(po_number in (text, text.rpartition(":")[2]) for text in named)


def read_scan(text: str) -> Scan | str:
    """What a scanned element string says, `(01)…(21)…` or raw; else why it names no product. A year is of 2000 to
    2099; day 00 is the last of its month (GS1 General Specifications 3.4.7)."""
    data = parse_element_string(text)
    if isinstance(data, NotAKey):
        return data.message
    if "01" not in data:
        return "names no GTIN (01)"
    expiry = data.get("17", "")
    if expiry:
        year, month, day = 2000 + int(expiry[:2]), int(expiry[2:4]), int(expiry[4:])
        following = date(year + month // 12, month % 12 + 1, 1)
        expiry = (date(year, month, day) if day else following - timedelta(days=1)).isoformat()
    return Scan(data["01"], data.get("21", ""), data.get("10", ""), expiry)


def compare(
    data: Mapping[str, Shipped], scans: Sequence[Scan], ordered: Mapping[str, int], case: UUID
) -> dict[str, Any]:
    """The parts of `exceptions` that goods and data give, only those there are. data: by name of the item; scans: of
    the goods that came; ordered: items by GTIN, for those that are to be counted."""
    came = {scan.name: scan for scan in scans if scan.serial}
    plain = [scan for scan in scans if not scan.serial]
    counted = Counter(scan.gtin for scan in (*came.values(), *plain))
    untold = {name: scan for name, scan in came.items() if name not in data}
    unseen = {name: said for name, said in data.items() if name not in came}
    both = [(scan, name, data[name].product) for name, scan in came.items() if name in data]
    misaligned = [(scan, name, said) for scan, name, said in both if _differs(scan, said)]
    for name, scan in list(untold.items()):
        if (other := _mistaken(scan, untold.values(), unseen)) is not None:
            misaligned.append((scan, other, unseen.pop(other).product))
            del untold[name]
    missing_data = [*untold.values(), *(scan for scan in plain if not _told(scan.gtin, data))]
    found = {
        "missing_product_data": [_missing_data(scan, case) for scan in missing_data],
        "missing_product": [_missing(name, said.file_id, case) for name, said in sorted(unseen.items())],
        "data_misalignment": [_misaligned(*one, case) for one in misaligned],
        "overages": [_counted(g, n, counted[g], DEBIT, case) for g, n in ordered.items() if counted[g] > n],
        "underages": [_counted(g, n, counted[g], SEND_PRODUCT, case) for g, n in ordered.items() if counted[g] < n],
    }
    return {kind: rows for kind, rows in found.items() if rows}


def _told(gtin: str, data: Mapping[str, Shipped]) -> bool:
    return any(gtin_of(name) == gtin for name in data)


def _differs(scan: Scan, said: Product) -> bool:
    """Only what both state can differ."""
    pairs = ((scan.lot, said.lot), (scan.expiry, said.expiry))
    return any(one and other and one != other for one, other in pairs)


def _mistaken(scan: Scan, untold: Iterable[Scan], unseen: Mapping[str, Shipped]) -> str | None:
    """The item that data has in place of a scanned one: the only one that did not come of the same GTIN and lot, while
    no other came of these without data. Anything else would be a guess."""
    if not scan.lot or sum((one.gtin, one.lot) == (scan.gtin, scan.lot) for one in untold) > 1:
        return None
    alike = [n for n, said in unseen.items() if (gtin_of(n), said.product.lot) == (scan.gtin, scan.lot)]
    return alike[0] if len(alike) == 1 else None


def master_data_errors(faults: Iterable[Fault], case: UUID) -> tuple[dict[str, Any], list[str]]:
    """`master_data_errors` of what refused records were found to have, and the rest as `other_errors`."""
    glns: dict[str, dict[str, Any]] = {}
    gtins: dict[str, dict[str, Any]] = {}
    others: dict[str, None] = {}
    for fault in faults:
        if fault.path in _PARTIES:
            gln = _party(fault.payload, fault.path)
            glns[gln] = {"exception_item_uuid": _id(case, "gln", gln), "invalid_gln": gln}
        elif match := _GTIN_IN_PATH.match(fault.path):
            gtin = match[1]
            gtins[gtin] = {"exception_item_uuid": _id(case, "gtin", gtin), "invalid_gtin": gtin}
        others[f"{fault.code} {fault.path}: {fault.message}"] = None
    found = {"gln_errors": list(glns.values()), "gtin_errors": list(gtins.values())}
    return {kind: rows for kind, rows in found.items() if rows}, list(others)


def _party(payload: Mapping[str, Any], field: str) -> str:
    event = payload["event"]
    if field in ("owner", "new_owner"):
        return owners_of(event).get(_PARTIES[field], "none")
    return str(payload.get(field) or of_event(event, _PARTIES[field]))


def report(
    by: Reporter, exceptions: Mapping[str, Any], other_errors: Sequence[str], case: UUID, timestamp: int
) -> dict[str, Any]:
    """An exception report. timestamp: seconds since epoch. Resolved where there is nothing to report."""
    contact = {"email": by.email, "gln": by.gln, "phone": by.phone}
    return {
        "message_uuid": str(uuid5(case, f"report {timestamp} {sorted(exceptions.items())} {list(other_errors)}")),
        "exception_case_uuid": str(case),
        "timestamp": timestamp,
        "po_number": by.po_number,
        "sender_information": {name: said for name, said in contact.items() if said is not None},
        "exceptions": dict(exceptions),
        "other_errors": list(other_errors) or None,
        "case_resolved": not exceptions and not other_errors,
    }


def _id(case: UUID, kind: str, what: str) -> str:
    return str(uuid5(case, f"{kind} {what}"))


def _missing_data(scan: Scan, case: UUID) -> dict[str, Any]:
    return {
        "exception_item_uuid": _id(case, "missing_product_data", scan.name),
        "product_gtin": scan.gtin,
        "product_serial": scan.serial or None,
        "observation_source": "Scan",
        "resolution_request": SEND_DATA,
    }


def _missing(name: str, file_id: str, case: UUID) -> dict[str, Any]:
    return {
        "exception_item_uuid": _id(case, "missing_product", name),
        "file_id": file_id,
        "product_gtin": gtin_of(name) or "",
        "product_serial": name[21:],
        "resolution_request": SEND_PRODUCT,
    }


def _misaligned(scan: Scan, name: str, said: Product, case: UUID) -> dict[str, Any]:
    return {
        "exception_item_uuid": _id(case, "data_misalignment", f"{scan.name} {name}"),
        "received_product_gtin": scan.gtin,
        "received_product_lot": scan.lot,
        "received_product_expiry": _us_date(scan.expiry),
        "received_product_serial": scan.serial,
        "product_data_gtin": gtin_of(name) or "",
        "product_data_lot": said.lot,
        "product_data_expiry": _us_date(said.expiry),
        "product_data_serial": name[21:],
        "resolution_request": SEND_DATA,
    }


def _us_date(day: str) -> str:
    """MMDDYYYY, as in the examples that PDG publishes."""
    return day[5:7] + day[8:10] + day[:4]


def _counted(gtin: str, ordered: int, received: int, resolution: str, case: UUID) -> dict[str, Any]:
    return {
        "exception_item_uuid": _id(case, "quantity", gtin),
        "gtin": gtin,
        "quantity_ordered": ordered,
        "quantity_received": received,
        "resolution_request": resolution,
    }
