"""A shipped sample of real-looking serialization events with seeded trouble, and the answers it must get.

A manufacturer commissions items, packs them into cases and ships them; a wholesaler receives and decommissions some.
Messages are documents of one to five events, in JSON-LD, XML 2.0 and XML 1.2 by turns. Equal arguments give equal
bytes. Times are fixed (from 2024-03-04T06:00:00Z, past wherever the sample is run), no clock is read. A repeat is in
another syntax as often as not: the event hash finds it. Conflicts are refused (`on_conflict: conflict`) as in the
shipped pipeline.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple
from xml.sax.saxutils import escape

from schemas.packs.epcis.times import utc_text
from schemas.packs.manifest import Manifest

START = 1_709_532_000_000
"""2024-03-04T06:00:00Z, ms."""
STEP = 5_000
"""Between two events, ms."""
DAY = 86_400_000
# Shares of the messages, in thousandths; the rest are good documents of the running day.
SHARES = {"broken": 15, "bad": 25, "duplicate": 30, "late": 20, "declaration": 10}

PREFIX = "0300011"
MAKER, LINE = f"urn:epc:id:pgln:{PREFIX}.00001", f"urn:epc:id:sgln:{PREFIX}.00001.L1"
BUYERS = ("0399999", "0614141", "4012345")
_CONTEXT = ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"]
_ITEMS = 4
CASE = 48
"""Items of a case in a document of many."""
Event = dict[str, Any]
Syntax = Literal["json", "xml-2.0", "xml-1.2"]


class Message(NamedTuple):
    """One message, with how many of its records are good, bad and repeated."""

    kind: str
    key: str
    value: bytes
    good: int
    dead: int = 0
    duplicate: int = 0


def sample(messages: int, seed: int = 1) -> Iterator[tuple[str, bytes]]:
    """`messages` messages as (publisher's key, bytes), in the order they are to be published."""
    for message in _messages(messages, seed):
        yield message.key, message.value


def manifest(messages: int, seed: int = 1) -> Manifest:
    """The answers to `sample(messages, seed)`. Its kinds: good, late, duplicate, declaration, bad (an event), broken (a
    document)."""
    found = list(_messages(messages, seed))
    good, dead, duplicate = (sum(getattr(one, name) for one in found) for name in ("good", "dead", "duplicate"))
    return Manifest(
        good + dead + duplicate, good, dead, duplicate, dict(sorted(Counter(m.kind for m in found).items()))
    )


def histories(syntax: Syntax, seed: int = 1) -> Iterator[bytes]:
    """Documents of the sample in one syntax without end, all good, also by the state rules: the whole life of each
    item and of the case that it is packed in, in its order."""
    for events in _dated(_story(random.Random(seed), cases=True)):
        yield _WRITERS[syntax](events)


def one_document(syntax: Syntax, size: int, seed: int = 1) -> Iterator[bytes]:
    """One document of at least `size` bytes, piece by piece: good events of cases of CASE items each."""
    write = _WRITERS[syntax]
    head, _, tail = write([]).partition(b"[]" if syntax == "json" else b"</EventList>")
    head, between, tail = (head + b"[", b",", b"]" + tail) if syntax == "json" else (head, b"", b"</EventList>" + tail)
    yield head
    written = len(head) + len(tail)
    for number, events in enumerate(_dated(_story(random.Random(seed), CASE))):
        if len(events) > 1 and events[0]["bizStep"] == "commissioning":  # in one go
            events = [{**events[0], "epcList": [event["epcList"][0] for event in events]}]
        piece = (between if number else b"") + write(events)[len(head) : -len(tail)]
        yield piece
        if (written := written + len(piece)) >= size:
            break
    yield tail


def _dated(story: Iterator[tuple[str, list[Event]]]) -> Iterator[list[Event]]:
    """The documents of a story, their events each STEP after the one before it."""
    moment = START
    for _, events in story:
        for event in events:
            moment += STEP
            event["eventTime"] = utc_text(moment)
        yield events


def _messages(messages: int, seed: int) -> Iterator[Message]:
    """A repeat follows its original under the same key, so it is met later."""
    chance = random.Random(seed)
    story, writers = _story(chance), list(_WRITERS.values())
    last: dict[str, list[Event]] = {}
    declared: set[str] = set()
    moment = START
    for number in range(messages):
        kind = _kind(chance)
        key, events = next(story)
        if kind in ("duplicate", "declaration") and key not in last:
            kind = "good"
        if kind == "declaration" and last[key][0]["eventTime"] + key in declared:
            kind = "good"
        write = writers[number % len(writers)]
        if kind == "duplicate":
            yield Message(kind, key, write(last[key]), 0, duplicate=len(last[key]))
            continue
        if kind == "declaration":
            event = last[key][0]
            declared.add(event["eventTime"] + key)
            when = utc_text(moment + DAY)
            declaration = {"declarationTime": when, "reason": "incorrect_data"}
            yield Message(kind, key, _json([{**event, "errorDeclaration": declaration}]), 1)
            continue
        for event in events:
            moment += STEP
            event["eventTime"] = utc_text(moment - 2 * DAY if kind == "late" else moment)
        if kind == "broken":
            yield Message(kind, key, _cut(chance, write(events)), 0, dead=1)
        elif kind == "bad":
            chosen = chance.randrange(len(events))
            events[chosen] = _spoilt(chance, events[chosen])
            yield Message(kind, key, write(events), len(events) - 1, dead=1)
        else:
            last[key] = events
            yield Message(kind, key, write(events), len(events))


def _kind(chance: random.Random) -> str:
    roll = chance.randrange(1000)
    for kind, share in SHARES.items():
        if roll < share:
            return kind
        roll -= share
    return "good"


def _story(chance: random.Random, number: int = _ITEMS, cases: bool = False) -> Iterator[tuple[str, list[Event]]]:
    """Documents as they happen: (publisher's key, events without times), one lot of so many items after another.
    `cases`: whether the cases that items are packed in are commissioned, too."""
    lot = 0
    while True:
        lot += 1
        product = f"{lot % 5:06}"
        items = [f"urn:epc:id:sgtin:{PREFIX}.{product}.{lot:05}{serial:04}" for serial in range(number)]
        case = f"urn:epc:id:sscc:{PREFIX}.3{lot % 10**9:09}"
        buyer = chance.choice(BUYERS)
        parties = {
            "sourceList": [{"type": "owning_party", "source": MAKER}],
            "destinationList": [{"type": "owning_party", "destination": f"urn:epc:id:pgln:{buyer}.00002"}],
        }
        order = {"type": "po", "bizTransaction": f"urn:epcglobal:cbv:bt:{buyer}000028:PO-{lot}"}
        dock = {"id": f"urn:epc:id:sgln:{buyer}.00002.0"}
        data = {
            "{urn:epcglobal:cbv:mda}lotNumber": f"LOT{lot}",
            "{urn:epcglobal:cbv:mda}itemExpirationDate": "2028-12-31",
        }
        commissioned = [_object("ADD", "commissioning", "active", [item], {"id": LINE}, ilmd=data) for item in items]
        packed = {**_object("ADD", "packing", "in_progress", items, {"id": LINE}), "type": "AggregationEvent"}
        packed["childEPCs"], packed["parentID"] = packed.pop("epcList"), case
        if cases:
            commissioned.append(_object("ADD", "commissioning", "active", [case], {"id": LINE}))
        yield "maker", commissioned
        shipped = _object(
            "OBSERVE", "shipping", "in_transit", [case], {"id": LINE}, bizTransactionList=[order], **parties
        )
        yield "maker", [packed, shipped]
        received = _object("OBSERVE", "receiving", "in_progress", [case], dock, bizTransactionList=[order], **parties)
        yield buyer, [received]
        if lot % 4 == 0:
            yield buyer, [_object("DELETE", "decommissioning", "inactive", [items[0]], dock)]


def _object(action: str, step: str, disposition: str, items: list[str], place: dict[str, str], **more: Any) -> Event:
    event = {
        "type": "ObjectEvent",
        "eventTime": "",
        "eventTimeZoneOffset": "+00:00",
        "epcList": items,
        "action": action,
        "bizStep": step,
        "disposition": disposition,
        "readPoint": place,
    }
    return {**event, **more}


def _spoilt(chance: random.Random, event: Event) -> Event:
    """One of several ways in which an event is refused."""
    changes: dict[str, Event] = {
        "no_zone": {"eventTime": event["eventTime"].removesuffix("Z")},
        "step": {"bizStep": "https://ref.gs1.org/cbv/BizStep-teleporting"},
        "offset": {"eventTimeZoneOffset": "+25:00"},
        "action": {"action": "CREATE"},
        "place": {"readPoint": {"id": "https://id.gs1.org/414/0300011000018"}},  # a wrong check digit
        "serial": {"epcList" if "epcList" in event else "childEPCs": ["urn:epc:id:sgtin:0300011.000001."]},
    }
    return {**event, **changes[chance.choice(sorted(changes))]}


def _cut(chance: random.Random, document: bytes) -> bytes:
    return document[: chance.randrange(len(document) // 2, len(document) - 10)]


def _json(events: list[Event]) -> bytes:
    """A JSON-LD document."""
    listed = json.dumps(events).replace("{urn:epcglobal:cbv:mda}", "cbvmda:")
    return (
        f'{{"@context":{json.dumps(_CONTEXT)},"type":"EPCISDocument","schemaVersion":"2.0",'
        f'"creationDate":"2024-03-04T06:00:00Z","epcisBody":{{"eventList":{listed}}}}}'
    ).encode()


def _xml_2_0(events: list[Event]) -> bytes:
    return _xml(events, old=False)


def _xml_1_2(events: list[Event]) -> bytes:
    return _xml(events, old=True)


_WRITERS: dict[Syntax, Callable[[list[Event]], bytes]] = {"json": _json, "xml-2.0": _xml_2_0, "xml-1.2": _xml_1_2}


def _xml(events: list[Event], old: bool) -> bytes:
    """An XML document of either version. 1.2 hides parties and ILMD in an extension."""
    body = "".join(f"<{event['type']}>{_fields(event, old)}</{event['type']}>" for event in events)
    version = "1" if old else "2"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><epcis:EPCISDocument xmlns:epcis="urn:epcglobal:epcis:xsd:{version}" '
        f'xmlns:cbvmda="urn:epcglobal:cbv:mda" schemaVersion="{"1.2" if old else "2.0"}" '
        f'creationDate="2024-03-04T06:00:00Z"><EPCISBody><EventList>{body}</EventList></EPCISBody></epcis:EPCISDocument>'
    ).encode()


def _fields(event: Event, old: bool) -> str:
    parts = [f"<{name}>{escape(event[name])}</{name}>" for name in ("eventTime", "eventTimeZoneOffset")]
    if "parentID" in event:
        parts.append(f"<parentID>{event['parentID']}</parentID>")
    for name in ("epcList", "childEPCs"):
        if name in event:
            parts.append(f"<{name}>{''.join(f'<epc>{escape(epc)}</epc>' for epc in event[name])}</{name}>")
    parts.append(f"<action>{event['action']}</action>")
    parts.append(f"<bizStep>{_term('bizstep', event['bizStep'])}</bizStep>")
    parts.append(f"<disposition>{_term('disp', event['disposition'])}</disposition>")
    parts.append(f"<readPoint><id>{escape(event['readPoint']['id'])}</id></readPoint>")
    if "bizTransactionList" in event:
        parts.append(_pairs(event, "bizTransactionList", "bizTransaction", "btt"))
    later = [_pairs(event, f"{end}List", end, "sdt") for end in ("source", "destination") if f"{end}List" in event]
    if "ilmd" in event:
        inside = "".join(
            f"<cbvmda:{_local(name)}>{text}</cbvmda:{_local(name)}>" for name, text in event["ilmd"].items()
        )
        later.append(f"<ilmd>{inside}</ilmd>")
    added = "".join(later)
    parts.append(f"<extension>{added}</extension>" if old and added else added)
    return "".join(parts)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _term(kind: str, term: str) -> str:
    return term if ":" in term else f"urn:epcglobal:cbv:{kind}:{term}"


def _pairs(event: Event, name: str, key: str, kind: str) -> str:
    inside = "".join(f'<{key} type="{_term(kind, pair["type"])}">{escape(pair[key])}</{key}>' for pair in event[name])
    return f"<{name}>{inside}</{name}>"
