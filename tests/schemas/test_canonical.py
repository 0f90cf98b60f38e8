"""Canonical JSON, digests and ids, against vectors that were not made here."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from schemas.canonical import (
    GENESIS,
    RawPosition,
    canonical_json,
    canonical_json_fast,
    idempotency_key,
    parse_record_id,
    record_id,
    sha256,
    version_row_key,
)

# RFC 8785, appendix B: IEEE 754 bits and the text they must give.
NUMBERS = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]


@pytest.mark.parametrize(("bits", "text"), NUMBERS)
def test_numbers_of_rfc_8785_appendix_b(bits: str, text: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json(number) == text.encode()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2**53, -(2**53), "\ud800", {"\udfff": 1}])
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(rfc8785.CanonicalizationError):
        canonical_json(value)


def test_the_example_of_rfc_8785_section_3_2() -> None:
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"\u002f",
        "literals": [None, True, False],
    }
    assert canonical_json(value) == bytes.fromhex(
        "7b226c69746572616c73223a5b6e756c6c2c747275652c66616c73655d2c226e756d62657273223a5b3333333333333333332e33"
        "3333333333332c31652b33302c342e352c302e3030322c31652d32375d2c22737472696e67223a22e282ac245c75303030665c6e"
        "4127425c225c5c5c5c5c222f227d"
    )


def test_keys_are_sorted_by_utf_16_units() -> None:
    # RFC 8785, section 3.2.3.
    keys = dict.fromkeys(["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"], 0)
    assert list(json.loads(canonical_json(keys))) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


ascii_keys = st.text(st.characters(min_codepoint=0, max_codepoint=127), max_size=8)
scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=12)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ascii_keys, inner, max_size=3), max_leaves=12
)


@given(st.dictionaries(ascii_keys, values, max_size=5))
def test_the_fast_form_is_the_canonical_form_on_its_domain(value: dict[str, Any]) -> None:
    assert canonical_json_fast(value) == canonical_json(value)


def test_digest_and_genesis() -> None:
    assert GENESIS.hex() == "0" * 64
    # FIPS 180-2, appendix B.1
    assert sha256(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


positions = st.builds(
    RawPosition,
    st.from_regex(r"[A-Za-z0-9._-]{1,249}", fullmatch=True),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**31 - 1),
)


@given(positions)
def test_a_record_id_leads_back_to_its_position(position: RawPosition) -> None:
    assert parse_record_id(record_id(position)) == position
    assert position.submission == position[:4]


def test_record_ids_as_people_see_them() -> None:
    assert record_id(RawPosition("cold-chain.raw", 0, 2, 17, 3)) == "cold-chain.raw/2/17/3"
    assert record_id(RawPosition("cold-chain.raw", 1, 2, 17, 3)) == "cold-chain.raw@1/2/17/3"
    assert parse_record_id("cold-chain.raw/2/17") == RawPosition("cold-chain.raw", 0, 2, 17, 0)


@pytest.mark.parametrize(
    "text", ["", "raw", "raw/1", "raw/a/1/2", "raw/1/2/-3", "/1/2/3", "raw@x/1/2/3", "raw@-1/1/2/3"]
)
def test_what_is_no_record_id_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match="is no record id"):
        parse_record_id(text)


@given(st.lists(st.text(st.characters(exclude_characters="\x1f"), max_size=5), min_size=2, max_size=2, unique=True))
def test_different_fields_give_different_keys(fields: list[str]) -> None:
    assert idempotency_key(fields) != idempotency_key(fields[::-1])
    assert idempotency_key(["a", "bc"]) != idempotency_key(["ab", "c"])
    assert version_row_key(idempotency_key(fields), 7).split("\x1f") == [*fields, "7"]
