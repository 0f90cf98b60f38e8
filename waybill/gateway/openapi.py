"""The gateway's own description: an OpenAPI document of the pipelines that it serves."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from waybill.gateway import capture
from waybill.gateway.problems import KINDS, MEDIA_TYPE, type_of
from waybill.gateway.route import Route

Json = dict[str, Any]

SUBMISSION: Json = {
    "type": "object",
    "required": ["line", "position", "id", "digest", "bytes"],
    "properties": {
        "line": {"type": ["integer", "null"], "description": "number of the line, with lines=true"},
        "position": {
            "type": ["string", "null"],
            "description": "topic/partition/offset; null where the broker has it and does not say where",
        },
        "id": {
            "type": ["string", "null"],
            "description": "of the submission; its records are id/0, id/1, …",
        },
        "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256 of the bytes"},
        "bytes": {"type": "integer", "minimum": 1},
        "error": {"type": "string", "description": "in a 503: why it was not acknowledged; it may be there or not"},
    },
    "additionalProperties": False,
}
ACCEPTED: Json = {
    "type": "object",
    "required": ["pipeline", "submissions"],
    "properties": {
        "pipeline": {"type": "string"},
        "submissions": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Submission"}},
    },
    "additionalProperties": False,
}
PROBLEM: Json = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"enum": sorted({type_of(kind, epcis) for kind in KINDS for epcis in (False, True)})},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what is wrong, where, and what to do"},
        "instance": {"type": "string"},
        "limit": {"type": "integer", "description": "with 413: what is allowed"},
        "submissions": {
            "type": "array",
            "items": {"$ref": "#/components/schemas/Submission"},
            "description": "with 503: what became of each submission that was sent",
        },
    },
    "additionalProperties": False,
}
CAPTURE_JOB: Json = {
    "type": "object",
    "description": "EPCIS 2.0; `captured` is what has its final answer",
    "required": ["captureID", "createdAt", "running", "success", "captureErrorBehaviour", "errors"],
    "properties": {
        "captureID": {"type": "string", "pattern": "^([a-z]+-)?[0-9]+-[0-9]+$"},
        "createdAt": {"type": "string", "format": "date-time"},
        "finishedAt": {"type": "string", "format": "date-time", "description": "once it is not running"},
        "running": {"type": "boolean", "description": "some event has no final answer yet"},
        "success": {"type": "boolean", "description": "no event was refused so far"},
        "captureErrorBehaviour": {"enum": [capture.BEHAVIOUR]},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "title", "detail"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string", "description": "code, path and message of each finding"},
                    "instance": {"type": "string", "description": "id of the record, for `waybill trace`"},
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}
OBSERVED = {
    "/healthz": "200 while the gateway runs",
    "/readyz": "200 while the broker answers",
    "/metrics": "for Prometheus",
    "/v1/openapi.json": "this document",
}


def document(routes: Mapping[str, Route], tokens: bool, max_lines: int) -> Json:
    """The document. `tokens`: whether a bearer token is needed."""
    paths: Json = {f"/v1/{name}/records": {"post": _post(name, route, max_lines)} for name, route in routes.items()}
    for name, route in routes.items():
        if route.captures:
            paths |= _captures(name, route)
    paths |= {path: {"get": _get(path, words, tokens)} for path, words in OBSERVED.items()}
    schemas = {"Submission": SUBMISSION, "Accepted": ACCEPTED, "Problem": PROBLEM, "CaptureJob": CAPTURE_JOB}
    components: Json = {"schemas": schemas}
    if tokens:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Waybill gateway", "version": version("waybill")},
        "paths": paths,
        "components": components,
        **({"security": [{"token": []}]} if tokens else {}),
    }


def _post(name: str, route: Route, max_lines: int) -> Json:
    """One request is one submission, of as many records as it holds."""
    lines = f"every line that is not blank is a submission of its own, at most {max_lines}"
    query = {
        "name": "lines",
        "in": "query",
        "description": lines,
        "schema": {"type": "string", "enum": ["true", "false"]},
    }
    return {
        "operationId": f"publish-{name}",
        "summary": f"Publish a submission of one or many records to {name}",
        "parameters": [query, *_message_headers(route)],
        "requestBody": _body(route),
        "responses": {
            "202": _answer(
                "the broker has it; the answer for each record comes on `sent` or `dead-letter`", "Accepted"
            ),
            **_problems(),
        },
    }


def _captures(name: str, route: Route) -> Json:
    """The capture interface of EPCIS 2.0."""
    headers = [
        {"name": key, "in": "header", "description": words, "schema": schema}
        for key, (words, schema) in capture.REQUEST_HEADERS.items()
    ]
    said = {"GS1-EPCIS-Version": "of the answer", "GS1-CBV-Version": "of the answer"}
    said |= dict.fromkeys(capture.FORMATS, "identifiers and terms are kept as they came")
    accepted = {
        "description": "the broker has it; the job says what becomes of each event",
        "headers": {
            "Location": {"description": "of the capture job", "required": True, "schema": {"type": "string"}},
            **{key: {"description": words, "schema": {"type": "string"}} for key, words in said.items()},
        },
    }
    discovery = {"204": {"description": "versions and limits, as GS1 headers"}, **_problems()}
    id = {"name": "captureID", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}

    def post(operation: str, summary: str) -> Json:
        return {
            "operationId": f"{operation}-{name}",
            "summary": summary,
            "parameters": [*headers, *_message_headers(route)],
            "requestBody": _body(route),
            "responses": {"202": accepted, **_problems()},
        }

    def options(operation: str) -> Json:
        return {"operationId": f"discover-{operation}-{name}", "responses": discovery}

    job = {
        "operationId": f"capture-job-{name}",
        "summary": "What became of a capture",
        "parameters": headers,
        "responses": {"200": _answer("the job", "CaptureJob"), **_problems()},
    }
    return {
        f"/v1/{name}/capture": {
            "post": post("capture", "Capture one or more EPCIS events"),
            "options": options("capture"),
        },
        f"/v1/{name}/events": {"post": post("event", "Capture one EPCIS event"), "options": options("events")},
        f"/v1/{name}/capture/{{captureID}}": {"parameters": [id], "get": job, "options": options("job")},
    }


def _message_headers(route: Route) -> list[Json]:
    text = {"type": "string", "maxLength": 100}
    lane = {"type": "string", "enum": list(route.lanes)}
    named = {
        "Waybill-Key": "key of the message on raw; none: any partition",
        "Waybill-Source": "a file name, device or feed, for the pack's options",
        "Waybill-Site": "for the pack's options",
        "Content-Digest": "RFC 9530, sha-256: the body is compared with it",
    }
    priority = "the lane; none: standard; one that the pipeline does not have is refused"
    found = [{"name": key, "in": "header", "description": words, "schema": text} for key, words in named.items()]
    return [*found, {"name": "Waybill-Priority", "in": "header", "description": priority, "schema": lane}]


def _body(route: Route) -> Json:
    limit = route.pipeline.raw.max_message_bytes
    body = {"schema": {"type": "string", "format": "binary", "minLength": 1, "maxLength": limit}}
    return {"required": True, "content": dict.fromkeys(sorted(route.media_types), body)}


def _problems() -> Json:
    return {str(status): _problem(status) for status in sorted({kind.status for kind in KINDS})}


def _get(path: str, words: str, tokens: bool) -> Json:
    kind = "application/json" if path.endswith(".json") else "text/plain"
    open_to_all = path != "/metrics"
    statuses = ([503] if path == "/readyz" else []) + ([401] if tokens and not open_to_all else [])
    responses = {"200": {"description": words, "content": {kind: {}}}} | {str(s): _problem(s) for s in [*statuses, 405]}
    return {"summary": words, "responses": responses, **({"security": []} if tokens and open_to_all else {})}


def _answer(words: str, schema: str, kind: str = "application/json") -> Json:
    return {"description": words, "content": {kind: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


def _problem(status: int) -> Json:
    found = _answer("; ".join(kind.title for kind in KINDS if kind.status == status), "Problem", MEDIA_TYPE)
    if status in (429, 503):
        found["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
    return found
