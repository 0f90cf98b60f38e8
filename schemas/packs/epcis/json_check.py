"""Holds a JSON-LD event and its envelope against what EPCIS 2.0's JSON schema asks, no more and no less: every finding
with its path. The tables are facts of that schema; formats are asserted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any

from schemas import errors
from schemas.errors import Finding
from schemas.packs.epcis import codes
from schemas.packs.epcis.times import OFFSET, has_zone, is_date_time
from schemas.packs.epcis.vocabulary import (
    ALERT,
    BIZ_STEP,
    COMPONENT,
    DISPOSITION,
    ERROR_REASON,
    MEASUREMENT,
    SOURCE_DESTINATION_TYPE,
    TRANSACTION_TYPE,
    Vocabulary,
)
from schemas.packs.jsontext import shorten

Check = Callable[[Any, str], Iterator[Finding]]
_CHARS = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})"
_URI = re.compile(
    rf"[A-Za-z][A-Za-z0-9+.\-]*:(?://(?:{_CHARS}*|(?:{_CHARS}*@)?\[[0-9A-Fa-f:.]+\](?::\d*)?)(?:/{_CHARS}*)*"
    rf"|/?(?:{_CHARS}+(?:/{_CHARS}*)*)?)(?:\?(?:{_CHARS}|[/?])*)?(?:#(?:{_CHARS}|[/?])*)?"
)
_DATE_TIME = re.compile(
    r"(\d{4})-(0[1-9]|1[0-2])-(\d{2})T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII | re.IGNORECASE,
)
_UOM = re.compile(r"[A-Z0-9]{2,3}")
_HEX = re.compile(r"[A-Fa-f0-9]+")
_VERSION = re.compile(r"\d+(?:\.\d+)*", re.ASCII)
_CBV = re.compile(r"urn:epcglobal:cbv|https?://ns\.gs1\.org/cbv/")
CONTEXT = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
"""GS1's own; it declares the prefixes of `json_event.STANDARD`."""
_VOC = re.compile(r"https?://(?:www\.)?gs1\.org/voc/")


def is_uri(text: object) -> bool:
    """RFC 3986: a URI with its scheme; a CURIE looks like one."""
    return isinstance(text, str) and _URI.fullmatch(text) is not None


def uri(item: Any, path: str) -> Iterator[Finding]:
    """A URI."""
    if not isinstance(item, str):
        yield _wrong_type(item, "a URI", path)
    elif not is_uri(item):
        yield Finding(errors.BAD_FORMAT, path, f"{shorten(item)} is no URI")


def text(item: Any, path: str) -> Iterator[Finding]:
    """Any text."""
    if not isinstance(item, str):
        yield _wrong_type(item, "text", path)


def time(item: Any, path: str) -> Iterator[Finding]:
    """RFC 3339."""
    if not isinstance(item, str):
        yield _wrong_type(item, "a time", path)
        return
    match = _DATE_TIME.fullmatch(item)
    try:
        real = match is not None and bool(date(int(match[1]), int(match[2]), int(match[3])))
    except ValueError:
        real = False
    if not real:
        zoneless = is_date_time(item) and not has_zone(item)
        code = codes.TIME_WITHOUT_ZONE if zoneless else codes.BAD_TIME
        what = "does not say its zone" if zoneless else "is no time as RFC 3339 writes it, or does not exist"
        yield Finding(code, path, f"{shorten(item)} {what}")


def offset(item: Any, path: str) -> Iterator[Finding]:
    """`eventTimeZoneOffset`."""
    if not isinstance(item, str) or not OFFSET.fullmatch(item):
        yield Finding(errors.BAD_FORMAT, path, f"{shorten(str(item))} is no offset such as +01:00, at most 14:00")


def number(item: Any, path: str) -> Iterator[Finding]:
    """A JSON number."""
    if isinstance(item, bool) or not isinstance(item, int | float):
        yield _wrong_type(item, "a number", path)


def truth(item: Any, path: str) -> Iterator[Finding]:
    """true or false."""
    if not isinstance(item, bool):
        yield _wrong_type(item, "true or false", path)


