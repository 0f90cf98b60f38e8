"""Owns a loopback TCP proxy between Kafka clients and one broker: it delays, loses, cuts and swallows, on command.

It runs on a thread and event loop of its own and may be commanded from any other thread; a command is in force when it
returns. It works frame by frame (see kafka_frames), so that a lost answer is a whole answer, and never alters one.
The broker must tell its clients the proxy's port (waybill.broker.Proxied), else they go round it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self

from chaos.kafka_frames import Frames, NotKafka, correlation, name, request_head

HOST = "127.0.0.1"
READ = 64 * 1024
"""Bytes that are taken from a connection at once, at most."""
COMMAND_SECONDS = 10.0
"""A command only changes a variable of the loop: longer means that the loop is dead."""


class Way(Enum):
    """The direction a fault is in."""

    REQUEST = "request"
    ANSWER = "answer"


class After(Enum):
    """What becomes of a connection on which something was lost."""

    CLOSE = "close"
    """Reset, as by a broken route."""
    STALL = "stall"
    """Stays open and swallows everything in both directions, until the client gives up or the proxy is healed."""


@dataclass
class _Loss:
    api: int
    way: Way
    left: int
    then: After


@dataclass(frozen=True)
class _Delay:
    seconds: float
    jitter: float
    way: Way
    api: int | None


@dataclass(eq=False)
class _Connection:
    """One client's connection and ours to the broker."""

    client: asyncio.StreamWriter
    broker: asyncio.StreamWriter
    asked: dict[int, int] = field(default_factory=dict)
    """Api key by correlation id, of requests not answered yet."""
    stalled: bool = False
    holed: bool = False
    """Something was swallowed by a black hole: whoever waits for it would wait for ever."""

    def reset(self) -> None:
        for writer in (self.client, self.broker):
            writer.transport.abort()


