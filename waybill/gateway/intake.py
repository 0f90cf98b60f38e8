"""Owns one request from its first header to its answer: who, where to, what kind, how much, the broker's ack.

Nothing is answered 202 that the broker has not acknowledged (ING-16); what it did not acknowledge in time may be there
all the same, and the answer says so (law 4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

import orjson
from aiohttp import web

from schemas.wording import did_you_mean
from topology.lanes import lanes_of
from topology.model import STANDARD, Pipeline
from waybill.gateway import capture, problems
from waybill.gateway import request as read
from waybill.gateway.backlog import Backlog
from waybill.gateway.observe import Metrics
from waybill.gateway.openapi import document
from waybill.gateway.problems import Problem
from waybill.gateway.route import LaneRoute, Route
from waybill.gateway.tokens import Grant, Tokens
from waybill.raw_producer import PRIORITY, Receipt

AGAIN = 5
"""Seconds after which to ask again when the pipeline is behind or the broker away."""
SOON = 1
"""The same when the gateway is full: it is empty again within a request or two."""


class Sender(Protocol):
    """Hands submissions to Kafka."""

    def send(
        self, topic: str, value: bytes, key: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> tuple[str, asyncio.Future[Receipt]]:
        """The SHA-256 in hex, and what the broker says. Raises BufferError while too much is open."""
        ...


class Gateway:
    """Answers requests. One instance lives in one event loop."""

    def __init__(
        self,
        routes: dict[str, Route],
        sender: Sender,
        tokens: Tokens | None,
        open_bytes: int,
        metrics: Metrics,
        jobs: capture.Jobs,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`open_bytes`: of bodies that are being read or wait for the broker, all together."""
        self._routes, self._sender, self._tokens = routes, sender, tokens
        self._open_bytes, self._now = open_bytes, now
        self._metrics, self._jobs = metrics, jobs
        self._open = 0
        self._document = orjson.dumps(document(routes, tokens is not None, read.MAX_LINES))

    def ready(self) -> bool:
        """Whether the broker has told lately how far every pipeline is behind."""
        return all(route.backlog() is not None for route in self._routes.values())

    def observe(self) -> None:
        """Brings the gauges up to date."""
        for name, route in self._routes.items():
            self._metrics.backlog(name, route.backlog())
        self._metrics.open_bytes.set(self._open)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to a request, whatever it is. Raises nothing but CancelledError."""
        place = _place_in(request.path)
        name = place.pipeline if place is not None else None
        with self._metrics.request(name if name in self._routes else "") as seen:
            try:
                response = await self._route(request, place)
            except Problem as problem:
                response = problem.response(request.path)
                if not request.content.is_eof():
                    response.force_close()  # what is left of the body must not be taken for the next request
            seen(response.status)
            return response

    async def _route(self, request: web.BaseRequest, place: Place | None) -> web.Response:
        pages: dict[str, Callable[[web.BaseRequest], web.Response]] = {
            "/healthz": lambda _: web.Response(text="ok\n"),
            "/readyz": self._readyz,
            "/metrics": self._page_of_metrics,
            "/v1/openapi.json": lambda _: web.Response(body=self._document, content_type="application/json"),
        }
        if page := pages.get(request.path):
            _only(request, "GET")
            return page(request)
        if place is None:
            self._grant(request)
            raise Problem(problems.NO_PIPELINE, f"no {request.path}; POST /v1/PIPELINE/records takes submissions")
        if place.kind == "records":
            _only(request, "POST")
        name, grant = place.pipeline, self._grant(request)
        route = self._routes.get(name)
        if route is None:
            served = ", ".join(sorted(one for one in self._routes if grant is None or grant.allows(one)))
            raise Problem(problems.NO_PIPELINE, f"no pipeline {name!r} is served here; served are {served}")
        if grant is not None and not grant.allows(name):
            raise Problem(problems.NOT_YOURS, f"the token of {grant.name!r} is not for {name!r}; ask the operator")
        if place.kind == "records":
            rows = await self._take(request, route, grant, read.lines_asked(request))
            return _json(202, {"pipeline": name, "submissions": rows})
        if not route.captures:
            words = f"no {request.path}: {name} takes no EPCIS events; POST /v1/{name}/records takes submissions"
            raise Problem(problems.NO_PIPELINE, words)
        return await self._epcis(request, place, route, grant)

    async def _epcis(self, request: web.BaseRequest, place: Place, route: Route, grant: Grant | None) -> web.Response:
        """The capture interface."""
        method = "GET" if place.job is not None else "POST"
        if request.method == "OPTIONS":
            return web.Response(status=204, headers=capture.settings(route.pipeline, f"{method}, OPTIONS"))
        _only(request, method, "OPTIONS")
        capture.require(request)
        if place.job is not None:
            found = await self._job(place.job, route.pipeline, grant)
            return _json(200, found, capture.headers(request))
        [row] = await self._take(request, route, grant, lines=False)
        if row["position"] is None:
            words = (
                "the broker has it and does not say where, so there is no job to ask for; send the request again: "
                "repeats are recognised"
            )
            raise Problem(problems.NO_ACK, words, retry_after=AGAIN, submissions=[row])
        lane, _ = _lane(request, route)
        location = f"/v1/{place.pipeline}/capture/{capture.job_id(lane, row['position'])}"
        return web.Response(status=202, headers={**capture.headers(request), "Location": location})

    async def _job(self, id: str, pipeline: Pipeline, grant: Grant | None) -> dict[str, Any]:
        """A job is shown to whose token began it, and to nobody else."""
        lanes = {str(name): one for name, one in lanes_of(pipeline).items()}
        where = capture.place_of(id)
        lane = lanes.get(where.lane) if where is not None else None
        found = None
        if where is not None and lane is not None:
            found = await self._jobs.find(lane, where.partition, where.offset)
        if where is None or lane is None or found is None or (grant is not None and found.publisher != grant.name):
            raise Problem(
                problems.NO_JOB, f"no capture job {id!r}: see the Location that the capture was answered with"
            )
        return capture.document(id, found, f"{lane.raw_topic}/{where.partition}/{where.offset}")

    def _grant(self, request: web.BaseRequest) -> Grant | None:
        """Whose request it is; None where everybody may ask."""
        if self._tokens is None:
            return None
        grant = self._tokens.find(request.headers.get("Authorization"))
        if grant is None:
            words = "no valid token: send `Authorization: Bearer TOKEN` with one that the operator gave out"
            raise Problem(problems.NO_TOKEN, words, headers={"WWW-Authenticate": 'Bearer realm="waybill"'})
        return grant

    def _readyz(self, _: web.BaseRequest) -> web.Response:
        if self.ready():
            return web.Response(text="ready\n")
        raise Problem(problems.NO_BROKER, "the broker does not say how far the pipelines are", retry_after=AGAIN)

    def _page_of_metrics(self, request: web.BaseRequest) -> web.Response:
        self._grant(request)
        self.observe()
        return web.Response(body=self._metrics.page(), headers={"Content-Type": self._metrics.content_type})

    async def _take(
        self, request: web.BaseRequest, route: Route, grant: Grant | None, lines: bool
    ) -> list[dict[str, Any]]:
        """What the broker said of each submission: none was refused. Raises Problem."""
        lane, priority = _lane(request, route)
        _judge_backlog(route.pipeline.pipeline, route.lanes[lane].backlog)
        limit = route.pipeline.raw.max_message_bytes
        content_type = read.content_type(request, route.media_types)
        key = read.text(request, "Waybill-Key")
        headers = self._headers(request, content_type, priority, grant)
        with _Held(self) as held:
            body = await read.body(request, limit, held.reach)
            read.compare_digest(request, body)
            submissions = read.split(body, limit) if lines else [(0, body)]
            if not submissions or not body:
                raise Problem(problems.EMPTY, "the body holds nothing; send the records as the body of the request")
            return await self._publish(route.pipeline.pipeline, route.lanes[lane], submissions, key, headers)

    def _headers(
        self, request: web.BaseRequest, content_type: bytes | None, priority: bytes | None, grant: Grant | None
    ) -> list[tuple[str, bytes]]:
        """The headers of the message: what the publisher said, who it was, and when its request came."""
        received = self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        named = [
            ("content-type", content_type),
            ("waybill-source", read.text(request, "Waybill-Source")),
            ("waybill-site", read.text(request, "Waybill-Site")),
            (PRIORITY, priority),
            ("waybill-channel", b"http"),
            ("waybill-publisher", grant.name.encode() if grant else None),
            ("waybill-received-at", received.encode()),
        ]
        return [(name, value) for name, value in named if value is not None]

    async def _publish(
        self,
        name: str,
        lane: LaneRoute,
        submissions: list[tuple[int, bytes]],
        key: bytes | None,
        headers: list[tuple[str, bytes]],
    ) -> list[dict[str, Any]]:
        sent: list[tuple[int, int, str, asyncio.Future[Receipt]]] = []
        refused = ""
        for number, value in submissions:
            try:
                digest, receipt = self._sender.send(lane.topic, value, key, headers)
            except BufferError:
                refused = f"{len(submissions) - len(sent)} of {len(submissions)} were not sent: too much is open"
                break
            lane.backlog.add(1)
            sent.append((number, len(value), digest, receipt))
        receipts = await asyncio.gather(*(receipt for *_, receipt in sent))
        lane.backlog.settle(len(sent))
        rows = [
            _row(number, size, digest, receipt)
            for (number, size, digest, _), receipt in zip(sent, receipts, strict=True)
        ]
        self._metrics.taken(name, receipts, sum(size for _, size, *_ in sent))
        errors = {receipt.error for receipt in receipts if receipt.error}
        if not errors and not refused:
            return rows
        if not rows:
            raise Problem(problems.BUSY, f"{refused}; send the request again", retry_after=SOON)
        said = "; ".join(sorted(errors) + ([refused] if refused else []))
        raise Problem(
            problems.NO_ACK,
            f"not everything was acknowledged ({said}). What `submissions` gives no position may be published or not: "
            "send the request again; repeats are recognised",
            retry_after=AGAIN,
            submissions=rows,
        )

    def hold(self, size: int) -> None:
        """Counts bytes that are open. Raises Problem."""
        if self._open + size > self._open_bytes:
            words = f"{self._open} bytes of submissions are open already; send the request again"
            raise Problem(problems.BUSY, words, retry_after=SOON)
        self._open += size

    def free(self, size: int) -> None:
        """They are no longer."""
        self._open -= size


class _Held:
    """The bytes of one request in the gateway's account."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway, self._size = gateway, 0

    def __enter__(self) -> _Held:
        return self

    def __exit__(self, *_: object) -> None:
        self._gateway.free(self._size)

    def reach(self, size: int) -> None:
        """So many are open now. Raises Problem."""
        if size > self._size:
            self._gateway.hold(size - self._size)
            self._size = size


