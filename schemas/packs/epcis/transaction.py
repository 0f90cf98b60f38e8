"""Owns the transaction information and statement of a shipment (DSCSA 581(26), (27)), as GS1 US documents carry them.

A shipping event says who ships which containers to whom. The rest stands around it: the statement in the header, names,
strengths and addresses in its master data, lots, expiration dates and what lies in what in the other events. What
concerns one shipment is gathered here and becomes part of its record, so that the record says it all, and is judged
alone as it was in its document.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from schemas.gs1.uri import find_key
from schemas.packs.epcis.event import Event
from schemas.packs.epcis.known import InFile, Product, gtin_of, is_serialized, item_name, shipped
from schemas.packs.epcis.party import party
from schemas.packs.epcis.xml_text import Element

OWNER = "owning_party"
_MDA = ("urn:epcglobal:cbv:mda#", "urn:epcglobal:cbv:mda:", "cbvmda:")
"""How names of master data attributes begin (CBV 1.2, 9.2; CBV 2.0, 9)."""
_STATEMENT = "dscsaTransactionStatement"
_AFFIRMED = "affirmTransactionStatement"
_NOTICE = "legalNotice"
AFFIRMED = frozenset({"true", "1"})
"""What stands for yes (XML Schema, xsd:boolean)."""
LONGEST = 16_384
"""Characters that a value of a header may have; of a longer one so much is kept that it is seen to be."""

Attributes = Mapping[str, str]


class Transaction(NamedTuple):
    """What is said of a shipment beside its event. A `Known` for the items in it."""

    affirmed: str = ""
    """Among AFFIRMED where the transaction statement is affirmed."""
    notice: str = ""
    """The statement's legal notice."""
    products: Mapping[str, Product] = {}
    """By name of the item."""
    containers: Mapping[str, tuple[str, ...]] = {}
    """What lies in each, by name."""
    trade_items: Mapping[str, Attributes] = {}
    """Master data by GTIN-14."""
    parties: Mapping[str, Attributes] = {}
    """Master data by GLN."""

    def product(self, name: str) -> Product | None:
        """See `known.Known`."""
        return self.products.get(name)

    def children(self, name: str) -> Sequence[str]:
        """See `known.Known`."""
        return self.containers.get(name, ())

    def as_json(self) -> dict[str, Any]:
        """As part of a payload: only what there is, items of one lot together."""
        lots: dict[Product, list[str]] = {}
        for name, product in self.products.items():
            lots.setdefault(product, []).append(name)
        items = [{"epcs": sorted(lots[one]), "expiry": one.expiry, "lot": one.lot} for one in sorted(lots)]
        found = {
            "affirmed": self.affirmed,
            "containers": {name: list(inside) for name, inside in self.containers.items()},
            "items": items,
            "notice": self.notice,
            "parties": {gln: dict(said) for gln, said in self.parties.items()},
            "trade_items": {gtin: dict(said) for gtin, said in self.trade_items.items()},
        }
        return {name: part for name, part in found.items() if part}


def read_transaction(part: Any) -> Transaction | None:
    """What `as_json` wrote; None where it cannot have."""
    try:
        return _read(part)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _read(part: Any) -> Transaction:
    products = {
        _text(epc): Product(_text(lot["lot"]), _text(lot["expiry"]))
        for lot in part.get("items", [])
        for epc in lot["epcs"]
    }
    return Transaction(
        _text(part.get("affirmed", "")),
        _text(part.get("notice", "")),
        products,
        {name: tuple(map(_text, inside)) for name, inside in part.get("containers", {}).items()},
        _attributes(part.get("trade_items", {})),
        _attributes(part.get("parties", {})),
    )


def _attributes(part: Any) -> dict[str, Attributes]:
    return {one: {name: _text(text) for name, text in said.items()} for one, said in part.items()}


def _text(part: Any) -> str:
    if not isinstance(part, str):
        raise TypeError("a transaction's leaves are text")
    return part


class Around(NamedTuple):
    """What a document says beside its events."""

    affirmed: str = ""
    notice: str = ""
    trade_items: Mapping[str, Attributes] = {}
    parties: Mapping[str, Attributes] = {}


class FileFacts:
    """What a whole document says, and of it what concerns one shipment."""

    def __init__(self, around: Around, events: InFile, state: bool = False) -> None:
        """state: what lies in containers may be known from elsewhere."""
        self._around, self._events, self._state = around, events, state

    def reached(self, event: Event) -> Iterator[tuple[str, Sequence[str]]]:
        """All that a shipment holds, down through its containers: each by name, once, with what lies in it."""
        names = [item_name(text) for _, text in shipped(event)]
        seen = set(names)
        while names:
            name = names.pop()
            inside = self._events.children(name, event["eventTime"])
            yield name, inside
            fresh = [child for child in inside if child not in seen]
            seen.update(fresh)
            names += fresh

    def cost(self, event: Event) -> Iterator[int]:
        """For each that a shipment holds 1, and more where much was said of it that is no longer so; and for all the
        master data that its record has to keep."""
        open_to_more = False
        for name, inside in self.reached(event):
            open_to_more |= self._open(name)
            yield max(1, self._events.mentions(name) - len(inside) - 1)
        if open_to_more:
            yield len(self._around.trade_items)

    def _open(self, name: str) -> bool:
        """Whether there may be more in it than the document says, of any GTIN."""
        return self._state and gtin_of(name) is None

    def about(self, event: Event) -> Transaction:
        """What concerns the shipment that an event tells of, as it stood at the event's time."""
        moment = event["eventTime"]
        products: dict[str, Product] = {}
        containers: dict[str, tuple[str, ...]] = {}
        reached = list(self.reached(event))
        for name, inside in reached:
            if (product := self._events.product(name, moment)) is not None and is_serialized(name):
                products[name] = product
            if inside:
                containers[name] = tuple(sorted(inside))
        gtins = {gtin_of(name) for name, _ in reached} - {None}
        if any(self._open(name) for name, _ in reached):
            gtins |= self._around.trade_items.keys()
        owners = owners_of(event).values()
        around = self._around
        return Transaction(
            around.affirmed,
            around.notice,
            products,
            containers,
            {gtin: around.trade_items[gtin] for gtin in sorted(map(str, gtins)) if gtin in around.trade_items},
            {gln: around.parties[gln] for gln in sorted(owners) if gln in around.parties},
        )


