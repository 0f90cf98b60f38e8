"""Reads untrusted JSON-LD: finds the events of a document by their bytes, without looking into them.

An event that is no JSON refuses itself; brackets that do not pair up refuse the document. The envelope is read without
its events, so memory is that of the envelope and of one event.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from schemas import errors
from schemas.errors import Finding
from schemas.pack import Steps
from schemas.packs.epcis.xml_text import Places
from schemas.packs.jsontext import BOM, inspect

_TOKENS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+|[\[\]{},]', re.DOTALL)
_PATHS = (
    (b'"epcisBody"', b'"eventList"'),
    (b'"epcisBody"', b'"queryResults"', b'"resultsBody"', b'"eventList"'),
)
_DEEPEST = max(map(len, _PATHS))
_OPEN, _CLOSE = b"[{", b"]}"


class Document(NamedTuple):
    """A document read to its end, its events not looked into."""

    envelope: Any
    """The parsed text without its events; None beside findings."""
    findings: tuple[Finding, ...]
    places: Places
    listed: bool
    """Whether there is an event list; without one the whole may be an event."""


def scan(data: bytes, max_depth: int) -> Steps[Document]:
    """Reads a whole document, in steps."""
    found = yield from _event_list(data)
    if isinstance(found, Finding):
        return Document(None, (found,), Places(), False)
    if found is None:
        value, findings = inspect(data, max_depth)
        return Document(value, tuple(findings), Places(), False)
    start, end, places = found
    value, findings = inspect(data[:start] + data[end:], max_depth)
    return Document(value, tuple(findings), places, True)


def _event_list(data: bytes) -> Steps[tuple[int, int, Places] | Finding | None]:
    """(behind the list's `[`, its `]`, its elements), None: there is none on the way the standard gives."""
    keys: list[bytes] = []
    key, expecting = b"", False
    position = len(BOM) if data.startswith(BOM) else 0
    for match in _TOKENS.finditer(data, position):
        token = match[0]
        if token[:1] == b'"':
            if expecting and len(token) < 20:
                key, expecting = token, False
            elif expecting:
                key, expecting = b"", False
        elif token == b"{":
            keys.append(key)
            expecting = True
        elif token == b"[":
            if len(keys) <= _DEEPEST and (*keys[1:], key) in _PATHS:
                return (yield from _elements(data, match.end()))
            keys.append(b"[")
            expecting = False
        elif token == b",":
            expecting = bool(keys) and keys[-1] != b"["
        else:
            if not keys:
                return _broken("a bracket closes that was never opened")
            keys.pop()
            expecting = False
    return None


def _broken(what: str) -> Finding:
    return Finding(errors.MALFORMED_JSON, "", f"not well-formed: {what}")


def _elements(data: bytes, start: int) -> Steps[tuple[int, int, Places] | Finding]:
    """The elements of the array whose inside begins at `start`."""
    places = Places()
    level, begin = 0, start
    for match in _TOKENS.finditer(data, start):
        char = data[match.start()]
        if char in _OPEN:
            level += 1
        elif char in _CLOSE:
            if level == 0:
                end = match.start()
                if char != 0x5D:
                    return _broken("the event list does not end with ]")
                if data[begin:end].strip():
                    places.add(begin, end)
                elif len(places):
                    return _broken("the event list ends with a comma")
                return start, end, places
            level -= 1
        elif char == 0x2C and level == 0:
            if not data[begin : match.start()].strip():
                return _broken("nothing stands between two commas of the event list")
            places.add(begin, match.start())
            begin = match.end()
            yield
    return _broken("the event list does not end")


def wrap(envelope: dict[str, Any]) -> tuple[bytes, bytes]:
    """What stands around one event as a document of its own: the envelope without master data and without the other
    events. Equal envelopes give equal bytes."""
    head = {name: item for name, item in envelope.items() if name not in ("epcisBody", "epcisHeader")}
    body = envelope.get("epcisBody")
    lists: list[str] = ['"epcisBody":{"eventList":[', "]}"]
    if isinstance(body, dict) and isinstance(results := body.get("queryResults"), dict):
        rest = {name: item for name, item in results.items() if name != "resultsBody"}
        inner = json.dumps(rest)[:-1] + (", " if rest else "")
        lists = [f'"epcisBody":{{"queryResults":{inner}"resultsBody":{{"eventList":[', "]}}}"]
    start = json.dumps(head)[:-1] + (", " if head else "") + lists[0]
    return start.encode(), (lists[1] + "}").encode()
