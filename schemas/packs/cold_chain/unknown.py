"""What is said of a submission that is nothing this pack reads: what it looks like, what is read, and what to do."""

from __future__ import annotations

from schemas.packs.cold_chain.csvlog import MAX_LINE, find_header
from schemas.packs.cold_chain.sniff import ANY, BERLINGER, CSV, JSON, LINES, UNKNOWN, first_bytes, sniff, stated
from schemas.packs.jsontext import BOM, shorten

READ = (
    "read are JSON readings (object, array or lines), comma-separated CSV whose header names a time and a temperature "
    "column, and Berlinger text exports"
)
_SAVE = "save the sheet as comma-separated CSV"
_SIGNATURES = (
    (b"%PDF", "a PDF", "export the readings from the logger's software as CSV or text"),
    (b"PK\x03\x04", "a ZIP archive or an Office file (xlsx, docx)", f"unpack it, or {_SAVE}"),
    (b"\xd0\xcf\x11\xe0", "an Office file (xls, doc)", _SAVE),
    (b"\x1f\x8b", "gzip data", "unpack it first"),
    (b"\xff\xfe", "text in UTF-16", "save it as UTF-8"),
    (b"\xfe\xff", "text in UTF-16", "save it as UTF-8"),
    (b"\x89PNG", "a picture", "send the readings themselves"),
    (b"\xff\xd8\xff", "a picture", "send the readings themselves"),
    (b"<", "XML or HTML", "export the readings as CSV or JSON"),
)
_SEPARATORS = ((b";", "semicolons"), (b"\t", "tabs"))


def describe(header: str | None, value: bytes) -> str:
    """The message of UNKNOWN_CONTENT. `header`: the content type as sent; `value` is not empty."""
    seen, advice = _look(value)
    kind = stated(header)
    if kind != ANY:
        seen = f"the content type {shorten(str(header))} over {seen}"
    if kind == UNKNOWN and sniff(value) != UNKNOWN:
        advice = f"send it as {JSON}, {LINES}, {CSV} or {BERLINGER}, or without a content type"
    return f"{seen}: {READ}; {advice}"


def _look(value: bytes) -> tuple[str, str]:
    """What the bytes are, and what to do about it."""
    start = first_bytes(value)
    for signature, what, advice in _SIGNATURES:
        if start.startswith(signature):
            return what, advice
    head = value[: 2 * MAX_LINE]
    for separator, name in _SEPARATORS:
        if find_header(head) is None and find_header(head.replace(separator, b",")):
            return f"a table separated by {name}", "save it separated by commas, with a point in the decimals"
    line = head.removeprefix(BOM).lstrip().partition(b"\n")[0].strip()
    try:
        text = line.decode()
    except UnicodeDecodeError:
        text = ""
    if not text.isprintable() or not text:
        return f"bytes that begin with {start[:8].hex(' ')}", "is this the right file?"
    what = f"text that begins with {shorten(text)}"
    return what, "a CSV needs a header such as `timestamp,temperature_c` within its first two lines"
