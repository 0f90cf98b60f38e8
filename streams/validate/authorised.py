"""Owns which trading partners are authorised: rows of master data in the control topic, and what they come to.

Pure: no Kafka, no clock. A record is judged by the rows that the log held before it took the record in, so the answer
is the same whenever it is asked for: on a rebuild, on another worker, in a run from the beginning. A row is a message
of its own and none is ever overwritten (its key carries version and digest); the last one of a GLN, in the order of
the log, is in force. Only a command writes rows.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from hashlib import sha256
from typing import Any, NamedTuple

from schemas.codec import Codec, WireError
from schemas.errors import LICENCE_NOT_VALID, PARTNER_NOT_LISTED, PARTNER_WITHDRAWN, Finding
from schemas.pack import CANONICAL_TYPE, Record, Refusal

TRADING_PARTNER = "trading-partner"
"""The kind of rows about one trading partner."""
NOBODY = "none"
"""Value of a field that names no party."""
_TEXTS = ("name", "licence", "from", "until")
_HOUR = 3_600_000
EARLIEST, LATEST = 14 * _HOUR, 12 * _HOUR
"""A day begins at UTC+14 and ends at UTC-12: a licence's dates say no zone, and hold anywhere."""


class TradingPartner(NamedTuple):
    """A row: what is held to be true of a party from then on."""

    gln: str
    version: int
    """Of this GLN, from 1."""
    authorised: bool
    """False: it was taken off the list."""
    name: str
    licence: str
    """Number, registration or whatever else shows it to be authorised (581(2))."""
    licensed_from: str
    """First day, YYYY-MM-DD; empty: since ever."""
    licensed_until: str
    """Last day; empty: without end."""
    actor: str
    reason: str
    at: int
    """When it was written, ms since epoch, by the clock of whoever wrote it."""


def key(row: TradingPartner) -> bytes:
    """Of the row's message. No two rows share one, also not those that two operators wrote at once as the same version:
    compaction would keep one of them alone."""
    return f"{TRADING_PARTNER}/{row.gln}/{row.version}/{sha256(repr(tuple(row)).encode()).hexdigest()[:16]}".encode()


def encode(codec: Codec, row: TradingPartner) -> bytes:
    """The row's message."""
    body = {
        "authorised": row.authorised, "name": row.name, "licence": row.licence, "from": row.licensed_from,
        "until": row.licensed_until,
    }  # fmt: skip
    return codec.encode(
        "control",
        {
            "kind": TRADING_PARTNER, "subject": row.gln, "version": row.version, "body": json.dumps(body),
            "actor": row.actor, "reason": row.reason, "at": row.at,
        },
    )  # fmt: skip


def decode(codec: Codec, value: bytes) -> TradingPartner | None:
    """The row in a message of the control topic; None for a message of another kind. One that says what is not known
    here authorises nobody. Raises WireError for what is no such message."""
    kind, message = codec.decode(value)
    if kind != "control":
        raise WireError(f"a {kind} message has no business in the control topic")
    if message["kind"] != TRADING_PARTNER:
        return None
    said = _said(message["body"])
    name, licence, since, until = ("", "", "", "") if said is None else (said[field] for field in _TEXTS)
    return TradingPartner(
        message["subject"], message["version"], said is not None and said["authorised"], name, licence, since, until,
        message["actor"], message["reason"], message["at"],
    )  # fmt: skip


def _said(body: str) -> dict[str, Any] | None:
    try:
        said = json.loads(body)
        for field in ("from", "until"):
            _day(said[field])
    except (ValueError, TypeError, KeyError):
        return None
    texts = said.keys() == {"authorised", *_TEXTS} and all(isinstance(said[field], str) for field in _TEXTS)
    return said if texts and isinstance(said["authorised"], bool) else None


def _day(text: str) -> int | None:
    """First millisecond of a day, UTC; None: no day is named. Raises ValueError."""
    return int(datetime.combine(date.fromisoformat(text), time(), UTC).timestamp() * 1000) if text else None


class TradingPartners:
    """The rows as far as they have been read."""

    def __init__(self) -> None:
        self._rows: dict[str, list[TradingPartner]] = {}
        self._taken: dict[str, list[int]] = {}

    def learn(self, row: TradingPartner, taken_at: int) -> None:
        """The next row of the topic. taken_at: when the log took it in, ms since epoch."""
        times = self._taken.setdefault(row.gln, [])
        # The times of a log do not run backwards by much: a leader whose clock is behind may write a smaller one.
        times.append(max(taken_at, times[-1] if times else taken_at))
        self._rows.setdefault(row.gln, []).append(row)

    def history(self) -> Mapping[str, list[TradingPartner]]:
        """Every row by GLN, in the order of the log."""
        return self._rows

    def newest(self, gln: str) -> TradingPartner | None:
        """The row in force now."""
        rows = self._rows.get(gln)
        return rows[-1] if rows else None

    def before(self, gln: str, recorded_at: int) -> TradingPartner | None:
        """The row in force for a record that the log took in then: the last one it held before."""
        count = bisect_left(self._taken.get(gln, ()), recorded_at)
        return self._rows[gln][count - 1] if count else None

    def judge(self, item: Record | Refusal, recorded_at: int, fields: Iterable[str]) -> Record | Refusal:
        """What a pack made of a record; refused, with its payload as a submission of its own, where one of these
        fields names a party that was not authorised at the time of the event. recorded_at: ms since epoch."""
        if isinstance(item, Refusal):
            return item
        found = [
            finding
            for field in fields
            if (gln := item.fields[field]) != NOBODY
            and (finding := self._finding(field, gln, item.event_time, recorded_at)) is not None
        ]
        if not found:
            return item
        return Refusal(tuple(found), item.payload, CANONICAL_TYPE, canonical=True)

    def _finding(self, field: str, gln: str, event_time: int, recorded_at: int) -> Finding | None:
        """582(b)(3), (c)(3), (d)(3), (e)(3): trading partners must be authorised."""
        row = self.before(gln, recorded_at)
        if row is None:
            message = f"{gln} is in no row of the list of trading partners (`waybill master ls`)"
            return Finding(PARTNER_NOT_LISTED, field, message)
        if not row.authorised:
            return Finding(PARTNER_WITHDRAWN, field, f"{gln} was taken off the list by {row.actor}: {row.reason}")
        start, end = _day(row.licensed_from), _day(row.licensed_until)
        early = start is not None and event_time < start - EARLIEST
        late = end is not None and event_time >= end + 24 * _HOUR + LATEST
        if not early and not late:
            return None
        happened = datetime.fromtimestamp(event_time / 1000, UTC).strftime("%Y-%m-%d")
        message = (
            f"licence {row.licence or 'without number'} of {gln} runs from {row.licensed_from or 'ever'} to "
            f"{row.licensed_until or 'ever'}; the event is of {happened}"
        )
        return Finding(LICENCE_NOT_VALID, field, message)
