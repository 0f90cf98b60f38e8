"""The hand-made bytes of rows of `delivery` are fastavro's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from schemas.codec import SingleObjectCodec, WireError
from schemas.delivery import Row, encode_delivery
from tests.schemas.samples import example, messages

CODEC = SingleObjectCodec()


@given(messages("delivery"))
def test_rows_by_hand_are_the_codecs(row: dict[str, Any]) -> None:
    assert encode_delivery(CODEC.header("delivery"), Row(**row)) == CODEC.encode("delivery", row)


@pytest.mark.parametrize(
    "wrong",
    [{"batch_id": b"short"}, {"parent": b"short"}, {"state": "lost"}, {"partner": "\ud800"}, {"begun_at": 2**63}],
)
def test_what_fits_no_schema_is_refused(wrong: dict[str, Any]) -> None:
    right = Row(**example("delivery"))
    assert encode_delivery(b"", right)
    with pytest.raises(WireError):
        encode_delivery(b"", right._replace(**wrong))
