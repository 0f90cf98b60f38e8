"""The business rules of the strict and lenient profiles, over canonical events: every finding, with its path.

Each rule names its source. An event in the future is not found here, because a pack has no clock, but
by `streams/validate/ahead.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date

from schemas import errors
from schemas.errors import Finding
from schemas.gs1.characters import SET_82
from schemas.gs1.digital_link import CANONICAL_HOST, parse_digital_link
from schemas.gs1.keys import CHECK_DIGIT, NOT_ESCAPED, SGLN, Key, NotAKey, wrong_check_digit
from schemas.gs1.urn import OTHER_SCHEMES, parse_urn
from schemas.kept import Kept
from schemas.packs.epcis import codes
from schemas.packs.epcis import event as ev
from schemas.packs.epcis.event import Event
from schemas.packs.epcis.event_hash import HASH
from schemas.packs.epcis.json_check import nothing_observed
from schemas.packs.epcis.known import EXPIRY, LOT
from schemas.packs.epcis.options import Options
from schemas.packs.epcis.party import NOBODY, is_gln
from schemas.packs.epcis.times import OFFSET, has_zone, is_date_time, milliseconds
from schemas.packs.epcis.vocabulary import (
    BIZ_STEP,
    DISPOSITION,
    ERROR_REASON,
    Vocabulary,
    is_standard_namespace,
)
from schemas.packs.jsontext import shorten

_LOT = re.compile(f"[{SET_82}]{{1,20}}")
_UOM = re.compile(r"[A-Z0-9]{2,3}")
_SPAN = ("time", "startTime", "endTime")
_DAY = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:Z|[+-]\d\d:\d\d)?", re.ASCII)
_LOOKS_LIKE_LINK = re.compile(r"https?://[^/]+/(?:.*/)?(?:00|01|253|255|414|417|8003|8006|8017|8018)/\d{8}")


def check(event: Event, options: Options, sender: str, receiver: str, computed_hash: str) -> Iterator[Finding]:
    """Everything wrong with an event whose parts have their right shape; its `eventTime` may be missing or no moment.
    computed_hash: empty where there is none for that reason."""
    items = list(ev.identifiers(event))
    if len(items) > options.max_items:
        message = f"{len(items)} identifiers; {options.max_items} are allowed"
        yield Finding(codes.TOO_MANY_ITEMS, "", message)
        return
    yield from check_objects(event)
    yield from check_parts(event, items)
    yield from check_parties(event, options, sender, receiver)
    stated = event.get("eventID", "")
    if computed_hash and HASH.fullmatch(stated) and stated != computed_hash:
        yield Finding(codes.EVENT_ID_DIFFERS, "eventID", f"is the hash of another event; this one's is {computed_hash}")


def check_parts(event: Event, items: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """Everything wrong with an event's parts taken one by one, `items` being its identifiers; only times are compared
    with the event's own."""
    yield from _identifiers(event, items)
    yield from _quantities(event)
    yield from _terms(event)
    yield from _times(event)
    yield from _master_data(event)


def check_parties(event: Event, options: Options, sender: str, receiver: str) -> Iterator[Finding]:
    """What an event lacks by the options in force, and whether its parties are known."""
    if options.product_data:
        yield from _product_data(event, sender, receiver)
    if options.partners:
        for role, name in (("sender", sender), ("receiver", receiver)):
            if name not in options.partners:
                yield Finding(codes.UNKNOWN_PARTNER, role, f"{shorten(name)} is no configured trading partner")


def check_objects(event: Event) -> Iterator[Finding]:
    """EPCIS 2.0, 7.4: what each type needs, also where XML's schema does not ask."""
    kind = event["type"]
    if kind == "QuantityEvent":
        message = "is deprecated since EPCIS 1.1: send an ObjectEvent with a quantityList"
        yield Finding(codes.UNKNOWN_EVENT_TYPE, "type", message)
        return
    if (missing := nothing_observed(event)) is not None:
        yield Finding(codes.NOTHING_OBSERVED, "", missing)
    if kind == "ObjectEvent" and "ilmd" in event and event.get("action") != "ADD":
        yield Finding(codes.ILMD_WITHOUT_ADD, "ilmd", "ilmd stands only with action ADD")
    if kind == "AggregationEvent" and event.get("action") != "OBSERVE" and "parentID" not in event:
        yield Finding(codes.NO_PARENT, "parentID", f"an aggregation with action {event.get('action')} names its parent")
    if "parentID" in event and event["parentID"] in event.get("childEPCs", ()):
        yield Finding(codes.OWN_CHILD, "childEPCs", "the parent is among its children")
    for name in ev.EPC_LISTS:
        epcs: Sequence[str] = event.get(name, ())
        if len(set(epcs)) < len(epcs):
            twice = [epc for epc, times in Counter(epcs).items() if times > 1]
            yield Finding(codes.REPEATED_VALUE, name, f"{shorten(twice[0])} stands more than once")