class Place(NamedTuple):
    """What a path asks for."""

    pipeline: str
    kind: str
    """`records`, `capture` or `events`."""
    job: str | None = None


def _place_in(path: str) -> Place | None:
    """Of /v1/NAME/records, /v1/NAME/capture, /v1/NAME/capture/JOB, /v1/NAME/events."""
    match path.split("/"):
        case ["", "v1", name, ("records" | "capture" | "events") as kind]:
            return Place(name, kind)
        case ["", "v1", name, "capture", job]:
            return Place(name, "capture", job)
    return None


def _json(status: int, value: Any, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json", headers=headers)


def _only(request: web.BaseRequest, method: str, *others: str) -> None:
    """Raises Problem for another method; `others` are answered, too, elsewhere."""
    if request.method != method:
        words = f"{request.method} {request.path}: only {method} is answered here"
        raise Problem(problems.WRONG_METHOD, words, headers={"Allow": ", ".join((method, *others))})


def _lane(request: web.BaseRequest, route: Route) -> tuple[str, bytes | None]:
    """The lane that a request names, and its name as it is kept; `standard` where it names none. Raises Problem for one
    that the pipeline does not have."""
    priority = read.text(request, PRIORITY)
    if priority is None:
        return STANDARD, None
    name = priority.decode("utf-8", "replace")
    if name not in route.lanes:
        words = f"Waybill-Priority: pipeline {route.pipeline.pipeline} has no lane {name!r}"
        words += f"{did_you_mean(name, route.lanes)}; nothing was published"
        raise Problem(problems.UNREADABLE, words)
    return name, priority


def _judge_backlog(name: str, backlog: Backlog) -> None:
    waiting = backlog.now()
    if waiting is None:
        words = "the broker has not answered for a while; nothing was published. Send the request again later"
        raise Problem(problems.NO_BROKER, words, retry_after=AGAIN)
    if waiting > backlog.high:
        raise Problem(
            problems.BACKLOG,
            f"{waiting} submissions of {name} wait to be read, and nothing more is taken above {backlog.high}; "
            "nothing was published. Send the request again later",
            retry_after=AGAIN,
        )


def _row(number: int, size: int, digest: str, receipt: Receipt) -> dict[str, Any]:
    row = {
        "line": number or None,
        "position": receipt.position,
        "id": receipt.position,
        "digest": digest,
        "bytes": size,
    }
    return row if receipt.error is None else {**row, "error": receipt.error}


Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