def pattern(form: re.Pattern[str], what: str) -> Check:
    """Text of a form."""

    def check(item: Any, path: str) -> Iterator[Finding]:
        if not isinstance(item, str):
            yield _wrong_type(item, what, path)
        elif not form.fullmatch(item):
            yield Finding(errors.BAD_FORMAT, path, f"{shorten(item)} is not {what}")

    return check


def term(vocabulary: Vocabulary) -> Check:
    """A bare standard term, or a URI outside the namespaces in which only GS1 defines terms."""
    closed = _CBV if vocabulary.web else _VOC

    def check(item: Any, path: str) -> Iterator[Finding]:
        if not isinstance(item, str):
            yield _wrong_type(item, "a term", path)
        elif item not in vocabulary.terms and (not is_uri(item) or closed.match(item)):
            yield Finding(codes.UNKNOWN_TERM, path, f"{shorten(item)} is no {vocabulary.name} of the CBV, and no URI")

    return check


def many(check: Check, least: int = 0, unique: bool = False) -> Check:
    """An array."""

    def checked(item: Any, path: str) -> Iterator[Finding]:
        if not isinstance(item, list):
            yield _wrong_type(item, "an array", path)
            return
        if len(item) < least:
            yield Finding(errors.OUT_OF_RANGE, path, f"{len(item)} elements; at least {least}")
        if unique and all(isinstance(one, str) for one in item) and len(set(item)) < len(item):
            yield Finding(codes.REPEATED_VALUE, path, "the list names a value twice")
        for index, one in enumerate(item):
            yield from check(one, f"{path}[{index}]")

    return checked


def shape(fields: Mapping[str, Check], required: tuple[str, ...] = (), own: str = "refused") -> Check:
    """An object. `own`: fields of one's own are `refused`, must be `named` with a URI, or may be `any`."""

    def check(item: Any, path: str) -> Iterator[Finding]:
        if not isinstance(item, dict):
            yield _wrong_type(item, "an object", path)
            return
        for name in required:
            if name not in item:
                yield Finding(errors.MISSING_FIELD, f"{path}.{name}".lstrip("."), f"{name} is required")
        for name, value in item.items():
            if name in fields:
                yield from fields[name](value, f"{path}.{name}" if path else name)
                continue
            where = f"{path}.{shorten(name)[1:-1]}".lstrip(".")
            if own == "refused":
                yield Finding(codes.UNEXPECTED_ELEMENT, where, f"{shorten(name)} has no place here")
            elif own == "named" and not is_uri(name):
                yield Finding(codes.UNNAMED_EXTENSION, where, f"{shorten(name)} is no field of EPCIS, nor prefix:name")

    return check


def anything(item: Any, path: str) -> Iterator[Finding]:
    """No demand."""
    return iter(())


def _wrong_type(item: Any, what: str, path: str) -> Finding:
    return Finding(errors.WRONG_TYPE, path, f"{shorten(json_name(item))} is not {what}")


def json_name(item: Any) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", list: "an array", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(item), "a number")


_uom = pattern(_UOM, "a unit of 2 or 3 letters and digits (UN/ECE Recommendation 20)")
_quantities = many(shape({"epcClass": uri, "quantity": number, "uom": _uom}, ("epcClass",)))
_place = shape({"id": uri}, ("id",), own="any")
_pairs: dict[str, Check] = {
    "bizTransactionList": many(shape({"type": term(TRANSACTION_TYPE), "bizTransaction": uri}, ("bizTransaction",))),
    "sourceList": many(shape({"type": term(SOURCE_DESTINATION_TYPE), "source": uri}, ("type", "source"))),
    "destinationList": many(
        shape({"type": term(SOURCE_DESTINATION_TYPE), "destination": uri}, ("type", "destination"))
    ),
}
_metadata = shape(
    {
        **dict.fromkeys(("time", "startTime", "endTime"), time),
        **dict.fromkeys(("deviceID", "deviceMetadata", "rawData", "dataProcessingMethod", "bizRules"), uri),
    },
    own="named",
)
_report = shape(
    {
        **dict.fromkeys(
            ("deviceID", "deviceMetadata", "rawData", "dataProcessingMethod", "bizRules", "microorganism",
             "chemicalSubstance", "coordinateReferenceSystem", "uriValue"), uri,
        ),
        **dict.fromkeys(("value", "minValue", "maxValue", "meanValue", "sDev", "percRank", "percValue"), number),
        "type": term(MEASUREMENT), "exception": term(ALERT), "time": time, "component": term(COMPONENT),
        "stringValue": text, "booleanValue": truth, "hexBinaryValue": pattern(_HEX, "hexadecimal"), "uom": text,
    },
    ("type",),
    own="named",
)  # fmt: skip
_sensors = many(shape({"sensorMetadata": _metadata, "sensorReport": many(_report, 1)}, ("sensorReport",), own="named"))
_dispositions = many(term(DISPOSITION), 1, unique=True)
_declaration = shape(
    {"declarationTime": time, "reason": term(ERROR_REASON), "correctiveEventIDs": many(uri)},
    ("declarationTime",),
    own="named",
)


