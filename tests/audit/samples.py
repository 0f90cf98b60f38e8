"""Chains of blocks as a stage would write them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from audit.block import MAX_BLOCK_BYTES, TAGS, Blocks, Chain, Noted, Observation, Span, write_blocks
from audit.chain import GENESIS, Entry
from audit.verify import End

CHAIN = Chain("cold-chain", "validate", 2)


def entry(offset: int, index: int = 0) -> Entry:
    digest = hashlib.sha256(f"{offset}/{index}".encode()).digest()
    return Entry("VALIDATE", "", "cold-chain.raw", 0, 2, offset, index, digest)


def observation(sequence: int) -> Observation:
    return Observation(f"worker-{sequence % 3}", 1_700_000_000_000 + sequence, "0.1.0", 1, "cold_chain/1")


def noted(entry: Entry) -> Noted:
    """An entry in the form that `write_blocks` takes."""
    return (TAGS[entry[:5]], *entry[5:])


def make_blocks(
    chain: Chain,
    sequence: int,
    prev_head: bytes,
    entries: Iterable[Entry],
    span: Span,
    observed: Observation,
    *,
    max_bytes: int = MAX_BLOCK_BYTES,
) -> Blocks:
    """As write_blocks, of entries in full."""
    return write_blocks(chain, sequence, prev_head, map(noted, entries), span, observed, max_bytes=max_bytes)


class Sample(NamedTuple):
    blocks: list[bytes]
    ends: dict[Chain, End]


def sample(counts: list[int], chain: Chain = CHAIN, max_bytes: int = 900_000) -> Sample:
    """One transaction for each count, with so many entries."""
    head, offset, blocks = GENESIS, 0, []
    for sequence, count in enumerate(counts, 1):
        entries = [entry(offset + place) for place in range(count)]
        span = (
            Span("cold-chain.raw", offset, offset + count - 1, offset + count)
            if count
            else Span("x", None, None, offset)
        )
        made = make_blocks(chain, sequence, head, entries, span, observation(sequence), max_bytes=max_bytes)
        blocks += made.blocks
        head, offset = made.head, offset + count
    return Sample(blocks, {chain: End(len(counts), head, offset)})
