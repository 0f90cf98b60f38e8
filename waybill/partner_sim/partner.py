"""The fake partner itself: which batch it takes, which fault or mode a request meets, and its endpoints."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from aiohttp import web

from waybill.partner_sim.faults import BEFORE_READ, FAULTS, NO_FAULT, check_faults, reset
from waybill.partner_sim.ledger import Ledger
from waybill.partner_sim.modes import Modes, records_of

MAX_BODY = 64 * 2**20
PATIENCE = 0.5
"""Seconds for which a request may wait for its turn, see Modes.per_second."""


class Partner:
    """Effects by key, the faults still to be played, the modes in force."""

    def __init__(self, ledger: Path | None = None, keep_bodies: bool = False, bodies: Path | None = None) -> None:
        """`ledger`, `bodies`: see Ledger. `keep_bodies`: keep the bytes in memory, in the attribute `bodies`."""
        self.ledger = Ledger(ledger, bodies)
        self.faults: deque[str] = deque()
        self.modes = Modes()
        self.bodies: dict[str, bytes] = {}
        self.on_down: Callable[[], None] = lambda: None
        """See Front."""
        self._keep_bodies = keep_bodies
        self._next_turn = 0.0
        """When it can serve the next request, while it can serve only so many in a second; monotonic."""
        self._later: set[asyncio.Task[None]] = set()

    def app(self) -> web.Application:
        """The HTTP application."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_get("/ledger", self._get_ledger)
        app.router.add_get("/healthz", self._get_health)
        app.router.add_get("/mode", self._get_mode)
        app.router.add_post("/mode", self._post_mode)
        app.router.add_post("/faults", self._post_faults)
        app.router.add_head("/{path:.*}", self._get_health)  # as `waybill partner test` asks
        app.router.add_route("*", "/{path:.*}", self._batch)
        return app

    def close(self) -> None:
        """Closes the ledger file."""
        self.ledger.close()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The whole ledger."""
        return self.ledger.lines

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """Every request that carried a batch, in order of arrival."""
        return self.ledger.of("attempt")

    @property
    def effects(self) -> list[dict[str, Any]]:
        """Every batch stored, in order."""
        return self.ledger.of("effect")

    @property
    def down(self) -> str:
        """See Modes.down."""
        return self.modes.down

    @property
    def pending(self) -> int:
        """How many batches are still to be stored after their client was answered or has gone."""
        return len(self._later)

    def change(self, **modes: Any) -> None:
        """Changes modes, from any thread. Raises ValueError as Modes.changed does."""
        before, self.modes = self.modes, self.modes.changed(modes)
        if "down" in modes and (before.down or self.down):
            self.on_down()

    def take(self, request: web.Request, body: bytes) -> tuple[int, dict[str, Any]]:
        """Stores a batch, or says why not: status and JSON answer."""
        key, digest, refusal = self._asked(request, body)
        if refusal is not None:
            return refusal
        more = {"records": self._left(key, body)} if key in self.ledger.begun else {}
        self._effect(request, body, key=key, digest=digest, bytes=len(body), **more)
        return 201, {"status": "stored", "batch": key, "digest": digest}

    def take_some(self, request: web.Request, body: bytes, count: int | None) -> tuple[int, dict[str, Any]]:
        """Takes the next `count` records of a batch, by default the first half of what it has not; status and JSON
        answer, with one status per record: 201 taken now, 409 taken before, 503 not taken."""
        key, digest, refusal = self._asked(request, body)
        if refusal is not None:
            return refusal
        left = self._left(key, body)
        taken = left[: len(left) // 2 if count is None else count]
        said = self._by_record(key, body, taken, 503)
        if taken == left:
            self._effect(request, body, key=key, digest=digest, bytes=len(body), records=taken)
        else:
            self.note("partial", request, key=key, digest=digest, records=taken)
        return said

    def take_but(self, request: web.Request, body: bytes, count: int) -> tuple[int, dict[str, Any]]:
        """Refuses the last `count` records of a batch for good, of those it has not taken before, and takes the others;
        status and JSON answer, with one status per record: 201, 409 taken before, 422 refused. It remembers that; but
        nothing of a batch of which it has and takes no record."""
        key, digest, refusal = self._asked(request, body)
        if refusal is not None:
            return refusal
        left = self._left(key, body)
        taken, refused = left[:-count], left[-count:]
        said = self._by_record(key, body, taken, 422)
        if taken or len(left) < len(said[1]["records"]):  # it has some
            self._effect(request, body, key=key, digest=digest, bytes=len(body), records=taken, refused=refused)
        return said

    def note(self, kind: str, request: web.Request, body: bytes = b"", **more: Any) -> None:
        """Writes one line of the ledger; `body` is that of an effect."""
        numbers = {name: request.headers.get(f"Waybill-{name}", "") for name in ("Attempt", "Life")}
        counts = {name.lower(): int(text) if text.isdecimal() else None for name, text in numbers.items()}
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        where = f"{peer[0]}:{peer[1]}" if peer else None
        self.ledger.write({"kind": kind, **more, **counts, "peer": where, "time": time.time()}, body)

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Does something whether or not the client is still there; given up when the server ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def give_up(self) -> None:
        """Cancels what `later` has not done yet."""
        tasks = list(self._later)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _asked(self, request: web.Request, body: bytes) -> tuple[str, str, tuple[int, dict[str, Any]] | None]:
        """Key and digest of a batch, and why nothing of it is taken, if so."""
        key, digest = request.headers.get("Idempotency-Key", ""), hashlib.sha256(body).hexdigest()
        return key, digest, self._refusal(key, digest, body)

    def _left(self, key: str, body: bytes) -> list[str]:
        """Ids of the records of a batch that were not taken before."""
        _, before = self.ledger.begun.get(key, ("", frozenset[str]()))
        return [name for name, _ in records_of(body) if name not in before]

    def _by_record(self, key: str, body: bytes, taken: list[str], rest: int) -> tuple[int, dict[str, Any]]:
        """The answer that says of each record: taken now, before, or `rest`."""
        left = set(self._left(key, body))
        said = [{"id": n, "status": 409 if n not in left else 201 if n in taken else rest} for n, _ in records_of(body)]
        return 207, {"status": "partial", "batch": key, "records": said}

    def _refusal(self, key: str, digest: str, body: bytes) -> tuple[int, dict[str, Any]] | None:
        if not key:
            return 400, {"error": "Idempotency-Key is missing"}
        begun, _ = self.ledger.begun.get(key, (None, None))
        stored = self.ledger.stored.get(key, begun)
        if stored is not None and stored != digest:
            return 422, {"status": "key was used for other bytes", "batch": key, "digest": stored}
        if refused := self.ledger.refused.get(key):
            said = [{"id": n, "status": 422 if n in refused else 409} for n, _ in records_of(body)]
            return 207, {"status": "partial", "batch": key, "records": said}
        if key in self.ledger.stored:
            return 409, {"status": "already exists", "batch": key, "digest": stored}
        return None

    def _effect(self, request: web.Request, body: bytes, **more: Any) -> None:
        self.note("effect", request, body, **more)
        if self._keep_bodies:
            self.bodies[more["key"]] = body

    async def _batch(self, request: web.Request) -> web.StreamResponse:
        modes = self.modes
        fault = self.faults.popleft() if self.faults else modes.fault or NO_FAULT
        key = request.headers.get("Idempotency-Key", "")
        if fault == BEFORE_READ:
            self.note("attempt", request, key=key, digest=None, fault=fault)
            return reset(request)
        body = await request.read()
        if fault == NO_FAULT:
            fault = modes.refusal(body)
        wait = modes.slow
        if fault == NO_FAULT and modes.per_second is not None:
            turn = self._turn(modes.per_second)
            wait, fault = (wait + turn, fault) if turn <= PATIENCE else (wait, "status:503")
        more: dict[str, Any] = {"slow": modes.slow} if modes.slow else {}
        self.note("attempt", request, key=key, digest=hashlib.sha256(body).hexdigest(), fault=fault, **more)
        await asyncio.sleep(wait)
        if fault == NO_FAULT:
            status, answer = self.take(request, body)
            return web.json_response(answer, status=status)
        name, _, argument = fault.partition(":")
        return await FAULTS[name].play(self, request, body, argument)

    def _turn(self, per_second: float) -> float:
        """Seconds until a request would be served; one that is turned away takes no turn."""
        now = time.monotonic()
        turn = max(0.0, self._next_turn - now)
        if turn <= PATIENCE:
            self._next_turn = now + turn + 1 / per_second
        return turn

    async def _get_ledger(self, _request: web.Request) -> web.Response:
        return web.json_response(self.lines)

    async def _get_health(self, _request: web.Request) -> web.Response:
        return web.json_response({"effects": len(self.ledger.stored)})

    async def _get_mode(self, _request: web.Request) -> web.Response:
        return web.json_response(self.modes.as_json())

    async def _post_mode(self, request: web.Request) -> web.Response:
        try:
            changes = await request.json()
            if not isinstance(changes, dict):
                raise ValueError("expected an object of modes")
            if changes.get("down") in ("refuse", "reset"):
                raise ValueError("over HTTP `down` needs its seconds, as in refuse:3")
            self.change(**changes)
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(self.modes.as_json())

    async def _post_faults(self, request: web.Request) -> web.Response:
        try:
            names = check_faults(await request.json())
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        self.faults.extend(names)
        return web.json_response({"faults": list(self.faults)})
