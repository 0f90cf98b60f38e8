"""What a submission is: its content-type header if it has one, else its first bytes, in a fixed order.

1. `%PDF` → PDF (not read here); 2. `[` → JSON array; 3. `{` → JSON lines if its first line is a whole object and more
lines follow, or if most of its lines begin an object, else one JSON object; 4. `Device:` on the first line → Berlinger
text export; 5. a header among the first lines that names a time and a temperature column → CSV; 6. most lines begin an
object → JSON lines whose first is broken; 7. anything else is unknown.
"""

from __future__ import annotations

from schemas.pack import CANONICAL_TYPE
from schemas.packs.cold_chain.csvlog import find_header
from schemas.packs.jsontext import BOM

JSON = "application/json"
LINES = "application/x-ndjson"
READING = "application/vnd.waybill.reading+json"
"""Exactly one JSON reading; an array under this type is wrong. Used for what stood inside an array or on a line."""
CSV = "text/csv"
BERLINGER = "text/vnd.berlinger"
ANY = "application/octet-stream"
"""Says nothing: the bytes are sniffed."""
UNKNOWN = ""
LOOK = 2**18
"""Bytes in which lines are counted: a few of the longest readings that are read, a thousand common ones."""

_ALIASES = {
    "text/json": JSON,
    "application/jsonl": LINES,
    "application/jsonlines": LINES,
    "application/ndjson": LINES,
    "application/csv": CSV,
    "application/vnd.ms-excel": CSV,
    "text/plain": ANY,
    "binary/octet-stream": ANY,
}
_KNOWN = {JSON, LINES, READING, CSV, BERLINGER, CANONICAL_TYPE}
STATED = frozenset({*_KNOWN, *_ALIASES, ANY})
"""What a header may say: each of the types, its other names, and what says nothing."""


def stated(header: str | None) -> str:
    """The type a content-type header states: one of the above, ANY for one that says nothing, or UNKNOWN."""
    if not header:
        return ANY
    name = header.partition(";")[0].strip().lower()
    name = _ALIASES.get(name, name)
    return name if name in _KNOWN or name == ANY else UNKNOWN


def content_type(header: str | None, data: bytes) -> str:
    """One of the types above, or UNKNOWN."""
    name = stated(header)
    return sniff(data) if name == ANY else name


def sniff(data: bytes) -> str:
    """The type by the first bytes, in the order of the module's docstring."""
    start = first_bytes(data)
    if start[:4] == b"%PDF":
        return UNKNOWN
    if start[:1] == b"[":
        return JSON
    if start[:1] == b"{":
        return LINES if _is_lines(data) else JSON
    if start[:7] == b"Device:":
        return BERLINGER
    if find_header(data):
        return CSV
    return LINES if _are_objects(data) else UNKNOWN


def first_bytes(data: bytes) -> bytes:
    """What the text begins with, behind a BOM and white space."""
    start = data[:64].removeprefix(BOM).lstrip()
    return start if start or len(data) <= 64 else data.removeprefix(BOM).lstrip()[:64]


def _is_lines(data: bytes) -> bool:
    body = data.removeprefix(BOM).strip()
    first, newline, rest = body.partition(b"\n")
    return bool(newline) and bool(rest) and (first.rstrip()[-1:] == b"}" or _are_objects(body))


def _are_objects(data: bytes) -> bool:
    """Whether there are several lines and most begin an object. One that ends in a comma is part of a longer text."""
    lines = [line for part in data[:LOOK].split(b"\n") if (line := part.strip())]
    objects = sum(line[:1] == b"{" and line[-1:] != b"," for line in lines)
    return len(lines) > 1 and 2 * objects > len(lines)
