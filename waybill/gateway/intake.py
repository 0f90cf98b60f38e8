"""Owns one request from its first header to its answer: who, where to, what kind, how much, the broker's ack.

Nothing is answered 202 that the broker has not acknowledged (ING-16); what it did not acknowledge in time may be there
all the same, and the answer says so (law 4).
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

import orjson
from aiohttp import web

from topology.model import STANDARD, Pipeline
from waybill.gateway import problems
from waybill.gateway.backlog import Backlog
from waybill.gateway.observe import Metrics
from waybill.gateway.openapi import document
from waybill.gateway.problems import Problem
from waybill.gateway.tokens import Grant, Tokens
from waybill.inputs import lines_of
from waybill.raw_producer import PRIORITY, Receipt

BODY_SECONDS = 60.0
"""For a body to arrive: whoever is slower holds memory for nothing."""
MAX_LINES = 10_000
"""Submissions of one request with `lines=true`."""
MAX_TEXT = 1000
"""Bytes of a header that becomes the message's key or a header of it."""
AGAIN = 5
"""Seconds after which to ask again when the pipeline is behind or the broker away."""
SOON = 1
"""The same when the gateway is full: it is empty again within a request or two."""


class LaneRoute(NamedTuple):
    """Where submissions of one lane go."""

    topic: str
    backlog: Backlog


