"""The hand-made bytes of `validated` and `idempotency` are fastavro's, and the front is read back as fastavro does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.avro import long, longs, optional_text, sizes, text
from schemas.canonical import RawPosition
from schemas.codec import SingleObjectCodec, WireError
from schemas.errors import Finding
from schemas.validated import (
    NO_CLAIM,
    Front,
    claim_payload,
    encode_first,
    encode_validated,
    encode_version_row,
    front_of,
    read_fronts,
    shared_front,
    shared_rest,
)
from tests.schemas.samples import example, messages

CODEC = SingleObjectCodec()
HEADER = CODEC.header("validated")
COMMON = {
    "raw_incarnation": st.integers(0, 63),
    "raw_partition": st.integers(0, 63),
    "raw_offset": st.integers(0, 2**45),
    "raw_index": st.integers(0, 10_000),
    "recorded_at": st.integers(0, 2**42),
    "count": st.integers(0, 10_000),
    "topology_version": st.integers(0, 10_000),
}


USUAL = example("validated") | {"raw_incarnation": 0, "raw_partition": 3, "passport": None, "claim": None}


def fronted(data: bytes) -> Front | None:
    """The front by hand, without the bytes that go on as they are, which are looked at."""
    (front,) = read_fronts(HEADER, [data])
    if front is None:
        return None
    assert front.key_field == text(front.key)
    assert front.position_field == long(front.raw_offset) + long(front.raw_index)
    assert front.ordering_field == optional_text(front.ordering)
    return front._replace(key_field=b"", position_field=b"", ordering_field=b"")


def by_hand(m: dict[str, Any]) -> bytes:
    place = m["group"], m["date"], m["partner"], m["raw_topic"], m["raw_incarnation"], m["raw_partition"]
    origin = m["count"], m["source"], m["site"], m["schema_version"], m["topology_version"]
    return encode_validated(
        shared_front(HEADER, *place),
        m["key"], m["digest"], m["ordering"], long(m["recorded_at"]), m["raw_offset"], m["raw_index"], m["event_time"],
        m["submission_digest"],
        shared_rest(m["received_at"], *origin),
        [Finding(**warning) for warning in m["warnings"]],
        m["payload"],
    )  # fmt: skip


@given(messages("validated"))
def test_a_validated_message_by_hand_is_fastavros(message: dict[str, Any]) -> None:
    message |= {"passport": None, "claim": None}
    assert by_hand(message) == CODEC.encode("validated", message)


def column_by_column(several: list[dict[str, Any]]) -> list[bytes]:
    def column(name: str) -> list[Any]:
        return [m[name] for m in several]

    origin = "count", "source", "site", "schema_version", "topology_version"
    place = "group", "date", "partner", "raw_topic", "raw_incarnation", "raw_partition"
    return encode_first(
        [shared_front(HEADER, *(m[name] for name in place)) for m in several],
        column("key"), column("digest"), None if column("ordering") == [None] * len(several) else column("ordering"),
        list(map(long, column("recorded_at"))), column("raw_offset"), column("event_time"), column("submission_digest"),
        [shared_rest(m["received_at"], *(m[name] for name in origin)) for m in several],
        [[Finding(**warning) for warning in m["warnings"]] for m in several],
        column("payload"),
    )  # fmt: skip


@given(st.lists(messages("validated"), max_size=4), st.booleans(), st.booleans())
def test_messages_column_by_column_are_those_one_by_one(
    several: list[dict[str, Any]], ordered: bool, warned: bool
) -> None:
    for m in several:
        m |= {"raw_index": 0, "passport": None, "claim": None}
        m |= {} if ordered else {"ordering": None}
        m |= {} if warned else {"warnings": []}
    assert column_by_column(several) == list(map(by_hand, several))


@given(messages("validated"), st.text())
def test_a_payload_that_is_kept_elsewhere_leaves_the_rest_as_it_was(message: dict[str, Any], url: str) -> None:
    message |= {"passport": None, "claim": None}
    claimed = message | {"payload": b"", "claim": {"url": url, "size": len(message["payload"])}}
    assert claim_payload(by_hand(message), message["payload"], url) == CODEC.encode("validated", claimed)


@given(messages("idempotency"))
def test_a_version_row_by_hand_is_fastavros(m: dict[str, Any]) -> None:
    raw = RawPosition(*(m[f"raw_{name}"] for name in RawPosition._fields))
    values = m["key"], m["offset"], raw, m["digest"], m["admitted_at"], m["group"], m["date"], m["ordering"]
    assert encode_version_row(CODEC.header("idempotency"), *values) == CODEC.encode("idempotency", m)


@given(messages("validated"), st.fixed_dictionaries(COMMON))
def test_the_front_of_a_usual_message_is_read_without_the_codec(m: dict[str, Any], usual: dict[str, int]) -> None:
    m |= {**usual, "passport": None, "claim": None}
    assert fronted(CODEC.encode("validated", m)) == front_of(m)


@given(messages("validated"), st.integers(0, 90))
def test_a_front_is_read_as_the_codec_reads_it_or_left_to_the_codec(m: dict[str, Any], longer: int) -> None:
    m["key"] *= longer
    found = fronted(CODEC.encode("validated", m))
    assert found is None or found == front_of(m)


def test_a_message_cut_off_anywhere_is_left_to_the_codec() -> None:
    data = CODEC.encode("validated", USUAL)
    assert fronted(data) == front_of(USUAL)
    for cut in range(len(HEADER), len(data)):
        assert fronted(data[:cut]) is None
        if cut < len(data) - 1:
            assert fronted(data[:cut] + NO_CLAIM) is None


@given(st.lists(messages("validated"), max_size=5), st.lists(st.sampled_from([b"", b"no message"]), max_size=2))
def test_fronts_in_a_row_are_those_of_each_alone(several: list[dict[str, Any]], bad: list[bytes]) -> None:
    data = [CODEC.encode("validated", m | {"claim": None}) for m in several]
    values = [None, *data, *bad, *data[::-1]]
    assert list(read_fronts(HEADER, values)) == [next(read_fronts(HEADER, [value])) for value in values]


def test_a_number_in_more_bytes_than_it_needs_is_read_and_written_in_as_many_as_it_needs() -> None:
    m = USUAL | {"recorded_at": 25, "raw_offset": 3, "raw_index": 1}
    data = CODEC.encode("validated", m)
    usual = b"".join(map(long, (25, 3, 1)))
    for longer in (b"\xb2\0\x06\x02", b"\x32\x86\x80\0\x02", b"\x32\x86\0\x02", b"\x32\x06\x82\0"):
        assert fronted(data.replace(usual, longer)) == front_of(m)


@given(messages("validated"))
def test_how_much_a_message_claims_is_never_overlooked(m: dict[str, Any]) -> None:
    found = fronted(CODEC.encode("validated", m))
    assert found is None or found.claimed == (m["claim"]["size"] if m["claim"] else 0)


def test_a_damaged_front_never_raises_and_never_differs_from_the_codec() -> None:
    data = CODEC.encode("validated", USUAL)
    read = 0
    for place in range(len(HEADER), len(data)):
        for value in (0x00, 0x01, 0x7F, 0x80, 0xFF):
            damaged = data[:place] + bytes([value]) + data[place + 1 :]
            found = fronted(damaged)
            try:
                whole: Front | None = front_of(CODEC.decode(damaged)[1])
            except WireError:
                assert found is None
                continue
            read += found is not None
            assert found is None or found == whole
    assert read


@pytest.mark.parametrize(
    ("field", "value"), [("digest", b"short"), ("submission_digest", b""), ("event_time", 2**63), ("key", "\ud800")]
)
def test_what_does_not_fit_the_schema_is_a_wire_error(field: str, value: Any) -> None:
    misfit = {**example("validated"), "passport": None, field: value}
    with pytest.raises(WireError, match="does not fit schema validated"):
        by_hand(misfit)
    with pytest.raises(WireError, match="does not fit schema validated"):
        column_by_column([example("validated"), misfit])


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_long_takes_the_specifications_bytes(value: int) -> None:
    zigzag, expected = (value << 1) ^ (value >> 63), bytearray()
    while zigzag > 127:
        expected.append(zigzag & 127 | 128)
        zigzag >>= 7
    assert long(value) == bytes([*expected, zigzag])


@given(st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(8190, 2**41)), max_size=5))
def test_longs_are_those_of_each_alone(values: list[int]) -> None:
    assert list(longs(values)) == list(map(long, values))
    assert list(sizes([b"x" * (value % 9000) for value in values])) == [long(value % 9000) for value in values]
