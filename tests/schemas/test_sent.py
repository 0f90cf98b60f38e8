"""The hand-made bytes of acks are fastavro's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import SingleObjectCodec, WireError
from schemas.members import Member, member_of
from schemas.messages import PassportPart
from schemas.sent import encode_delivered, encode_delivered_whole
from tests.schemas.samples import example, messages

CODEC = SingleObjectCodec()
IDS = st.binary(min_size=32, max_size=32)
PASSPORTS = messages("sent").map(lambda ack: ack["passport"])


def members(acks: list[dict[str, Any]]) -> list[Member]:
    """Records that the acks repeat."""
    return [member_of(example("validated") | ack) for ack in acks]


@given(st.lists(messages("sent"), max_size=3), IDS, st.text(), st.none() | st.text(), PASSPORTS)
def test_acks_by_hand_are_the_codecs(
    acks: list[dict[str, Any]], batch_id: bytes, partner: str, answer: str | None, passport: PassportPart | None
) -> None:
    delivery = {
        "outcome": "delivered", "duplicate_of": None, "batch_id": batch_id, "partner": partner, "answer": answer
    }  # fmt: skip
    found = encode_delivered(CODEC.header("sent"), members(acks), batch_id, partner, answer, passport)
    of_all = {} if passport is None else {"passport": passport}
    assert list(found) == [CODEC.encode("sent", ack | delivery | of_all) for ack in acks]


@given(messages("sent_batch"), st.lists(messages("sent"), max_size=3))
def test_the_ack_of_a_batch_by_hand_is_the_codecs(ack: dict[str, Any], acks: list[dict[str, Any]]) -> None:
    records = [{name: one[name] for name in example("sent_batch")["records"][0]} for one in acks]
    found = encode_delivered_whole(
        CODEC.header("sent_batch"), members(acks), ack["batch_id"], ack["partner"], ack["answer"],
        ack["topology_version"],
    )  # fmt: skip
    assert found == CODEC.encode("sent_batch", ack | {"records": records})


@pytest.mark.parametrize("wrong", [{"batch_id": b"short"}, {"partner": "\ud800"}, {"answer": 1}])
def test_what_fits_no_schema_is_refused(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {"batch_id": b"b" * 32, "partner": "p", "answer": None}
    assert list(encode_delivered(b"", members([example("sent")]), **right))
    assert encode_delivered_whole(b"", [], **right, topology_version=1)
    with pytest.raises(WireError):
        list(encode_delivered(b"", [], **right | wrong))
    with pytest.raises(WireError):
        encode_delivered_whole(b"", [], **right | wrong, topology_version=1)
