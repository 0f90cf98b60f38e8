"""Canonical events as one EPCIS 2.0 document in JSON-LD: what `json_event.py` reads, written back, so that unpacking
the document gives the same events. A function of the records alone, without a clock: equal batches are equal bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import orjson

from schemas.packs.epcis import event as ev
from schemas.packs.epcis.event import Event, own_name
from schemas.packs.epcis.json_check import FIELDS
from schemas.packs.epcis.json_event import STANDARD
from schemas.packs.epcis.times import milliseconds

CONTEXT = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
"""GS1's own; it declares the prefixes of STANDARD."""
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)
_VOCABULARY_OF_PARTS = frozenset({*ev.PAIR_LISTS, ev.SENSOR_REPORT, "persistentDisposition"})
"""Fields that decide what the terms in their parts are."""
_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_STANDARD = {own_name(uri, ""): prefix for prefix, uri in STANDARD.items()}
"""Prefix by namespace, as the canonical event writes it: `{namespace}`."""


def json_document(payloads: Sequence[bytes], name: str) -> bytes:
    """An EPCISDocument of records' payloads in their order. `name` becomes its `instanceIdentifier`.

    `creationDate` is the latest time that its events state, because a body is the same at each attempt. `sender` and
    `receiver` are those of the documents the events came in, where all came with the same one.
    """
    records = [orjson.loads(payload) for payload in payloads]
    events = [record["event"] for record in records]
    prefixes = _Prefixes(payloads)
    listed = [_event(event, prefixes) for event in events]
    parties = {role: {record.get(role, "") for record in records} for role in ("sender", "receiver")}
    return orjson.dumps(
        {
            "@context": [CONTEXT, prefixes.declared] if prefixes.declared else [CONTEXT],
            "type": "EPCISDocument",
            "schemaVersion": "2.0",
            "creationDate": latest(events),
            "instanceIdentifier": name,
            **{role: found for role, names in parties.items() if len(names) == 1 and (found := next(iter(names)))},
            "epcisBody": {"eventList": listed},
        }
    )


def latest(events: Sequence[Event]) -> str:
    """The latest time that events state: when they happened, or were declared wrong."""
    times = [event["eventTime"] for event in events]
    declared = [event.get("errorDeclaration", {}).get("declarationTime", "") for event in events]
    return str(max(times + [time for time in declared if milliseconds(time) is not None]))


class _Prefixes:
    """Short names for the namespaces of fields of one's own, numbered as they are met."""

    def __init__(self, payloads: Sequence[bytes]) -> None:
        self.declared: dict[str, str] = {}
        self._of = dict(_STANDARD)
        self._free = _unused(payloads)

    def name(self, name: str) -> str:
        """`prefix:local` of `{namespace}local`; other names as they are."""
        if name[:1] != "{":
            return name
        cut = name.rfind("}") + 1
        namespace, local = name[:cut], name[cut:]
        prefix = self._of.get(namespace)
        if prefix is None:
            uri = namespace[1:-1]
            prefix = self._of[namespace] = next(self._free)
            # A term is a prefix only if it ends in a delimiter (JSON-LD 1.1, 4.1.5), which a URN does not.
            self.declared[prefix] = uri + ":" if uri.startswith("urn:") else uri
        return f"{prefix}:{local}"


def _unused(payloads: Sequence[bytes]) -> Iterator[str]:
    """Prefixes that no name or value of the records begins with: it would change its meaning."""
    for number in count(1):
        prefix = f"ext{number}"
        if not any(f'"{prefix}:'.encode() in payload for payload in payloads):
            yield prefix


def _event(event: Event, prefixes: _Prefixes) -> Event:
    """An event with its type first."""
    kind = event["type"]
    found = {"type": kind}
    for name, part in event.items():
        if name != "type":
            found[_spelt(kind, prefixes.name(name))] = _part(name, part, prefixes)
    return found


def _spelt(kind: str, name: str) -> str:
    """A field of the standard that the JSON schema does not take in an event of this type, though the model and XML do
    (`persistentDisposition`), under its full name, which JSON-LD calls the same."""
    fields = FIELDS.get(kind, ())
    return f"epcis:{name}" if name == "persistentDisposition" and fields and name not in fields else name


def _part(name: str, part: Any, prefixes: _Prefixes, within: str = "") -> Any:
    """A field of an event, or of a part of one."""
    if name[:1] == "{" or name == "ilmd":
        return _own(part, prefixes)
    if isinstance(part, str):
        return _leaf(name, part, within)
    inner = name if name in _VOCABULARY_OF_PARTS else within
    if isinstance(part, Mapping):
        return {prefixes.name(key): _part(key, one, prefixes, inner) for key, one in part.items()}
    return [_part(name, one, prefixes, within) for one in part]


def _own(part: Any, prefixes: _Prefixes) -> Any:
    """The value of a field of one's own: what it holds is text, whatever it is called."""
    if isinstance(part, Mapping):
        return {prefixes.name(key): _own(one, prefixes) for key, one in part.items()}
    return [_own(one, prefixes) for one in part] if isinstance(part, list) else part


def _leaf(name: str, text: str, within: str) -> Any:
    """A value with the type that the JSON schema asks of its field."""
    if name in ev.NUMBERS and _NUMBER.fullmatch(text):
        return orjson.Fragment(text)
    if name == "booleanValue":
        return _TRUTH.get(text, text)
    vocabulary = ev.vocabulary_of(name, within)
    if vocabulary is None or text in vocabulary.terms or ":" in text:
        return text
    # A word of GS1's that the CBV 2.0 does not list: bare it would be no term, and the schema takes it by its URI.
    return vocabulary.full(text) if vocabulary.web else f"gs1:{text}"
