"""Judges audit blocks: names every block and record that was altered, dropped, swapped, duplicated or inserted.

Pure: blocks come as (place, bytes) in log order, from a topic or from an archive. What the blocks cannot show by
themselves, a cut tail or a chain rewritten to its end, shows against `ends`: the heads table and the committed
offsets, read after the blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Literal, NamedTuple

from audit.block import LINK, Block, BlockError, Chain, is_intact, read_block
from audit.chain import GENESIS, Entry, entry_json

Place = int | str
"""Where a block was read: its offset in the audit topic, or a file."""

Kind = Literal[
    "unreadable", "altered", "missing", "duplicated", "inserted", "out of order", "broken chain", "cut tail", "mismatch"
]


class Finding(NamedTuple):
    """One thing wrong, as near as the blocks can tell."""

    kind: Kind
    chain: Chain | None
    sequence: int | None
    place: Place | None
    record: int | None
    """Position of the entry in its block, from 0."""
    what: str

    def __str__(self) -> str:
        parts = [str(self.chain or "unknown chain")]
        parts += [f"sequence {self.sequence}"] if self.sequence is not None else []
        parts += [f"offset {self.place}"] if self.place is not None else []
        parts += [f"record {self.record}"] if self.record is not None else []
        return f"{', '.join(parts)}: {self.kind}: {self.what}"


class End(NamedTuple):
    """Where a chain must end, as the cluster says apart from the audit topic. None: not known."""

    sequence: int | None
    """Transaction counter of the heads table."""
    head: bytes | None
    next_offset: int | None
    """Committed offset of the stage's consumer group."""


class Anchor(NamedTuple):
    """What came before the first block there is, when earlier ones were archived and trimmed."""

    sequence: int = 0
    head: bytes = GENESIS


class Result(NamedTuple):
    """What was checked and what was found."""

    findings: tuple[Finding, ...]
    chains: int
    blocks: int
    entries: int
    open_tails: tuple[Chain, ...]
    """Chains whose end was not given, so that a cut tail would not show."""

    @property
    def exit_code(self) -> int:
        """0 verified; 1 something is wrong; 3 nothing was checked, or a tail could not be."""
        if self.findings:
            return 1
        return 3 if not self.blocks or self.open_tails else 0

    def summary(self) -> str:
        """One line; never says that all is well where nothing was checked."""
        counts = f"{self.chains} chains, {self.blocks} blocks, {self.entries} entries"
        if self.findings:
            return f"FAIL: {len(self.findings)} findings in {counts}"
        if not self.blocks:
            return "NOTHING CHECKED: there is no block"
        if self.open_tails:
            return f"INCOMPLETE: {counts}, no fault found; the end is unknown of {', '.join(map(str, self.open_tails))}"
        return f"PASS: {counts}"


def verify(
    blocks: Iterable[tuple[Place, bytes]],
    *,
    ends: Mapping[Chain, End] | None = None,
    anchors: Mapping[Chain, Anchor] | None = None,
) -> Result:
    """Checks every block of one or more chains, each chain in log order. `ends` must have been read after the
    blocks of a stopped pipeline, or together with them. Never raises for what it reads."""
    trails: dict[Chain, _Trail] = {}
    findings: list[Finding] = []
    count = entries = 0
    for place, data in blocks:
        count += 1
        try:
            block = read_block(data)
        except BlockError as error:
            findings.append(Finding("unreadable", None, None, place, None, str(error)))
            continue
        entries += len(block.entries)
        trail = trails.get(block.chain)
        if trail is None:
            trail = trails[block.chain] = _Trail(block.chain, (anchors or {}).get(block.chain, Anchor()), findings)
        trail.take(place, block, data)
    for chain, end in (ends or {}).items():
        if chain not in trails:
            trails[chain] = _Trail(chain, (anchors or {}).get(chain, Anchor()), findings)
        trails[chain].end(end)
    for trail in trails.values():
        trail.close()
    open_tails = tuple(chain for chain in trails if chain not in (ends or {}))
    return Result(tuple(findings), len(trails), count, entries, open_tails)


Position = tuple[int, int]
"""Sequence and part of a block."""


