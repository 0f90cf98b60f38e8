"""Answers that say an outcome for each record: what each may say, and that nothing half said counts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.delivery.answers import Answer, judge
from streams.delivery.per_record import RecordReader
from streams.delivery.protocol import Outcome
from streams.delivery.protocol import OutcomeKind as Kind
from topology.partner import RecordAnswers

SENT = bytes(32)
HTTP_OPEN = (401, 403, 408, 423, 425, 429, 500, 503, 100, 302)
ODD: tuple[Any, ...] = (None, True, 1.5, "", "odd", [], {}, "201 ", 2010)
NAMES = ("raw/0/0/0", "raw/0/1/0", "raw/0/2/0")
BY_ID = RecordAnswers(
    statuses=[200, 207], records="results", id="id", message="error", taken=["created"], refused=["rejected"]
)


def said(body: Any, rules: RecordAnswers = BY_ID, status: int = 207, **more: Any) -> Outcome:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = Answer(status, "", {"content-type": "application/json"}, data, more.pop("complete", True))
    return judge(answer, {SENT}, 0.0, records=RecordReader(rules), names=NAMES, **more)


def results(*statuses: Any) -> dict[str, Any]:
    answers: list[Any] = [{"id": name, "status": one} for name, one in zip(NAMES, statuses, strict=False)]
    return {"results": answers}


@pytest.mark.parametrize(
    ("statuses", "kind", "refused"),
    [
        ((201, 200, 409), Kind.DELIVERED, []),
        (("created", "201", 299), Kind.DELIVERED, []),
        ((201, 422, 201), Kind.PARTIAL, [1]),
        ((404, "rejected", 413), Kind.PARTIAL, [0, 1, 2]),
        *(((201, status, 422), Kind.UNKNOWN, []) for status in HTTP_OPEN),
        *(((201, status, 422), Kind.UNKNOWN, []) for status in ODD),
    ],
)
def test_statuses_of_records(statuses: tuple[Any, ...], kind: Kind, refused: list[int]) -> None:
    outcome = said(results(*statuses))
    assert (outcome.kind, list(outcome.refused)) == (kind, refused)


@pytest.mark.parametrize(
    "body",
    [
        results(201, 201),
        {"results": [*results(201, 201)["results"], {"id": NAMES[0], "status": 201}]},
        {"results": [*results(201, 201)["results"], {"id": "raw/0/9/0", "status": 201}]},
        {"results": [*results(201, 201)["results"], {"status": 201}]},
        {"results": [*results(201, 201)["results"], "201"]},
        {"results": {"raw/0/0/0": 201}},
        {"other": []},
        [],
        b'{"results": [',
        b"[" * 60_000,
    ],
    ids=range(10),
)
def test_an_answer_that_leaves_a_record_out_or_names_another_is_unknown(body: Any) -> None:
    assert said(body).kind is Kind.UNKNOWN


def test_what_is_cut_off_or_holds_other_bytes_is_judged_first() -> None:
    assert said(results(201, 422, 201), complete=False).kind is Kind.UNKNOWN
    assert said(results(201, 201, 201) | {"digest": "ab" * 32}).kind is Kind.CONFLICT


def test_only_the_statuses_named_hold_answers_for_records() -> None:
    assert said({"ok": True}, status=201).kind is Kind.DELIVERED
    assert said({"ok": True}, status=200).kind is Kind.UNKNOWN
    assert said(results(422, 422, 422), status=503).kind is Kind.UNKNOWN


def test_answers_without_an_id_stand_in_the_order_of_the_records() -> None:
    outcome = said([[201], [400], [201]], RecordAnswers(records="@", status="[0]"))
    assert (outcome.kind, list(outcome.refused)) == (Kind.PARTIAL, [1])


def test_the_partners_words_are_kept_for_the_dead_letter_without_secrets() -> None:
    body = results(201, 422, 201)
    body["results"][1]["error"] = "zone\n17 is unknown to sesame-secret"
    outcome = said(body, secrets={"sesame-secret"})
    assert outcome.refused == {1: "422: zone 17 is unknown to ***"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["results", "id", "status"]), inner),
)


@given(body=JSON)
def test_whatever_it_says_each_record_is_answered_or_none(body: Any) -> None:
    outcome = said(body)
    assert outcome.kind in (Kind.DELIVERED, Kind.PARTIAL, Kind.UNKNOWN)
    assert outcome.kind is Kind.UNKNOWN or len(body["results"]) == len(NAMES)
