"""From a partner's answer, or the lack of one, to an Outcome: the answer table of DESIGN.md as one pure function each.

When in doubt the answer is UNKNOWN: the retry carries the same key and costs nothing; a wrong "delivered" costs a
record, and a wrong "failed" releases a key whose batch may have taken effect.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Any, NamedTuple

from streams.delivery.per_record import RecordReader
from streams.delivery.protocol import Kept, Outcome, OutcomeKind

EXCERPT = 200
"""Characters of a partner's text that go into acks and audit."""
KEPT = 4096
"""Bytes of an answer's body that are kept with the attempt."""
DEFAULT_PAUSE = 5.0
"""Seconds to pause after a 429 that does not say how long."""
MIN_PAUSE = 1.0
"""Seconds to pause at least, whatever it says: no attempt is used up, so one that says 0, or a date that is past
because its clock is behind ours, would be asked again at once and without end."""
MAX_PAUSE = 3600.0
"""Seconds a partner can pause us at most; then it is asked again."""

IN_PROGRESS = frozenset({"inprogress", "processing", "pending", "locked"})
"""Words, without case and punctuation, by which a 409 says that another attempt is still being worked on."""


class Answer(NamedTuple):
    """An HTTP answer as far as it was read."""

    status: int
    reason: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    complete: bool | None
    """True: read to the end it declared; False: cut off, or longer than we read; None: it declared no end (neither
    a length nor chunks), so that a lost connection looks like the end."""


def judge(
    answer: Answer,
    digests: Collection[bytes],
    now: float,
    *,
    not_done: Collection[int] = (),
    secrets: Collection[str] = (),
    create_only: bool = False,
    records: RecordReader | None = None,
    names: Sequence[str] = (),
) -> Outcome:
    """The outcome of an answered attempt.

    `digests`: SHA-256 of the bytes sent, and of the body where it was sent compressed: a partner may tell either.
    `now`: seconds since the epoch, for a Retry-After that is a date. `not_done`: 5xx statuses which the partner
    declares to mean that nothing was done. `secrets`: texts that must not appear in the answer kept. `create_only`:
    the request asked not to overwrite (`If-None-Match: *`). `records`: how answers for each record are read, if the
    partner gives them; `names`: of the records sent.
    """
    text, parsed = line(answer, secrets), _json(answer)
    outcome = _judge(answer, text, parsed, digests, now, not_done, create_only)
    if records is not None and answer.status in records.statuses:
        outcome = _per_record(answer, text, parsed, outcome, records, names, secrets)
    return outcome._replace(status=answer.status, kept=kept(answer.body, secrets))


def _judge(
    answer: Answer,
    text: str,
    parsed: Any,
    digests: Collection[bytes],
    now: float,
    not_done: Collection[int],
    create_only: bool,
) -> Outcome:
    """The answer table, for the batch as a whole; `text`: what of the answer is shown, `parsed`: its body."""
    status = answer.status
    stored = _stored_digest(parsed)

    if stored is not None and (status in (409, 412, 422) or 200 <= status < 300):
        if stored not in digests:
            ours = " or ".join(sorted(digest.hex() for digest in digests))
            return Outcome(OutcomeKind.CONFLICT, f"{text} [stored digest {stored.hex()} differs from {ours}]")
        if status == 412:
            return Outcome(OutcomeKind.DELIVERED, text)
    if status == 207:
        # Nobody said how to read it, so the batch as a whole has no known outcome.
        return Outcome(OutcomeKind.UNKNOWN, f"{text} [207: `response` does not say how outcomes per record are read]")
    if 200 <= status < 300:
        if fault := _unreadable(answer, parsed):
            return Outcome(OutcomeKind.UNKNOWN, f"{text} [{fault}]")
        return Outcome(OutcomeKind.DELIVERED, text)
    if status == 409:
        return _conflict(answer, parsed, text)
    if status == 412 and create_only:
        # It exists, and nobody says what it is: ours if an earlier attempt took effect, else somebody's.
        return Outcome(OutcomeKind.UNKNOWN, f"{text} [exists, and no digest to compare]")
    if status in (429, 503):
        pause = retry_after(answer.headers.get("retry-after"), now)
        if pause is not None or status == 429:
            return Outcome(OutcomeKind.PAUSED, text, DEFAULT_PAUSE if pause is None else max(pause, MIN_PAUSE))
    if status in (401, 403):
        return Outcome(OutcomeKind.STOPPED, text)
    if status == 413:
        return Outcome(OutcomeKind.TOO_LARGE, text)
    if status in (400, 422):
        return Outcome(OutcomeKind.INVALID, text)
    if 300 <= status < 500:
        return Outcome(OutcomeKind.REFUSED, text)  # redirects too, which are never followed
    if 500 <= status < 600 and status in not_done:
        return Outcome(OutcomeKind.FAILED, text)
    return Outcome(OutcomeKind.UNKNOWN, text)


def _per_record(
    answer: Answer,
    text: str,
    parsed: Any,
    whole: Outcome,
    records: RecordReader,
    names: Sequence[str],
    secrets: Collection[str],
) -> Outcome:
    """What an answer with an outcome for each record comes to; `whole`: what it says of the batch otherwise."""
    if whole.kind is OutcomeKind.CONFLICT:
        return whole
    if fault := _unreadable(answer, parsed):
        return Outcome(OutcomeKind.UNKNOWN, f"{text} [{fault}]")
    found = records.read(None if parsed is _NOT_JSON else parsed, names)
    if found.fault is not None:
        return Outcome(OutcomeKind.UNKNOWN, f"{text} [{found.fault}]")
    if not found.refused:
        return Outcome(OutcomeKind.DELIVERED, text)
    said = {place: excerpt(words, secrets) for place, words in sorted(found.refused.items())}
    return Outcome(OutcomeKind.PARTIAL, text, refused=said)