def is_shipment(event: Event) -> bool:
    """Whether an event tells that goods left for somebody, and takes nothing back."""
    return event.get("bizStep") == "shipping" and event.get("action") != "DELETE" and "errorDeclaration" not in event


def owners_of(event: Event) -> dict[str, str]:
    """Who owned the goods before (`source`) and after (`destination`), as GLN where it can be told."""
    return {
        end: party(pair[end])
        for end in ("source", "destination")
        for pair in event.get(f"{end}List", ())
        if pair.get("type") == OWNER and pair.get(end)
    }


def of_xml(root: Element) -> Around:
    """What the envelope of an XML document says. The statement stands in the header, as the guideline has it for 1.2,
    or beside it, where the XSD of 2.0 takes elements of others."""
    header = root.child("EPCISHeader")
    statement = header.child(_STATEMENT) if header else None
    statement = statement or root.child(_STATEMENT)
    affirmed, notice = (_below(statement, name) for name in (_AFFIRMED, _NOTICE))
    elements = []
    for path in (("extension", "EPCISMasterData", "VocabularyList"), ("EPCISMasterData", "VocabularyList")):
        part = header
        for name in path:
            part = part.child(name) if part else None
        for vocabulary in part.children if part else ():
            listed = vocabulary.child("VocabularyElementList")
            elements += listed.children if listed else []
    return Around(affirmed.lower(), notice, *_master_data(map(_element, elements)))


def _element(element: Element) -> tuple[str, list[tuple[str, str]]]:
    """Identifier and attributes of a vocabulary element."""
    attributes = [one for one in element.children if one.local == "attribute"]
    return element.attributes.get("id", ""), [(one.attributes.get("id", ""), one.text) for one in attributes]


def _below(part: Element | None, name: str) -> str:
    found = part.child(name) if part else None
    return found.text.strip()[: LONGEST + 1] if found else ""


def of_json(envelope: Mapping[str, Any]) -> Around:
    """What the envelope of a JSON-LD document says. GS1 US has published no JSON form of the statement: it is read as a
    field of the document or of its header, under any prefix."""
    header = envelope.get("epcisHeader")
    header = header if isinstance(header, Mapping) else {}
    statement = _field(envelope, _STATEMENT) or _field(header, _STATEMENT)
    if isinstance(statement, list):  # of several, as in XML, the first
        statement = next(iter(statement), None)
    affirmed, notice = (_field(statement, name) for name in (_AFFIRMED, _NOTICE))
    said = []
    for vocabulary in _listed(_field(header, "epcisMasterData"), "vocabularyList"):
        for one in _listed(vocabulary, "vocabularyElementList"):
            attributes = [(a.get("id"), a.get("attribute")) for a in _listed(one, "attributes")]
            texts = [(name, text) for name, text in attributes if isinstance(name, str) and isinstance(text, str)]
            said.append((str(one.get("id", "")), texts))
    affirmed = "true" if affirmed is True else affirmed
    words = (word.strip()[: LONGEST + 1] if isinstance(word, str) else "" for word in (affirmed, notice))
    return Around(next(words).lower(), next(words), *_master_data(said))


def _field(part: Any, local: str) -> Any:
    """The field of that name, bare or behind a prefix."""
    if not isinstance(part, Mapping):
        return None
    return next((item for name, item in part.items() if name.rpartition(":")[2] == local), None)


def _listed(part: Any, name: str) -> list[Mapping[str, Any]]:
    found = part.get(name) if isinstance(part, Mapping) else None
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _master_data(
    said: Iterable[tuple[str, Sequence[tuple[str, str]]]],
) -> tuple[dict[str, Attributes], dict[str, Attributes]]:
    """Attributes by GTIN and by GLN, of vocabulary elements with their attributes."""
    trade_items: dict[str, Attributes] = {}
    parties: dict[str, Attributes] = {}
    for identifier, attributes in said:
        key = find_key(identifier) if len(identifier) <= 200 else None
        if key is None:
            continue
        texts = {_plain(name): text.strip()[: LONGEST + 1] for name, text in attributes if text.strip()}
        if key.gtin is not None:
            trade_items.setdefault(key.gtin, texts)
        elif key.gln is not None:
            parties.setdefault(key.gln, texts)
    return trade_items, parties


def _plain(name: str) -> str:
    return next((name[len(start) :] for start in _MDA if name.startswith(start)), name)
