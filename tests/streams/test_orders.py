"""What operators ordered, as the control topic says it."""

from __future__ import annotations

import pytest

from schemas.codec import SingleObjectCodec, WireError
from streams.dispatch.orders import Order, Orders, decode, encode, key, subject
from tests.streams.dispatch_desk import pipeline

CODEC = SingleObjectCodec()


def order(paused: bool, version: int = 1, partner: str = "clinic") -> Order:
    return Order(subject(pipeline(), partner), version, paused, "a person", "maintenance", 1_700_000_000_000)


def test_the_newest_order_about_a_partner_of_a_pipeline_is_in_force_and_each_is_kept() -> None:
    orders, given = Orders(), [order(True), order(False, 2), order(True, 3)]
    assert len({key(one) for one in given}) == 3, "compaction takes none of them"
    for one, paused in zip(given, (True, False, True), strict=True):
        read = decode(CODEC, encode(CODEC, one))
        assert read == one
        orders.learn(read)
        assert (set(orders.paused(pipeline())) == {"clinic"}) is paused
    assert orders.newest(pipeline(), "clinic") == given[-1]
    assert orders.newest(pipeline(), "lake") is None
    assert orders.paused(pipeline(pipeline="another")) == {}
    assert orders.paused(pipeline(application="another")) == {}


def test_an_order_of_a_later_release_that_cannot_be_understood_pauses() -> None:
    message = {"kind": "partner", "subject": "s", "version": 1, "actor": "a", "reason": "r", "at": 0}
    for body in ('{"until": 5}', "[]", "no json", '{"paused": "no"}'):
        read = decode(CODEC, CODEC.encode("control", message | {"body": body}))
        assert read is not None
        assert read.paused


def test_what_is_no_order_about_a_partner_is_told_apart() -> None:
    other = {"kind": "topology", "subject": "s", "version": 1, "body": "", "actor": "a", "reason": "r", "at": 0}
    assert decode(CODEC, CODEC.encode("control", other)) is None
    for value in (b"x" * 100, b"", CODEC.encode("release", _RELEASE)):
        with pytest.raises(WireError):
            decode(CODEC, value)


_RELEASE = {
    "raw_topic": "t", "raw_incarnation": 0, "raw_partition": 0, "raw_offset": 0, "raw_index": 0, "key": "k",
    "batch_id": bytes(32), "digest": bytes(32),
}  # fmt: skip
