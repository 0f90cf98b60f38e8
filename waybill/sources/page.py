"""Reads one page of EPCIS 2.0 query results: how many events, how new, what follows. Pure.

Source: EPCIS 2.0, 12 (REST bindings): `Link` with rel="next", absent on the last page.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

import orjson
from yarl import URL

from topology.source import EPOCH

LINK = re.compile(r"<([^<>]*)>((?:\s*;\s*[^,;<>\"]+(?:\"[^\"]*\")?)*)")
NEXT = re.compile(r";\s*rel\s*=\s*(\"[^\"]*\bnext\b[^\"]*\"|next\b)", re.IGNORECASE)


class Unreadable(Exception):
    """An answer that is no page; the message says what it looks like."""


class Page(NamedTuple):
    """One page."""

    events: int
    newest: datetime | None
    """The latest `recordTime` among them; None where none has one."""
    digest: str
    """Of the events alone: the document around them says when it was made. Of the whole page where its events are
    nested deeper than can be written."""


def read_page(body: bytes) -> Page:
    """Raises Unreadable."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as wrong:
        raise Unreadable(f"no JSON ({wrong})") from None
    events = _events(document)
    if events is None:
        raise Unreadable("no EPCISQueryDocument: there is no epcisBody.queryResults.resultsBody.eventList")
    times = [at for event in events if isinstance(event, dict) and (at := _time(event.get("recordTime"))) is not None]
    return Page(len(events), max(times, default=None), sha256(_told(events, body)).hexdigest())


def next_page(links: str | None, base: str) -> str | None:
    """The URL of the next page out of Link headers (RFC 8288); None on the last one. Raises Unreadable for one on
    another server: our credentials are not for it."""
    for target, parameters in LINK.findall(links or ""):
        if NEXT.search(parameters):
            try:
                found = URL(base).join(URL(target, encoded=True))
                server = str(found.origin())
            except ValueError:
                raise Unreadable(f"the next page {target[:80]!r} is no URL") from None
            if server != str(URL(base).origin()):
                raise Unreadable(f"the next page is on another server, {server}")
            return str(found)
    return None


def _events(document: Any) -> list[Any] | None:
    body = document.get("epcisBody") if isinstance(document, dict) else None
    for name in ("queryResults", "resultsBody"):
        body = body.get(name) if isinstance(body, dict) and "eventList" not in body else body
    events = body.get("eventList") if isinstance(body, dict) else None
    return events if isinstance(events, list) else None


def _told(events: list[Any], body: bytes) -> bytes:
    try:
        return orjson.dumps(events, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return body


def _time(text: Any) -> datetime | None:
    """Of a record time; one before 1970 is none: nothing was recorded then, and no question could begin before it."""
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) else None
        return None if at is None or at.tzinfo is None or at < EPOCH else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
