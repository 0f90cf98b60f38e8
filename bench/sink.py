"""A partner that costs as little as it may: `python -m bench.sink`, which prints the port it listens on.

It takes any body, keeps its idempotency key, its SHA-256 and when it had come, and answers 200. `GET /` tells what came
since the last `DELETE /`. A path that begins with `/dead` is never answered.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
import urllib.request
from hashlib import sha256
from types import TracebackType
from typing import NamedTuple, Self

from aiohttp import web

from bench.process import ROOT

SECONDS = 60.0
"""For one question to the sink: longer means that it hangs."""


class Arrival(NamedTuple):
    """One request that came whole."""

    key: str
    """Its idempotency key."""
    digest: str
    """SHA-256 of its body, hex."""
    at: int
    """ms since epoch."""


class Sink:
    """The process, gone at the end of its `with` block."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen([sys.executable, "-m", "bench.sink"], cwd=ROOT, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(SECONDS)

    @property
    def url(self) -> str:
        """Where bodies are sent."""
        return f"http://127.0.0.1:{self.port}/batches"

    def taken(self) -> list[Arrival]:
        """What has come since it was last asked."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=SECONDS) as answer:
            found = [Arrival(*one) for one in json.load(answer)]
        forget = urllib.request.Request(f"http://127.0.0.1:{self.port}/", method="DELETE")
        urllib.request.urlopen(forget, timeout=SECONDS).close()
        return found


async def _serve() -> None:
    arrivals: list[Arrival] = []

    async def take(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET":
            return web.json_response(arrivals)
        if request.method == "DELETE":
            arrivals.clear()
            return web.Response()
        body = await request.read()
        if request.path.startswith("/dead"):
            await asyncio.Event().wait()
        key = request.headers.get("Idempotency-Key", "")
        arrivals.append(Arrival(key, sha256(body).hexdigest(), time.time_ns() // 1_000_000))
        return web.Response()

    listening = socket.create_server(("127.0.0.1", 0), backlog=1_024)
    runner = web.ServerRunner(web.Server(take, access_log=None))
    await runner.setup()
    await web.SockSite(runner, listening).start()
    print(listening.getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve())
