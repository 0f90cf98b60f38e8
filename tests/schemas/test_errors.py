"""The registry of codes: each has one meaning, a class and a route; the gravest finding decides."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import CODES, GRAVITY, ROUTES, Code, ErrorClass, Finding, Reason, judge, lookup, register


@pytest.mark.parametrize("code", list(CODES.values()), ids=lambda code: code.name)
def test_every_code_is_complete(code: Code) -> None:
    assert re.fullmatch(r"[A-Z][A-Z0-9_]*", code.name)
    assert code.error_class in ErrorClass
    assert ROUTES[code.error_class]
    assert code.reason in Reason
    assert code.meaning
    assert lookup(code.name) is code
    assert Finding(code.name, "", "").error_class is code.error_class


def test_a_code_cannot_get_a_second_meaning() -> None:
    known = CODES["EMPTY_MESSAGE"]
    assert register(known.name, known.error_class, known.meaning, known.reason) == known.name
    with pytest.raises(ValueError, match="EMPTY_MESSAGE is registered twice"):
        register("EMPTY_MESSAGE", ErrorClass.WARNING_DEVIATION, known.meaning)
    assert CODES["EMPTY_MESSAGE"] is known


def test_an_unregistered_code_is_a_programming_error() -> None:
    with pytest.raises(KeyError):
        judge([Finding("NO_SUCH_CODE", "", "")])


def test_the_order_of_gravity_and_the_routes() -> None:
    assert sorted(ErrorClass, key=GRAVITY.__getitem__) == [
        "FATAL_SCHEMA_MISMATCH", "COMPLIANCE_BLOCK", "RECOVERABLE_TIMEOUT", "WARNING_DEVIATION",
    ]  # fmt: skip
    assert ROUTES[ErrorClass.COMPLIANCE_BLOCK] == "regulatory-affairs"
    assert ROUTES[ErrorClass.FATAL_SCHEMA_MISMATCH] == "dlq"


@given(st.lists(st.sampled_from(sorted(CODES)), min_size=1, max_size=5))
def test_the_gravest_finding_decides(names: list[str]) -> None:
    verdict = judge(Finding(name, "a.b", "words") for name in names)
    assert verdict is not None
    gravest = min((CODES[name].error_class for name in names), key=GRAVITY.__getitem__)
    assert (verdict.error_class, verdict.route) == (gravest, ROUTES[gravest])
    assert verdict.refused is (gravest is not ErrorClass.WARNING_DEVIATION)
    assert verdict.reason in {CODES[name].reason for name in names if CODES[name].error_class is gravest}


@pytest.fixture
def warning(monkeypatch: pytest.MonkeyPatch) -> str:
    code = Code("TEST_DEVIATION", ErrorClass.WARNING_DEVIATION, Reason.SCHEMA_VIOLATION, "a deviation for this test")
    monkeypatch.setitem(CODES, code.name, code)
    return code.name


def test_nothing_found_is_no_verdict_and_a_warning_refuses_nothing(warning: str) -> None:
    assert judge([]) is None
    verdict = judge([Finding(warning, "", "")])
    assert verdict is not None
    assert not verdict.refused
    both = judge([Finding(warning, "", ""), Finding("CONFLICTING_VERSION", "", "")])
    assert both is not None
    assert (both.refused, both.reason) == (True, Reason.CONFLICT)
