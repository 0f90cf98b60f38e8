"""Owns the capture interface of EPCIS 2.0 as its REST binding shapes it: the GS1 headers, and what a capture job says.

A job is a submission, its id the submission's place on `raw`, and its state what the topics say of its records: nothing
is remembered, so a gateway that was started anew answers alike. Jobs go on past an error (`proceed`), because every
record has an answer of its own; one that must be taken whole or not at all (`rollback`) is refused, never half done.

Source: EPCIS 2.0, 12 (REST bindings) and the OpenAPI document that GS1 publishes with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from aiohttp import web

from schemas.errors import UNPROCESSABLE, Reason
from topology.model import STANDARD, Pipeline
from waybill.gateway import problems
from waybill.gateway.problems import Problem
from waybill.gateway.request import text

PACK = "epcis"
"""The pack whose pipelines have a capture interface."""
VERSION = "2.0.0"
READ = re.compile(r"(1\.[0-2]|2\.0)(\.[0-9]{1,3})?")
"""Versions of EPCIS and of CBV that the pack reads."""
BEHAVIOUR = "proceed"
FORMATS = {"GS1-EPC-Format": "Never_Translates", "GS1-CBV-XML-Format": "Never_Translates"}
"""How identifiers and terms are spelt: as they came."""
SAID_BACK = re.compile(r"[ -~]*")
MOST_ERRORS = 1000
"""Errors that a job lists; the last one says how many there are beyond it."""

_VERSION = {"type": "string", "pattern": f"^({READ.pattern})$"}
REQUEST_HEADERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "GS1-EPCIS-Version": ("of the events: 1.0, 1.1, 1.2, 2.0 or a patch of one; another is answered 406", _VERSION),
    "GS1-CBV-Version": ("of the vocabulary, likewise", _VERSION),
    "GS1-Extensions": (
        "`prefix=URI` of each extension; said back, and not looked at: any extension is taken",
        {"type": "string", "maxLength": 100},
    ),
    "GS1-Capture-Error-Behaviour": ("`rollback` is answered 406", {"enum": [BEHAVIOUR]}),
}
"""What each is for, and what it may say as JSON schema."""


class Answered(NamedTuple):
    """The final answer of one record."""

    place: int
    """Its index in the submission."""
    at: int
    """ms since epoch."""
    stage: str | None
    """That refused it; None where it was delivered or is a duplicate."""
    findings: Sequence[Mapping[str, str]]
    reason: str


class Job(NamedTuple):
    """What the topics say of one submission."""

    publisher: str | None
    """Name of the token it came with."""
    created: int
    """ms since epoch."""
    records: int | None
    """How many; None as long as none of them has an answer."""
    answers: Sequence[Answered]
    """One for each record that has one."""

    @property
    def running(self) -> bool:
        """Whether some record has no answer yet."""
        return self.records is None or len(self.answers) < self.records


class Jobs(Protocol):
    """Finds out what became of submissions."""

    async def find(self, pipeline: Pipeline, partition: int, offset: int) -> Job | None:
        """None where no submission stands there. Raises Problem while that cannot be told."""
        ...


def require(request: web.BaseRequest) -> None:
    """Whether the GS1 headers ask for what can be had. Raises Problem."""
    for name in ("GS1-EPCIS-Version", "GS1-CBV-Version"):
        stated = text(request, name)
        if stated is not None and not READ.fullmatch(stated.decode("utf-8", "replace")):
            words = f"{name} {_shown(stated)}: read are 1.0 to 1.2 and 2.0; state one of them, or none"
            raise Problem(problems.NOT_ACCEPTABLE, words)
    behaviour = text(request, "GS1-Capture-Error-Behaviour")
    if behaviour not in (None, BEHAVIOUR.encode()):
        words = (
            f"GS1-Capture-Error-Behaviour {_shown(behaviour or b'')}: here every event has an answer of its own, and "
            "the good ones of a document are taken; send `proceed`, or the events one by one"
        )
        raise Problem(problems.NOT_ACCEPTABLE, words)


def headers(request: web.BaseRequest) -> dict[str, str]:
    """The GS1 headers of an answer."""
    said = {"GS1-EPCIS-Version": VERSION, "GS1-CBV-Version": VERSION, "GS1-Capture-Error-Behaviour": BEHAVIOUR}
    said |= FORMATS
    extensions = (text(request, "GS1-Extensions") or b"").decode("utf-8", "replace")
    if extensions and SAID_BACK.fullmatch(extensions):
        said["GS1-Extensions"] = extensions
    return said


def settings(pipeline: Pipeline, methods: str) -> dict[str, str]:
    """The headers that tell a client what the interface can do (OPTIONS)."""
    return {
        "Allow": methods,
        "GS1-EPCIS-Version": VERSION, "GS1-EPCIS-Min": "1.0.0", "GS1-EPCIS-Max": VERSION,
        "GS1-CBV-Version": VERSION, "GS1-CBV-Min": "1.0.0", "GS1-CBV-Max": VERSION,
        "GS1-EPCIS-Capture-Limit": "*",  # any number of events
        "GS1-EPCIS-Capture-File-Size-Limit": str(pipeline.raw.max_message_bytes),
        "GS1-Capture-Error-Behaviour": BEHAVIOUR,
        **FORMATS,
    }  # fmt: skip


class JobPlace(NamedTuple):
    """Where the submission of a job stands."""

    lane: str
    partition: int
    offset: int


def job_id(lane: str, position: str) -> str:
    """The id of the job of a submission at topic/partition/offset: `partition-offset`, behind the lane if it is not
    `standard`."""
    _, partition, offset = position.rsplit("/", 2)
    return f"{partition}-{offset}" if lane == STANDARD else f"{lane}-{partition}-{offset}"


def place_of(id: str) -> JobPlace | None:
    """The place behind a job's id; None for what is no id of a job."""
    found = re.fullmatch(r"(?:([a-z]+)-)?(0|[1-9][0-9]{0,5})-(0|[1-9][0-9]{0,17})", id, re.ASCII)
    return JobPlace(found[1] or STANDARD, int(found[2]), int(found[3])) if found else None