_CLIENTS_TLS = re.compile(r" ssl:(?:<[^>]*>|\S+)(?= \[)")
"""What aiohttp says of its own settings where it cannot connect, on plain HTTP, too."""


def fault(error: BaseException, *, sent: bool, secrets: Collection[str] = ()) -> Outcome:
    """The outcome of an attempt that ended without an answer. `sent`: a byte of the request may have left us."""
    words = _CLIENTS_TLS.sub("", str(error))
    what = f"{type(error).__name__}: {words}" if words else type(error).__name__
    if sent:
        return Outcome(OutcomeKind.UNKNOWN, excerpt(f"no answer: {what}", secrets))
    return Outcome(OutcomeKind.FAILED, excerpt(f"not sent: {what}", secrets))


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds a Retry-After header asks for (delta or HTTP date), between 0 and MAX_PAUSE; None if absent or
    unreadable."""
    if value is None:
        return None
    value = value.strip()
    if re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,9})?", value):
        seconds = float(value)
    else:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(seconds, 0.0), MAX_PAUSE) if math.isfinite(seconds) else None


def line(answer: Answer, secrets: Collection[str] = ()) -> str:
    """Status line and the beginning of the body."""
    head = f"{answer.status} {answer.reason}".strip()
    whole = _blotted(answer.body.decode("utf-8", "replace"), secrets)  # before any cut
    body = excerpt(whole[: 4 * EXCERPT])
    return f"{excerpt(head, secrets)}: {body}" if body else excerpt(head, secrets)


def excerpt(text: str, secrets: Collection[str] = ()) -> str:
    """At most EXCERPT printable characters, with secrets blotted out before the cut, so that none is left in part."""
    text = " ".join(_blotted(text, secrets).split())[:EXCERPT]
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _blotted(text: str, secrets: Collection[str]) -> str:
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def kept(body: bytes, secrets: Collection[str] = ()) -> Kept:
    """What of an answer's body goes into the record of the attempt. Secrets are blotted out before the cut."""
    text = _blotted(body.decode("utf-8", "replace"), secrets)
    return Kept(text.encode()[:KEPT].decode("utf-8", "ignore"), sha256(body).digest())


def _conflict(answer: Answer, parsed: Any, text: str) -> Outcome:
    """409: the partner has it already (IDM-09, trap T16), unless it says that it is still at it."""
    if problem := _unreadable(answer, parsed):
        return Outcome(OutcomeKind.UNKNOWN, f"{text} [{problem}]")
    words = []
    if isinstance(parsed, dict):
        words = [parsed.get(name) for name in ("status", "state", "code", "error", "title")]
    said = {re.sub(r"[^a-z]", "", word.lower()) for word in words if isinstance(word, str)}
    if said & IN_PROGRESS or "retry-after" in answer.headers:
        # What is in progress may take effect after all, so this is no known failure (law 4).
        return Outcome(OutcomeKind.UNKNOWN, f"{text} [in progress at the partner]", at_work=True)
    return Outcome(OutcomeKind.DELIVERED, text)


def _unreadable(answer: Answer, parsed: Any) -> str | None:
    """Why the body cannot be trusted to be whole, or None."""
    encoding = answer.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        return f"body unreadable: content-encoding {encoding!r} was not asked for"
    if answer.complete is False:
        return "body incomplete"
    if _media_type(answer) in ("text/html", "application/xhtml+xml") and answer.body.lstrip().startswith(b"<"):
        # Logins, captive portals and proxies answer 200 with a page in the partner's place. An API that merely
        # forgets to change its server's default type sends no tag.
        return "body unreadable: an HTML page"
    if parsed is _NOT_JSON and (answer.complete is None or _says_json(answer)):
        if answer.complete is None:
            return "where the answer ends cannot be known: it has no Content-Length and is no JSON"
        return "body unreadable: not whole JSON"
    return None


_NOT_JSON = object()


def _media_type(answer: Answer) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


def _says_json(answer: Answer) -> bool:
    kind = _media_type(answer)
    return kind == "application/json" or kind.endswith("+json")


def _json(answer: Answer) -> Any:
    """The parsed body, whatever its declared type, or _NOT_JSON."""
    if answer.complete is False or not answer.body:
        return _NOT_JSON
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return _NOT_JSON


def _stored_digest(parsed: Any) -> bytes | None:
    """The SHA-256 a partner reports for what it holds: `digest` or `body_digest` in a JSON object, as hex, as
    `sha256:<hex>` or as RFC 9530 `sha-256=:<base64>:`. Anything else is no digest we can compare: None."""
    if not isinstance(parsed, dict):
        return None
    given = parsed.get("body_digest", parsed.get("digest"))
    if not isinstance(given, str):
        return None
    if match := re.fullmatch(r"(?:sha-?256:)?([0-9a-fA-F]{64})", given.strip()):
        return bytes.fromhex(match[1])
    if match := re.fullmatch(r"sha-256=:([A-Za-z0-9+/=]{44}):", given.strip()):
        try:
            return base64.b64decode(match[1], validate=True)
        except binascii.Error:
            return None
    return None
