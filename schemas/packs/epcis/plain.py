"""The short way for plain events: those of the common fields, of which nothing at all is found wrong.

Most events differ in a few identifiers and times. Here these are looked at one by one; every other field is judged,
made canonical and hashed by the thorough code when its content is first met, and looked up ever after. What is not
seen to be plain is None here, and is read thoroughly: a short way never refuses, warns or repairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import orjson

from schemas.canonical import sha256
from schemas.gs1.keys import SGTIN
from schemas.gs1.uri import find_key
from schemas.kept import Kept
from schemas.pack import Listed, Record, Refusal, Unpacked
from schemas.packs.epcis import json_check, rules
from schemas.packs.epcis.event import Event, misshapen
from schemas.packs.epcis.event_hash import canonical, hash_of, in_hash, put_together
from schemas.packs.epcis.judge import KIND, LONGEST, Around, Rules, encode, few, fields_of
from schemas.packs.epcis.party import NOBODY, of_event
from schemas.packs.epcis.pieces import Read, Together
from schemas.packs.epcis.shipments import is_told_in
from schemas.packs.epcis.state import NONE, SEVERAL, issuer
from schemas.packs.epcis.times import milliseconds, utc_text
from schemas.packs.epcis.transaction import is_shipment, owners_of
from schemas.packs.epcis.xml_check import is_time, is_uri_reference

LARGEST = 2**17
"""Bytes of a document that is read at once; of a larger one, some events at a time are."""
ITEMS = frozenset({"epcList", "childEPCs"})
TIMES = frozenset({"eventTime", "recordTime"})
KEPT = frozenset(
    {"eventTimeZoneOffset", "action", "bizStep", "disposition", "readPoint", "bizLocation", "bizTransactionList",
     "sourceList", "destinationList", "ilmd"}
)  # fmt: skip
"""Fields that are judged once for each content."""
_ENDS = {"sourceList": "source", "destinationList": "destination"}
_LONGEST_TEXT = 200


def is_own(name: str) -> bool:
    """Whether this is the full name of a field of one's own, `{namespace}local`, of a common length."""
    return name[:1] == "{" and len(name) <= _LONGEST_TEXT


class Part(NamedTuple):
    """A field whose content was judged."""

    name: str
    item: Any
    """In its canonical form."""
    hashed: str
    party: str
    """Of sources and destinations: who is named."""
    owner: str


def parts_of(kind: str, found: Event) -> tuple[Part, ...] | None:
    """Fields of an event as parts; None where one of them is not plain, or something is wrong with it."""
    if not found or not all(name in KEPT or is_own(name) for name in found) or len(orjson.dumps(found)) > LONGEST:
        return None
    event = {"type": kind, "eventTime": utc_text(0), "eventTimeZoneOffset": "+00:00", **found}
    if any(misshapen(event)) or any(rules.check_parts(event, ())):
        return None
    owners = owners_of(event)
    return tuple(
        Part(
            name,
            item,
            in_hash(name, item),
            of_event(event, _ENDS[name]) if name in _ENDS else "",
            owners.get(_ENDS.get(name, ""), ""),
        )
        for name, item in found.items()
    )


class _Epc(NamedTuple):
    """An item's identifier."""

    hashed: str
    issuer: str


def _epc(text: str) -> _Epc | None:
    if not _uris[text] or any(rules.check_identifier(text, "", wanted="item")):
        return None
    return _Epc(canonical(text), issuer({"parentID": text}))


def _uri(text: str) -> bool:
    return len(text) <= _LONGEST_TEXT and json_check.is_uri(text) and is_uri_reference(text)


def _head(head: str) -> _Epc | None:
    """What all items have in common whose identifiers begin alike and go on with a serial number of letters and digits;
    None: it is not certain that they have."""
    key, told = find_key(head + "1"), _epcs[head + "1"]
    if key is None or told is None or key.type is not SGTIN or key.serial != "1" or not told.hashed.endswith("/21/1"):
        return None
    ends = head[-1] == "." and head.count(".") == 2 if head.startswith("urn:") else head.endswith("/21/")
    return told._replace(hashed=told.hashed[:-1]) if ends and not {"?", "#"} & set(head) else None


_uris = Kept(_uri, 2**13)
_epcs = Kept(_epc, 2**13)
_heads = Kept(_head, 2**12)


def epc_of(text: str) -> _Epc | None:
    """An identifier of one thing, of which nothing is wrong in either syntax."""
    cut = max(text.rfind("."), text.rfind("/")) + 1
    serial = text[cut:]
    if serial.isalnum() and len(serial) <= 20 and serial.isascii() and cut <= 100:
        head = _heads[text[:cut]] if cut else None
        if head is not None:
            return _Epc(head.hashed + serial, head.issuer)
    return _epcs[text] if len(text) <= _LONGEST_TEXT else None


def _time(text: str) -> tuple[int, str] | None:
    moment = milliseconds(text)
    if moment is None or any(json_check.time(text, "")) or not is_time(text):
        return None
    return moment, utc_text(moment)


def _minute(text: str) -> tuple[int, str] | None:
    return _time(text + "00.000Z")


_times = Kept(_time, 2**12)
_minutes = Kept(_minute, 2**12)


