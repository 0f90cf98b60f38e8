"""What the headers of a submission say, and how much they may say: every one of its records repeats it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from schemas.errors import OUT_OF_RANGE, Finding
from schemas.pack import Refusal, Submission, refuse_whole

READ = ("content-type", "waybill-source", "waybill-site", "waybill-received-at")
LONGEST = 1024
"""Bytes of one: a small message could become terabytes."""
_new = tuple.__new__  # of records with headers: a named tuple's own constructor costs three times as much


class Headers(NamedTuple):
    """Those of `READ`, as text."""

    content_type: str | None = None
    source: str | None = None
    site: str | None = None
    received_at: str | None = None
    too_long: str | None = None
    """Name of one that says more than LONGEST bytes; the others are left out then."""


NO_HEADERS = Headers()


def read_headers(headers: Iterable[tuple[str, bytes | None]]) -> Headers:
    """Out of a message's headers; the last of one name counts."""
    get = dict(headers).get
    values = [get(name) for name in READ]
    for name, value in zip(READ, values, strict=True):
        if value is not None and len(value) > LONGEST:
            return Headers(too_long=name)
    return _new(Headers, (*[None if value is None else _text(value) for value in values], None))


def refuse_header(submission: Submission, header: str) -> Refusal:
    """Of a submission whose header of this name is too long."""
    words = f"the header has more than {LONGEST:,} bytes, and every record would repeat it: publish a shorter one"
    return refuse_whole(submission, Finding(OUT_OF_RANGE, f"headers.{header}", words))


def _text(value: bytes) -> str:
    """Bytes that are no UTF-8 are shown with escapes rather than refused."""
    return value.decode("utf-8", "backslashreplace")
