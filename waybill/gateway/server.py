"""Owns the port and what stands between it and Kafka: connections in bounds, the producer's thread, start and stop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from aiohttp import web

from waybill.gateway import problems
from waybill.gateway.intake import Answer
from waybill.gateway.problems import Problem
from waybill.output import Fault
from waybill.raw_producer import RawProducer, Receipt

HEAD_SECONDS = 20.0
"""For the first request of a connection: whoever says nothing holds a place for nothing."""
KEEP_ALIVE_SECONDS = 75.0
"""An idle connection is closed after this; proxies close theirs after 60 s as a rule."""
LINGER_SECONDS = 2.0
"""For a connection that is one too many to take its answer: closed at once it would be reset by what it still sends,
and a reset can overtake the answer."""
POLL_SECONDS = 0.1
LOG = structlog.get_logger("waybill.gateway")


class KafkaSender:
    """See `intake.Sender`: a producer whose answers come from a thread of its own into the loop."""

    def __init__(self, producer: RawProducer, loop: asyncio.AbstractEventLoop) -> None:
        self._producer, self._loop = producer, loop
        self._off = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="producer", daemon=True)
        self._thread.start()

    def send(
        self, topic: str, value: bytes, key: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> tuple[str, asyncio.Future[Receipt]]:
        """See `intake.Sender`."""
        future: asyncio.Future[Receipt] = self._loop.create_future()

        def answer(receipt: Receipt) -> None:
            if not future.done():  # a request that was given up at the end of the drain
                future.set_result(receipt)

        def acknowledged(receipt: Receipt) -> None:
            self._loop.call_soon_threadsafe(answer, receipt)

        return self._producer.send(topic, value, key, headers, acknowledged), future

    def close(self) -> None:
        """Ends the thread. Whatever is not answered by now has nobody left who waits for it."""
        self._off.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._off.is_set():
            self._producer.poll(POLL_SECONDS)


def _unnamed(response: web.StreamResponse) -> web.StreamResponse:
    """An answer that does not tell the versions of what the gateway is made of, as aiohttp's own header would."""
    response.headers["Server"] = "waybill"
    return response


class _Connection(web.RequestHandler):
    """One client. What is no HTTP gets a problem document too, and what says nothing is hung up on."""

    spoken = False

    def hang_up_if_silent(self) -> None:
        """Called once, after HEAD_SECONDS."""
        if not self.spoken and self.transport is not None:
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """In place of aiohttp's own page. Raises ConnectionError where an answer was begun."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer was begun already")
        if status >= 500:
            LOG.error("request failed", path=request.path, exc_info=exc)
            problem = Problem(problems.BROKEN, "a mistake of the gateway, which is in its log; send the request again")
        else:
            problem = Problem(problems.UNREADABLE, f"this is no HTTP request: {message or 'malformed'}")
        response = problem.response(request.path)
        response.force_close()
        return _unnamed(response)


class _TooMany(asyncio.Protocol):
    """Takes the place of a connection that is one too many: says so, and drops what comes until the client hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        words = "too many connections are open; send the request again"
        problem = Problem(problems.BUSY, words, retry_after=1).response("/")
        body = problem.body
        assert isinstance(body, bytes)
        head = (
            f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: {problems.MEDIA_TYPE}\r\nRetry-After: 1\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        transport.write(head.encode() + body)
        transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, transport.abort)


class Server(web.Server):
    """aiohttp's server with a bound on connections."""

    def __init__(self, answer: Answer, connections: int) -> None:
        """Call in a running loop."""

        async def spoken(request: web.BaseRequest) -> web.StreamResponse:
            if isinstance(request.protocol, _Connection):
                request.protocol.spoken = True
            return _unnamed(await answer(request))

        self._most = connections
        # The bytes are kept as they come (ING-14): nothing is unpacked on the way.
        self._options: dict[str, Any] = {
            "keepalive_timeout": KEEP_ALIVE_SECONDS, "auto_decompress": False, "access_log": None,
        }  # fmt: skip
        super().__init__(spoken)

    def __call__(self) -> Any:
        """A protocol for a new connection."""
        if len(self.connections) >= self._most:
            return _TooMany()
        loop = asyncio.get_running_loop()
        connection = _Connection(self, loop=loop, **self._options)
        loop.call_later(HEAD_SECONDS, connection.hang_up_if_silent)
        return connection


async def serve(
    answer: Answer,
    host: str,
    port: int,
    connections: int,
    drain: float,
    stop: asyncio.Event,
    started: Callable[[int], None],
) -> None:
    """Serves until `stop` is set; then takes no connection any more, answers what was begun for up to `drain` seconds
    and comes back. `started` is called with the port. Raises Fault where it cannot listen."""
    runner = web.ServerRunner(Server(answer, connections), shutdown_timeout=drain)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as taken:
            words = f"{host}:{port} cannot be listened on ({taken.strerror or taken}); choose another --bind or --port"
            raise Fault(words) from taken
        started(int(runner.addresses[0][1]))
        await stop.wait()
        LOG.info("stopping", drain_seconds=drain)
    finally:
        await runner.cleanup()
    LOG.info("stopped")
