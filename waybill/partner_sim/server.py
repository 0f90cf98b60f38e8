"""A port in a thread of its own, which can be down for a while and is kept meanwhile; the fake partner on one."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, Self

from aiohttp import web

from waybill.partner_sim.faults import reset_on_close
from waybill.partner_sim.partner import Partner


class Front(Protocol):
    """What answers behind a door."""

    on_down: Callable[[], None]
    """Called by `change` when `down` was set, unless it was and stays empty."""

    @property
    def down(self) -> str:
        """See Modes.down."""
        ...

    def app(self) -> web.Application: ...

    def change(self, **modes: Any) -> None: ...

    async def give_up(self) -> None:
        """Ends what still goes on by itself; called in the door's loop, last."""
        ...

    def close(self) -> None:
        """Called when the thread has ended."""
        ...


class Door:
    """Opens, closes and resets a port as the mode `down` of its front says."""

    def __init__(self, front: Front, host: str, port: int) -> None:
        self.port = port
        """0 until started, if the system is to choose."""
        self._front = front
        self._host = host
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._stopping = False
        self._ready = threading.Event()
        self._port_changed = threading.Condition()
        self._asked = 0
        self._followed = 0
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="door", daemon=True)

    def start(self) -> None:
        """Listens from here on. Raises OSError if the port is taken."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def stop(self) -> None:
        """Closes every connection and the port."""
        self._stopping = True
        self._wake()
        self._thread.join()
        self._front.close()

    def change(self, **modes: Any) -> None:
        """Changes modes of the front; comes back when the port follows them."""
        self._front.change(**modes)
        with self._port_changed:
            asked = self._asked
            self._port_changed.wait_for(lambda: self._followed >= asked)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: object) -> None:
        self.stop()

    def _follow(self) -> None:
        with self._port_changed:
            self._asked += 1
        self._wake()

    def _wake(self) -> None:
        self._loop.call_soon_threadsafe(self._changed.set)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except OSError as error:
            self._failure = error
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        # Bound, never listening: while the partner is down nobody else can be given its port.
        with _bound(self._host, self.port) as held:
            self.port = held.getsockname()[1]
            self._front.on_down = self._follow
            try:
                while not self._stopping:
                    await self._until_changed()
            finally:
                self._front.on_down = lambda: None
                self._say_followed(self._asked)
                await self._front.give_up()

    def _say_followed(self, asked: int) -> None:
        with self._port_changed:
            self._followed = asked
            self._port_changed.notify_all()

    async def _until_changed(self) -> None:
        """Serves, refuses or resets until the mode `down` is set anew, its time is over, or the server stops."""
        self._changed.clear()
        asked = self._asked
        down, _, seconds = self._front.down.partition(":")
        async with self._open(down):
            self._ready.set()
            self._say_followed(asked)
            try:
                async with asyncio.timeout(float(seconds) if seconds else None):
                    await self._changed.wait()
            except TimeoutError:
                self._front.change(down="")

    @asynccontextmanager
    async def _open(self, down: str) -> AsyncIterator[None]:
        if down == "refuse":
            yield
        elif down == "reset":
            server = await self._loop.create_server(_Resetting, sock=_bound(self._host, self.port))
            try:
                yield
            finally:
                server.close()
                await server.wait_closed()
        else:
            runner = web.AppRunner(self._front.app(), handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
            await runner.setup()
            try:
                await web.SockSite(runner, _bound(self._host, self.port)).start()
                yield
            finally:
                await runner.cleanup()


class Server(Door):
    """The fake partner behind a real socket. For tests: `with Server() as partner: partner.url`."""

    def __init__(self, partner: Partner | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self.partner = partner or Partner(keep_bodies=True)
        super().__init__(self.partner, host, port)

    @property
    def url(self) -> str:
        """Where batches go."""
        return f"http://{self._host}:{self.port}/batches"


class _Resetting(asyncio.Protocol):
    """Takes a connection and resets it before a byte is read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        reset_on_close(transport)
        transport.abort()


def _bound(host: str, port: int) -> socket.socket:
    """A socket on the address that does not listen yet. Raises OSError if another server listens there."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound
