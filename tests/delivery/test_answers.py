"""The answer table of DESIGN.md, row by row."""

from __future__ import annotations

import base64
import json
from email.utils import formatdate
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.delivery import answers
from streams.delivery.answers import DEFAULT_PAUSE, MAX_PAUSE, Answer, judge, retry_after
from streams.delivery.protocol import OutcomeKind as Kind

SENT = sha256(b"the body").digest()
OTHER = sha256(b"another body").digest()
NOW = 1_800_000_000.0
JSON = {"content-type": "application/json"}
HTML = {"content-type": "text/html; charset=UTF-8"}


def answer(
    status: int, body: Any = b"", headers: dict[str, str] | None = None, complete: bool | None = True, reason: str = ""
) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, reason, headers or {}, data, complete)


TABLE = [
    # 2xx with a readable, complete body
    ("200 json", answer(200, {"ok": True}, JSON), Kind.DELIVERED),
    ("200 text", answer(200, b"thanks"), Kind.DELIVERED),
    ("201 with our digest", answer(201, {"digest": SENT.hex()}, JSON), Kind.DELIVERED),
    ("204 empty", answer(204), Kind.DELIVERED),
    ("200 without a declared end, whole JSON", answer(200, {"ok": True}, complete=None), Kind.DELIVERED),
    # truncated or unreadable 2xx
    ("200 cut off", answer(200, b'{"ok": tr', JSON, complete=False), Kind.UNKNOWN),
    ("200 cut off where it still parses", answer(200, b"{}", JSON, complete=False), Kind.UNKNOWN),
    ("200 text, cut off", answer(200, b"tha", complete=False), Kind.UNKNOWN),
    ("409 text, cut off", answer(409, b"dupl", complete=False), Kind.UNKNOWN),
    ("200 invalid json", answer(200, b'{"ok": tr', JSON), Kind.UNKNOWN),
    ("200 says json, is empty", answer(200, b"", JSON), Kind.UNKNOWN),
    ("200 problem+json, invalid", answer(200, b"{", {"content-type": "application/x+json; q=1"}), Kind.UNKNOWN),
    ("200 json, nested to death", answer(200, b"[" * 60_000, JSON), Kind.UNKNOWN),
    ("200 without a declared end, text", answer(200, b"tha", complete=None), Kind.UNKNOWN),
    ("200 compressed", answer(200, b"\x1f\x8b", {"content-encoding": "gzip"}), Kind.UNKNOWN),
    ("200 with a page", answer(200, b"\n<!doctype html><title>Sign in</title>", HTML), Kind.UNKNOWN),
    ("409 with a page", answer(409, b"<html>", HTML), Kind.UNKNOWN),
    ("200 called html, is text", answer(200, b"OK", HTML), Kind.DELIVERED),
    ("200 called html, is json", answer(200, {"ok": True}, HTML), Kind.DELIVERED),
    ("207 that nobody said how to read", answer(207, {"results": []}, JSON), Kind.UNKNOWN),
    # the partner holds something else under this key
    ("200 with another digest", answer(200, {"digest": OTHER.hex()}, JSON), Kind.CONFLICT),
    ("409 with another digest", answer(409, {"digest": OTHER.hex()}, JSON), Kind.CONFLICT),
    ("409 in progress with another digest", answer(409, {"status": "pending", "digest": OTHER.hex()}), Kind.CONFLICT),
    ("422 with another digest", answer(422, {"digest": OTHER.hex()}, JSON), Kind.CONFLICT),
    # 412
    ("412 with our digest", answer(412, {"digest": SENT.hex()}, JSON), Kind.DELIVERED),
    ("412 with another digest", answer(412, {"digest": OTHER.hex()}, JSON), Kind.CONFLICT),
    # 409
    ("409 bare", answer(409, b"duplicate"), Kind.DELIVERED),
    ("409 with our digest", answer(409, {"digest": SENT.hex()}, JSON), Kind.DELIVERED),
    ("409 with a digest of another kind", answer(409, {"digest": "md5:abc"}, JSON), Kind.DELIVERED),
    ("409 in progress", answer(409, {"status": "in_progress"}, JSON), Kind.UNKNOWN),
    ("409 still processing", answer(409, {"error": "Processing"}), Kind.UNKNOWN),
    ("409 come back later", answer(409, b"", {"retry-after": "1"}), Kind.UNKNOWN),
    ("409 cut off", answer(409, b'{"status": "in', JSON, complete=False), Kind.UNKNOWN),
    # pauses
    ("429 with seconds", answer(429, b"", {"retry-after": "7"}), Kind.PAUSED),
    ("429 without", answer(429), Kind.PAUSED),
    ("429 unreadable", answer(429, b"", {"retry-after": "soon"}), Kind.PAUSED),
    ("503 with seconds", answer(503, b"", {"retry-after": "7"}), Kind.PAUSED),
    ("503 unreadable", answer(503, b"", {"retry-after": "-1"}), Kind.UNKNOWN),
    # 5xx
    ("503 without", answer(503), Kind.UNKNOWN),
    ("500", answer(500, b"oops"), Kind.UNKNOWN),
    ("599", answer(599), Kind.UNKNOWN),
    # the batch is not wanted
    ("400", answer(400, b"bad"), Kind.INVALID),
    ("413", answer(413), Kind.TOO_LARGE),
    ("413 cut off", answer(413, b"too", complete=False), Kind.TOO_LARGE),
    ("422", answer(422, {"error": "record 3"}, JSON), Kind.INVALID),
    ("422 with our digest", answer(422, {"digest": SENT.hex()}, JSON), Kind.INVALID),
    ("404", answer(404), Kind.REFUSED),
    ("418", answer(418), Kind.REFUSED),
    ("412 without a precondition", answer(412), Kind.REFUSED),
    ("301", answer(301, b"", {"location": "http://elsewhere/"}), Kind.REFUSED),
    ("304", answer(304), Kind.REFUSED),
    # we are not wanted
    ("401", answer(401), Kind.STOPPED),
    ("403", answer(403, b"no", complete=False), Kind.STOPPED),
    # no HTTP at all
    ("999", answer(999), Kind.UNKNOWN),
    ("101", answer(101), Kind.UNKNOWN),
]


