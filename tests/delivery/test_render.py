"""The body of a batch: canonical, byte-stable, without a clock (law 3, trap T6)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.canonical import RawPosition, canonical_json, parse_record_id
from schemas.members import Member, member_of
from streams.delivery.render import FORMS, render
from tests.stub_pack import StubPack
from topology.partner import BodyForm


class Summing(StubPack):
    """A pack that knows only to summarize: whatever it is given to say, and how many payloads it saw."""

    name = "summing"

    def __init__(self, summary: Mapping[str, Any]) -> None:
        self.summary = summary

    def summarize(self, payloads: Sequence[bytes]) -> Mapping[str, Any]:
        return {**self.summary, "count": len(payloads), "seen": sha256(b"".join(payloads)).hexdigest()}


def member(payload: bytes, index: int = 0, key: str = "s\x1ft", **more: Any) -> Member:
    record = {
        "key": key,
        "digest": sha256(payload).digest(),
        "event_time": 1_769_860_800_000 + index,
        "raw_topic": "cold-chain.raw",
        "raw_incarnation": 0,
        "raw_partition": 2,
        "raw_offset": 17,
        "raw_index": index,
        "warnings": [],
        "payload": payload,
        "recorded_at": 1_769_860_999_000,
        "count": 1,
        "topology_version": 1,
        "passport": None,
        "claim": None,
    }
    return member_of(record | more)


def batch(count: int, **more: Any) -> dict[str, Any]:
    return {
        "batch_id": sha256(b"batch").digest(),
        "pipeline": "cold-chain",
        "partition": 2,
        "group": "refrigerator",
        "date": "2026-01-31",
        "partner": "lake",
        "close_reason": "count",
        "first_recorded_at": 1,
        "last_recorded_at": 2,
        "life": 1,
        "count": count,
    } | more


WARNING = {"code": "STATE_MISMATCH", "path": "/compliance_state", "message": "sender says ok"}


def test_golden() -> None:
    """The form of version 1, in full: a change here needs a new version, since retries must repeat it (DI3)."""
    payload = b'{"sensor_id":"s","temperature":"4.1"}'
    body = render(batch(1), [member(payload, warnings=[WARNING])], Summing({"mean": "4.1"}))
    assert body.decode() == (
        f'{{"batch_digest":"{sha256(b"batch").hexdigest()}","date":"2026-01-31","group":"refrigerator",'
        '"partner":"lake","pipeline":"cold-chain","record_count":1,"records":['
        f'{{"digest":"{sha256(payload).hexdigest()}","event_time":1769860800000,"id":"cold-chain.raw/2/17/0",'
        '"key":"s\\u001ft",'
        '"position":{"incarnation":0,"index":0,"offset":17,"partition":2,"topic":"cold-chain.raw"},'
        '"record":{"sensor_id":"s","temperature":"4.1"},'
        '"warnings":[{"code":"STATE_MISMATCH","message":"sender says ok","path":"/compliance_state"}]}],'
        f'"summary":{{"count":1,"mean":"4.1","seen":"{sha256(payload).hexdigest()}"}},"version":1}}'
    )


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=5)


@given(
    payloads=st.lists(OBJECT, max_size=4),
    summary=OBJECT,
    key=TEXT,
    group=TEXT,
    warnings=st.lists(st.fixed_dictionaries({"code": TEXT, "path": TEXT, "message": TEXT}), max_size=2),
)
def test_the_body_is_canonical_json_and_holds_every_payload_verbatim(
    payloads: list[Any], summary: dict[str, Any], key: str, group: str, warnings: list[Any]
) -> None:
    encoded = [canonical_json(payload) for payload in payloads]
    members = [member(payload, i, key, warnings=warnings) for i, payload in enumerate(encoded)]
    body = render(batch(len(members), group=group), members, Summing(summary))
    parsed = json.loads(body)
    assert canonical_json(parsed) == body
    assert [record["record"] for record in parsed["records"]] == payloads
    assert [bytes.fromhex(record["digest"]) for record in parsed["records"]] == [sha256(e).digest() for e in encoded]
    for index, record in enumerate(parsed["records"]):
        position = RawPosition("cold-chain.raw", 0, 2, 17, index)
        assert parse_record_id(record["id"]) == position
        assert record["position"] == position._asdict()
        assert (record["key"], record["warnings"]) == (key, warnings)
    assert (parsed["group"], parsed["record_count"]) == (group, len(payloads))
    assert all(encoded_payload in body for encoded_payload in encoded)


def test_what_a_later_attempt_may_see_otherwise_does_not_reach_the_body() -> None:
    """Life, why and when it was closed, when it was received: none of it may change the bytes of a retry."""
    first = render(batch(1), [member(b"{}")], Summing({}))
    later = batch(1, life=7, close_reason="stop", first_recorded_at=9, last_recorded_at=10, passport={"reason": "x"})
    assert render(later, [member(b"{}", recorded_at=99, topology_version=5)], Summing({})) == first


def test_names_beyond_ascii_are_ordered_as_rfc_8785_asks() -> None:
    """By UTF-16 units, where the thermometer (a surrogate pair) comes before U+FFFD; by code points it is behind."""
    body = render(batch(1), [member(b"{}")], Summing({"\ufffd": 1, "\U0001f321": 2})).decode()
    assert body.index("\U0001f321") < body.index("\ufffd")


def test_an_incarnation_shows_in_id_and_position() -> None:
    body = json.loads(render(batch(1), [member(b"{}", raw_incarnation=3)], Summing({})))
    assert body["records"][0]["id"] == "cold-chain.raw@3/2/17/0"
    assert body["records"][0]["position"]["incarnation"] == 3


def test_unknown_versions_and_missing_members_are_refused() -> None:
    with pytest.raises(ValueError, match="version 99 is unknown"):
        render(batch(1), [member(b"{}")], Summing({}), 99)
    with pytest.raises(ValueError, match="counts 2 records, 1 given"):
        render(batch(2), [member(b"{}")], Summing({}))


AVRO = "e3cf233805bae2379aaeaa68dafa3ae67b6fc9651a91cdfd6652aadce2d7e05c"


def test_every_form_in_full() -> None:
    """As `test_golden`: what these say is what partners were promised, and what a retry must repeat (DI3)."""
    payloads = [b'{"a":1}', '{"a":"\u00fc"}'.encode()]
    members = [member(payload, index) for index, payload in enumerate(payloads)]

    def body(form: BodyForm, count: int = 2) -> bytes:
        return render(batch(count), members[:count], Summing({}), FORMS[form])

    assert body("json-array") == b"[" + b",".join(payloads) + b"]"
    assert body("json-lines") == payloads[0] + b"\n" + payloads[1] + b"\n"
    assert body("record", 1) == payloads[0]
    with pytest.raises(ValueError, match="the batch 2"):
        body("record")
    rows: list[Any] = list(fastavro.reader(BytesIO(body("avro"))))
    assert [row["record"] for row in rows] == payloads
    assert [row["id"] for row in rows] == ["cold-chain.raw/2/17/0", "cold-chain.raw/2/17/1"]
    assert sha256(body("avro")).hexdigest() == AVRO, "other bytes: a new version, or DI3 stops every retry"
