"""The canonical event of a JSON-LD object. Reads what is there by name and raises nothing: whether it may stand there
is `json_check.py`'s to say.

Only so much of JSON-LD is read as EPCIS uses: prefixes that a `@context` of the document, of the event or of a part of
it declares. No context is ever fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.packs.epcis import event as ev
from schemas.packs.epcis.event import Event, add, in_order, own_name, value

Prefixes = Mapping[str, str]
STANDARD: Prefixes = {
    "epcis": "https://ref.gs1.org/epcis/",
    "cbv": "https://ref.gs1.org/cbv/",
    "cbvmda": "urn:epcglobal:cbv:mda:",
    "gs1": "https://gs1.org/voc/",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "owl": "http://www.w3.org/2002/07/owl#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "dcterms": "http://purl.org/dc/terms/",
}
"""Prefixes that EPCIS 2.0's own context declares."""
_CONTEXT = "@context"
_EPCIS = "{https://ref.gs1.org/epcis/}"
_LISTS_OF_TEXT = frozenset({*ev.EPC_LISTS, "certificationInfo", "correctiveEventIDs", "set", "unset"})
_PARTS = frozenset({*ev.PLACES, "errorDeclaration", "persistentDisposition"})
_KNOWN = frozenset(
    {"type", "eventTime", "eventTimeZoneOffset", "eventID", "parentID", "action", "transformationID", "bizStep",
     "disposition", "ilmd", "sensorElementList", *_LISTS_OF_TEXT, *_PARTS, *ev.QUANTITY_LISTS, *ev.PAIR_LISTS}
)  # fmt: skip


def prefixes(context: Any, outer: Prefixes) -> Prefixes:
    """What a `@context` adds to the prefixes in force."""
    found = dict(outer)
    for part in context if isinstance(context, list) else [context]:
        for name, uri in part.items() if isinstance(part, dict) else ():
            uri = uri.get("@id") if isinstance(uri, dict) else uri
            if isinstance(uri, str) and len(found) < 200:
                found[name] = uri
    return found


def to_event(item: Mapping[str, Any], outer: Prefixes) -> Event:
    """The canonical event of an object; `outer`: prefixes of its document."""
    names = prefixes(item[_CONTEXT], outer) if _CONTEXT in item else outer
    found: Event = {"type": ""}
    for name, part in item.items():
        if name == _CONTEXT or name in ev.LEFT_OUT or part is None:
            continue
        standard = _standard(name, names)
        if standard in _KNOWN and (standard == name or standard not in item):
            if (known := _known(standard, part, names)) not in (None, [], {}):
                found[standard] = known
        else:
            add_own(found, name, part, names)
    return found


def _standard(name: str, names: Prefixes) -> str:
    """A field of EPCIS by its short name, which JSON-LD may also write in full (`epcis:action`)."""
    return full_name(name, names).removeprefix(_EPCIS) if ":" in name[1:] and name[0] != "{" else name


def _known(name: str, part: Any, names: Prefixes) -> Any:
    if name in _LISTS_OF_TEXT:
        return in_order(leaf(one, "epc") for one in _items(part))
    if name in ev.QUANTITY_LISTS:
        return in_order(_object(one, "", names) for one in _items(part))
    if name in ev.PAIR_LISTS:
        return in_order(_object(one, name, names) for one in _items(part))
    if name in _PARTS:
        return _object(part, name, names)
    if name == "sensorElementList":
        return in_order(_sensor(one, names) for one in _items(part))
    if name == "ilmd":
        return own_value(part, names)
    return leaf(part, name)


def _items(part: Any) -> list[Any]:
    return part if isinstance(part, list) else [part]


def leaf(part: Any, name: str, within: str = "") -> Any:
    """A value in its canonical form; what is no value is kept as a field of one's own would be."""
    if isinstance(part, dict | list):
        return own_value(part, STANDARD)
    return value(name, _text(part), within)


def _text(part: Any) -> str:
    if isinstance(part, bool):
        return "true" if part else "false"
    if isinstance(part, int | float):
        return ev.number(repr(part))
    return "" if part is None else str(part)


def _object(part: Any, within: str, names: Prefixes) -> Any:
    """An object of EPCIS: values, and fields of one's own."""
    if not isinstance(part, dict):
        return leaf(part, within)
    inner = prefixes(part[_CONTEXT], names) if _CONTEXT in part else names
    found: Event = {}
    for name, item in part.items():
        if name == _CONTEXT or item is None:
            continue
        if name in ("set", "unset"):
            found[name] = in_order(leaf(one, "disposition") for one in _items(item))
        elif name == "correctiveEventIDs":
            found[name] = in_order(leaf(one, name) for one in _items(item))
        elif ":" in name:
            add_own(found, name, item, inner)
        else:
            found[name] = leaf(item, name, within)
    return found


def _sensor(part: Any, names: Prefixes) -> Any:
    if not isinstance(part, dict):
        return leaf(part, "")
    found: Event = {}
    for name, item in part.items():
        if name == ev.SENSOR_METADATA:
            found[name] = _object(item, name, names)
        elif name == ev.SENSOR_REPORT:
            found[name] = in_order(_object(one, name, names) for one in _items(item))
        elif name != _CONTEXT:
            add_own(found, name, item, names)
    return found


def add_own(found: Event, name: str, part: Any, names: Prefixes) -> None:
    """A field of one's own under its full name; an array is that field several times, as XML writes it."""
    full = full_name(name, names)
    for one in _items(part):
        if one is not None:
            add(found, full, own_value(one, names))


def own_value(part: Any, names: Prefixes) -> Any:
    """Text, or an object of fields of one's own. An array inside an array is flattened, as it is in JSON-LD."""
    if isinstance(part, list):
        return in_order(own_value(one, names) for one in part if one is not None)
    if not isinstance(part, dict):
        return _text(part).strip()
    if "@value" in part:
        return own_value(part["@value"], names)
    inner = prefixes(part[_CONTEXT], names) if _CONTEXT in part else names
    found: Event = {}
    for name, item in part.items():
        if name != _CONTEXT:
            add_own(found, name, item, inner)
    return found


def full_name(name: str, names: Prefixes) -> str:
    """`{namespace}local` of a CURIE whose prefix is known or of a URI; other names as they are."""
    if name[:1] == "{":
        return name  # canonical already
    prefix, colon, local = name.partition(":")
    if colon and prefix in names and not local.startswith("//"):
        return own_name(names[prefix], local)
    if "://" in name:
        cut = max(name.rfind("/"), name.rfind("#")) + 1
        return own_name(name[:cut], name[cut:])
    return name
