"""Faults of the fake partner, one request each: what it does instead of storing a batch and saying so.

A fault is a name, or a name and an argument behind a colon. What is stored before the fault is an effect the client
does not learn about.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple, Protocol

from aiohttp import web

NO_FAULT = "none"
"""Stands for a request without a fault."""
BEFORE_READ = "reset_before_read"
"""Breaks the connection off without having read the body."""
SECONDS = r"\d+(\.\d+)?"
"""Form of a number of seconds."""
STEP = 0.05
"""Seconds between two bytes of a slow answer."""


class Partner(Protocol):
    """What a fault needs of the one that has it. See partner.Partner."""

    def take(self, request: web.Request, body: bytes) -> tuple[int, dict[str, Any]]: ...

    def take_some(self, request: web.Request, body: bytes, count: int | None) -> tuple[int, dict[str, Any]]: ...

    def take_but(self, request: web.Request, body: bytes, count: int) -> tuple[int, dict[str, Any]]: ...

    def later(self, work: Coroutine[Any, Any, None]) -> None: ...


Play = Callable[[Partner, web.Request, bytes, str], Awaitable[web.StreamResponse]]


class Fault(NamedTuple):
    """One way to go wrong."""

    play: Play
    argument: str = ""
    """Form the argument has, a regular expression that matches the whole of it."""


def reset_on_close(transport: asyncio.BaseTransport) -> None:
    """Makes the end of this connection a reset, not an orderly close."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset(request: web.Request) -> web.Response:
    """Breaks the connection off without an answer."""
    if request.transport is not None:
        reset_on_close(request.transport)
        request.transport.abort()
    return web.Response()


def _raw(request: web.Request, answer: bytes, *, then_reset: bool = False) -> web.Response:
    """Writes the bytes of an answer as they are, then ends the connection."""
    if request.transport is not None:
        request.transport.write(answer)
        if then_reset:
            reset_on_close(request.transport)
        request.transport.close()
    return web.Response()


def _head(status: int, kind: str, length: int) -> bytes:
    return f"HTTP/1.1 {status} Answer\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n".encode()


def _stored(partner: Partner, request: web.Request, body: bytes) -> tuple[int, bytes]:
    status, answer = partner.take(request, body)
    return status, json.dumps(answer).encode()


async def _endless(_partner: Partner, _request: web.Request, _body: bytes, _argument: str) -> web.Response:
    """Never answers; ends when the client gives up."""
    await asyncio.Event().wait()
    return web.Response()


# No answer, or too late.


async def _reset_after_read(_partner: Partner, request: web.Request, _body: bytes, _argument: str) -> web.Response:
    """Reads all, stores nothing, breaks off."""
    return reset(request)


async def _store_then_reset(partner: Partner, request: web.Request, body: bytes, _argument: str) -> web.Response:
    partner.take(request, body)
    return reset(request)


async def _store_then_hang(partner: Partner, request: web.Request, body: bytes, argument: str) -> web.Response:
    partner.take(request, body)
    return await _endless(partner, request, body, argument)


async def _late(partner: Partner, request: web.Request, body: bytes, argument: str) -> web.Response:
    """Stores at once and answers truly, but only after the seconds given."""
    status, answer = partner.take(request, body)
    await asyncio.sleep(float(argument or 1))
    return web.json_response(answer, status=status)


async def _store_late(partner: Partner, request: web.Request, body: bytes, argument: str) -> web.Response:
    """Stores after the seconds given, whether or not the client is still there; never answers."""
    partner.later(_take_in(partner, request, body, float(argument or 1)))
    return await _endless(partner, request, body, argument)


async def _take_in(partner: Partner, request: web.Request, body: bytes, seconds: float) -> None:
    await asyncio.sleep(seconds)
    partner.take(request, body)


# Answers that are not whole.


async def _drip(partner: Partner, request: web.Request, body: bytes, _argument: str) -> web.StreamResponse:
    """Stores, then answers one byte at a time, so slowly that only a total time-out ends it."""
    partner.take(request, body)
    response = web.StreamResponse(status=201, headers={"Content-Length": "100000"})
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(STEP)


