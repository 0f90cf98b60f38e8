"""The canonical event: one shape for what XML 1.2, XML 2.0 and JSON-LD say, so that equal events are equal bytes.

It is EPCIS 2.0 JSON with every leaf as text. Times are UTC with milliseconds, standard terms bare words, numbers plain
decimals, lists in the order of their bytes (none of EPCIS's lists has an order that means anything). A field of one's
own is `{namespace}name`. `recordTime` is left out: it is the receiver's, and a repeated event must stay equal.
Identifiers stay as they were spelt: a Digital Link cannot be turned into a URN without knowing the company prefix.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from schemas import errors
from schemas.canonical import canonical_json
from schemas.errors import Finding
from schemas.packs.epcis import codes
from schemas.packs.epcis.times import has_zone, is_date_time, milliseconds, utc_text
from schemas.packs.epcis.vocabulary import (
    BY_FIELD,
    DISPOSITION,
    MEASUREMENT,
    SOURCE_DESTINATION_TYPE,
    TRANSACTION_TYPE,
    Vocabulary,
)
from schemas.packs.jsontext import shorten

Event = dict[str, Any]

TIMES = frozenset({"eventTime", "declarationTime", "time", "startTime", "endTime"})
NUMBERS = frozenset(
    {"quantity", "value", "minValue", "maxValue", "meanValue", "sDev", "percRank", "percValue"}
)  # fmt: skip
EPC_LISTS = {"epcList": "epc", "childEPCs": "epc", "inputEPCList": "epc", "outputEPCList": "epc"}
"""Lists of identifiers of things, and the name of an element of theirs."""
QUANTITY_LISTS = ("quantityList", "childQuantityList", "inputQuantityList", "outputQuantityList")
PAIR_LISTS = {
    "bizTransactionList": ("bizTransaction", TRANSACTION_TYPE),
    "sourceList": ("source", SOURCE_DESTINATION_TYPE),
    "destinationList": ("destination", SOURCE_DESTINATION_TYPE),
}
"""Lists of identifiers with a type: the identifier's name, and the types' vocabulary."""
PLACES = ("readPoint", "bizLocation")
SENSOR_METADATA = "sensorMetadata"
SENSOR_REPORT = "sensorReport"
LEFT_OUT = frozenset({"recordTime"})
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML cannot carry or that no value has a use for."""


def value(name: str, text: str, within: str = "") -> str:
    """A leaf in its canonical form, by the name of its field and of what holds it. What cannot be read stays."""
    text = text.strip()
    if name in TIMES:
        moment = milliseconds(text)
        return text if moment is None else utc_text(moment)
    if name in NUMBERS:
        return number(text)
    vocabulary = vocabulary_of(name, within)
    return text if vocabulary is None else vocabulary.bare(text)


def vocabulary_of(name: str, within: str) -> Vocabulary | None:
    """The vocabulary a field's value belongs to; None: it is no term."""
    if name == "type":
        if within == SENSOR_REPORT:
            return MEASUREMENT
        return PAIR_LISTS[within][1] if within in PAIR_LISTS else None
    if within == "persistentDisposition":
        return DISPOSITION
    return BY_FIELD.get(name)


