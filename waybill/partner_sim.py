"""A fake HTTP partner with a ledger of its own: what tests, the demo and kill tests believe about deliveries.

It stores a batch once per Idempotency-Key. First: 201. Again with the same bytes: 409 with the stored digest. Again
with other bytes: 422 with the stored digest, nothing overwritten. Every request is an `attempt` line and every stored
batch an `effect` line in the ledger (JSON lines), written before it is answered; a restart on the same file remembers.
`GET /ledger` gives the lines. Faults are played in order, one per request: see FAULTS, `--fault` and `POST /faults`.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Self

from aiohttp import web

MAX_BODY = 64 * 2**20
BEFORE_READ = "reset_before_read"
"""Breaks the connection off without having read the body."""
NO_FAULT = "none"


class Partner:
    """The partner itself: effects by key, the ledger, the faults still to be played."""

    def __init__(self, ledger: Path | None = None, keep_bodies: bool = False) -> None:
        """`ledger`: file to read and append to; None: memory only. `keep_bodies`: keep the bytes for `bodies`."""
        self.lines: list[dict[str, Any]] = []
        self.faults: deque[str] = deque()
        self.bodies: dict[str, bytes] = {}
        self._keep_bodies = keep_bodies
        self._stored: dict[str, str] = {}
        self._file = None
        if ledger is not None:
            ledger.parent.mkdir(parents=True, exist_ok=True)
            self._file = ledger.open("a+", encoding="utf-8")
            self._file.seek(0)
            whole, end, torn = self._file.read().rpartition("\n")
            if torn:  # a kill in the middle of a line: nobody was answered because of it
                self._file.truncate(len((whole + end).encode()))
            self.lines = [json.loads(text) for text in whole.splitlines()]
            self._stored = {e["key"]: e["digest"] for e in self.lines if e["kind"] == "effect"}

    def app(self) -> web.Application:
        """The HTTP application."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_get("/ledger", self._get_ledger)
        app.router.add_get("/healthz", self._get_health)
        app.router.add_post("/faults", self._post_faults)
        app.router.add_route("*", "/{path:.*}", self._batch)
        return app

    def close(self) -> None:
        """Closes the ledger file."""
        if self._file is not None:
            self._file.close()

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """Every request that carried a batch, in order of arrival."""
        return [entry for entry in self.lines if entry["kind"] == "attempt"]

    @property
    def effects(self) -> list[dict[str, Any]]:
        """Every batch stored, in order."""
        return [entry for entry in self.lines if entry["kind"] == "effect"]

    def take(self, request: web.Request, body: bytes) -> tuple[int, dict[str, str]]:
        """Stores a batch, or says why not: status and JSON answer."""
        key = request.headers.get("Idempotency-Key", "")
        digest = hashlib.sha256(body).hexdigest()
        if not key:
            return 400, {"error": "Idempotency-Key is missing"}
        if (stored := self._stored.get(key)) is not None:
            if stored == digest:
                return 409, {"status": "already exists", "batch": key, "digest": stored}
            return 422, {"status": "key was used for other bytes", "batch": key, "digest": stored}
        self.note("effect", request, key=key, digest=digest, bytes=len(body))
        self._stored[key] = digest
        if self._keep_bodies:
            self.bodies[key] = body
        return 201, {"status": "stored", "batch": key, "digest": digest}

    def note(self, kind: str, request: web.Request, **more: Any) -> None:
        """Writes one line of the ledger."""
        numbers = {name: request.headers.get(f"Waybill-{name}", "") for name in ("Attempt", "Life")}
        counts = {name.lower(): int(text) if text.isdecimal() else None for name, text in numbers.items()}
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        entry = {"kind": kind, **more, **counts, "peer": f"{peer[0]}:{peer[1]}" if peer else None, "time": time.time()}
        self.lines.append(entry)
        if self._file is not None:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()

    async def _batch(self, request: web.Request) -> web.StreamResponse:
        fault = self.faults.popleft() if self.faults else NO_FAULT
        key = request.headers.get("Idempotency-Key", "")
        if fault == BEFORE_READ:
            self.note("attempt", request, key=key, digest=None, fault=fault)
            return _reset(request)
        body = await request.read()
        self.note("attempt", request, key=key, digest=hashlib.sha256(body).hexdigest(), fault=fault)
        if fault == NO_FAULT:
            status, answer = self.take(request, body)
            return web.json_response(answer, status=status)
        name, _, argument = fault.partition(":")
        return await FAULTS[name](self, request, body, argument)

    async def _get_ledger(self, _request: web.Request) -> web.Response:
        return web.json_response(self.lines)

    async def _get_health(self, _request: web.Request) -> web.Response:
        return web.json_response({"effects": len(self._stored)})

    async def _post_faults(self, request: web.Request) -> web.Response:
        try:
            names = check_faults(await request.json())
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        self.faults.extend(names)
        return web.json_response({"faults": list(self.faults)})