async def _truncated(partner: Partner, request: web.Request, body: bytes, argument: str) -> web.StreamResponse:
    """Stores, then breaks off in the middle of its answer; `:reset` with a reset behind the half."""
    status, answer = _stored(partner, request, body)
    half = answer[: len(answer) // 2]
    return _raw(request, _head(status, "application/json", len(answer)) + half, then_reset=argument == "reset")


async def _short_length(partner: Partner, request: web.Request, body: bytes, _argument: str) -> web.StreamResponse:
    """Stores, then declares fewer bytes than its JSON has."""
    status, answer = _stored(partner, request, body)
    return _raw(request, _head(status, "application/json", len(answer) - 5) + answer)


async def _long_length(partner: Partner, request: web.Request, body: bytes, argument: str) -> web.StreamResponse:
    """Stores, declares more bytes than its JSON has, and leaves the client waiting for them."""
    status, answer = _stored(partner, request, body)
    return await _write_and_wait(partner, request, _head(status, "application/json", len(answer) + 5) + answer)


async def _unframed(partner: Partner, request: web.Request, body: bytes, argument: str) -> web.StreamResponse:
    """Stores, then answers as HTTP/1.0 does, the end of the connection being the end of the answer; `:cut` loses
    the second half of it, `:empty` all but the head."""
    status, answer = _stored(partner, request, body)
    head = b"HTTP/1.0 %d OK\r\nContent-Type: application/json\r\n\r\n" % (207 if status == 207 else 200)
    kept = {"": answer, "cut": answer[: len(answer) // 2], "empty": b""}[argument]
    return _raw(request, head + kept)


async def _chunked(partner: Partner, request: web.Request, body: bytes, argument: str) -> web.StreamResponse:
    """Stores, answers whole JSON in a chunk, never sends the last chunk; `:cut` closes instead of waiting."""
    status, answer = _stored(partner, request, body)
    head = f"HTTP/1.1 {status} Answer\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    whole = head.encode() + b"%x\r\n%b\r\n" % (len(answer), answer)
    return _raw(request, whole) if argument == "cut" else await _write_and_wait(partner, request, whole)


async def _continue_stall(partner: Partner, request: web.Request, body: bytes, _argument: str) -> web.StreamResponse:
    """Stores, says `100 Continue`, and nothing more."""
    partner.take(request, body)
    return await _write_and_wait(partner, request, b"HTTP/1.1 100 Continue\r\n\r\n")


async def _write_and_wait(partner: Partner, request: web.Request, answer: bytes) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.write(answer)
    return await _endless(partner, request, b"", "")


# Answers that are whole but not what they seem.


async def _invalid_json(partner: Partner, request: web.Request, body: bytes, _argument: str) -> web.Response:
    partner.take(request, body)
    return web.Response(status=201, body=b'{"status": "sto', content_type="application/json")


async def _huge(partner: Partner, request: web.Request, body: bytes, _argument: str) -> web.Response:
    """Stores, then answers with more than anyone should read."""
    partner.take(request, body)
    return web.Response(status=201, body=b'"' + b"x" * 2**20 + b'"', content_type="application/json")


async def _gzip(partner: Partner, request: web.Request, body: bytes, _argument: str) -> web.Response:
    """Stores, then answers compressed though nobody asked for it."""
    status, answer = partner.take(request, body)
    response = web.json_response(answer, status=status)
    response.enable_compression(web.ContentCoding.gzip)
    return response


async def _wrong_type(partner: Partner, request: web.Request, body: bytes, _argument: str) -> web.Response:
    """Stores and answers truly, in JSON which it calls plain text."""
    status, answer = partner.take(request, body)
    return web.json_response(answer, status=status, content_type="text/plain")


async def _html(_partner: Partner, _request: web.Request, _body: bytes, _argument: str) -> web.Response:
    """200 with a page, as a login or a proxy in front of the partner answers; stores nothing."""
    return web.Response(status=200, text="<!doctype html><title>Sign in</title>", content_type="text/html")


async def _partial(partner: Partner, request: web.Request, body: bytes, argument: str) -> web.Response:
    """207: takes the number of records given, by default half of what it has not, and says so record by record."""
    status, answer = partner.take_some(request, body, int(argument) if argument else None)
    return web.json_response(answer, status=status)


async def _refuse_some(partner: Partner, request: web.Request, body: bytes, argument: str) -> web.Response:
    """207: refuses the last records for good, by default one, takes the others, and says so record by record."""
    status, answer = partner.take_but(request, body, int(argument or 1))
    return web.json_response(answer, status=status)


# Refusals.


async def _status(_partner: Partner, _request: web.Request, _body: bytes, argument: str) -> web.Response:
    """`status:503` or `status:503,7`, the latter with `Retry-After: 7`; stores nothing."""
    status, _, after = argument.partition(",")
    headers = {"Retry-After": after} if after else {}
    if status.startswith("3"):
        headers["Location"] = "/elsewhere"
    return web.json_response({"error": f"as asked: {status}"}, status=int(status), headers=headers)


async def _in_progress(partner: Partner, request: web.Request, body: bytes, argument: str) -> web.Response:
    """409, still being worked on; with seconds it is stored after them, else never."""
    if argument:
        partner.later(_take_in(partner, request, body, float(argument)))
    return web.json_response({"status": "in progress"}, status=409)


async def _bare_conflict(partner: Partner, request: web.Request, body: bytes, _argument: str) -> web.Response:
    """Stores if new, then answers 409 without a digest; but truly of a batch of which it refused some records."""
    status, answer = partner.take(request, body)
    if status == 207:
        return web.json_response(answer, status=status)
    return web.Response(status=409, text="duplicate")


async def _exists(partner: Partner, request: web.Request, body: bytes, argument: str) -> web.Response:
    """Stores if new, then answers 409, or 412 with `:412`, and the digest, as when a gateway in between had to ask
    twice."""
    partner.take(request, body)
    status, answer = partner.take(request, body)
    return web.json_response(answer, status=int(argument or 409) if status == 409 else status)


async def _holds_other(_partner: Partner, request: web.Request, body: bytes, argument: str) -> web.Response:
    """409, or the status given, and the digest of other bytes; stores nothing."""
    key, other = request.headers.get("Idempotency-Key", ""), hashlib.sha256(b"other" + body).hexdigest()
    answer = {"status": "already exists", "batch": key, "digest": other}
    return web.json_response(answer, status=int(argument or 409))


FAULTS: dict[str, Fault] = {
    "reset_after_read": Fault(_reset_after_read),
    "store_then_reset": Fault(_store_then_reset),
    "hang": Fault(_endless),
    "store_then_hang": Fault(_store_then_hang),
    "late": Fault(_late, rf"({SECONDS})?"),
    "store_late": Fault(_store_late, rf"({SECONDS})?"),
    "drip": Fault(_drip),
    "truncated": Fault(_truncated, "(reset)?"),
    "short_length": Fault(_short_length),
    "long_length": Fault(_long_length),
    "unframed": Fault(_unframed, "(cut|empty)?"),
    "chunked": Fault(_chunked, "(cut)?"),
    "continue_stall": Fault(_continue_stall),
    "invalid_json": Fault(_invalid_json),
    "huge": Fault(_huge),
    "gzip": Fault(_gzip),
    "wrong_type": Fault(_wrong_type),
    "html": Fault(_html),
    "partial": Fault(_partial, r"\d*"),
    "refuse_some": Fault(_refuse_some, r"([1-9]\d*)?"),
    "status": Fault(_status, r"[2-5]\d\d(,.+)?"),
    "in_progress": Fault(_in_progress, rf"({SECONDS})?"),
    "bare_conflict": Fault(_bare_conflict),
    "exists": Fault(_exists, "(412)?"),
    "holds_other": Fault(_holds_other, "(412|422)?"),
}
"""Faults by name. Besides them there is BEFORE_READ."""


def check_faults(names: Any) -> list[str]:
    """The same names, with `3*status:503` written out as three; or ValueError naming the one that is no fault."""
    allowed = f"allowed: {', '.join([NO_FAULT, BEFORE_READ, *FAULTS])}, with status:<code>[,<retry-after>]"
    if not isinstance(names, list):
        raise ValueError(f"expected a list of faults, {allowed}")
    checked = []
    for given in names:
        match = re.fullmatch(r"(?:(\d{1,4})\*)?(([a-z_]+)(?::(.*))?)", str(given))
        if match is None or not _is_fault(match[3], match[4]):
            raise ValueError(f"{given!r} is no fault; {allowed}")
        checked += [match[2]] * int(match[1] or 1)
    return checked


def _is_fault(name: str, argument: str | None) -> bool:
    if name in (NO_FAULT, BEFORE_READ):
        return argument is None
    return name in FAULTS and re.fullmatch(FAULTS[name].argument, argument or "") is not None
