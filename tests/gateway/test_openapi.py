"""The gateway keeps to its own OpenAPI document, for requests that schemathesis makes up out of it, good and bad."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import negative_data_rejection

from tests.gateway.running import Running, gateway
from waybill.gateway.capture import Answered, Job
from waybill.gateway.openapi import OBSERVED
from waybill.gateway.tokens import Tokens

TOKEN = "for-tests"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    file: Path = tmp_path_factory.mktemp("gateway") / "tokens"
    file.write_text(f"tests {sha256(TOKEN.encode()).hexdigest()}\n")
    with gateway(Tokens(file), pack="epcis") as one:
        one.backlog.high = 10**9
        one.jobs.known[0, 0] = Job("tests", 0, 1, [Answered(0, 1, "validate", [], "schema_violation")])
        yield one


def test_the_document_is_served_and_names_what_there_is(running: Running) -> None:
    found = running.ask("GET", "/v1/openapi.json")
    assert (found.status, found.headers["Content-Type"]) == (200, "application/json")
    assert found.json["paths"].keys() == {
        "/v1/demo/records", "/v1/demo/capture", "/v1/demo/capture/{captureID}", "/v1/demo/events", *OBSERVED,
    }  # fmt: skip
    assert list(found.json["paths"]["/v1/demo/records"]["post"]["requestBody"]["content"]) == [
        "application/json",
        "text/csv",
    ]
    for place in ("records", "capture", "events"):
        headers = {one["name"]: one["schema"] for one in found.json["paths"][f"/v1/demo/{place}"]["post"]["parameters"]}
        assert headers["Waybill-Priority"] == {"type": "string", "enum": ["standard"]}


def sent(case: Any) -> bool:
    """Whether a made-up request has a body that holds something. schemathesis wraps bytes in text that is always empty,
    and writes nothing of them as CSV."""
    found: Any = getattr(case.body, "data", case.body)
    return case.media_type != "text/csv" and isinstance(found, bytes) and bool(found.strip())


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_every_answer_is_one_that_the_document_says(running: Running, mode: schemathesis.GenerationMode) -> None:
    schema: Any = schemathesis.openapi.from_dict(running.ask("GET", "/v1/openapi.json").json)
    cases = [
        operation.ok().as_strategy(generation_mode=mode)
        for operation in schema.get_all_operations()
        if mode is schemathesis.GenerationMode.POSITIVE or operation.ok().method == "post"
    ]

    # Any bytes are a submission, so no body breaks the schema; but an empty one does, which text/csv may come to.
    @settings(max_examples=25, suppress_health_check=list(HealthCheck), database=None)
    @given(case=st.one_of(cases))
    def check(case: Any) -> None:
        assume(case.method != "POST" or mode is schemathesis.GenerationMode.NEGATIVE or sent(case))
        case.call_and_validate(
            base_url=f"http://127.0.0.1:{running.port}",
            headers={"Authorization": f"Bearer {TOKEN}"},
            excluded_checks=[negative_data_rejection],
        )

    check()
