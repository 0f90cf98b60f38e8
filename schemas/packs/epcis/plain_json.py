"""Plain JSON-LD documents, parsed at once: see `plain.py`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from schemas.kept import Kept
from schemas.pack import Record
from schemas.packs.epcis import plain
from schemas.packs.epcis.json_check import ENVELOPES, FIELDS, REQUIRED, is_uri, offset, time
from schemas.packs.epcis.json_event import STANDARD, Prefixes, full_name, prefixes, to_event
from schemas.packs.epcis.judge import LONGEST, Around, Rules
from schemas.packs.epcis.pieces import AROUND
from schemas.packs.jsontext import inspect

_DATED = re.compile(rb'"creationDate":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))"')
_ANY_DATE = b'"creationDate":"2000-01-01T00:00:00Z"'
_DEEPEST = 4


class _Envelope(NamedTuple):
    """What was seen to be right around events."""

    parts: Kept[tuple[str, str, bytes], tuple[plain.Part, ...] | None]
    """Fields of events by type, name and JSON."""


Party = Callable[[dict[str, Any], str], str]


def _envelope(text: bytes) -> _Envelope | None:
    value, found = inspect(text, 8)
    if found or _odd(value, 8) or any(ENVELOPES["EPCISDocument"](value, "")):
        return None
    names = prefixes(value.get("@context"), STANDARD)
    return _Envelope(Kept(lambda key: _part(key, names), 2**9))


def _part(key: tuple[str, str, bytes], names: Prefixes) -> tuple[plain.Part, ...] | None:
    kind, name, text = key
    value = orjson.loads(text)
    check = offset if name == "eventTimeZoneOffset" else FIELDS[kind].get(name)
    # a field of one's own has a prefix, and any value
    if _odd(value, _DEEPEST) or (not is_uri(name) if check is None else any(check(value, name))):
        return None
    found = to_event({"type": kind, name: value}, names)
    del found["type"]
    expected = full_name(name, names) if check is None else name
    return plain.parts_of(kind, found) if found.keys() == {expected} else None


def _odd(value: Any, deepest: int) -> bool:
    """Whether a value holds anything but texts, or more than so many levels."""
    if isinstance(value, dict):
        return deepest == 0 or any(_odd(one, deepest - 1) for one in value.values())
    if isinstance(value, list):
        return deepest == 0 or any(_odd(one, deepest - 1) for one in value)
    return not isinstance(value, str)


_envelopes = Kept(_envelope, 2**5)


def read(data: bytes, in_force: Rules, party: Party) -> list[Record | None] | None:
    """See `pieces.Read`."""
    if not plain.may_hold(data, in_force) or b"\\" in data:
        return None
    try:
        whole = orjson.loads(data)
        # No text holds a quote, so where fewer are written than were read, a key stood twice.
        if whole["type"] != "EPCISDocument" or orjson.dumps(whole).count(b'"') != data.count(b'"'):
            return None
        body = whole["epcisBody"]
        events, body["eventList"] = body["eventList"], []
        around = orjson.dumps(whole)
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(events, list) or not events or len(around) * len(events) > AROUND:
        return None
    if (dated := _DATED.search(around)) and around.count(b"creationDate") == 1:
        if any(time(dated[1].decode(), "")):
            return None
        around = around.replace(dated[0], _ANY_DATE)
    envelope = _envelopes[around]
    if envelope is None:
        return None
    said = Around(party(whole, "sender"), party(whole, "receiver"))
    return [_event(event, envelope, said, in_force) for event in events]


def _event(item: Any, envelope: _Envelope, around: Around, in_force: Rules) -> Record | None:
    if not isinstance(item, dict) or not isinstance(kind := item.get("type"), str) or kind not in REQUIRED:
        return None
    draft, parts = plain.Draft(kind), envelope.parts
    for name, value in item.items():
        if name in plain.KEPT or ":" in name:
            text = orjson.dumps(value)
            good = len(name) + len(text) <= LONGEST and draft.parts(parts[kind, name, text])
        elif name in plain.TIMES:
            good = isinstance(value, str) and draft.time(name, value)
        elif name in plain.ITEMS:
            good = name in FIELDS[kind] and _is_texts(value) and draft.epcs(name, value)
        elif name == "parentID":
            good = name in FIELDS[kind] and isinstance(value, str) and draft.parent(value)
        else:
            good = name == "type" or (name == "eventID" and isinstance(value, str) and draft.named(value))
        if not good:
            return None
    if not all(name in item for name in REQUIRED[kind]):
        return None
    return draft.record(around, in_force)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(one.__class__ is str for one in value)
