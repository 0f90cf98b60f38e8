"""Owns the connections of an HTTP partner below the client's requests: when one is used again, and how much of what
comes over it is taken at a time. It knows nothing of batches.

Whatever a partner sends, one turn of the loop parses at most SLICE bytes of it: all partners share that loop, and every
time-out is kept by it. Head and interim answers (1xx) together have at most MAX_HEAD bytes.
"""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.tracing import Trace

SLICE = 8 * 1024
"""Bytes parsed in one turn of the loop. Chunks of one byte take six each, and some microseconds of work."""
MAX_HEAD = 64 * 1024
"""Bytes before the end of an answer's head, interim answers (1xx) included."""


class Handler(ResponseHandler, asyncio.BufferedProtocol):
    """One connection. As a buffered protocol it says itself how much is read at a time, with TLS or without."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._room = memoryview(bytearray(SLICE))
        self._head: bytearray | None = None

    @property
    def torn(self) -> bytes:
        """What came of an answer whose head was not read to its end; empty otherwise. Ends in the slice that went too
        far, so it has at most MAX_HEAD + SLICE bytes."""
        return bytes(self._head or b"")

    def set_response_params(self, **params: Any) -> None:
        """A request is about to be sent on this connection."""
        self._head = bytearray()
        super().set_response_params(**params)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self._room[:nbytes]))

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += data
        super().data_received(data)
        if self._head is not None and len(self._head) > MAX_HEAD and self.exception() is None:
            self.set_exception(HttpProcessingError(message=f"the answer has no head within {MAX_HEAD} bytes"))
            if self.transport is not None:
                self.transport.close()

    def feed_data(self, data: Any, size: int = 0) -> None:
        message, _ = data
        if not 100 <= message.code <= 199 or message.code == 101:
            self._head = None
        super().feed_data(data, size)


def _handler(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return Handler(loop)


_watching: ContextVar[list[Handler] | None] = ContextVar("_watching", default=None)


@contextmanager
def watched(used: list[Handler]) -> Iterator[None]:
    """The connections of requests made inside are added to `used`: the client names none when a request fails."""
    before = _watching.set(used)
    try:
        yield
    finally:
        _watching.reset(before)


class Connector(aiohttp.TCPConnector):
    """Uses no connection again on which something came that nobody had asked for: a second answer to the last request,
    or the 408 of a proxy that waited for another one. It would be taken for the answer to the next batch (law 4).
    aiohttp looks for such bytes when a connection comes back, and not when it is taken out again."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit=limit)
        self._factory = functools.partial(_handler, self._loop)
        self._used: weakref.WeakSet[object] = weakref.WeakSet()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if protocol is None or protocol not in self._used or not protocol.should_close:
                break
            connection.close()
        if protocol is not None:
            self._used.add(protocol)
            if isinstance(protocol, Handler) and (used := _watching.get()) is not None:
                used.append(protocol)
        return connection
