"""How messages about one item, class of items or event are found among many: whichever way each of them spells it."""

from __future__ import annotations

import re
from typing import Any
from xml.sax.saxutils import unescape as unescape_xml

import orjson

from schemas.gs1 import keys
from schemas.gs1.characters import unescape
from schemas.gs1.keys import Key
from schemas.gs1.uri import find_key
from schemas.pack import ItemSearch
from schemas.packs.epcis.json_check import is_uri
from schemas.packs.epcis.known import LOT

_TOKEN = re.compile(rb'[^\s"<>]+')
"""What may be an identifier, in JSON as in XML: GS1's sets have no white space, and these three only escaped."""
_EVENT = re.compile(rb'(?:"(?:eventID|event_hash)"\s*:\s*"|[<:]eventID\s*>\s*)([^\s"<>]+)')
"""What an event states as its id, in JSON and in XML, and the hash in a payload."""
_PLAIN = re.compile(r"[0-9A-Za-z]+")
_ONES_OF_A_LOT = ("epcList", "outputEPCList")
"""Lists of the items, and below of the classes, that an event's ILMD is about (EPCIS 2.0, 7.3.6)."""
_CLASSES_OF_A_LOT = ("quantityList", "outputQuantityList")
_OTHERS = frozenset({keys.SGLN, keys.PGLN, keys.GSRN, keys.GSRNP, keys.GINC, keys.GSIN})
"""Places, people and shipments."""

Identity = tuple[str, str, str | None]


def item_search(text: str) -> ItemSearch | None:
    """How to find what is said of the item, container or class that a text names as an EPC URN or as a Digital Link,
    or else the event whose `eventID` or event hash it is; None where it names neither."""
    key = find_key(text)
    if key is None:
        return _event_search(text) if is_uri(text) else None
    if key.type in _OTHERS:
        return None
    mark, wanted = _mark(key), _identity(key)

    def names(data: bytes) -> bool:
        tokens = {token for token in _TOKEN.findall(data) if mark in token}
        if any(_names(token, wanted) for token in tokens):
            return True
        return key.type is keys.LGTIN and key.serial is not None and _says_lot(data, key.value, unescape(key.serial))

    return ItemSearch(mark, names)


def _event_search(text: str) -> ItemSearch:
    def names(data: bytes) -> bool:
        found = (unescape_xml(one.decode("utf-8", "replace")).replace("\\/", "/") for one in _EVENT.findall(data))
        return text in found

    return ItemSearch(max(_PLAIN.findall(text), key=len).encode(), names, key_field=text)


def _names(token: bytes, wanted: Identity) -> bool:
    key = find_key(unescape_xml(token.decode("utf-8", "replace")))
    return key is not None and _identity(key) == wanted


def _says_lot(data: bytes, gtin: str, lot: str) -> bool:
    """Whether a payload's event gives this lot, in ILMD, to items or classes of this GTIN. Of what was refused before
    it had a payload that is not looked for: bytes as they came may hold many events, or none."""
    try:
        event = _object(_object(orjson.loads(data)).get("event"))
    except orjson.JSONDecodeError:
        return False
    ilmd = _object(event.get("ilmd"))
    if lot not in [ilmd.get(name) for name in LOT]:
        return False
    named = [epc for name in _ONES_OF_A_LOT for epc in _listed(event.get(name))]
    named += [_object(one).get("epcClass") for name in _CLASSES_OF_A_LOT for one in _listed(event.get(name))]
    found = (find_key(epc) for epc in named if isinstance(epc, str))
    return any(key is not None and key.type.ai == keys.LGTIN.ai and key.value == gtin for key in found)


def _object(part: Any) -> dict[str, Any]:
    return part if isinstance(part, dict) else {}


def _listed(part: Any) -> list[Any]:
    return part if isinstance(part, list) else []


def _identity(key: Key) -> Identity:
    """What is the same in every spelling. A lot beside a serial does not make another item."""
    return key.type.scheme, unescape(key.value), None if key.serial is None else unescape(key.serial)


def _mark(key: Key) -> bytes:
    """Bytes that every spelling holds in one piece; where there are none for sure, no bytes."""
    if key.serial is not None:
        return max(_PLAIN.findall(unescape(key.serial)), key=len, default="").encode()
    # Of an SSCC the end of its serial reference: a URN cuts it behind the prefix, a link appends the check digit.
    return key.value[-5:-1].encode() if key.type is keys.SSCC else b""
