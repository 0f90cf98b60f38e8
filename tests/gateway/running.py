"""A gateway on a real port in a thread of its own, with a stand-in for Kafka, and requests to it."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

from topology.model import Pipeline
from topology.partner import ObjectStorePartner
from waybill.gateway import problems
from waybill.gateway.backlog import Backlog
from waybill.gateway.capture import Job
from waybill.gateway.intake import Gateway
from waybill.gateway.observe import Metrics
from waybill.gateway.problems import Problem
from waybill.gateway.route import LaneRoute, Route
from waybill.gateway.server import serve
from waybill.gateway.tokens import Tokens
from waybill.raw_producer import Receipt

LIMIT = 4096
OPEN = 3 * LIMIT
NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)


class Said(NamedTuple):
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def problem(self) -> str:
        """The sort of a refusal, after a look at its form."""
        assert self.headers["Content-Type"] == "application/problem+json", self
        found = self.json
        assert found["status"] == self.status
        assert found["detail"]
        return str(found["type"]).removeprefix("urn:waybill:problem:")


class FakeKafka:
    """Takes submissions; `answers` says what becomes of each, None: for now nothing."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes, bytes | None, dict[str, bytes]]] = []
        self.answers: Callable[[int], Receipt | None] = lambda number: Receipt(f"t/0/{number}")
        self.full = False
        self.waiting: list[asyncio.Future[Receipt]] = []

    def send(
        self, topic: str, value: bytes, key: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> tuple[str, asyncio.Future[Receipt]]:
        if self.full:
            raise BufferError
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        answer = self.answers(len(self.taken))
        self.taken.append((topic, value, key, dict(headers)))
        if answer is None:
            self.waiting.append(future)
        else:
            future.set_result(answer)
        return sha256(value).hexdigest(), future


class FakeJobs:
    """What became of submissions, by partition and offset, as a test says it; None: no submission is there."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, int], Job] = {}
        self.away = False

    async def find(self, pipeline: Pipeline, partition: int, offset: int) -> Job | None:
        if self.away:
            raise Problem(problems.NO_BROKER, "the broker does not answer now", retry_after=5)
        return self.known.get((partition, offset))


class Running:
    """A gateway for the pipeline `demo`."""

    def __init__(self, tokens: Tokens | None, connections: int, pack: str) -> None:
        self.kafka = FakeKafka()
        self.clock = 0.0
        self.backlog = Backlog(10, lambda: self.clock)
        self.backlog.measured(0, 0)
        partner = ObjectStorePartner(kind="object-store", url="file:lake")
        key = ["event_hash"] if pack == "epcis" else ["sensor_id", "event_time"]
        self.pipeline = Pipeline.model_validate({
            "pipeline": "demo", "pack": pack, "partition_by": key[:1], "idempotency": key, "partner": "lake",
            "partners": {"lake": partner}, "raw": {"max_message_bytes": LIMIT},
        })  # fmt: skip
        types = frozenset({"application/json", "text/csv"})
        self.jobs = FakeJobs()
        self.metrics = Metrics()
        self.lanes = {"standard": LaneRoute(self.pipeline.raw_topic, self.backlog)}
        routes = {"demo": Route(self.pipeline, types, self.lanes)}
        self.intake = Gateway(routes, self.kafka, tokens, OPEN, self.metrics, self.jobs, lambda: NOW)
        self.port = 0
        self.loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._connections = connections
        self._ready = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        def started(port: int) -> None:
            self.port = port
            self._ready.set()

        work = serve(self.intake.answer, "127.0.0.1", 0, self._connections, 20.0, self._stop, started)
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(work)

    def start(self) -> None:
        self.thread.start()
        assert self._ready.wait(20)

    def stop(self) -> None:
        """Asks it to stop; does not wait."""
        self.loop.call_soon_threadsafe(self._stop.set)

    def acknowledge(self) -> None:
        """The broker answers what waits."""

        def give() -> None:
            while self.kafka.waiting:
                self.kafka.waiting.pop().set_result(Receipt("t/0/7"))

        self.loop.call_soon_threadsafe(give)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Said:
        """One request on a connection of its own."""
        connection = self.connect()
        try:
            connection.request(method, path, body, dict(headers or {}), encode_chunked=isinstance(body, Iterator))
            return said(connection)
        finally:
            connection.close()

    def post(self, body: Any, path: str = "/v1/demo/records", **headers: str) -> Said:
        """A submission; `content_type="text/csv"` is that header."""
        return self.ask("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})


def said(connection: http.client.HTTPConnection) -> Said:
    """The answer to the request under way."""
    response = connection.getresponse()
    return Said(response.status, dict(response.headers), response.read())


@contextmanager
def gateway(tokens: Tokens | None = None, connections: int = 100, pack: str = "cold_chain") -> Iterator[Running]:
    """Runs one, and ends it."""
    running = Running(tokens, connections, pack)
    running.start()
    try:
        yield running
    finally:
        if running.thread.is_alive():
            running.acknowledge()
            running.stop()
        running.thread.join(30)
        assert not running.thread.is_alive()
