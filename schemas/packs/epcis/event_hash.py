"""The CBV 2.0 event hash (Core Business Vocabulary 2.0, 8.9): one identity for an event in every syntax and spelling.

A string is made of an event's fields in a fixed order and hashed with SHA-256. Left out are what is not the event's
own (`recordTime`), what names it (`eventID`) and what judges it (`errorDeclaration`). Identifiers become canonical
Digital Links on their finest level, terms web URIs, numbers lose their trailing zeros, lists are sorted.

Where the published vectors and the text of the standard differ, the vectors decide, because partners compute with the
published generator: transactions, sources and destinations stand behind the sensor elements, sorted with what follows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from schemas.gs1.characters import unescape
from schemas.gs1.digital_link import to_digital_link
from schemas.gs1.keys import Key
from schemas.gs1.uri import find_key
from schemas.kept import Kept
from schemas.packs.epcis import event as ev
from schemas.packs.epcis.event import Event, vocabulary_of

HASH = re.compile(r"ni:///sha-256;[0-9a-f]{64}\?ver=CBV2\.0")
"""An event hash, as it may stand in `eventID`."""

_NUMBER = re.compile(r"\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?\s*", re.ASCII)
_ESCAPED = re.compile(r"[ !\"#%&()*+,/:<>?]")
"""Characters that a Digital Link carries escaped (Digital Link URI Syntax, table 7-1)."""
_COMMENT = "{http://www.w3.org/2000/01/rdf-schema#}comment"
_LEFT_OUT = frozenset({"type", "recordTime", "eventID", "errorDeclaration", _COMMENT})

_EVENT = (
    "eventTime", "eventTimeZoneOffset", "certificationInfo", "parentID", "epcList", "inputEPCList", "childEPCs",
    "quantityList", "childQuantityList", "inputQuantityList", "outputEPCList", "outputQuantityList", "action",
    "transformationID", "bizStep", "disposition", "persistentDisposition", "readPoint", "bizLocation",
    "sensorElementList",
)  # fmt: skip
"""Fields in their order; what is not named here follows, sorted."""
_PLACED = frozenset(_EVENT)
_QUANTITY = ("epcClass", "quantity", "uom")
_METADATA = (
    "time", "startTime", "endTime", "deviceID", "deviceMetadata", "rawData", "dataProcessingMethod", "bizRules",
)  # fmt: skip
_REPORT = (
    "type", "exception", "deviceID", "deviceMetadata", "rawData", "dataProcessingMethod", "time", "microorganism",
    "chemicalSubstance", "value", "component", "stringValue", "booleanValue", "hexBinaryValue", "uriValue", "minValue",
    "maxValue", "meanValue", "sDev", "percRank", "percValue", "uom", "coordinateReferenceSystem",
)  # fmt: skip


def event_hash(event: Event, ignored: Collection[str] = ()) -> str:
    """`ni:///sha-256;…?ver=CBV2.0` of a canonical event. `ignored`: names of fields of one's own that the document
    leaves out of the hash (its `ignoreFields`)."""
    return hash_of(pre_hash(event, ignored))


def pre_hash(event: Event, ignored: Collection[str] = ()) -> str:
    """The string that is hashed."""
    told = {name: in_hash(name, item) for name, item in event.items() if name in _PLACED or name not in ignored}
    rules = "".join(sorted(map(_rules_of_reports, event.get("sensorElementList", ()))))
    return put_together(event["type"], told, ["sensorElementList" + rules] if rules else [])


def put_together(kind: str, told: dict[str, str], last: Iterable[str] = ()) -> str:
    """The string that is hashed, of an event's type and what its fields are in it, which are taken out of `told`;
    `last`: what else is sorted among the fields without a place."""
    parts = [told.pop(name) for name in _EVENT if name in told]
    return "".join([f"eventType={kind}", *parts, *sorted([*told.values(), *last])])


def in_hash(name: str, item: Any) -> str:
    """What a field of an event is in the string that is hashed; `eventID` and others are nothing in it."""
    if name in _PLACED:
        return _field(name, item)
    return "" if name in _LEFT_OUT else _rest(name, item)


def hash_of(text: str) -> str:
    """`ni:///sha-256;…?ver=CBV2.0` of the string."""
    return f"ni:///sha-256;{hashlib.sha256(text.encode()).hexdigest()}?ver=CBV2.0"


def _rules_of_reports(element: Event) -> str:
    """`bizRules` of sensor reports stand apart: the published generator's order of a report does not name them."""
    found = [report["bizRules"] for report in element.get(ev.SENSOR_REPORT, ()) if "bizRules" in report]
    return (
        "sensorElement" + "".join(sorted(ev.SENSOR_REPORT + _leaf("bizRules", one) for one in found)) if found else ""
    )


