"""Canonical events as one EPCIS 2.0 document in JSON-LD: what `json_event.py` reads, written back, so that unpacking
the document gives the same events. A function of the records alone, without a clock: equal batches are equal bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import count
from typing import Any

import orjson

from schemas.packs.epcis import event as ev
from schemas.packs.epcis.event import Event, own_name
from schemas.packs.epcis.header import NAMESPACE, PREFIX, STATEMENT, header_of
from schemas.packs.epcis.json_check import CONTEXT, FIELDS
from schemas.packs.epcis.json_event import STANDARD
from schemas.packs.epcis.party import of_event
from schemas.packs.epcis.times import milliseconds

_GS1US = f"{NAMESPACE}#"
"""A term is a prefix only if it ends in a delimiter (JSON-LD 1.1, 4.1.5)."""
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)
_VOCABULARY_OF_PARTS = frozenset({*ev.PAIR_LISTS, ev.SENSOR_REPORT, "persistentDisposition"})
"""Fields that decide what the terms in their parts are."""
_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_STANDARD = {own_name(uri, ""): prefix for prefix, uri in STANDARD.items()}
"""Prefix by namespace, as the canonical event writes it: `{namespace}`."""


def json_document(payloads: Sequence[bytes], name: str) -> bytes:
    """An EPCISDocument of records' payloads in their order. `name` becomes its `instanceIdentifier`.

    `creationDate` is the latest time that its events state, because a body is the same at each attempt. `sender` and
    `receiver` are those of the documents the events came in, where all came with the same one. What the records say of
    shipments under US law stands beside the events: see `header.py`.
    """
    return orjson.dumps(_whole(payloads, name))


def editable(payload: bytes, name: str) -> bytes | None:
    """The same of one record, indented for a person who corrects it; None for what is no payload of an event."""
    if not isinstance(record := orjson.loads(payload), dict) or "event" not in record:
        return None
    return orjson.dumps(_whole([payload], name), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _whole(payloads: Sequence[bytes], name: str) -> dict[str, Any]:
    """Events, and what the records say beside them."""
    records = [orjson.loads(payload) for payload in payloads]
    header = header_of(records)
    prefixes = _Prefixes(payloads, {f"{{{_GS1US}}}": PREFIX})
    said: dict[str, Any] = {}
    if header.statements:
        prefix = prefixes.of(_GS1US)
        said[f"{prefix}:{STATEMENT}"] = header.statement_json(prefix)
    if header.vocabularies:
        said["epcisHeader"] = {"epcisMasterData": {"vocabularyList": header.vocabulary_list_json()}}
    parties = [_parties(records, *ends) for ends in (("sender", "source"), ("receiver", "destination"))]
    return _document(records, name, prefixes, parties, said)


def _parties(records: Sequence[Mapping[str, Any]], role: str, end: str) -> set[str]:
    """Who a header named, if any did. Over an event that names the same party itself a header may stand or not."""
    if not any(role in record for record in records):
        return set()
    return {record.get(role) or of_event(record["event"], end) for record in records}


def json_document_of_events(payloads: Sequence[bytes], name: str) -> bytes:
    """The same with nothing beside the events: what `json_document` was before it told of shipments."""
    records = [orjson.loads(payload) for payload in payloads]
    parties = [{record.get(role, "") for record in records} for role in ("sender", "receiver")]
    return orjson.dumps(_document(records, name, _Prefixes(payloads, {}), parties, {}))


def _document(
    records: Sequence[Mapping[str, Any]],
    name: str,
    prefixes: _Prefixes,
    parties: Sequence[Set[str]],
    said: Mapping[str, Any],
) -> dict[str, Any]:
    """parties: every sender and every receiver; of one alone the document is. said: what stands beside the events."""
    events = [record["event"] for record in records]
    listed = [_event(event, prefixes) for event in events]
    named = {
        role: next(iter(names)) for role, names in zip(("sender", "receiver"), parties, strict=True) if len(names) == 1
    }
    return {
        "@context": [CONTEXT, prefixes.declared] if prefixes.declared else [CONTEXT],
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": latest(events),
        "instanceIdentifier": name,
        **{role: party for role, party in named.items() if party},
        **said,
        "epcisBody": {"eventList": listed},
    }


def latest(events: Sequence[Event]) -> str:
    """The latest time that events state: when they happened, or were declared wrong."""
    times = [event["eventTime"] for event in events]
    declared = [event.get("errorDeclaration", {}).get("declarationTime", "") for event in events]
    return str(max(times + [time for time in declared if milliseconds(time) is not None]))


class _Prefixes:
    """Short names for the namespaces of fields of one's own, numbered as they are met."""

    def __init__(self, payloads: Sequence[bytes], usual: Mapping[str, str]) -> None:
        """usual: prefixes by `{namespace}`, where no record uses them for something else."""
        self.declared: dict[str, str] = {}
        self._of = dict(_STANDARD)
        self._usual = {space: prefix for space, prefix in usual.items() if not _is_used(prefix, payloads)}
        self._free = _unused(payloads)

    def name(self, name: str) -> str:
        """`prefix:local` of `{namespace}local`; other names as they are."""
        if name[:1] != "{":
            return name
        cut = name.rfind("}") + 1
        return f"{self.of(name[1 : cut - 1])}:{name[cut:]}"

    def of(self, uri: str) -> str:
        """The prefix of a namespace, which is declared from now on."""
        namespace = f"{{{uri}}}"
        prefix = self._of.get(namespace)
        if prefix is None:
            prefix = self._of[namespace] = self._usual.get(namespace) or next(self._free)
            # A URN ends in no delimiter.
            self.declared[prefix] = uri + ":" if uri.startswith("urn:") else uri
        return prefix


def _unused(payloads: Sequence[bytes]) -> Iterator[str]:
    """Prefixes that no name or value of the records begins with: it would change its meaning."""
    return (prefix for number in count(1) if not _is_used(prefix := f"ext{number}", payloads))


def _is_used(prefix: str, payloads: Sequence[bytes]) -> bool:
    return any(f'"{prefix}:'.encode() in payload for payload in payloads)


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
