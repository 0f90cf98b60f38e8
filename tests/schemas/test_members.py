"""A member read by hand is what the codec reads, or is left to the codec."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import SingleObjectCodec, WireError
from schemas.members import Member, member_of, read_members, warnings_of
from tests.schemas.samples import example, messages

CODEC = SingleObjectCodec()
HEADER = CODEC.header("validated")
COMMON = {
    "raw_incarnation": st.integers(0, 63),
    "raw_partition": st.integers(0, 63),
    "raw_offset": st.integers(0, 2**45),
    "raw_index": st.integers(0, 10_000),
    "recorded_at": st.integers(0, 2**42),
    "event_time": st.integers(0, 2**42),
    "count": st.integers(0, 10_000),
    "topology_version": st.integers(0, 10_000),
}
PLAIN: dict[str, Any] = {"passport": None, "claim": None}
USUAL = example("validated") | PLAIN | {"raw_incarnation": 0, "raw_partition": 3}


def by_hand(data: bytes) -> Member | None:
    return next(read_members(HEADER, [data]))


@given(st.lists(st.tuples(messages("validated"), st.fixed_dictionaries(COMMON)), max_size=4))
def test_usual_messages_are_read_without_the_codec(several: list[tuple[dict[str, Any], dict[str, int]]]) -> None:
    usual = [m | common | PLAIN for m, common in several]
    found = list(read_members(HEADER, [CODEC.encode("validated", m) for m in usual]))
    assert found == [member_of(m) for m in usual]
    assert [warnings_of(one) for one in found if one] == [m["warnings"] for m in usual]


@given(st.lists(messages("validated"), max_size=4), st.integers(0, 90))
def test_any_message_is_read_as_the_codec_reads_it_or_left_to_the_codec(
    several: list[dict[str, Any]], longer: int
) -> None:
    for m in several:
        m["key"] *= longer
    found = list(read_members(HEADER, [CODEC.encode("validated", m) for m in several]))
    assert all(one is None or one == member_of(m) for one, m in zip(found, several, strict=True))


def test_a_damaged_message_never_raises_and_never_differs_from_the_codec() -> None:
    data = CODEC.encode("validated", USUAL)
    assert by_hand(data) == member_of(USUAL)
    read = 0
    for place in range(len(data)):
        assert by_hand(data[:place]) is None
        for value in (0x00, 0x01, 0x7F, 0x80, 0xFF):
            damaged = data[:place] + bytes([value]) + data[place + 1 :]
            found = by_hand(damaged)
            try:
                name, whole = CODEC.decode(damaged)
            except WireError:
                assert found is None
                continue
            read += found is not None
            assert found is None or (name == "validated" and found == member_of(whole))
    assert read
