"""Owns what is known of items and containers: a protocol, and what a document itself says of them.

The rules of a shipment ask through the protocol, so it is all one to them whether their document, a record's own
payload, or stored state answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from schemas.gs1.characters import unescape
from schemas.gs1.uri import find_key
from schemas.kept import Kept
from schemas.packs.epcis.event import Event

LOT = ("{urn:epcglobal:cbv:mda}lotNumber", "{http://epcis.gs1us.org/hc/ns}lotNumber")
EXPIRY = ("{urn:epcglobal:cbv:mda}itemExpirationDate", "{http://epcis.gs1us.org/hc/ns}itemExpirationDate")
"""Lot and expiration date in ILMD: CBV 2.0, and the GS1 US names that older files have."""


class Product(NamedTuple):
    """What makes a serialized item's identifier complete (DSCSA 581(14)). Empty: it was not said."""

    lot: str = ""
    expiry: str = ""


class Known(Protocol):
    """What is known of an EPC, named as `item_name` names it."""

    def product(self, name: str) -> Product | None:
        """Of an item that was commissioned and not decommissioned since; None of any other."""
        ...

    def children(self, name: str) -> Sequence[str]:
        """What lies in a container; nothing where it is empty or nobody said."""
        ...


def _item_name(text: str) -> str:
    key = find_key(text)
    if key is None:
        return text
    name = f"{key.type.ai}/{key.value}"
    return name if key.serial is None else f"{name}/{key.type.serial_ai or '-'}/{unescape(key.serial)}"


_names = Kept(_item_name, 2**16)


def item_name(text: str) -> str:
    """One name for every spelling of an EPC or class: `01/00300010123455/21/1`; other identifiers as they are."""
    return _names[text] if len(text) <= 200 else text


def gtin_of(name: str) -> str | None:
    """The GTIN-14 of a named item or class; None where it has none."""
    return name[3:17] if name[:3] == "01/" else None


def is_serialized(name: str) -> bool:
    """Whether a name is that of one item of a GTIN."""
    return name[:3] == "01/" and name[17:21] == "/21/"


class TooMany(Exception):
    """A document that names more items than may be held."""


class InFile:
    """What a document's events say, as it stood at any of their times."""

    def __init__(self, most: int) -> None:
        """At most so many mentions of items are held."""
        self._most, self._held, self._learned = most, 0, 0
        self._products: dict[str, list[tuple[str, int, Product | None]]] = {}
        self._contents: dict[str, list[tuple[str, int, str, tuple[str, ...]]]] = {}

    def learn(self, event: Event) -> None:
        """Takes in the next of a document's events. Raises TooMany."""
        if "errorDeclaration" not in event:
            self._learn(event, self._learned)
        self._learned += 1

    def sort(self) -> None:
        """All events are in: from now on it may be asked."""
        for history in self._products.values():
            history.sort(key=lambda change: change[:2])
        for contents in self._contents.values():
            contents.sort(key=lambda change: change[:2])

    def _learn(self, event: Event, place: int) -> None:
        kind, action, moment = event["type"], event.get("action"), event["eventTime"]
        if kind == "ObjectEvent" and action in ("ADD", "DELETE"):
            self._items(event.get("epcList", ()), (moment, place, product_of(event) if action == "ADD" else None))
        elif kind == "TransformationEvent":
            self._items(event.get("inputEPCList", ()), (moment, place, None))
            self._items(event.get("outputEPCList", ()), (moment, place, product_of(event)))
        elif kind == "AggregationEvent" and action in ("ADD", "DELETE") and "parentID" in event:
            inside = [*event.get("childEPCs", ()), *_classes(event, "childQuantityList")]
            self._took(len(inside) + 1)
            change = moment, place, action, tuple(map(item_name, inside))
            self._contents.setdefault(item_name(event["parentID"]), []).append(change)

    def _items(self, epcs: Sequence[str], change: tuple[str, int, Product | None]) -> None:
        self._took(len(epcs))
        for epc in epcs:
            self._products.setdefault(item_name(epc), []).append(change)

    def _took(self, more: int) -> None:
        self._held += more
        if self._held > self._most:
            raise TooMany

    def product(self, name: str, moment: str) -> Product | None:
        """See Known.product: up to and with a moment, as canonical events write it."""
        past = [product for when, _, product in self._products.get(name, ()) if when <= moment]
        return past[-1] if past else None

    def children(self, name: str, moment: str) -> Sequence[str]:
        """See Known.children: up to and with a moment."""
        inside: dict[str, None] = {}
        for when, _, action, names in self._contents.get(name, ()):
            if when > moment:
                break
            if action == "ADD":
                inside |= dict.fromkeys(names)
            elif names:
                for one in names:
                    inside.pop(one, None)
            else:
                inside.clear()  # nobody named: all of them (EPCIS 2.0, 7.4.3)
        return tuple(inside)

    def mentions(self, name: str) -> int:
        """How many items and events there are in what was said of one: all of it is read to know it at a moment."""
        return len(self._products.get(name, ())) + sum(1 + len(names) for *_, names in self._contents.get(name, ()))


def product_of(event: Event) -> Product:
    """Lot and expiration date that an event gives to what it brings forth."""
    ilmd = event.get("ilmd", {})
    lot, expiry = (next((ilmd[one] for one in names if isinstance(ilmd.get(one), str)), "") for names in (LOT, EXPIRY))
    return Product(lot, expiry[:10])


def _classes(event: Event, name: str) -> list[str]:
    return [element["epcClass"] for element in event.get(name, ()) if "epcClass" in element]


def shipped(event: Event) -> list[tuple[str, str]]:
    """What a shipping event ships, with the path of each: items, containers and classes; a parent where it names
    nothing else."""
    found = [(f"{name}[{n}]", epc) for name in ("epcList", "childEPCs") for n, epc in enumerate(event.get(name, ()))]
    for name in ("quantityList", "childQuantityList"):
        found += [(f"{name}[{n}].epcClass", text) for n, text in enumerate(_classes(event, name))]
    return found or ([("parentID", event["parentID"])] if "parentID" in event else [])
