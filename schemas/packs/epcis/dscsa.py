"""The rules of the option `dscsa`: whether a shipment carries what US law asks of it (21 U.S.C. 360eee, "DSCSA").

Sections are those of the Federal Food, Drug, and Cosmetic Act; "R1.3" is GS1 US's Implementation Guideline for DSCSA.
Whether the parties are authorised is not judged here: that stands in master data, see `streams/validate/authorised.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from schemas.errors import TOO_LARGE, Finding
from schemas.gs1.keys import NotAKey
from schemas.gs1.ndc import ndc_of_gtin, parse_ndc
from schemas.packs.epcis import codes
from schemas.packs.epcis.event import Event, control_characters
from schemas.packs.epcis.known import Known, Product, gtin_of, is_serialized, item_name, shipped
from schemas.packs.epcis.party import is_gln
from schemas.packs.epcis.transaction import AFFIRMED, LONGEST, Attributes, Transaction, owners_of
from schemas.packs.jsontext import shorten

NDC = "additionalTradeItemIdentification"
NDC_TYPE = "additionalTradeItemIdentificationTypeCode"
NDC_TYPES = frozenset({"FDA_NDC_11", "US_FDA_NDC"})
"""In R1.2 and in R1.3."""
PRODUCT_DATA = {
    "regulatedProductName": "name",
    "strengthDescription": "strength",
    "dosageFormType": "dosage form",
    "netContentDescription": "container size",
    NDC: "National Drug Code",
}
"""581(26)(A) to (D), by the attributes that carry them."""
PARTY_DATA = {"name": "name", "streetAddressOne": "street", "city": "city", "countryCode": "country"}
US_PARTY_DATA = {"state": "state", "postalCode": "postal code"}
"""581(26)(I), (J)."""
FROM_ROWS = frozenset(
    {codes.CONTENTS_UNKNOWN, codes.ITEM_WITHOUT_COMMISSIONING, codes.ITEM_WITHOUT_LOT, codes.ITEM_WITHOUT_EXPIRY}
)
"""What a document does not have to say where earlier ones may have: see `goods.py`."""
_ROLES = {"source": "sourceList", "destination": "destinationList"}


def check_shipment(event: Event, transaction: Transaction) -> Iterator[Finding]:
    """Everything that a shipment lacks. `transaction`: what its document says beside the event."""
    said = {"legalNotice": transaction.notice, "masterData": {**transaction.trade_items, **transaction.parties}}
    yield from control_characters(said, "header")
    yield from _too_long(said, "header")
    yield from _statement(transaction)
    yield from _owners(event, transaction)
    gtins: set[str] = set()
    seen: set[str] = set()
    for path, text in shipped(event):
        if (name := item_name(text)) not in seen:
            yield from check_contents(path, name, transaction, gtins, seen)
    for gtin in sorted(gtins):
        yield from check_trade_item(gtin, transaction.trade_items.get(gtin))


def _too_long(part: Any, path: str) -> Iterator[Finding]:
    """Values that a partner would get cut off."""
    if isinstance(part, Mapping):
        for name, one in part.items():
            yield from _too_long(one, f"{path}.{name}")
    elif len(part) > LONGEST:
        yield Finding(TOO_LARGE, path, f"more than {LONGEST:,} characters")


def _statement(transaction: Transaction) -> Iterator[Finding]:
    """581(27); R1.3: in the header."""
    path = "header.dscsaTransactionStatement"
    if transaction.affirmed not in AFFIRMED:
        message = "the document affirms no transaction statement (581(27))"
        yield Finding(codes.STATEMENT_MISSING, f"{path}.affirmTransactionStatement", message)
    elif not transaction.notice:
        message = "the transaction statement has no legal notice"
        yield Finding(codes.STATEMENT_MISSING, f"{path}.legalNotice", message)


def _owners(event: Event, transaction: Transaction) -> Iterator[Finding]:
    """581(26)(I), (J): name and address of who transfers ownership and of who receives it."""
    owners = owners_of(event)
    for end, path in _ROLES.items():
        gln = owners.get(end, "")
        if not is_gln(gln):
            said = shorten(gln) if gln else "nobody"
            message = f"a shipment names its owning party by GLN; here stands {said} (R1.3)"
            yield Finding(codes.OWNER_MISSING, path, message)
            continue
        data = transaction.parties.get(gln, {})
        asked = PARTY_DATA | (US_PARTY_DATA if data.get("countryCode", "US") == "US" else {})
        if missing := _missing(asked, data):
            message = f"master data of {gln} has no {missing} (581(26)(I), (J))"
            yield Finding(codes.PARTY_DATA_MISSING, path, message)


def check_contents(path: str, first: str, known: Known, gtins: set[str], seen: set[str]) -> Iterator[Finding]:
    """581(14), 582(g)(1)(B): whether all in a container is known down to items with their product identifier. Adds
    the GTINs met. `seen`: names that this shipment has led to, each looked into once: containers may share theirs."""
    names = [first]
    seen.add(first)
    while names:
        name = names.pop()
        if inside := known.children(name):
            fresh = [child for child in inside if child not in seen]
            seen.update(fresh)
            names += fresh
            continue
        where = shorten(name) if name == first else f"{shorten(name)} in {shorten(first)}"
        if (gtin := gtin_of(name)) is None:
            message = f"nobody said what lies in {where}"
            yield Finding(codes.CONTENTS_UNKNOWN, path, message)
            continue
        gtins.add(gtin)
        if not is_serialized(name):
            yield Finding(codes.ITEM_NOT_SERIALIZED, path, f"{where} has no serial number (582(g)(1)(B))")
            continue
        yield from _item(path, where, known.product(name))


def _item(path: str, where: str, product: Product | None) -> Iterator[Finding]:
    if product is None:
        yield Finding(codes.ITEM_WITHOUT_COMMISSIONING, path, f"{where} was not commissioned as far as is known here")
        return
    if not product.lot:
        yield Finding(codes.ITEM_WITHOUT_LOT, path, f"{where} has no lot number (581(14))")
    if not product.expiry:
        yield Finding(codes.ITEM_WITHOUT_EXPIRY, path, f"{where} has no expiration date (581(14))")


def check_trade_item(gtin: str, data: Attributes | None) -> Iterator[Finding]:
    """581(26)(A) to (D), and that the National Drug Code is the one in the GTIN (581(20))."""
    path = f"header.masterData[{gtin}]"
    data = data or {}
    if missing := _missing(PRODUCT_DATA, data):
        yield Finding(codes.PRODUCT_DATA_MISSING, path, f"master data of GTIN {gtin} has no {missing} (581(26))")
    ten = ndc_of_gtin(gtin)
    if ten is None:
        yield Finding(codes.GTIN_NOT_NDC, path, f"GTIN {gtin} carries no National Drug Code: 03 at places 2 and 3")
    if (stated := data.get(NDC)) is None:
        return
    if data.get(NDC_TYPE) not in NDC_TYPES:
        said = shorten(data.get(NDC_TYPE, "nothing"))
        message = f"the type of the National Drug Code is {said}; FDA_NDC_11 (R1.2) or US_FDA_NDC (R1.3) belong there"
        yield Finding(codes.PRODUCT_DATA_MISSING, f"{path}.{NDC_TYPE}", message)
    ndc = parse_ndc(stated)
    if isinstance(ndc, NotAKey):
        yield Finding(codes.BAD_NDC, f"{path}.{NDC}", f"{shorten(stated)} {ndc.message}")
    elif ten is not None and ten not in ndc.tens:
        message = f"{shorten(stated)} is not the National Drug Code in GTIN {gtin}, {ten}"
        yield Finding(codes.NDC_DIFFERS, f"{path}.{NDC}", message)


def _missing(asked: dict[str, str], data: Attributes) -> str:
    return ", ".join(words for name, words in asked.items() if not data.get(name))