def persistent(item: Any, path: str) -> Iterator[Finding]:
    """`set`, `unset` or both."""
    yield from shape({"set": _dispositions, "unset": _dispositions})(item, path)
    if isinstance(item, dict) and not {"set", "unset"} & item.keys():
        yield Finding(errors.MISSING_FIELD, path, "neither set nor unset")


def context(item: Any, path: str) -> Iterator[Finding]:
    """`@context`: a URI, an object, or an array of them."""
    items = item if isinstance(item, list) else [item]
    for index, one in enumerate(items):
        if not isinstance(one, dict):
            yield from uri(one, f"{path}[{index}]" if isinstance(item, list) else path)
    if any(one in items[:index] for index, one in enumerate(items[:200])):
        yield Finding(codes.REPEATED_VALUE, path, "the list names a context twice")


_COMMON: dict[str, Check] = {
    "@context": context, "type": anything, "eventTime": time, "recordTime": time, "eventTimeZoneOffset": offset,
    "eventID": uri, "errorDeclaration": _declaration,
    "certificationInfo": lambda item, path: (many(uri) if isinstance(item, list) else uri)(item, path),
}  # fmt: skip
_SHARED: dict[str, Check] = {
    "bizStep": term(BIZ_STEP), "disposition": term(DISPOSITION), "readPoint": _place, "bizLocation": _place,
    "sensorElementList": _sensors, **_pairs,
}  # fmt: skip
_action = pattern(re.compile("OBSERVE|ADD|DELETE"), "ADD, OBSERVE or DELETE")
_ilmd = shape({}, own="named")
_children: dict[str, Check] = {"parentID": uri, "childEPCs": many(uri), "childQuantityList": _quantities}
_unique_epcs = many(uri, unique=True)

FIELDS: Mapping[str, Mapping[str, Check]] = {
    "ObjectEvent": {
        "action": _action, "epcList": _unique_epcs, "quantityList": _quantities, "persistentDisposition": persistent,
        "ilmd": _ilmd, **_SHARED,
    },
    "AggregationEvent": {"action": _action, **_children, **_SHARED},
    "AssociationEvent": {"action": _action, **_children, **_SHARED},
    "TransactionEvent": {
        "action": _action, "parentID": uri, "epcList": many(uri), "quantityList": _quantities, **_SHARED,
        "bizTransactionList": lambda item, path: (
            many(shape({"type": term(TRANSACTION_TYPE), "bizTransaction": uri}, ("bizTransaction",)), 1)(item, path)
        ),
    },
    "TransformationEvent": {
        "inputEPCList": _unique_epcs, "inputQuantityList": _quantities, "outputEPCList": _unique_epcs,
        "outputQuantityList": _quantities, "transformationID": uri, "persistentDisposition": persistent, "ilmd": _ilmd,
        **_SHARED,
    },
}  # fmt: skip
"""Fields of each event type beside the common ones."""
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "ObjectEvent": ("action",),
    "AggregationEvent": ("action",),
    "AssociationEvent": ("action", "parentID"),
    "TransactionEvent": ("action", "bizTransactionList"),
    "TransformationEvent": (),
}
"""Of these, those without which it is none, beside time and offset."""
_EVENTS: Mapping[str, Check] = {
    name: shape({**_COMMON, **fields}, ("eventTime", "eventTimeZoneOffset", *REQUIRED[name]), own="named")
    for name, fields in FIELDS.items()
}
_foreign = shape(_COMMON, ("eventTime", "eventTimeZoneOffset"), own="any")