class Route(NamedTuple):
    """A pipeline that is served."""

    pipeline: Pipeline
    media_types: frozenset[str]
    lanes: Mapping[str, LaneRoute]
    """By name; a pipeline without lanes has `standard` alone."""

    def backlog(self) -> int | None:
        """Submissions that wait in all lanes; None where it has not been known for a while."""
        waiting = [lane.backlog.now() for lane in self.lanes.values()]
        return None if None in waiting else sum(filter(None, waiting))


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
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`open_bytes`: of bodies that are being read or wait for the broker, all together."""
        self._routes, self._sender, self._tokens = routes, sender, tokens
        self._open_bytes, self._now = open_bytes, now
        self._metrics = metrics
        self._open = 0
        self._document = orjson.dumps(document(routes, tokens is not None, MAX_LINES))

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
        name = _pipeline_in(request.path)
        with self._metrics.request(name if name in self._routes else "") as seen:
            try:
                response = await self._route(request, name)
            except Problem as problem:
                response = problem.response(request.path)
                if not request.content.is_eof():
                    response.force_close()  # what is left of the body must not be taken for the next request
            seen(response.status)
            return response

    async def _route(self, request: web.BaseRequest, name: str | None) -> web.Response:
        pages: dict[str, Callable[[web.BaseRequest], web.Response]] = {
            "/healthz": lambda _: web.Response(text="ok\n"),
            "/readyz": self._readyz,
            "/metrics": self._page_of_metrics,
            "/v1/openapi.json": lambda _: web.Response(body=self._document, content_type="application/json"),
        }
        if page := pages.get(request.path):
            _only(request, "GET")
            return page(request)
        if name is None:
            self._grant(request)
            raise Problem(problems.NO_PIPELINE, f"no {request.path}; POST /v1/PIPELINE/records takes submissions")
        _only(request, "POST")
        grant = self._grant(request)
        route = self._routes.get(name)
        if route is None:
            served = ", ".join(sorted(one for one in self._routes if grant is None or grant.allows(one)))
            raise Problem(problems.NO_PIPELINE, f"no pipeline {name!r} is served here; served are {served}")
        if grant is not None and not grant.allows(name):
            raise Problem(problems.NOT_YOURS, f"the token of {grant.name!r} is not for {name!r}; ask the operator")
        return await self._take(request, route, grant)

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

    async def _take(self, request: web.BaseRequest, route: Route, grant: Grant | None) -> web.Response:
        lane, priority = _lane(request, route)
        _judge_backlog(route.pipeline.pipeline, lane.backlog)
        limit = route.pipeline.raw.max_message_bytes
        content_type = _content_type(request, route)
        lines = _lines_asked(request)
        key = _text(request, "Waybill-Key")
        headers = self._headers(request, content_type, priority, grant)
        with _Held(self) as held:
            body = await _body(request, limit, held)
            _compare_digest(request, body)
            submissions = _split(body, limit) if lines else [(0, body)]
            if not submissions or not body:
                raise Problem(problems.EMPTY, "the body holds nothing; send the records as the body of the request")
            return await self._publish(route.pipeline.pipeline, lane, submissions, key, headers)

    def _headers(
        self, request: web.BaseRequest, content_type: bytes | None, priority: bytes | None, grant: Grant | None
    ) -> list[tuple[str, bytes]]:
        """The headers of the message: what the publisher said, who it was, and when its request came."""
        received = self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        named = [
            ("content-type", content_type),
            ("waybill-source", _text(request, "Waybill-Source")),
            ("waybill-site", _text(request, "Waybill-Site")),
            (PRIORITY, priority),
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
    ) -> web.Response:
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
            found = {"pipeline": name, "submissions": rows}
            return web.Response(status=202, body=orjson.dumps(found), content_type="application/json")
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


def _pipeline_in(path: str) -> str | None:
    """The name in /v1/NAME/records."""
    parts = path.split("/")
    return parts[2] if len(parts) == 4 and parts[:2] == ["", "v1"] and parts[3] == "records" else None


def _only(request: web.BaseRequest, method: str) -> None:
    if request.method != method:
        words = f"{request.method} {request.path}: only {method} is answered here"
        raise Problem(problems.WRONG_METHOD, words, headers={"Allow": method})


def _lane(request: web.BaseRequest, route: Route) -> tuple[LaneRoute, bytes | None]:
    """The lane that a request names, and its name as it is kept; `standard` where it names none, or where the pipeline
    has no lanes: then the header is only kept."""
    priority = _text(request, PRIORITY)
    if priority is None or len(route.lanes) == 1:
        return route.lanes[STANDARD], priority
    name = priority.decode("utf-8", "replace")
    if name not in route.lanes:
        words = f"{PRIORITY} {name!r}: {route.pipeline.pipeline} has the lanes {', '.join(route.lanes)}"
        raise Problem(problems.UNREADABLE, words)
    return route.lanes[name], priority


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


def _content_type(request: web.BaseRequest, route: Route) -> bytes | None:
    """As it was stated; None where it was not."""
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    allowed = ", ".join(sorted(route.media_types))
    if encoding != "identity":
        words = f"Content-Encoding {encoding!r}: the bytes are kept as they come; send them as they are"
        raise Problem(problems.UNKNOWN_TYPE, words, headers={"Accept-Encoding": "identity"})
    stated = request.headers.get("Content-Type")
    if stated is None:
        return None
    if stated.partition(";")[0].strip().lower() not in route.media_types:
        words = f"Content-Type {stated!r}: {route.pipeline.pipeline} reads {allowed}; or state none"
        raise Problem(problems.UNKNOWN_TYPE, words, headers={"Accept": allowed})
    return _text(request, "Content-Type")


def _text(request: web.BaseRequest, name: str) -> bytes | None:
    """The bytes of a header; None where it is not there or empty."""
    values = request.headers.getall(name, [])
    if len(values) > 1:
        raise Problem(problems.UNREADABLE, f"{name} is there {len(values)} times; send it once")
    value = values[0].encode("utf-8", "surrogateescape") if values else b""
    if len(value) > MAX_TEXT:
        raise Problem(problems.UNREADABLE, f"{name}: {len(value)} bytes; {MAX_TEXT} are allowed")
    return value or None


def _lines_asked(request: web.BaseRequest) -> bool:
    words = request.query.getall("lines", ["false"])
    if len(words) != 1 or words[0] not in ("true", "false"):
        raise Problem(problems.UNREADABLE, f"lines={','.join(words)!r}: allowed are true and false, once")
    return words[0] == "true"


async def _body(request: web.BaseRequest, limit: int, held: _Held) -> bytes:
    """The body, never more than `limit` bytes of it."""
    length = request.content_length
    if length is not None and length > limit:
        raise _too_large(f"{length}", limit)
    held.reach(length or 0)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while part := await request.content.readany():
                if len(body) + len(part) > limit:
                    raise _too_large(f"more than {limit}", limit)
                held.reach(len(body) + len(part))
                body += part
    except TimeoutError:
        words = f"{len(body)} bytes came in {BODY_SECONDS:g} s; nothing was published. Send it again, or in parts"
        raise Problem(problems.TOO_SLOW, words) from None
    except (web.PayloadAccessError, OSError, asyncio.IncompleteReadError) as cut:
        raise Problem(problems.UNREADABLE, f"the body ends after {len(body)} bytes; nothing was published") from cut
    return bytes(body)


def _too_large(size: str, limit: int) -> Problem:
    words = f"{size} bytes; the pipeline takes submissions of {limit} at most (raw.max_message_bytes): split it"
    return Problem(problems.TOO_LARGE, words, limit=limit)


def _compare_digest(request: web.BaseRequest, body: bytes) -> None:
    """Content-Digest (RFC 9530) with sha-256, where the publisher sends it."""
    announced = request.headers.get("Content-Digest")
    if announced is None:
        return
    ours = f"sha-256=:{base64.b64encode(sha256(body).digest()).decode()}:"
    stated = [part.strip() for part in announced.split(",") if part.strip().lower().startswith("sha-256=")]
    if stated and stated != [ours]:
        raise Problem(problems.OTHER_DIGEST, f"Content-Digest says {stated[0]}, the body that came has {ours}")


def _split(body: bytes, limit: int) -> list[tuple[int, bytes]]:
    """(line number, line) of every line that is not blank."""
    found = []
    for numbered in lines_of(io.BytesIO(body), limit):
        found.append(numbered)
        if len(found) > MAX_LINES:
            raise Problem(problems.TOO_LARGE, f"more than {MAX_LINES} lines: split the request", limit=MAX_LINES)
    return found


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