def document(id: str, job: Job, submission: str) -> dict[str, Any]:
    """The job as the binding shows it (`CaptureJob`). `submission`: its id with us, for `waybill trace`."""
    wrong = sorted(answer for answer in job.answers if answer.stage is not None)
    errors = [_error(answer, submission) for answer in wrong[:MOST_ERRORS]]
    if len(wrong) > MOST_ERRORS:
        rest = f"{len(wrong) - MOST_ERRORS} more; `waybill dlq ls` has them all"
        errors.append({"type": "epcisException:ValidationException", "title": "More errors", "detail": rest})
    shown = {
        "captureID": id,
        "createdAt": _utc(job.created),
        "running": job.running,
        "success": not wrong,
        "captureErrorBehaviour": BEHAVIOUR,
        "errors": errors,
    }
    if not job.running:
        shown["finishedAt"] = _utc(max(answer.at for answer in job.answers))
    return shown


INVALID = ("epcisException:ValidationException", "The event is not valid", 400)
CONTRADICTS = ("epcisException:ResourceAlreadyExistsException", "The event contradicts one that is here", 409)
UNDELIVERED = ("epcisException:ImplementationException", "The event was taken and could not be delivered", 500)
UNWORKED = ("epcisException:ImplementationException", "The event could not be worked, which is our mistake", 500)


def _kind(answer: Answered) -> tuple[str, str, int]:
    if any(one["code"] == UNPROCESSABLE for one in answer.findings):
        return UNWORKED
    if answer.stage == "batch" and answer.reason == Reason.CONFLICT:
        return CONTRADICTS
    return UNDELIVERED if answer.stage == "dispatch" else INVALID


def _error(answer: Answered, submission: str) -> dict[str, Any]:
    kind, title, status = _kind(answer)
    found = "; ".join(
        f"{one['code']}{' ' + one['path'] if one['path'] else ''}: {one['message']}" for one in answer.findings
    )
    instance = f"{submission}/{answer.place}"
    return {"type": kind, "title": title, "status": status, "detail": found or answer.reason, "instance": instance}


def _utc(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shown(value: bytes) -> str:
    return repr(value.decode("utf-8", "replace")[:80])
