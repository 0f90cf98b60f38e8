"""Owns what rows of items say of a shipment: the rules of `dscsa` about its goods, asked of state in place of its
document. The rows hold what every event that was taken said, those of the shipment's own document included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from schemas.errors import Finding
from schemas.gs1.keys import BY_SCHEME
from schemas.packs.epcis import codes
from schemas.packs.epcis.dscsa import check_contents, check_trade_item
from schemas.packs.epcis.known import Product
from schemas.packs.epcis.transaction import Transaction

_IDS = {scheme: kind for scheme, kind in BY_SCHEME.items() if kind.kind != "class"}
_SERIALIZED = {(kind.ai, kind.serial_ai or "-"): scheme for scheme, kind in _IDS.items()}
_PLAIN = {kind.ai: scheme for scheme, kind in reversed(_IDS.items())}
"""By application identifier, the first of several: GTINs are SGTINs here."""


def gtins_told(transaction: Transaction, lenient: bool) -> dict[str, Any]:
    """What the header of a document says of goods, as part of the facts that go to the rows: by GTIN, what is wrong
    with its master data, as (code, path, message)."""
    return {
        gtin: [list(finding[:3]) for finding in _counted(check_trade_item(gtin, said), lenient)]
        for gtin, said in transaction.trade_items.items()
    }


def check_goods(
    roots: Sequence[tuple[str, str]], told: Mapping[str, Any], rows: Rows, most: int, lenient: bool
) -> Iterator[Finding]:
    """What a shipment lacks as far as the rows know. `roots`: path and key of what it names; `told`: see gtins_told;
    `most`: items it may hold."""
    known = _Told(rows, most)
    gtins: set[str] = set()
    seen: set[str] = set()
    found: list[Finding] = []
    try:
        for path, name in ((path, name_of(key)) for path, key in roots):
            if name not in seen:
                found += check_contents(path, name, known, gtins, seen)
    except _TooMany:
        yield Finding(codes.TOO_MANY_ITEMS, "", f"more than {most} items in a shipment; send it in parts")
        return
    yield from found
    for gtin in sorted(gtins):
        if gtin in told:
            yield from (Finding(*finding) for finding in told[gtin])
        else:
            yield from _counted(check_trade_item(gtin, None), lenient)


def _counted(found: Iterator[Finding], lenient: bool) -> list[Finding]:
    return [finding for finding in found if not (lenient and codes.tolerated(finding.code))]


class Rows(Protocol):
    """What is known of items, by the keys of their rows."""

    def product(self, key: str) -> Product | None:
        """Of an item that is there."""
        ...

    def contents(self, key: str) -> Sequence[str]:
        """What is packed in a container that is there."""
        ...


class _TooMany(Exception):
    """A shipment that holds more items than it may."""


class _Told:
    """Rows as `known.Known`."""

    def __init__(self, rows: Rows, most: int) -> None:
        self._rows, self._left = rows, most

    def product(self, name: str) -> Product | None:
        return self._rows.product(key_of(name))

    def children(self, name: str) -> Sequence[str]:
        found = self._rows.contents(key_of(name))
        self._left -= 1
        if self._left < len(found):
            raise _TooMany
        return [name_of(key) for key in found]


def name_of(key: str) -> str:
    """The name (`known.item_name`) of what a row's key (`state.item_key`) stands for."""
    scheme, _, rest = key.partition(":")
    kind = _IDS.get(scheme)
    if kind is None:
        return key
    value, _, serial = rest.partition(":")
    return f"{kind.ai}/{value}" + (f"/{kind.serial_ai or '-'}/{serial}" if serial else "")


def key_of(name: str) -> str:
    """The reverse of `name_of`."""
    ai, _, rest = name.partition("/")
    value, _, serial = rest.partition("/")
    serial_ai, _, serial = serial.partition("/")
    if serial:
        scheme = _SERIALIZED.get((ai, serial_ai))
        return name if scheme is None else f"{scheme}:{value}:{serial}"
    scheme = _PLAIN.get(ai)
    return name if scheme is None or serial_ai else f"{scheme}:{value}"
