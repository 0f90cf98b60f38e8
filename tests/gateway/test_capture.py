"""The capture interface of EPCIS 2.0: what a trading partner's client may rely on."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.running import Running, gateway
from waybill.gateway.capture import MOST_ERRORS, Answered, Job, document, job_id, place_of
from waybill.gateway.tokens import Tokens
from waybill.raw_producer import Receipt

JSON = "application/json"
CREATED, LATER = 1_772_366_400_000, 1_772_366_401_500
TOO_EARLY = [{"code": "ITEM_NOT_COMMISSIONED", "path": "epcList[0]", "message": "of x"}]
UNWORKED = [{"code": "UNPROCESSABLE", "path": "", "message": "KeyError: 'x'"}]
WRONG = [{"code": "UNKNOWN_TERM", "path": "bizStep", "message": "'shiping' is none"}]


@pytest.fixture
def running() -> Iterator[Running]:
    with gateway(pack="epcis") as one:
        yield one


@pytest.mark.parametrize("place", ["capture", "events"])
def test_a_capture_is_a_submission_and_its_location_is_the_job(running: Running, place: str) -> None:
    answer = running.post(b"{}", f"/v1/demo/{place}", Content_Type=JSON, GS1_Extensions="ex=https://example.org/")
    assert (answer.status, answer.body, answer.headers["Location"]) == (202, b"", "/v1/demo/capture/0-0")
    assert answer.headers["GS1-EPCIS-Version"] == answer.headers["GS1-CBV-Version"] == "2.0.0"
    assert answer.headers["GS1-Extensions"] == "ex=https://example.org/"
    assert answer.headers["GS1-EPC-Format"] == answer.headers["GS1-CBV-XML-Format"] == "Never_Translates"
    assert [(topic, value) for topic, value, *_ in running.kafka.taken] == [("demo.raw", b"{}")]
    running.jobs.known[0, 0] = Job(None, CREATED, None, [])
    found = running.ask("GET", answer.headers["Location"])
    assert found.status == 200
    assert found.json == {
        "captureID": "0-0", "createdAt": "2026-03-01T12:00:00.000Z", "running": True, "success": True,
        "captureErrorBehaviour": "proceed", "errors": [],
    }  # fmt: skip


def test_a_job_runs_until_every_event_has_its_answer() -> None:
    well = Answered(0, LATER, None, [], "")
    job = Job(None, CREATED, 2, [well])
    assert (document("1-7", job, "t/1/7")["running"], "finishedAt" in document("1-7", job, "t/1/7")) == (True, False)
    job = job._replace(answers=[well, Answered(1, CREATED, None, [], "")])
    done = document("1-7", job, "t/1/7")
    assert (done["running"], done["success"], done["finishedAt"]) == (False, True, "2026-03-01T12:00:01.500Z")


def test_what_was_refused_is_told_with_code_place_and_record() -> None:
    answers = [
        Answered(0, LATER, "validate", WRONG, "schema_violation"), Answered(1, LATER, "batch", [], "conflict"),
        Answered(2, LATER, "dispatch", [], "rejected"), Answered(3, LATER, None, [], ""),
        Answered(4, LATER, "batch", TOO_EARLY, "transient_failure"), Answered(5, LATER, "dispatch", UNWORKED, ""),
    ]  # fmt: skip
    found = document("1-7", Job(None, CREATED, 6, answers), "t/1/7")
    assert (found["running"], found["success"]) == (False, False)
    assert [(one["type"], one["status"], one["detail"], one["instance"]) for one in found["errors"]] == [
        ("epcisException:ValidationException", 400, "UNKNOWN_TERM bizStep: 'shiping' is none", "t/1/7/0"),
        ("epcisException:ResourceAlreadyExistsException", 409, "conflict", "t/1/7/1"),
        ("epcisException:ImplementationException", 500, "rejected", "t/1/7/2"),
        ("epcisException:ValidationException", 400, "ITEM_NOT_COMMISSIONED epcList[0]: of x", "t/1/7/4"),
        ("epcisException:ImplementationException", 500, "UNPROCESSABLE: KeyError: 'x'", "t/1/7/5"),
    ]


def test_the_errors_of_a_job_are_bounded_and_the_rest_is_counted() -> None:
    answers = [Answered(index, LATER, "validate", WRONG, "") for index in range(MOST_ERRORS + 3)]
    errors = document("0-0", Job(None, CREATED, len(answers), answers), "t/0/0")["errors"]
    assert len(errors) == MOST_ERRORS + 1
    assert errors[-1]["detail"].startswith("3 more")


@pytest.mark.parametrize("id", ["", "0", "0-", "-1-0", "00-1", "0-01", "0-1-2", "a-b", "0-" + "9" * 19, "\u0661-1"])
def test_what_is_no_id_of_a_job_is_none(id: str) -> None:
    assert place_of(id) is None


def test_the_id_of_a_job_is_its_place() -> None:
    assert (job_id("standard", "a/b.raw/3/17"), place_of("3-17")) == ("3-17", ("standard", 3, 17))
    assert place_of(job_id("high", "a/b.high.raw/3/17")) == ("high", 3, 17)


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "a version that is not read": ({"GS1_EPCIS_Version": "3.0"}, 406, "NotAcceptableException"),
    "a vocabulary that is not read": ({"GS1_CBV_Version": "two"}, 406, "NotAcceptableException"),
    "all or nothing": ({"GS1_Capture_Error_Behaviour": "rollback"}, 406, "NotAcceptableException"),
    "nothing": ({"body": b""}, 400, "ValidationException"),
    "too large": ({"body": b"x" * 5000}, 413, "CaptureLimitExceededException"),
    "a type the pack does not read": ({"Content_Type": "image/png"}, 415, "UnsupportedMediaTypeException"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_has_the_name_that_the_binding_gives_it(running: Running, case: str) -> None:
    request, status, kind = REFUSED[case]
    answer = running.post(**{"body": b"{}", "path": "/v1/demo/capture", **request})
    assert (answer.status, answer.problem()) == (status, f"epcisException:{kind}")
    assert running.kafka.taken == []


def test_versions_that_are_read_and_errors_one_by_one_may_be_asked_for(running: Running) -> None:
    for version in ("1.2", "2.0", "2.0.1"):
        headers = {"GS1_EPCIS_Version": version, "GS1_CBV_Version": version, "GS1_Capture_Error_Behaviour": "proceed"}
        assert running.post(b"{}", "/v1/demo/capture", **headers).status == 202


def test_above_the_mark_nothing_is_captured(running: Running) -> None:
    running.backlog.measured(11, running.backlog.begin())
    answer = running.post(b"{}", "/v1/demo/capture")
    assert (answer.status, answer.problem(), answer.headers["Retry-After"]) == (429, "backlog", "5")
    assert running.kafka.taken == []


def test_an_ack_without_a_position_has_no_job_and_is_no_202(running: Running) -> None:
    running.kafka.answers = lambda _: Receipt()
    answer = running.post(b"{}", "/v1/demo/capture")
    assert (answer.status, answer.problem()) == (503, "no-acknowledgement")


def test_a_client_learns_what_it_may_ask_for(running: Running) -> None:
    answer = running.ask("OPTIONS", "/v1/demo/capture")
    assert (answer.status, answer.headers["Allow"]) == (204, "POST, OPTIONS")
    for path, methods in (("capture", "POST, OPTIONS"), ("events", "POST, OPTIONS"), ("capture/0-0", "GET, OPTIONS")):
        refused = running.ask("DELETE", f"/v1/demo/{path}")
        assert (refused.status, refused.headers["Allow"]) == (405, methods)
        assert running.ask("OPTIONS", f"/v1/demo/{path}").headers["Allow"] == methods
    assert answer.headers["GS1-EPCIS-Capture-File-Size-Limit"] == "4096"
    assert answer.headers["GS1-EPCIS-Capture-Limit"] == "*"
    assert answer.headers["GS1-Capture-Error-Behaviour"] == "proceed"


def test_a_job_that_is_not_there_or_cannot_be_read_now(running: Running) -> None:
    for id in ("5-5", "none"):
        answer = running.ask("GET", f"/v1/demo/capture/{id}")
        assert (answer.status, answer.problem()) == (404, "epcisException:NoSuchResourceException")
    running.jobs.away = True
    assert running.ask("GET", "/v1/demo/capture/5-5").status == 503


def test_a_job_is_shown_to_whose_it_is(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("".join(f"{name} {sha256(name.encode()).hexdigest()}\n" for name in ("ours", "theirs")))
    with gateway(Tokens(file), pack="epcis") as running:
        running.jobs.known[0, 0] = Job("ours", CREATED, None, [])
        seen = {
            name: running.ask("GET", "/v1/demo/capture/0-0", headers={"Authorization": f"Bearer {name}"}).status
            for name in ("ours", "theirs", "nobody")
        }
    assert seen == {"ours": 200, "theirs": 404, "nobody": 401}


def test_a_pipeline_of_another_pack_has_no_capture_interface() -> None:
    with gateway() as running:
        answer = running.post(b"{}", "/v1/demo/capture")
        assert answer.status == 404
        assert "/v1/demo/records" in answer.json["detail"]