def check_event(item: Any, bare: bool) -> Iterator[Finding]:
    """What is wrong with an event; `bare`: it stands in no document and needs a context of its own."""
    if not isinstance(item, dict):
        yield _wrong_type(item, "an event", "")
        return
    kind = item.get("type")
    if not isinstance(kind, str):
        yield Finding(errors.MISSING_FIELD, "type", "an event says its type")
        return
    if kind not in _EVENTS:
        if not is_uri(kind):
            yield Finding(codes.UNKNOWN_EVENT_TYPE, "type", f"{shorten(kind)} is no event type")
        yield from _foreign(item, "")
        return
    yield from _EVENTS[kind](item, "")
    if bare and "@context" not in item:
        words = f'an event outside of a document needs its own: "@context": ["{CONTEXT}"]'
        yield Finding(errors.MISSING_FIELD, "@context", words)
    if kind == "ObjectEvent" and "ilmd" in item and item.get("action") != "ADD":
        yield Finding(codes.ILMD_WITHOUT_ADD, "ilmd", "ilmd stands only with action ADD")
    if (what := nothing_observed(item)) is not None:
        yield Finding(codes.NOTHING_OBSERVED, "", what)


def nothing_observed(event: Mapping[str, Any]) -> str | None:
    """Which objects or readings an event's type asks for, where it has none of them."""
    kind = event.get("type")
    if kind == "ObjectEvent":
        sensed = event.get("sensorElementList") and "readPoint" in event
        if "epcList" not in event and not event.get("quantityList") and not sensed:
            return "an ObjectEvent needs epcList, quantityList, or sensorElementList with readPoint"
    elif kind in ("AggregationEvent", "AssociationEvent"):
        if event.get("action") != "DELETE" and not event.get("childEPCs") and not event.get("childQuantityList"):
            return f"an {kind} needs childEPCs or childQuantityList, unless it is a DELETE"
    elif kind == "TransactionEvent":
        if event.get("action") != "DELETE" and "epcList" not in event and not event.get("quantityList"):
            return "a TransactionEvent needs epcList or quantityList, unless it is a DELETE"
    elif kind == "TransformationEvent":
        inputs = event.get("inputEPCList") or event.get("inputQuantityList")
        outputs = event.get("outputEPCList") or event.get("outputQuantityList")
        joined = "transformationID" in event and (inputs or outputs)
        if not joined and not (inputs and outputs):
            return "a TransformationEvent needs an input and an output, or a transformationID and one of them"
    return None


_attribute = shape({"id": uri}, ("id",), own="any")
_vocabularies = many(
    shape(
        {
            "type": uri,
            "vocabularyElementList": many(
                shape({"id": uri, "attributes": many(_attribute), "children": many(uri)}, ("id",), own="any")
            ),
        },
        ("type",),
        own="any",
    )
)
_header = shape({"epcisMasterData": shape({"vocabularyList": _vocabularies}, own="any")}, own="named")
_list = {"eventList": many(anything)}
_results = shape({**_list, "vocabularyList": _vocabularies}, ("eventList",), own="named")
_query = shape(
    {"queryResults": shape({"queryName": text, "subscriptionID": text, "resultsBody": _results},
                           ("queryName", "resultsBody"), own="named")},
    ("queryResults",),
    own="named",
)  # fmt: skip
_ENVELOPE: dict[str, Check] = {
    "@context": context, "id": uri, "type": anything, "schemaVersion": pattern(_VERSION, "a version such as 2.0"),
    "creationDate": time,
}  # fmt: skip
ENVELOPES: Mapping[str, Check] = {
    "EPCISDocument": shape(
        {**_ENVELOPE, **dict.fromkeys(("instanceIdentifier", "sender", "receiver"), text), "epcisHeader": _header,
         "epcisBody": shape(_list, ("eventList",), own="any")},
        ("@context", "schemaVersion", "creationDate", "epcisBody"),
        own="named",
    ),
    "EPCISQueryDocument": shape({**_ENVELOPE, "epcisBody": _query}, ("@context", "epcisBody"), own="named"),
}  # fmt: skip
"""Documents by their type."""