@pytest.mark.parametrize(("given_answer", "kind"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_answer_table(given_answer: Answer, kind: Kind) -> None:
    outcome = judge(given_answer, {SENT}, NOW)
    assert outcome.kind is kind
    assert outcome.answer.startswith(str(given_answer.status))
    assert (outcome.retry_after is not None) == (kind is Kind.PAUSED)
    assert outcome.status == given_answer.status
    assert outcome.kept is not None
    assert outcome.kept.digest == sha256(given_answer.body).digest()


def test_an_answer_whose_end_cannot_be_known_is_told_what_it_lacks() -> None:
    outcome = judge(answer(201, b"", complete=None), {SENT}, NOW)
    assert outcome.kind is Kind.UNKNOWN
    assert "no Content-Length" in outcome.answer


def test_412_of_a_create_only_request_is_unknown_as_long_as_nobody_says_what_is_there() -> None:
    assert judge(answer(412), {SENT}, NOW, create_only=True).kind is Kind.UNKNOWN
    assert judge(answer(412, {"digest": SENT.hex()}), {SENT}, NOW, create_only=True).kind is Kind.DELIVERED


def test_a_partner_may_tell_the_digest_of_the_body_or_of_what_was_sent_compressed() -> None:
    assert judge(answer(409, {"digest": OTHER.hex()}), {SENT, OTHER}, NOW).kind is Kind.DELIVERED


def test_in_progress_says_that_the_partner_is_well() -> None:
    assert judge(answer(409, {"status": "in progress"}), {SENT}, NOW).at_work
    assert not judge(answer(500), {SENT}, NOW).at_work


def test_4_kib_of_an_answer_are_kept_as_text_without_secrets() -> None:
    body = b"a" * (answers.KEPT - 5) + b"sesame-secret \xff\xc3" + b"b" * 10_000
    found = judge(answer(500, body), {SENT}, NOW, secrets={"sesame-secret"}).kept
    assert found is not None
    assert found.excerpt.startswith("a" * (answers.KEPT - 5) + "*** ")
    assert len(found.excerpt.encode()) <= answers.KEPT
    assert "sesa" not in found.excerpt
    assert found.digest == sha256(body).digest()


def test_5xx_declared_as_not_done_is_a_known_failure() -> None:
    assert judge(answer(502), {SENT}, NOW, not_done={502}).kind is Kind.FAILED
    assert judge(answer(500), {SENT}, NOW, not_done={502}).kind is Kind.UNKNOWN
    assert judge(answer(200), {SENT}, NOW, not_done={200}).kind is Kind.DELIVERED


@pytest.mark.parametrize(
    "text",
    [OTHER.hex(), OTHER.hex().upper(), f"sha256:{OTHER.hex()}", f"sha-256=:{base64.b64encode(OTHER).decode()}:"],
)
@pytest.mark.parametrize("name", ["digest", "body_digest"])
def test_a_partners_digest_is_read_in_every_spelling(name: str, text: str) -> None:
    assert judge(answer(409, {name: text}), {SENT}, NOW).kind is Kind.CONFLICT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("99999999999", MAX_PAUSE),
        ("-3", None),
        ("nan", None),
        ("1e3", None),
        ("٣", None),
        ("", None),
        (formatdate(NOW + 30, usegmt=True), 30.0),
        (formatdate(NOW - 30, usegmt=True), 0.0),
        (formatdate(NOW + 10 * MAX_PAUSE, usegmt=True), MAX_PAUSE),
        ("Fri, 99 Foo 2026 00:00:00 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


def test_a_pause_lasts_as_long_as_the_partner_says() -> None:
    assert judge(answer(429, b"", {"retry-after": "7"}), {SENT}, NOW).retry_after == 7.0
    assert judge(answer(429), {SENT}, NOW).retry_after == DEFAULT_PAUSE


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("said", ["0", "0.001", formatdate(NOW - 30, usegmt=True)], ids=["0", "a moment", "the past"])
def test_a_partner_that_asks_for_no_pause_is_not_asked_again_without_end(status: int, said: str) -> None:
    """No attempt is used up by it, so nothing else would end it. A date is past where its clock is behind ours."""
    outcome = judge(answer(status, b"", {"retry-after": said}), {SENT}, NOW)
    assert (outcome.kind, outcome.retry_after) == (Kind.PAUSED, answers.MIN_PAUSE)


def test_no_answer_is_a_known_failure_only_if_no_byte_was_sent() -> None:
    error = ConnectionResetError("connection reset by peer")
    assert answers.fault(error, sent=False).kind is Kind.FAILED
    assert answers.fault(error, sent=True).kind is Kind.UNKNOWN
    assert "connection reset" in answers.fault(TimeoutError("connection reset"), sent=True).answer


def test_the_answer_kept_is_short_printable_and_free_of_secrets() -> None:
    body = b"bad token sesame-secret" + b"\x00\x1b[31m\n\n" + b"x" * 1000
    text = judge(answer(400, body, reason="Bad sesame-secret"), {SENT}, NOW, secrets={"sesame-secret"}).answer
    assert text.startswith("400 Bad ***: bad token ***")
    assert "sesame" not in text
    assert text.isprintable() or "\N{REPLACEMENT CHARACTER}" in text
    assert "\x1b" not in text
    assert len(text) <= 2 * answers.EXCERPT + 2


def test_a_secret_across_the_cut_leaves_no_part_behind() -> None:
    text = answers.excerpt("x" * (answers.EXCERPT - 3) + "sesame-secret", {"sesame-secret"})
    assert text.endswith("x***")


@given(place=st.integers(4 * answers.EXCERPT - 13, 4 * answers.EXCERPT), blanks=st.booleans())
def test_a_secret_at_any_place_of_a_body_leaves_no_part_behind(place: int, blanks: bool) -> None:
    body = (b" " if blanks else b"x") * place + b"sesame-secret" + b"y" * 100
    text = judge(answer(500, body), {SENT}, NOW, secrets={"sesame-secret"}).answer
    assert "se" not in text


@given(
    status=st.integers(-1, 1000),
    body=st.binary(max_size=300) | st.recursive(st.none() | st.text(), lambda s: st.dictionaries(st.text(), s)),
    headers=st.dictionaries(st.sampled_from(["retry-after", "content-type", "content-encoding"]), st.text()),
    complete=st.sampled_from([True, False, None]),
)
def test_every_answer_has_an_outcome_and_only_2xx_and_409_can_deliver(
    status: int, body: Any, headers: dict[str, str], complete: bool | None
) -> None:
    outcome = judge(answer(status, body, headers, complete), {SENT}, NOW)
    if outcome.kind is Kind.DELIVERED:
        assert complete is not False
        assert status == 409 or 200 <= status < 300