# Faults. What is stored before the fault is an effect the client does not learn about.


def _reset(request: web.Request) -> web.Response:
    """Breaks the connection off without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _reset_after_read(_partner: Partner, request: web.Request, _body: bytes, _argument: str) -> web.Response:
    """Reads all, stores nothing, breaks off."""
    return _reset(request)


async def _store_then_reset(partner: Partner, request: web.Request, body: bytes, _argument: str) -> web.Response:
    partner.take(request, body)
    return _reset(request)


async def _hang(_partner: Partner, _request: web.Request, _body: bytes, _argument: str) -> web.Response:
    """Never answers; ends when the client gives up."""
    await asyncio.Event().wait()
    return web.Response()


async def _store_then_hang(partner: Partner, request: web.Request, body: bytes, argument: str) -> web.Response:
    partner.take(request, body)
    return await _hang(partner, request, body, argument)


async def _drip(partner: Partner, request: web.Request, body: bytes, _argument: str) -> web.StreamResponse:
    """Stores, then answers one byte at a time, so slowly that only a total time-out ends it."""
    partner.take(request, body)
    response = web.StreamResponse(status=201, headers={"Content-Length": "100000"})
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.05)


async def _truncated(partner: Partner, request: web.Request, body: bytes, _argument: str) -> web.StreamResponse:
    """Stores, then breaks off in the middle of its 201."""
    status, answer = partner.take(request, body)
    whole = json.dumps(answer).encode()
    response = web.StreamResponse(
        status=status, headers={"Content-Length": str(len(whole)), "Content-Type": "application/json"}
    )
    await response.prepare(request)
    await response.write(whole[: len(whole) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


async def _short_length(partner: Partner, request: web.Request, body: bytes, _argument: str) -> web.StreamResponse:
    """Stores, then declares fewer bytes than its JSON has."""
    status, answer = partner.take(request, body)
    whole = json.dumps(answer).encode()
    head = f"HTTP/1.1 {status} Created\r\nContent-Type: application/json\r\nContent-Length: {len(whole) - 5}\r\n\r\n"
    if request.transport is not None:
        request.transport.write(head.encode() + whole)
        request.transport.close()
    return web.Response()


async def _unframed(partner: Partner, request: web.Request, body: bytes, argument: str) -> web.StreamResponse:
    """Stores, then answers as HTTP/1.0 does, the end of the connection being the end of the answer; `:cut` loses
    the second half of it."""
    _, answer = partner.take(request, body)
    whole = json.dumps(answer).encode()
    if request.transport is not None:
        request.transport.write(b"HTTP/1.0 201 Created\r\nContent-Type: application/json\r\n\r\n")
        request.transport.write(whole[: len(whole) // 2] if argument == "cut" else whole)
        request.transport.close()
    return web.Response()


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


async def _status(_partner: Partner, _request: web.Request, _body: bytes, argument: str) -> web.Response:
    """`status:503` or `status:503,7`, the latter with `Retry-After: 7`; stores nothing."""
    status, _, after = argument.partition(",")
    headers = {"Retry-After": after} if after else {}
    if status.startswith("3"):
        headers["Location"] = "/elsewhere"
    return web.json_response({"error": f"as asked: {status}"}, status=int(status), headers=headers)


async def _in_progress(_partner: Partner, _request: web.Request, _body: bytes, _argument: str) -> web.Response:
    return web.json_response({"status": "in progress"}, status=409)


async def _bare_conflict(partner: Partner, request: web.Request, body: bytes, _argument: str) -> web.Response:
    """Stores if new, then answers 409 without a digest."""
    partner.take(request, body)
    return web.Response(status=409, text="duplicate")


Fault = Callable[[Partner, web.Request, bytes, str], Awaitable[web.StreamResponse]]
FAULTS: dict[str, Fault] = {
    "reset_after_read": _reset_after_read,
    "store_then_reset": _store_then_reset,
    "hang": _hang,
    "store_then_hang": _store_then_hang,
    "drip": _drip,
    "truncated": _truncated,
    "short_length": _short_length,
    "unframed": _unframed,
    "invalid_json": _invalid_json,
    "huge": _huge,
    "gzip": _gzip,
    "status": _status,
    "in_progress": _in_progress,
    "bare_conflict": _bare_conflict,
}
"""Faults by name; what stands behind a colon is the argument. Besides them there is BEFORE_READ."""


def check_faults(names: Any) -> list[str]:
    """The same names, or ValueError naming the one that is no fault. `none` stands for a request without a fault."""
    allowed = [NO_FAULT, BEFORE_READ, *FAULTS]
    if not isinstance(names, list):
        raise ValueError(f"expected a list of faults, allowed: {', '.join(allowed)}")
    for name in names:
        kind, _, argument = str(name).partition(":")
        if kind not in allowed or (kind == "status" and not re.fullmatch(r"[2-5]\d\d(,.+)?", argument)):
            raise ValueError(f"{name!r} is no fault; allowed: {', '.join(allowed)}, with status:<code>[,<retry-after>]")
    return [str(name) for name in names]


class Server:
    """The partner behind a real socket, in a thread of its own. For tests: `with Server() as partner: partner.url`."""

    def __init__(self, partner: Partner | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self.partner = partner or Partner(keep_bodies=True)
        self._host = host
        self.port = port
        """0 until started, if the system is to choose."""
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="partner-sim", daemon=True)

    @property
    def url(self) -> str:
        """Where batches go."""
        return f"http://{self._host}:{self.port}/batches"

    def start(self) -> None:
        """Listens from here on. Raises OSError if the port is taken."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def stop(self) -> None:
        """Closes every connection and the port."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self.partner.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: object) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except OSError as error:
            self._failure = error
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        runner = web.AppRunner(self.partner.app(), handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self.port)
            await site.start()
            self.port = runner.addresses[0][1]
            self._ready.set()
            await self._stop.wait()
        finally:
            await runner.cleanup()


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m waybill.partner_sim`: serves until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m waybill.partner_sim", description="A fake HTTP partner.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8081, help="0: the system chooses")
    parser.add_argument("--ledger", type=Path, default=None, help="JSON lines, appended; default: memory only")
    parser.add_argument("--fault", action="append", default=[], help="played once, in order; may be repeated")
    options = parser.parse_args(arguments)
    try:
        faults = check_faults(options.fault)
    except ValueError as error:
        parser.error(str(error))
    partner = Partner(options.ledger)
    partner.faults.extend(faults)
    server = Server(partner, options.host, options.port)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        server.start()
    except OSError as error:
        print(f"partner_sim: cannot listen on {options.host}:{options.port}: {error}; choose another --port")
        return 1
    print(f"partner listens on {server.url}", flush=True)
    stopped.wait()
    server.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