def time_of(text: str) -> tuple[int, str] | None:
    """(ms since epoch, canonical text) of a time that is right in either syntax."""
    if len(text) == 24 and text[23] == "Z" and text[19] == "." and text.isascii():
        seconds, thousandths = text[17:19], text[20:23]
        if seconds.isdigit() and thousandths.isdigit() and seconds < "60":
            minute = _minutes[text[:17]]
            return None if minute is None else (minute[0] + int(seconds) * 1000 + int(thousandths), text)
    return _times[text] if len(text) < 40 else None


class Draft:
    """An event on its way, field by field."""

    __slots__ = ("_issuers", "_items", "_moment", "_parts", "_told", "event")

    def __init__(self, kind: str) -> None:
        self.event: Event = {"type": kind}
        self._told: dict[str, str] = {}
        self._parts: dict[str, Part] = {}
        self._issuers: set[str] = set()
        self._items, self._moment = 0, 0

    def time(self, name: str, text: str) -> bool:
        """`eventTime` or `recordTime`. Whether it is plain, as all of these say."""
        found = time_of(text)
        if found is None:
            return False
        if name == "eventTime":
            self._moment, self.event[name] = found
            self._told[name] = "eventTime=" + found[1]
        return True

    def epcs(self, name: str, texts: list[str]) -> bool:
        """A list of items, which is not empty."""
        told = []
        for text in texts:
            epc = epc_of(text)
            if epc is None:
                return False
            told.append("epc=" + epc.hashed)
            self._issuers.add(epc.issuer)
        self._items += len(told)
        self.event[name] = sorted(texts)
        told.sort()
        self._told[name] = name + "".join(told)
        return bool(told)

    def parent(self, text: str) -> bool:
        """`parentID`."""
        epc = epc_of(text)
        if epc is None:
            return False
        self.event["parentID"], self._told["parentID"] = text, "parentID=" + epc.hashed
        self._issuers.add(epc.issuer)
        self._items += 1
        return True

    def named(self, text: str) -> bool:
        """`eventID`, where it is no event hash that must be right."""
        self.event["eventID"] = text
        return len(text) <= _LONGEST_TEXT and not text.startswith("ni:") and _uris[text]

    def parts(self, parts: tuple[Part, ...] | None) -> bool:
        """Fields judged before."""
        if parts is None:
            return False
        for part in parts:
            if part.name in self.event:
                return False
            self.event[part.name], self._told[part.name] = part.item, part.hashed
            if part.party:
                self._parts[part.name] = part
        return True

    def record(self, around: Around, in_force: Rules) -> Record | None:
        """The event's record: what its parts are together is looked at here."""
        event, options = self.event, in_force.options
        if "eventTime" not in event or "eventTimeZoneOffset" not in event or self._items > options.max_items:
            return None
        source, destination = self._parts.get("sourceList"), self._parts.get("destinationList")
        named = {"sender": source.party if source else NOBODY, "receiver": destination.party if destination else NOBODY}
        sender, receiver = around.sender or named["sender"], around.receiver or named["receiver"]
        if len(sender) > LONGEST or len(receiver) > LONGEST or (options.dscsa and is_shipment(event)):
            return None
        if any(rules.check_objects(event)) or any(rules.check_parties(event, options, sender, receiver)):
            return None
        computed = hash_of(put_together(event["type"], self._told))
        owners = {
            "source": source.owner if source else "",
            "destination": destination.owner if destination else "",
        }
        issued_by = SEVERAL if len(self._issuers) > 1 else next(iter(self._issuers), NONE)
        fields = fields_of(event, computed, sender, receiver, owners, issued_by, options)
        payload: dict[str, Any] = {"kind": KIND, "event": event, "event_hash": computed}
        if sender != named["sender"]:
            payload["sender"] = sender
        if receiver != named["receiver"]:
            payload["receiver"] = receiver
        encoded = encode(payload)
        return Record(fields, self._moment, encoded, sha256(encoded), few(around.warnings))


def may_hold(data: bytes, in_force: Rules) -> bool:
    """Whether a document may go the short way: it is small, and nobody else has a say in it."""
    return in_force.official is None and len(data) <= min(LARGEST, in_force.options.max_event_bytes)


def unpack(
    content_type: str, data: bytes, in_force: Rules, read: Read, thorough: Callable[[], Unpacked]
) -> Unpacked | None:
    """A document whose plain events `read` reads and whose others `thorough` does, which is right where it counts
    otherwise. None: the document is not plain, or judged as a whole."""
    found = None if is_told_in(data, in_force.options) else read(data)
    if found is None:
        return None
    if None not in found:
        return Listed(content_type, [one for one in found if one is not None])
    whole = thorough()
    if whole.count != len(found) or found.count(None) == len(found):
        return whole
    return Listed(content_type, list(_each(found, whole)))


def together(size: int, told: bool, read: Read, comma: bytes) -> Together | None:
    """How the events of a document are read that is too large to be read at once, or judged as a whole (`told`: see
    is_told_in)."""
    return Together(read, comma) if told or size > LARGEST else None


def _each(found: Iterable[Record | None], whole: Unpacked) -> Iterator[Record | Refusal]:
    for number, one in enumerate(found):
        yield next(iter(whole.records(number))) if one is None else one
