"""The content chain: exact bytes, genesis, and independence from every cut."""

from __future__ import annotations

import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st

from audit.chain import ACTIONS, GENESIS, Entry, entry_json, extend

entries = st.builds(
    Entry,
    st.sampled_from(ACTIONS),
    st.text(max_size=20),
    st.text(max_size=20),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**31 - 1),
    st.binary(min_size=32, max_size=32),
)


def test_golden_entry() -> None:
    entry = Entry("REJECT", "MALFORMED_JSON", "cold-chain.raw", 1, 2, 17, 3, bytes(range(32)))
    assert entry_json(entry) == (
        b'{"action":"REJECT","code":"MALFORMED_JSON",'
        b'"digest":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",'
        b'"raw_incarnation":1,"raw_index":3,"raw_offset":17,"raw_partition":2,"raw_topic":"cold-chain.raw"}'
    )


def test_golden_head() -> None:
    entry = Entry("VALIDATE", "", "cold-chain.raw", 0, 0, 0, 0, hashlib.sha256(b"{}").digest())
    assert GENESIS.hex() == "0" * 64
    assert extend(GENESIS, []) == GENESIS
    assert extend(GENESIS, [entry]).hex() == "1a13e6c3f7c34b1965ee1de0a695f5a1a5c9784e2dac035600837c2d374a3b8e"
    assert extend(GENESIS, [entry, entry]).hex() == "a38219fff1f2d8e0782048c71dd970bad65169bf5cf736ba5e3c64840a6d54ef"


@given(entries)
def test_the_format_string_writes_what_json_writes(entry: Entry) -> None:
    value = {**entry._asdict(), "digest": entry.digest.hex()}
    assert entry_json(entry) == json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


@given(st.lists(entries, max_size=8), st.integers(0, 8))
def test_the_head_does_not_depend_on_the_cut(items: list[Entry], cut: int) -> None:
    head = GENESIS
    for entry in items:
        head = hashlib.sha256(head + entry_json(entry)).digest()
    assert extend(GENESIS, items) == head
    assert extend(extend(GENESIS, items[:cut]), items[cut:]) == head