def _identifiers(event: Event, items: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """EPC Tag Data Standard 6.3; GS1 Digital Link URI Syntax 4; CBV 2.0, 8: what may identify what."""
    for path, text in items:
        yield from check_identifier(text, path, wanted="class" if path.endswith("epcClass") else "item")
    for name in ev.PLACES:
        if name in event:
            yield from check_identifier(event[name].get("id", ""), f"{name}.id", wanted="")
    for name, (key, _) in ev.PAIR_LISTS.items():
        for index, pair in enumerate(event.get(name, ())):
            yield from check_identifier(pair.get(key, ""), f"{name}[{index}].{key}", wanted="")


def check_identifier(text: str, path: str, wanted: str) -> Iterator[Finding]:
    """What is wrong with an identifier in the place of an `item`, a `class`, or (empty) whatever it names."""
    for code, message, kind in _judged[text] if len(text) <= 200 else _judge(text):
        if not kind or (wanted and kind != wanted):
            yield Finding(code, path, message)


def _judge(text: str) -> tuple[tuple[str, str, str], ...]:
    """(code, message, kind) of all that may be wrong with an identifier; `kind` where it is wrong only in the place
    of another kind."""
    key: Key | NotAKey
    if text.startswith("urn:epc:"):
        if text.split(":")[3:4] and text.split(":")[3] in OTHER_SCHEMES:
            return ()
        key = parse_urn(text)
    elif text.startswith(CANONICAL_HOST) or _LOOKS_LIKE_LINK.match(text):
        key = parse_digital_link(text)
    else:
        return ()  # a private identifier (CBV 2.0, 8.2.2)
    if isinstance(key, NotAKey):
        return ((codes.BAD_IDENTIFIER, f"{shorten(text, 120)} {key.message}", ""),)
    found: list[tuple[str, str, str]] = []
    if CHECK_DIGIT in key.deviations:
        message = f"{shorten(text, 120)} {wrong_check_digit(key.type, key.value)}"
        found.append((codes.CHECK_DIGIT_WRONG, message, ""))
    if NOT_ESCAPED in key.deviations:
        message = f"{shorten(text, 120)} holds a character that a URI carries as %xx"
        found.append((codes.IDENTIFIER_NOT_ESCAPED, message, ""))
    kind = _kind(key)
    what = "a class, which belongs in a quantity list" if kind == "class" else "one thing, which is no class"
    found.append((codes.WRONG_KIND_OF_IDENTIFIER, f"{shorten(text, 120)} names {what}", kind))
    return tuple(found)


def _kind(key: Key) -> str:
    if key.type.kind == "class" or key.serial == "*":
        return "class"
    if key.type.serial and key.serial is None and key.type is not SGLN:
        return "class"
    return "item"


_judged = Kept(_judge, 2**14)
"""Items of one document share prefixes but not serial numbers; places, parties and classes repeat."""


def _quantities(event: Event) -> Iterator[Finding]:
    """EPCIS 2.0, 7.3.3.3: a quantity with a unit is a measure, without one a count."""
    for name in ev.QUANTITY_LISTS:
        for index, element in enumerate(event.get(name, ())):
            path, amount, unit = f"{name}[{index}]", element.get("quantity"), element.get("uom")
            if unit is not None and (not _UOM.fullmatch(unit) or amount is None):
                message = f"the unit {shorten(unit)} is no UN/ECE code of 2 or 3 characters, or stands without quantity"
                yield Finding(codes.UNIT_MISSING, f"{path}.uom", message)
            if amount is not None and (amount[:1] == "-" or (unit is None and not amount.isdecimal())):
                message = f"{shorten(amount)} is negative, or no whole number while no unit makes it a measure"
                yield Finding(codes.BAD_QUANTITY, f"{path}.quantity", message)


def _terms(event: Event) -> Iterator[Finding]:
    """CBV 2.0, 7: a standard term, or a URI outside GS1's namespaces."""
    for name, vocabulary in (("bizStep", BIZ_STEP), ("disposition", DISPOSITION)):
        if name in event:
            yield from _term(event[name], vocabulary, name)
    for kind, terms in event.get("persistentDisposition", {}).items():
        for index, text in enumerate(terms):
            yield from _term(text, DISPOSITION, f"persistentDisposition.{kind}[{index}]")
    for name, (_, vocabulary) in ev.PAIR_LISTS.items():
        for index, pair in enumerate(event.get(name, ())):
            if "type" in pair:
                yield from _term(pair["type"], vocabulary, f"{name}[{index}].type")
    reason = event.get("errorDeclaration", {}).get("reason")
    if reason is not None:
        yield from _term(reason, ERROR_REASON, "errorDeclaration.reason")


def _term(text: str, vocabulary: Vocabulary, path: str) -> Iterator[Finding]:
    if text not in vocabulary.terms and (":" not in text or is_standard_namespace(text)):
        yield Finding(
            codes.UNKNOWN_TERM, path, f"{shorten(text)} is no {vocabulary.name} of the CBV, and no private URI"
        )


def _times(event: Event) -> Iterator[Finding]:
    """EPCIS 2.0, 7.4.1; M122 for sensors. Times are UTC text of one length, so they compare as text."""
    happened = event.get("eventTime", "")
    timed = milliseconds(happened) is not None  # else nothing is before it, and nothing after
    if not OFFSET.fullmatch(event.get("eventTimeZoneOffset", "")):
        stated = shorten(event.get("eventTimeZoneOffset", ""))
        yield Finding(errors.BAD_FORMAT, "eventTimeZoneOffset", f"{stated} is no offset such as +01:00, at most 14:00")
    for path, text in _stated_times(event):
        if milliseconds(text) is None:
            zoneless = is_date_time(text) and not has_zone(text)
            code = codes.TIME_WITHOUT_ZONE if zoneless else codes.BAD_TIME
            yield Finding(code, path, f"{shorten(text)} {'does not say its zone' if zoneless else 'is no time'}")
    declared = event.get("errorDeclaration", {}).get("declarationTime")
    if timed and declared is not None and declared < happened:
        path = "errorDeclaration.declarationTime"
        yield Finding(codes.DECLARED_BEFORE_EVENT, path, f"{declared} is before the event, {happened}")
    for index, element in enumerate(event.get("sensorElementList", ())):
        path = f"sensorElementList[{index}].sensorMetadata"
        seen = element.get(ev.SENSOR_METADATA, {})
        for name in _SPAN:
            if timed and seen.get(name, "") > happened:
                yield Finding(
                    codes.SENSOR_AFTER_EVENT, f"{path}.{name}", f"{seen[name]} is after the event, {happened}"
                )
        if "startTime" in seen and seen.get("endTime", seen["startTime"]) < seen["startTime"]:
            yield Finding(codes.SENSOR_SPAN_REVERSED, f"{path}.endTime", "the span ends before it begins")


def _stated_times(event: Event) -> Iterator[tuple[str, str]]:
    """Every time beside the event's own."""
    if "declarationTime" in (declaration := event.get("errorDeclaration", {})):
        yield "errorDeclaration.declarationTime", declaration["declarationTime"]
    for index, element in enumerate(event.get("sensorElementList", ())):
        path = f"sensorElementList[{index}]"
        seen = element.get(ev.SENSOR_METADATA, {})
        yield from ((f"{path}.sensorMetadata.{name}", seen[name]) for name in _SPAN if name in seen)
        for number, report in enumerate(element.get(ev.SENSOR_REPORT, ())):
            if "time" in report:
                yield f"{path}.sensorReport[{number}].time", report["time"]


def _master_data(event: Event) -> Iterator[Finding]:
    """GS1 General Specifications 3.4.1 (lot), CBV 2.0, 10 (itemExpirationDate is xsd:date)."""
    for name, text in event.get("ilmd", {}).items():
        if name in LOT and (not isinstance(text, str) or not _LOT.fullmatch(text)):
            yield Finding(codes.BAD_LOT, "ilmd.lotNumber", "a lot number has 1 to 20 characters of GS1 set 82")
        if name in EXPIRY and (not isinstance(text, str) or not _is_day(text)):
            yield Finding(codes.BAD_EXPIRY, "ilmd.itemExpirationDate", f"{shorten(str(text))} is no date YYYY-MM-DD")


def _is_day(text: str) -> bool:
    match = _DAY.fullmatch(text)
    try:
        return match is not None and bool(date(int(match[1]), int(match[2]), int(match[3])))
    except ValueError:
        return False


def _product_data(event: Event, sender: str, receiver: str) -> Iterator[Finding]:
    """What a serialized shipment is traced by (DSCSA 581(14), 581(26); GS1 US guideline R1.3)."""
    if event.get("errorDeclaration"):
        return
    step, action = event.get("bizStep"), event.get("action")
    if step == "commissioning" and action == "ADD" and any(":sgtin:" in epc or "/01/" in epc for epc in _items(event)):
        ilmd = event.get("ilmd", {})
        if not any(name in ilmd for name in LOT):
            yield Finding(codes.LOT_MISSING, "ilmd.lotNumber", "items are commissioned without a lot number")
        if not any(name in ilmd for name in EXPIRY):
            message = "items are commissioned without an expiration date"
            yield Finding(codes.EXPIRY_MISSING, "ilmd.itemExpirationDate", message)
    if step == "shipping":
        for path, name in (("sourceList", sender), ("destinationList", receiver)):
            if not is_gln(name):
                said = "nobody" if name == NOBODY else shorten(name)
                yield Finding(codes.PARTY_MISSING, path, f"a shipment names both parties by GLN; here stands {said}")
        if not event.get("bizTransactionList"):
            message = "a shipment names its purchase order, despatch advice or invoice"
            yield Finding(codes.TRANSACTION_MISSING, "bizTransactionList", message)


def _items(event: Event) -> list[str]:
    found: list[str] = event.get("epcList", [])
    return found