class Proxy:
    """Use as a context manager, or `start` and `close`.

    upstream: the broker's port for the proxy. port: where clients come; fixed, because the broker advertises it.
    seed: of the jitter. All on 127.0.0.1.
    """

    def __init__(self, upstream: int, port: int, seed: int = 0) -> None:
        self.upstream, self.port = upstream, port
        self.counts: Counter[str] = Counter()
        """What was done, for histories: `END_TXN answer lost`, `connection cut`, `frame delayed`, …"""
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{port}", daemon=True)
        self._server: asyncio.Server | None = None
        self._reopening: asyncio.Task[None] | None = None
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._losses: list[_Loss] = []
        self._delays: list[_Delay] = []
        self._hole: frozenset[Way] = frozenset()

    @property
    def bootstrap(self) -> str:
        """Where clients come."""
        return f"{HOST}:{self.port}"

    def start(self) -> Self:
        """Listens. Raises OSError where the port is taken."""
        self._thread.start()
        self._command(self._open)
        return self

    def close(self) -> None:
        """Ends every connection and the thread; idempotent."""
        if self._loop.is_closed():
            return
        if self._thread.is_alive():
            self._command(self._shut)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(COMMAND_SECONDS)
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- commands --------------------------------------------------------------------------------

    def heal(self) -> None:
        """Everything passes again, at once. Connections that lost something are reset, so that their clients learn."""

        async def heal() -> None:
            self._losses, self._delays, self._hole = [], [], frozenset()
            for connection in [c for c in self._connections if c.stalled or c.holed]:
                connection.reset()
            self._cancel_reopening()
            await self._open()

        self._command(heal)

    def delay(self, seconds: float, jitter: float = 0.0, way: Way = Way.ANSWER, api: int | None = None) -> None:
        """Each frame of this way (of one api, or all) is late by `seconds` and up to `jitter` more; order within a
        connection stays. Delays add up."""
        self._switch(lambda: self._delays.append(_Delay(seconds, jitter, way, api)))

    def lose(self, api: int, count: int = 1, way: Way = Way.ANSWER, then: After = After.CLOSE) -> None:
        """The next `count` requests of this api, or answers to it, do not arrive; what follows is `then`.

        A lost answer was done by the broker; a lost request was not.
        """
        self._switch(lambda: self._losses.append(_Loss(api, way, count, then)))

    def black_hole(self, *ways: Way) -> None:
        """Swallows what comes this way (both, unless named) until `heal`; connections are still taken."""
        self._switch(lambda: setattr(self, "_hole", frozenset(ways or Way)))

    def cut(self, seconds: float) -> None:
        """Resets every connection, and refuses new ones for so long, or until `heal`."""

        async def reopen() -> None:
            await asyncio.sleep(seconds)
            await self._open()

        async def cut() -> None:
            await self._stop_listening()
            for connection in self._connections:
                self.counts["connection cut"] += 1
                connection.reset()
            self._cancel_reopening()
            self._reopening = self._loop.create_task(reopen())

        self._command(cut)

    def _switch(self, change: Callable[[], None]) -> None:
        async def switch() -> None:
            change()

        self._command(switch)

    def _command(self, what: Callable[[], Any]) -> None:
        asyncio.run_coroutine_threadsafe(what(), self._loop).result(COMMAND_SECONDS)

    # ---- the loop's side -------------------------------------------------------------------------

    async def _open(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, HOST, self.port)

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _cancel_reopening(self) -> None:
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None

    async def _shut(self) -> None:
        self._cancel_reopening()
        await _turns()  # in which whoever came a moment ago gets a transport: asyncio forgets him once it is closed
        await self._stop_listening()
        await _turns()  # and a task
        for connection in self._connections:
            connection.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await _turns()  # in which what was aborted is closed

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.transport.abort())  # also of one that was cancelled before it began

    async def _serve(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            broker_reader, broker = await asyncio.open_connection(HOST, self.upstream)
        except OSError:
            self.counts["broker unreachable"] += 1
            return
        self.counts["connection opened"] += 1
        connection = _Connection(client, broker)
        self._connections.add(connection)
        try:
            await asyncio.gather(
                self._pipe(connection, Way.REQUEST, client_reader, broker),
                self._pipe(connection, Way.ANSWER, broker_reader, client),
            )
        finally:
            self._connections.discard(connection)
            connection.reset()

    async def _pipe(
        self, connection: _Connection, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One direction. A frame that is late waits, and so does all that comes after it; what waits still goes out at
        the end."""
        late: deque[tuple[float, bytes]] = deque()
        sender: asyncio.Task[None] | None = None
        frames, due = Frames(), 0.0
        try:
            with contextlib.suppress(OSError, NotKafka):
                while data := await reader.read(READ):
                    for frame in frames.cut(data):
                        api = self._api(connection, way, frame)
                        if self._swallowed(connection, way, api):
                            continue
                        now = self._loop.time()
                        due = max(due, now + self._lateness(way, api))
                        if due <= now and not late:
                            writer.write(frame)
                            continue
                        late.append((due, frame))
                        if sender is None or sender.done():
                            sender = self._loop.create_task(self._send(late, writer))
                    await writer.drain()
            if sender is not None:
                await sender
        finally:
            if sender is not None:
                sender.cancel()
            writer.close()

    async def _send(self, late: deque[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        """Writes each frame at its time, until none waits."""
        with contextlib.suppress(OSError):
            while late:
                due, frame = late[0]
                if (wait := due - self._loop.time()) > 0:
                    await asyncio.sleep(wait)
                writer.write(frame)
                late.popleft()
                await writer.drain()

    def _api(self, connection: _Connection, way: Way, frame: bytes) -> int:
        if way is Way.ANSWER:
            return connection.asked.pop(correlation(frame), -1)
        head = request_head(frame)
        connection.asked[head.correlation] = head.api
        return head.api

    def _swallowed(self, connection: _Connection, way: Way, api: int) -> bool:
        if connection.stalled or way in self._hole:
            connection.holed = True
            self.counts[f"{way.value} swallowed"] += 1
            return True
        loss = next((one for one in self._losses if (one.api, one.way) == (api, way) and one.left), None)
        if loss is None:
            return False
        loss.left -= 1
        self.counts[f"{name(api)} {way.value} lost"] += 1
        if loss.then is After.CLOSE:
            connection.reset()
        else:
            connection.stalled = True
        return True

    def _lateness(self, way: Way, api: int) -> float:
        late = [d for d in self._delays if d.way is way and d.api in (None, api)]
        if late:
            self.counts["frame delayed"] += 1
        return sum(d.seconds + self._random.uniform(0, d.jitter) for d in late)


async def _turns() -> None:
    """A few turns of the loop."""
    for _ in range(5):
        await asyncio.sleep(0)
