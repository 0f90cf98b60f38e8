"""Whatever a request may be refused for, as RFC 9457 problem details: what is wrong, where, and what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from aiohttp import web

MEDIA_TYPE = "application/problem+json"


class Kind(NamedTuple):
    """A sort of refusal; its name is the end of the problem's `type`."""

    status: int
    name: str
    title: str


UNREADABLE = Kind(400, "unreadable-request", "The request cannot be read")
EMPTY = Kind(400, "empty-submission", "The submission holds nothing")
OTHER_DIGEST = Kind(400, "digest-differs", "The body is not the one that was announced")
NO_TOKEN = Kind(401, "no-token", "A bearer token is needed")
NOT_YOURS = Kind(403, "not-allowed", "The token is not for this pipeline")
NO_PIPELINE = Kind(404, "not-found", "There is nothing here")
NO_JOB = Kind(404, "no-such-job", "There is no such capture job")
WRONG_METHOD = Kind(405, "wrong-method", "The method does not fit the place")
NOT_ACCEPTABLE = Kind(406, "not-acceptable", "What is asked for cannot be had")
TOO_SLOW = Kind(408, "too-slow", "The body did not arrive in time")
TOO_LARGE = Kind(413, "too-large", "The submission is too large")
UNKNOWN_TYPE = Kind(415, "unknown-content-type", "The pipeline does not read this content type")
BACKLOG = Kind(429, "backlog", "The pipeline is behind")
BROKEN = Kind(500, "broken", "The gateway failed")
BUSY = Kind(503, "busy", "The gateway is full")
NO_BROKER = Kind(503, "no-broker", "The broker is out of reach")
NO_ACK = Kind(503, "no-acknowledgement", "The broker did not acknowledge")

KINDS = (
    UNREADABLE, EMPTY, OTHER_DIGEST, NO_TOKEN, NOT_YOURS, NO_PIPELINE, NO_JOB, WRONG_METHOD, NOT_ACCEPTABLE, TOO_SLOW,
    TOO_LARGE, UNKNOWN_TYPE, BACKLOG, BROKEN, BUSY, NO_BROKER, NO_ACK,
)  # fmt: skip
EPCIS_PLACE = re.compile(r"/v1/[^/]+/(capture(/[^/]*)?|events)")
EPCIS_TYPES: Mapping[int, str] = {
    400: "ValidationException", 401: "SecurityException", 403: "SecurityException", 404: "NoSuchResourceException",
    406: "NotAcceptableException", 413: "CaptureLimitExceededException", 415: "UnsupportedMediaTypeException",
    500: "ImplementationException",
}  # fmt: skip
"""What the REST binding of EPCIS 2.0 calls a refusal with a status; of others it says nothing."""


class Problem(Exception):
    """Ends a request. `retry_after`: seconds; `more`: further members of the document."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.more = kind, detail, more
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)

    def response(self, instance: str) -> web.Response:
        """`instance`: the path that was asked for."""
        document = {
            "type": type_of(self.kind, EPCIS_PLACE.fullmatch(instance) is not None),
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "instance": instance,
            **self.more,
        }
        # What a client sent may be quoted in it, and need be no UTF-8.
        text = {k: _text(v) if isinstance(v, str) else v for k, v in document.items()}
        return web.Response(
            status=self.kind.status, body=orjson.dumps(text), content_type=MEDIA_TYPE, headers=self.headers
        )


def type_of(kind: Kind, epcis: bool) -> str:
    """The `type` of a refusal; `epcis`: on the capture interface, which has names of its own."""
    named = EPCIS_TYPES.get(kind.status) if epcis else None
    return f"epcisException:{named}" if named else f"urn:waybill:problem:{kind.name}"


def _text(value: str) -> str:
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
