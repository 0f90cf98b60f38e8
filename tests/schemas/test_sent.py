"""The hand-made bytes of an ack are fastavro's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import SingleObjectCodec, WireError
from schemas.messages import position_of
from schemas.sent import encode_delivered, shared_middle
from tests.schemas.samples import messages

CODEC = SingleObjectCodec()
HEADER = CODEC.header("sent")


@given(messages("sent"), st.binary(min_size=32, max_size=32), st.text())
def test_an_ack_by_hand_is_the_codecs(ack: dict[str, Any], batch_id: bytes, partner: str) -> None:
    ack |= {"outcome": "delivered", "duplicate_of": None, "batch_id": batch_id, "partner": partner}
    found = encode_delivered(HEADER, ack, position_of(ack), shared_middle(batch_id, partner, ack["answer"]))
    if ack["passport"] is not None or ack["warnings"]:
        assert found is None
    else:
        assert found == CODEC.encode("sent", ack)


@pytest.mark.parametrize("wrong", [{"digest": b"short"}, {"key": "\ud800"}, {"recorded_at": 2**63}])
def test_what_fits_no_schema_is_refused(wrong: dict[str, Any]) -> None:
    ack: dict[str, Any] = {
        "raw_topic": "raw", "raw_incarnation": 0, "raw_partition": 1, "raw_offset": 2, "raw_index": 0, "count": 1,
        "key": "k", "digest": b"d" * 32, "warnings": [], "topology_version": 1, "recorded_at": 1, "event_time": 1,
        "passport": None,
    }  # fmt: skip
    middle = shared_middle(b"b" * 32, "p", None)
    assert encode_delivered(HEADER, ack, position_of(ack), middle)
    with pytest.raises(WireError):
        encode_delivered(HEADER, ack | wrong, position_of(ack), middle)
