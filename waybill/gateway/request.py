"""Owns what a request says: its content type, the headers that go with the message, and its body within bounds.

Every function raises Problem for what cannot be taken, and publishes nothing.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable, Collection
from hashlib import sha256

from aiohttp import web

from waybill.gateway import problems
from waybill.gateway.problems import Problem
from waybill.inputs import lines_of

BODY_SECONDS = 60.0
"""For a body to arrive: whoever is slower holds memory for nothing."""
MAX_LINES = 10_000
"""Submissions of one request with `lines=true`."""
MAX_TEXT = 1000
"""Bytes of a header that becomes the message's key or a header of it."""


def content_type(request: web.BaseRequest, media_types: Collection[str]) -> bytes | None:
    """As it was stated; None where it was not."""
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    allowed = ", ".join(sorted(media_types))
    if encoding != "identity":
        words = f"Content-Encoding {encoding!r}: the bytes are kept as they come; send them as they are"
        raise Problem(problems.UNKNOWN_TYPE, words, headers={"Accept-Encoding": "identity"})
    stated = request.headers.get("Content-Type")
    if stated is None:
        return None
    if stated.partition(";")[0].strip().lower() not in media_types:
        words = f"Content-Type {stated!r}: read are {allowed}; or state none"
        raise Problem(problems.UNKNOWN_TYPE, words, headers={"Accept": allowed})
    return text(request, "Content-Type")


def text(request: web.BaseRequest, name: str) -> bytes | None:
    """The bytes of a header; None where it is not there or empty."""
    values = request.headers.getall(name, [])
    if len(values) > 1:
        raise Problem(problems.UNREADABLE, f"{name} is there {len(values)} times; send it once")
    value = values[0].encode("utf-8", "surrogateescape") if values else b""
    if len(value) > MAX_TEXT:
        raise Problem(problems.UNREADABLE, f"{name}: {len(value)} bytes; {MAX_TEXT} are allowed")
    return value or None


def lines_asked(request: web.BaseRequest) -> bool:
    words = request.query.getall("lines", ["false"])
    if len(words) != 1 or words[0] not in ("true", "false"):
        raise Problem(problems.UNREADABLE, f"lines={','.join(words)!r}: allowed are true and false, once")
    return words[0] == "true"


async def body(request: web.BaseRequest, limit: int, reach: Callable[[int], None]) -> bytes:
    """The body, never more than `limit` bytes of it."""
    length = request.content_length
    if length is not None and length > limit:
        raise _too_large(f"{length}", limit)
    reach(length or 0)
    body = io.BytesIO()  # gives out what it holds without a copy
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while part := await request.content.readany():
                if (size := body.tell() + len(part)) > limit:
                    raise _too_large(f"more than {limit}", limit)
                reach(size)
                body.write(part)
    except TimeoutError:
        words = f"{body.tell()} bytes came in {BODY_SECONDS:g} s; nothing was published. Send it again, or in parts"
        raise Problem(problems.TOO_SLOW, words) from None
    except (web.PayloadAccessError, OSError, asyncio.IncompleteReadError) as cut:
        raise Problem(problems.UNREADABLE, f"the body ends after {body.tell()} bytes; nothing was published") from cut
    return body.getvalue()


def _too_large(size: str, limit: int) -> Problem:
    words = f"{size} bytes; the pipeline takes submissions of {limit} at most (raw.max_message_bytes): split it"
    return Problem(problems.TOO_LARGE, words, limit=limit)


def compare_digest(request: web.BaseRequest, body: bytes) -> None:
    """Content-Digest (RFC 9530) with sha-256, where the publisher sends it."""
    announced = request.headers.get("Content-Digest")
    if announced is None:
        return
    ours = f"sha-256=:{base64.b64encode(sha256(body).digest()).decode()}:"
    stated = [part.strip() for part in announced.split(",") if part.strip().lower().startswith("sha-256=")]
    if stated and stated != [ours]:
        raise Problem(problems.OTHER_DIGEST, f"Content-Digest says {stated[0]}, the body that came has {ours}")


def split(body: bytes, limit: int) -> list[tuple[int, bytes]]:
    """(line number, line) of every line that is not blank."""
    found = []
    for numbered in lines_of(io.BytesIO(body), limit):
        found.append(numbered)
        if len(found) > MAX_LINES:
            raise Problem(problems.TOO_LARGE, f"more than {MAX_LINES} lines: split the request", limit=MAX_LINES)
    return found