class _Trail:
    """One chain while its blocks go by."""

    def __init__(self, chain: Chain, anchor: Anchor, findings: list[Finding]) -> None:
        self.chain = chain
        self.findings = findings
        self.expected: Position = (anchor.sequence + 1, 0)
        self.last_sequence = anchor.sequence
        self.heads: tuple[bytes, ...] = (anchor.head,)
        """The last block's head: as it says, then as its entries give where that differs."""
        self.next_offset: int | None = None
        self.seen: dict[Position, tuple[bytes, Position]] = {}
        """Digest of each block, and the position that must follow it."""
        self.gaps: list[tuple[Position, Position, Place]] = []

    def found(self, kind: Kind, what: str, block: Block | None, place: Place | None, record: int | None = None) -> None:
        sequence = block.sequence if block else None
        self.findings.append(Finding(kind, self.chain, sequence, place, record, what))

    def take(self, place: Place, block: Block, data: bytes) -> None:
        position = (block.sequence, block.part)
        digest = sha256(data).digest()
        if position in self.seen:
            if self.seen[position][0] == digest:
                self.found("duplicated", "the same block stands here twice", block, place)
            else:
                self.found("inserted", "another block of this sequence and part came before", block, place)
            return
        intact = is_intact(data)
        follows = position == self.expected
        heads, faults = self._walk(block, place, self.heads if follows else ())
        if not intact and not faults:
            self.found("altered", "the checksum does not fit: something around the entries was changed", block, place)
        if not intact and not follows:
            return  # its sequence is not to be trusted: what is missing will be named
        after = (block.sequence, block.part + 1) if block.part + 1 < block.parts else (block.sequence + 1, 0)
        self.seen[position] = digest, after
        if position < self.expected:
            late = any(start <= position < stop for start, stop, _ in self.gaps)
            what = f"comes after sequence {self.last_sequence}"
            self.found("out of order" if late else "inserted", what, block, place)
            return
        if not follows:
            self.gaps.append((self.expected, position, place))
        elif block.prev_head not in self.heads and not faults:
            what = f"head before it is {self.heads[0].hex()}, it says {block.prev_head.hex()}: "
            self.found("broken chain", what + "the block before was rewritten, or this one is foreign", block, place)
        self._offsets(block, place, follows)
        self.expected, self.last_sequence, self.heads = after, block.sequence, heads

    def _walk(self, block: Block, place: Place, before: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], bool]:
        """The heads the next block may continue, and whether a fault was named: computes the chain through the
        entries."""
        head, wrong = _heads(block.prev_head, block)
        if head == block.head and not wrong:
            return (head,), False
        if block.prev_head not in before and any(_heads(known, block) == (block.head, []) for known in before):
            what = f"its first head is {block.prev_head.hex()}, must be {before[0].hex()}"
            self.found("altered", what, block, place)
        elif head == block.head:
            for record in wrong:
                self.found("altered", f"the link of {_id(block.entries[record])} was changed", block, place, record)
        elif not wrong:
            what = f"its last head is {block.head.hex()}, its entries give {head.hex()}"
            self.found("altered", f"{what}: that head was changed, or entries at the end dropped", block, place)
            return (block.head, head), True
        else:
            what = f"{_id(block.entries[wrong[0]])} was altered, inserted or swapped, or one before it dropped"
            self.found("altered", what, block, place, wrong[0])
        return (block.head,), True

    def _offsets(self, block: Block, place: Place, follows: bool) -> None:
        """Committed offsets never go back, except where an operator accepted a gap."""
        span = block.span
        if span.first_offset is not None and span.last_offset is not None and span.first_offset > span.last_offset:
            self.found("altered", f"input offsets {span.first_offset} to {span.last_offset}", block, place)
        accepted = any(entry.action == "ACCEPT_GAP" for entry in block.entries)
        before, after = self.next_offset, span.next_offset
        if follows and not accepted and before is not None and (after is None or after < before):
            self.found("mismatch", f"committed offset goes back from {before} to {after}", block, place)
        self.next_offset = after if after is not None else before

    def end(self, end: End) -> None:
        """Compares the last block with what the cluster says."""
        last = self.last_sequence

        def found(kind: Kind, what: str) -> None:
            self.findings.append(Finding(kind, self.chain, last, None, None, what))

        if end.sequence is not None and end.sequence > last:
            found("cut tail", f"{_span(last + 1, end.sequence)} missing: the heads table counts {end.sequence}")
        elif end.sequence is not None and end.sequence < last:
            found("mismatch", f"the heads table counts {end.sequence} transactions only")
        elif end.head is not None and end.head not in self.heads:
            found("mismatch", f"the heads table has head {end.head.hex()}, the last block {self.heads[0].hex()}")
        committed, recorded = end.next_offset, self.next_offset or 0
        if committed is not None and committed > recorded:
            found("cut tail", f"committed offset is {committed}, the last block's {recorded}")
        elif committed is not None and committed < recorded:
            found("mismatch", f"committed offset is {committed}, the last block's {recorded}")

    def close(self) -> None:
        """Names what never came: the gaps without the blocks that came late, which were named already."""
        for start, stop, place in self.gaps:
            for position in sorted(position for position in self.seen if start <= position < stop):
                if position != start:
                    self._missing(start, position, place)
                start = self.seen[position][1]
            if start < stop:
                self._missing(start, stop, place)
        sequence, part = self.expected
        if part:
            what = f"part {part} and what follows of sequence {sequence} missing"
            self.findings.append(Finding("cut tail", self.chain, sequence, None, None, what))

    def _missing(self, start: Position, stop: Position, place: Place) -> None:
        if start[1] or stop[1]:
            first, last = (f"part {part} of sequence {sequence}" for sequence, part in (start, stop))
            what = f"everything from {first} to before {last} missing"
        else:
            what = f"{_span(start[0], stop[0] - 1)} missing before sequence {stop[0]}"
        self.findings.append(Finding("missing", self.chain, start[0], place, None, what))


def _heads(head: bytes, block: Block) -> tuple[bytes, list[int]]:
    """The head after a block's entries, and the positions of the entries whose link does not fit."""
    wrong = []
    for record, (entry, link) in enumerate(zip(block.entries, block.links, strict=True)):
        head = sha256(head + entry_json(entry)).digest()
        if head[:LINK] != link:
            wrong.append(record)
    return head, wrong


def _id(entry: Entry) -> str:
    topic = f"{entry.raw_topic}@{entry.raw_incarnation}" if entry.raw_incarnation else entry.raw_topic
    return f"{entry.action} of {topic}/{entry.raw_partition}/{entry.raw_offset}/{entry.raw_index}"


def _span(first: int, last: int) -> str:
    return f"sequence {first}" if first == last else f"sequences {first} to {last}"
