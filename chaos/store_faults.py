"""What an S3 store does wrong, request by request: an HTTP proxy in front of a store that does everything right.

Requests pass byte for byte, path, headers and Host included, except what concerns one connection only. Writes to one
name pass one after the other: the store behind (moto) does refuse a second create (If-None-Match: *), but it looks and
writes in two steps, so that two creates at once might both succeed.
"""

from __future__ import annotations

import asyncio
import io
import re
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from waybill.partner_sim.faults import SECONDS, reset, reset_on_close

MAX_BODY = 64 * 2**20
NO_FAULT = "none"
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "expect", "proxy-connection"}
"""Headers that belong to one connection (RFC 9110, 7.6.1), and the 100-continue that was answered already."""


class Answer(NamedTuple):
    """What the store said."""

    status: int
    headers: CIMultiDict[str]
    body: bytes


class Gate:
    """The proxy: faults still to be played, modes in force, and what passed."""

    def __init__(self) -> None:
        self.faults: deque[str] = deque()
        """Played one per write (PUT, POST), in order."""
        self.read_faults: deque[str] = deque()
        """Played one per read (GET, HEAD), in order."""
        self.down = ""
        """See waybill.partner_sim.modes.Modes.down."""
        self.fault = ""
        """Met by every request that takes none from its queue."""
        self.slow = 0.0
        """Seconds each request waits before it is passed on."""
        self.requests: list[dict[str, Any]] = []
        """Method, path, fault and time (seconds since the epoch) of every request, as they came; `status`: what the
        store behind said of it, None where it was not asked or has not answered."""
        self.upstream = ""
        """Where the store listens, as http://host:port."""
        self.on_down: Callable[[], None] = lambda: None
        self._session: aiohttp.ClientSession | None = None
        self._writing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._passing: set[asyncio.Task[Answer]] = set()

    def change(self, **modes: Any) -> None:
        """Changes `down`, `fault` or `slow`, from any thread. Raises ValueError for what is none of them, and for a
        fault that is none."""
        before = self.down
        for name, value in modes.items():
            if name not in ("down", "fault", "slow"):
                raise ValueError(f"{name!r} is no mode; there are down, fault, slow")
            if name == "fault" and value:
                check(value)
            setattr(self, name, value)
        if "down" in modes and (before or self.down):
            self.on_down()

    def play(self, writes: Sequence[str] = (), reads: Sequence[str] = ()) -> None:
        """Queues faults. Raises ValueError for what is none."""
        for name in (*writes, *reads):
            check(name)
        self.faults.extend(writes)
        self.read_faults.extend(reads)

    def app(self) -> web.Application:
        """The HTTP application."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._serve)
        return app

    async def give_up(self) -> None:
        """Cancels what is still on its way to the store."""
        passing = list(self._passing)
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def close(self) -> None:
        """Nothing is left to close."""

    async def ask(self, request: web.Request, noted: dict[str, Any], after: float = 0.0) -> Answer:
        """Passes a request on after so many seconds, to its end even if the client goes away meanwhile."""
        work = asyncio.create_task(self._pass(request, await request.read(), noted, after))
        self._passing.add(work)
        work.add_done_callback(self._passing.discard)
        return await asyncio.shield(work)

    async def _pass(self, request: web.Request, body: bytes, noted: dict[str, Any], after: float) -> Answer:
        await asyncio.sleep(after)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True),  # no pooled connection that may be dead already
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=["User-Agent", "Accept", "Accept-Encoding", "Content-Type"],
            )
        url = URL(self.upstream + request.raw_path, encoded=True)
        headers = _end_to_end(request.headers)
        async with (
            self._writing[request.raw_path],
            self._session.request(
                request.method, url, data=io.BytesIO(body) if body else None, headers=headers, allow_redirects=False
            ) as answer,
        ):
            noted["status"] = answer.status
            return Answer(answer.status, _end_to_end(answer.headers), await answer.read())

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        queue = self.faults if request.method in ("PUT", "POST") else self.read_faults
        fault = queue.popleft() if queue else self.fault or NO_FAULT
        noted = {
            "method": request.method,
            "path": request.raw_path,
            "fault": fault,
            "time": time.time(),
            "status": None,
        }
        self.requests.append(noted)
        await request.read()
        await asyncio.sleep(self.slow)
        if fault == NO_FAULT:
            return _respond(await self.ask(request, noted))
        name, _, argument = fault.partition(":")
        play, _form = FAULTS[name]
        return await play(self, request, noted, argument)


def _end_to_end(headers: Any) -> CIMultiDict[str]:
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in HOP_BY_HOP)


def _respond(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body or None)


def _error(status: int, code: str) -> web.Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>as asked</Message></Error>'
    return web.Response(status=status, text=text, content_type="application/xml")


Play = Callable[[Gate, web.Request, dict[str, Any], str], Awaitable[web.StreamResponse]]


def _refusing(status: int, code: str, *, stored: bool = False) -> Play:
    """An error answer; the request was passed on before it, or not at all."""

    async def play(gate: Gate, request: web.Request, noted: dict[str, Any], _argument: str) -> web.StreamResponse:
        if stored:
            await gate.ask(request, noted)
        return _error(status, code)

    return play


async def _status(_gate: Gate, _request: web.Request, _noted: dict[str, Any], argument: str) -> web.StreamResponse:
    answer = _error(int(argument), "AsAsked")
    if argument.startswith("3"):
        answer.headers["Location"] = "/elsewhere"
    return answer


async def _reset(_gate: Gate, request: web.Request, _noted: dict[str, Any], _argument: str) -> web.StreamResponse:
    return reset(request)


async def _store_then_reset(
    gate: Gate, request: web.Request, noted: dict[str, Any], _argument: str
) -> web.StreamResponse:
    await gate.ask(request, noted)
    return reset(request)


async def _hang(_gate: Gate, _request: web.Request, _noted: dict[str, Any], _argument: str) -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


async def _store_then_hang(
    gate: Gate, request: web.Request, noted: dict[str, Any], argument: str
) -> web.StreamResponse:
    await gate.ask(request, noted)
    return await _hang(gate, request, noted, argument)


async def _late(gate: Gate, request: web.Request, noted: dict[str, Any], argument: str) -> web.StreamResponse:
    """Passed on at once, answered truly after the seconds given."""
    answer = await gate.ask(request, noted)
    await asyncio.sleep(float(argument or 1))
    return _respond(answer)


async def _store_late(gate: Gate, request: web.Request, noted: dict[str, Any], argument: str) -> web.StreamResponse:
    """Passed on after the seconds given, whether or not the client is still there; never answered."""
    await gate.ask(request, noted, float(argument or 1))
    return await _hang(gate, request, noted, "")


async def _truncated(gate: Gate, request: web.Request, noted: dict[str, Any], _argument: str) -> web.StreamResponse:
    """Passed on; the answer breaks off in the middle, of its body if it has one, else of its head."""
    answer = await gate.ask(request, noted)
    head = f"HTTP/1.1 {answer.status} Answer\r\n" + "".join(f"{n}: {v}\r\n" for n, v in answer.headers.items())
    cut = head.encode() + b"\r\n" + answer.body[: len(answer.body) // 2] if answer.body else head.encode()[:-2]
    if request.transport is not None:
        request.transport.write(cut)
        reset_on_close(request.transport)
        request.transport.close()
    return web.Response()


class Fault(NamedTuple):
    """One way to go wrong."""

    play: Play
    argument: str = ""
    """Form the argument has, a regular expression that matches the whole of it."""


FAULTS: dict[str, Fault] = {
    "slow_down": Fault(_refusing(503, "SlowDown")),
    "precondition_failed": Fault(_refusing(412, "PreconditionFailed")),
    "store_then_precondition_failed": Fault(_refusing(412, "PreconditionFailed", stored=True)),
    "conflict": Fault(_refusing(409, "ConditionalRequestConflict")),
    "store_then_conflict": Fault(_refusing(409, "ConditionalRequestConflict", stored=True)),
    "store_then_error": Fault(_refusing(500, "InternalError", stored=True)),
    "status": Fault(_status, r"[2-5]\d\d"),
    "reset": Fault(_reset),
    "store_then_reset": Fault(_store_then_reset),
    "hang": Fault(_hang),
    "store_then_hang": Fault(_store_then_hang),
    "late": Fault(_late, rf"({SECONDS})?"),
    "store_late": Fault(_store_late, rf"({SECONDS})?"),
    "truncated": Fault(_truncated),
}
"""Faults by name; what stands behind a colon is the argument."""


def check(name: str) -> None:
    """ValueError for what is no fault."""
    kind, _, argument = name.partition(":")
    if name != NO_FAULT and (kind not in FAULTS or not re.fullmatch(FAULTS[kind].argument, argument)):
        raise ValueError(f"{name!r} is no fault of a store; there are {', '.join([NO_FAULT, *FAULTS])}")
