"""The hand-made bytes of `batched` are fastavro's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from schemas.batched import encode_batched
from schemas.codec import SingleObjectCodec, WireError
from tests.schemas.samples import example, messages

CODEC = SingleObjectCodec()


def by_hand(message: dict[str, Any]) -> bytes:
    front = {name: value for name, value in message.items() if name != "records"}
    return encode_batched(CODEC, front, message["records"])


@given(messages("batched"))
def test_a_batched_message_by_hand_is_fastavros(message: dict[str, Any]) -> None:
    assert by_hand(message) == CODEC.encode("batched", message)


def test_a_batch_of_thousands_by_hand_is_fastavros() -> None:
    message = example("batched") | {"count": 9000, "records": [b"x" * (n % 300) for n in range(9000)]}
    assert by_hand(message) == CODEC.encode("batched", message)


def test_what_does_not_fit_the_schema_is_a_wire_error() -> None:
    with pytest.raises(WireError, match="does not fit schema batched"):
        by_hand(example("batched") | {"batch_id": b"short"})