def _field(name: str, item: Any) -> str:
    if name in ev.EPC_LISTS:
        return _list(name, (_leaf("epc", epc) for epc in item))
    if name in ev.QUANTITY_LISTS:
        return _list(name, ("quantityElement" + _ordered(element, _QUANTITY, "") for element in item))
    if name in ev.PLACES:
        return name + _ordered(item, ("id",), "")
    if name == "persistentDisposition":
        return name + "".join(sorted(_leaf(key, one, name) for key in ("set", "unset") for one in item.get(key, ())))
    if name == "sensorElementList":
        return _list(name, map(_sensor, item))
    if name == "certificationInfo":
        return "".join(sorted(_leaf(name, one) for one in item))
    return _leaf(name, item) if isinstance(item, str) else name + _own(item)


def _list(name: str, items: Iterable[str]) -> str:
    return name + "".join(sorted(items))


def _sensor(element: Event) -> str:
    found = "sensorElement"
    if ev.SENSOR_METADATA in element:
        found += ev.SENSOR_METADATA + _ordered(element[ev.SENSOR_METADATA], _METADATA, ev.SENSOR_METADATA)
    reports = element.get(ev.SENSOR_REPORT, ())
    found += "".join(sorted(ev.SENSOR_REPORT + _ordered(report, _REPORT, ev.SENSOR_REPORT) for report in reports))
    return found + _own({name: element[name] for name in element if name[:6] != "sensor"})


def _ordered(item: Any, order: tuple[str, ...], within: str) -> str:
    """Fields in their order, then those of one's own, sorted."""
    if not isinstance(item, Mapping):
        return ""
    known = "".join(_leaf(name, item[name], within) for name in order if item.get(name))
    return known + _own({name: item[name] for name in item if name not in order and name != "bizRules"})


def _rest(name: str, item: Any) -> str:
    if name in ev.PAIR_LISTS:
        key = ev.PAIR_LISTS[name][0]
        return _list(name, (key_type(pair, key, name) for pair in item))
    return _own_field(name, item)


def key_type(pair: Event, key: str, within: str) -> str:
    """`type=…key=…` of a transaction, source or destination."""
    return (_leaf("type", pair["type"], within) if "type" in pair else "") + _leaf(key, pair.get(key, ""))


def _own(fields: Mapping[str, Any]) -> str:
    return "".join(sorted(_own_field(name, item) for name, item in fields.items() if name != "#text"))


def _own_field(name: str, item: Any) -> str:
    if isinstance(item, list):
        return "".join(sorted(_own_field(name, one) for one in item))
    if isinstance(item, Mapping):
        text = item.get("#text")
        return name + (f"={canonical(text)}" if text else "") + _own(item)
    return name + (f"={canonical(item)}" if item else "")


def _leaf(name: str, text: Any, within: str = "") -> str:
    if not isinstance(text, str):
        return name + _own_field("", text)
    vocabulary = vocabulary_of(name, within)
    if vocabulary is not None:
        return f"{name}={vocabulary.full(text)}"
    if name in ev.TIMES or name == "eventTimeZoneOffset":
        return f"{name}={text}"
    return f"{name}={canonical(text)}"


def _canonize(text: str) -> str:
    """A value that is no time and no term: identifiers as canonical links, numbers without trailing zeros."""
    if len(text) <= 400 and _NUMBER.fullmatch(text):
        found = float(text)
        if abs(found) < float("inf"):
            return str(int(found)) if found.is_integer() else repr(found)
    key = find_key(text)
    return text if key is None else _link(key)


def _link(key: Key) -> str:
    """The canonical link on the finest level: no other qualifiers, no data attributes, escaped by one rule."""
    plain = key._replace(qualifiers={}, value=_escape(key.value))
    return to_digital_link(plain if key.serial in (None, "*") else plain._replace(serial=_escape(str(key.serial))))


def _escape(text: str) -> str:
    return _ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", unescape(text))


_kept = Kept(_canonize, 2**14)
"""Places, parties and classes repeat."""


def canonical(text: str) -> str:
    """A value that is no time and no term, as it is hashed."""
    return _kept[text] if len(text) <= 200 else _canonize(text)