def number(text: str) -> str:
    """A number as a plain decimal without trailing zeros; a text that is none, or has an absurd exponent, as it is."""
    try:
        found = Decimal(text)
    except InvalidOperation:
        return text
    if not found.is_finite() or abs(found.adjusted()) > 400 or len(text) > 400:
        return text
    plain = format(found, "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return "0" if plain in ("-0", "+0") else plain.removeprefix("+")


def in_order(items: Iterable[Any]) -> list[Any]:
    """Items by their bytes."""
    return sorted(items, key=lambda item: item.encode() if isinstance(item, str) else canonical_json(item))


def own_name(namespace: str, local: str) -> str:
    """The name of a field of one's own. `urn:…:` in a JSON-LD context and `urn:…` in XML are one namespace."""
    if namespace.startswith("urn:"):
        namespace = namespace.rstrip(":")
    return f"{{{namespace}}}{local}"


def add(fields: Event, name: str, item: Any) -> None:
    """One more value of a field of one's own; several of one name are a list in the order of their bytes."""
    if name not in fields:
        fields[name] = item
        return
    before = fields[name]
    fields[name] = in_order([*(before if isinstance(before, list) else [before]), item])


def misshapen(event: Event) -> Iterator[Finding]:
    """What makes an event's parts unreadable for rules and hash: parts of another shape than their names say, texts
    that no document may carry, an `eventTime` that is no moment."""
    texts: list[str] = []
    _collect(event, texts)
    if _FORBIDDEN.search("".join(texts)):
        yield from control_characters(event, "")
    if not event.get("type"):
        yield Finding(errors.MISSING_FIELD, "type", "an event says its type")
    for name, item in event.items():
        if name in EPC_LISTS or name == "certificationInfo":
            yield from _shaped(item, name, [str])
        elif name in QUANTITY_LISTS or name in PAIR_LISTS:
            yield from _shaped(item, name, [{}])
        elif name in PLACES:
            yield from _shaped(item, name, {})
        elif name == "persistentDisposition":
            yield from _shaped(item, name, {"set": [str], "unset": [str]})
        elif name == "errorDeclaration":
            yield from _shaped(item, name, {"correctiveEventIDs": [str]})
        elif name == "sensorElementList":
            yield from _shaped(item, name, [{SENSOR_METADATA: {}, SENSOR_REPORT: [{}]}])
        elif name == "ilmd":
            if not isinstance(item, dict):
                yield Finding(errors.WRONG_TYPE, name, "ilmd holds fields of one's own, not text")
        elif name[:1] != "{" and ":" not in name and not isinstance(item, str):
            yield Finding(errors.WRONG_TYPE, shorten(name)[1:-1], "holds parts where one text belongs")
    stated = event.get("eventTime", "")
    if not isinstance(stated, str):
        return
    if "eventTime" not in event:
        yield Finding(errors.MISSING_FIELD, "eventTime", "eventTime is required")
    elif milliseconds(stated) is None:
        code = codes.BAD_TIME
        if is_date_time(stated):
            code = codes.TIME_OUT_OF_RANGE if has_zone(stated) else codes.TIME_WITHOUT_ZONE
        yield Finding(code, "eventTime", f"{shorten(stated)} is no moment from 1970 to 9999 with its zone")


def _shaped(item: Any, path: str, form: Any) -> Iterator[Finding]:
    """Whether a part has a form: `str`, a list of one form, or an object whose named parts have theirs and whose
    other parts are text, but for those of one's own."""
    if form is str:
        if not isinstance(item, str):
            yield Finding(errors.WRONG_TYPE, path, "is not one text")
    elif isinstance(form, list):
        if not isinstance(item, list):
            yield Finding(errors.WRONG_TYPE, path, "is no list")
            return
        if form[0] is str and all(one.__class__ is str for one in item):
            return
        for index, one in enumerate(item):
            yield from _shaped(one, f"{path}[{index}]", form[0])
    elif not isinstance(item, dict):
        yield Finding(errors.WRONG_TYPE, path, "is no object with named parts")
    else:
        for name, part in item.items():
            if name in form:
                yield from _shaped(part, f"{path}.{name}", form[name])
            elif part.__class__ is not str and name[:1] != "{" and ":" not in name:
                yield from _shaped(part, f"{path}.{shorten(name)[1:-1]}", str)


def _collect(part: Any, texts: list[str]) -> None:
    """Every text and name in a part."""
    if isinstance(part, str):
        texts.append(part)
    elif isinstance(part, list):
        for one in part:
            _collect(one, texts)
    elif isinstance(part, dict):
        texts += part
        for one in part.values():
            _collect(one, texts)


def control_characters(part: Any, path: str) -> Iterator[Finding]:
    """Texts and names in a part that no document may carry."""
    if isinstance(part, str):
        if found := _FORBIDDEN.search(part):
            yield Finding(codes.CONTROL_CHARACTER, path, f"the character U+{ord(found[0]):04X} inside a value")
    elif isinstance(part, list):
        for index, one in enumerate(part):
            yield from control_characters(one, f"{path}[{index}]")
    elif isinstance(part, dict):
        for name, one in part.items():
            where = f"{path}.{shorten(name)[1:-1]}".lstrip(".")
            if _FORBIDDEN.search(name):
                yield Finding(codes.CONTROL_CHARACTER, where, "a control character inside a name")
            yield from control_characters(one, where)


def identifiers(event: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Every identifier of a thing or a class of things in an event, with its path."""
    if "parentID" in event:
        yield "parentID", event["parentID"]
    for name in EPC_LISTS:
        for index, epc in enumerate(event.get(name, ())):
            yield f"{name}[{index}]", epc
    for name in QUANTITY_LISTS:
        for index, element in enumerate(event.get(name, ())):
            if "epcClass" in element:
                yield f"{name}[{index}].epcClass", element["epcClass"]
