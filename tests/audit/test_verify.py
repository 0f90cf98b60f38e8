"""Every tampering is found and named; an untouched log passes; nothing checked is never a pass."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.block import HEADER, LEAST_BLOCK_BYTES, LINK, SCHEMA, Block, Chain, read_block
from audit.chain import Entry, extend
from audit.verify import Anchor, End, Finding, Result, verify

from .samples import CHAIN, Sample, make_blocks, sample

OTHER = Chain("cold-chain", "validate", 3)


def check(blocks: Sequence[bytes], log: Sample) -> Result:
    return verify(enumerate(blocks), ends=log.ends)


def named(result: Result) -> list[tuple[str, int | None, int | None, int | None]]:
    """(kind, sequence, audit offset, record) of every finding."""
    assert all(isinstance(finding.place, int | None) for finding in result.findings)
    return [(f.kind, f.sequence, f.place, f.record) for f in result.findings]  # type: ignore[misc]


def rewrite(data: bytes, entries: list[Entry]) -> bytes:
    """A block with other entries, forged well: links, head and checksum fit."""
    block = read_block(data)
    made = make_blocks(block.chain, block.sequence, block.prev_head, entries, block.span, block.observed)
    return made.blocks[0]


def forge(data: bytes, keep: Sequence[int]) -> bytes:
    """A block with its entries dropped, repeated or in another order, each with its old link, as someone would who
    cuts bytes out and mends count and checksum but not the chain."""
    message: Any = fastavro.schemaless_reader(BytesIO(data[len(HEADER) :]), SCHEMA, None)
    message["entries"] = [message["entries"][place] for place in keep]
    out = BytesIO()
    fastavro.schemaless_writer(out, SCHEMA, message)
    body = HEADER + out.getvalue()[:-32]
    return body + hashlib.sha256(body).digest()


LOG = sample([3, 5, 0, 4, 2])


def test_an_untouched_log_passes() -> None:
    result = check(LOG.blocks, LOG)
    assert result == Result((), 1, 5, 14, ())
    assert (result.exit_code, result.summary()) == (0, "PASS: 1 chains, 5 blocks, 14 entries")


def test_chains_are_checked_side_by_side() -> None:
    other = sample([2, 2], OTHER)
    mixed = [LOG.blocks[0], other.blocks[0], *LOG.blocks[1:3], other.blocks[1], *LOG.blocks[3:]]
    assert verify(enumerate(mixed), ends={**LOG.ends, **other.ends}) == Result((), 2, 7, 18, ())


def test_transactions_of_several_blocks_pass() -> None:
    log = sample([200, 0, 150], max_bytes=LEAST_BLOCK_BYTES)
    assert len(log.blocks) > 3
    assert check(log.blocks, log).exit_code == 0


@pytest.mark.parametrize("which", range(len(LOG.blocks)))
def test_every_flipped_byte_is_found_in_its_block(which: int) -> None:
    for place in range(len(LOG.blocks[which])):
        blocks = list(LOG.blocks)
        blocks[which] = blocks[which][:place] + bytes([blocks[which][place] ^ 0x01]) + blocks[which][place + 1 :]
        result = check(blocks, LOG)
        assert result.exit_code == 1
        assert any(finding.place == which for finding in result.findings), (place, result.findings)


def test_a_replaced_digest_is_named_with_its_record() -> None:
    block = read_block(LOG.blocks[1])
    place = LOG.blocks[1].index(block.entries[3].digest)
    blocks = list(LOG.blocks)
    blocks[1] = blocks[1][:place] + bytes(32) + blocks[1][place + 32 :]
    result = check(blocks, LOG)
    assert named(result) == [("altered", 2, 1, 3)]
    assert str(result.findings[0]) == (
        "cold-chain/validate/2, sequence 2, offset 1, record 3: altered: VALIDATE of cold-chain.raw/2/6/0 was altered, "
        "inserted or swapped, or one before it dropped"
    )


def flipped(which: int, place: int, mask: int = 1) -> list[bytes]:
    """The log with one byte of one block changed."""
    blocks = list(LOG.blocks)
    changed = bytearray(blocks[which])
    changed[place] ^= mask
    blocks[which] = bytes(changed)
    return blocks


@pytest.mark.parametrize(("field", "words"), [("prev_head", "its first head is"), ("head", "its last head is")])
def test_a_flipped_head_is_told_and_its_neighbours_are_not_blamed(field: str, words: str) -> None:
    head: bytes = getattr(read_block(LOG.blocks[1]), field)
    result = check(flipped(1, LOG.blocks[1].index(head)), LOG)
    assert named(result) == [("altered", 2, 1, None)]
    assert words in result.findings[0].what


def test_a_flipped_sequence_is_not_believed() -> None:
    place = LOG.blocks[1].index(b"validate") + len(b"validate") + 1
    assert LOG.blocks[1][place] == 2 << 1  # sequence 2 as Avro writes it
    result = check(flipped(1, place, 0x20), LOG)
    assert named(result) == [("altered", 18, 1, None), ("missing", 2, 2, None)]


def test_offsets_that_run_backwards_inside_a_block_are_told() -> None:
    block = read_block(LOG.blocks[0])
    span = block.span._replace(first_offset=2, last_offset=1)
    made = make_blocks(CHAIN, 1, block.prev_head, block.entries, span, block.observed)
    assert named(verify(enumerate(made.blocks))) == [("altered", 1, 0, None)]


def test_a_flipped_link_is_told_from_a_flipped_record() -> None:
    block = read_block(LOG.blocks[1])
    place = LOG.blocks[1].index(block.entries[3].digest) + 32
    assert LOG.blocks[1][place : place + LINK] == block.links[3]
    blocks = list(LOG.blocks)
    blocks[1] = blocks[1][:place] + bytes(LINK) + blocks[1][place + LINK :]
    result = check(blocks, LOG)
    assert named(result) == [("altered", 2, 1, 3)]
    assert "the link of VALIDATE of cold-chain.raw/2/6/0 was changed" in result.findings[0].what


@pytest.mark.parametrize(
    ("keep", "record"),
    [
        ([0, 1, 3, 4], 2),  # dropped
        ([0, 2, 1, 3, 4], 1),  # swapped
        ([0, 1, 1, 2, 3, 4], 2),  # duplicated
        ([1, 2, 3, 4], 0),
        ([0, 1, 2, 3], None),  # the last one dropped: links fit, the head does not
        ([], None),
    ],
)
def test_a_record_dropped_swapped_or_duplicated_is_named(keep: list[int], record: int | None) -> None:
    blocks = [LOG.blocks[0], forge(LOG.blocks[1], keep), *LOG.blocks[2:]]
    assert named(check(blocks, LOG)) == [("altered", 2, 1, record)]


def test_an_inserted_record_is_named() -> None:
    entries = read_block(LOG.blocks[1]).entries
    inserted = rewrite(LOG.blocks[1], [*entries[:2], entries[0], *entries[2:]])
    honest = read_block(LOG.blocks[1])
    assert read_block(inserted).head != honest.head
    # Forged to its end, the block fits in itself; the next one does not continue it.
    result = check([LOG.blocks[0], inserted, *LOG.blocks[2:]], LOG)
    assert named(result) == [("broken chain", 3, 2, None)]


def test_a_forged_last_block_is_found_against_the_heads_table() -> None:
    entries = read_block(LOG.blocks[4]).entries
    forged = rewrite(LOG.blocks[4], [entries[0], entries[1]._replace(digest=bytes(32))])
    result = check([*LOG.blocks[:4], forged], LOG)
    assert named(result) == [("mismatch", 5, None, None)]


@pytest.mark.parametrize("which", range(4))
def test_a_dropped_block_is_named(which: int) -> None:
    result = check(LOG.blocks[:which] + LOG.blocks[which + 1 :], LOG)
    assert named(result) == [("missing", which + 1, which, None)]
    assert result.findings[0].what == f"sequence {which + 1} missing before sequence {which + 2}"


def test_several_dropped_blocks_are_named_as_a_range() -> None:
    (finding,) = check([LOG.blocks[0], *LOG.blocks[4:]], LOG).findings
    assert finding.what == "sequences 2 to 4 missing before sequence 5"


def test_swapped_blocks_are_named() -> None:
    blocks = [LOG.blocks[0], LOG.blocks[2], LOG.blocks[1], *LOG.blocks[3:]]
    assert named(check(blocks, LOG)) == [("out of order", 2, 2, None)]


def test_a_block_that_came_late_and_one_that_never_came_are_told_apart() -> None:
    blocks = [LOG.blocks[0], LOG.blocks[3], LOG.blocks[1], LOG.blocks[4]]
    assert named(check(blocks, LOG)) == [("out of order", 2, 2, None), ("missing", 3, 1, None)]


def test_a_duplicated_block_is_named() -> None:
    blocks = [*LOG.blocks[:2], LOG.blocks[1], *LOG.blocks[2:]]
    assert named(check(blocks, LOG)) == [("duplicated", 2, 2, None)]


def test_an_inserted_block_is_named() -> None:
    foreign = rewrite(LOG.blocks[1], read_block(LOG.blocks[0]).entries)
    assert named(check([*LOG.blocks[:2], foreign, *LOG.blocks[2:]], LOG)) == [("inserted", 2, 2, None)]
    # In front of the honest one it takes its place, and the honest one is what does not fit.
    assert named(check([LOG.blocks[0], foreign, *LOG.blocks[1:]], LOG)) == [
        ("inserted", 2, 2, None),
        ("broken chain", 3, 3, None),
    ]


def test_a_block_of_another_chain_that_no_table_knows_is_named() -> None:
    foreign = sample([1], OTHER)
    result = verify(enumerate([*LOG.blocks, *foreign.blocks]), ends=LOG.ends)
    assert (result.open_tails, result.exit_code) == ((OTHER,), 3)


@pytest.mark.parametrize("kept", range(1, 5))
def test_a_cut_tail_is_found(kept: int) -> None:
    result = check(LOG.blocks[:kept], LOG)
    assert {(finding.kind, finding.chain, finding.sequence) for finding in result.findings} == {
        ("cut tail", CHAIN, kept)
    }


def test_a_cut_tail_is_found_by_the_head_or_by_the_committed_offset_alone() -> None:
    end = LOG.ends[CHAIN]
    for alone in (end._replace(next_offset=None), end._replace(sequence=None, head=None)):
        result = verify(enumerate(LOG.blocks[:4]), ends={CHAIN: alone})
        assert named(result) == [("cut tail", 4, None, None)]


def test_a_chain_that_vanished_whole_is_found() -> None:
    other = sample([2], OTHER)
    result = verify(enumerate(other.blocks), ends={**LOG.ends, **other.ends})
    assert {(finding.kind, finding.chain) for finding in result.findings} == {("cut tail", CHAIN)}


def test_a_transaction_cut_between_its_parts_is_found() -> None:
    log = sample([1, 200, 1], max_bytes=LEAST_BLOCK_BYTES)
    parts = len(log.blocks) - 2
    assert parts > 2
    (finding,) = check([*log.blocks[:2], *log.blocks[-1:]], log).findings
    assert (finding.kind, finding.what) == (
        "missing",
        "everything from part 1 of sequence 2 to before part 0 of sequence 3 missing",
    )
    findings = check(log.blocks[:3], log).findings
    assert "part 2 and what follows of sequence 2 missing" in [finding.what for finding in findings]


def test_tables_behind_the_log_are_a_mismatch() -> None:
    end = LOG.ends[CHAIN]
    behind = verify(enumerate(LOG.blocks), ends={CHAIN: End(4, end.head, end.next_offset)})
    assert named(behind) == [("mismatch", 5, None, None)]
    reset = verify(enumerate(LOG.blocks), ends={CHAIN: end._replace(next_offset=2)})
    assert named(reset) == [("mismatch", 5, None, None)]


def block_at(next_offset: int | None, action: str = "VALIDATE") -> list[bytes]:
    """Two transactions, the second committing `next_offset`."""
    first = read_block(LOG.blocks[0])
    entry = read_block(LOG.blocks[1]).entries[0]._replace(action=action)  # type: ignore[arg-type]
    span = first.span._replace(next_offset=next_offset)
    return [LOG.blocks[0], *make_blocks(CHAIN, 2, first.head, [entry], span, first.observed).blocks]


def test_a_committed_offset_goes_back_only_where_a_gap_was_accepted() -> None:
    assert [f.kind for f in verify(enumerate(block_at(2))).findings] == ["mismatch"]
    assert [f.kind for f in verify(enumerate(block_at(None))).findings] == ["mismatch"]
    assert verify(enumerate(block_at(3))).findings == ()
    assert verify(enumerate(block_at(0, "ACCEPT_GAP"))).findings == ()


def test_a_trimmed_log_is_checked_from_what_is_known() -> None:
    second: Block = read_block(LOG.blocks[1])
    assert named(check(LOG.blocks[2:], LOG)) == [("missing", 1, 0, None)]
    known = {CHAIN: Anchor(2, second.head)}
    assert verify(enumerate(LOG.blocks[2:]), ends=LOG.ends, anchors=known).exit_code == 0
    wrong = {CHAIN: Anchor(2, bytes(32))}
    assert named(verify(enumerate(LOG.blocks[2:]), ends=LOG.ends, anchors=wrong)) == [("broken chain", 3, 0, None)]


def test_a_chain_does_not_begin_anew() -> None:
    restarted = [*LOG.blocks, *sample([1]).blocks]
    assert [finding.kind for finding in check(restarted, LOG).findings] == ["inserted"]


def test_nothing_checked_is_never_a_pass() -> None:
    empty = verify([])
    assert (empty.exit_code, empty.summary()) == (3, "NOTHING CHECKED: there is no block")
    unknown_end = verify(enumerate(LOG.blocks))
    assert (unknown_end.exit_code, unknown_end.open_tails) == (3, (CHAIN,))
    assert unknown_end.summary().startswith("INCOMPLETE: 1 chains, 5 blocks")
    assert verify([], ends={CHAIN: End(1, None, None)}).exit_code == 1


def test_bytes_that_are_no_block_are_named_and_do_not_stop_the_check() -> None:
    blocks = [*LOG.blocks[:2], b"junk", *LOG.blocks[2:]]
    result = check(blocks, LOG)
    assert result.findings == (
        Finding("unreadable", None, None, 2, None, "begins with 6a756e6b, not with c301" + LOG.blocks[0][2:10].hex()),
    )


@settings(max_examples=200)
@given(st.data())
def test_no_mutation_of_a_log_passes(data: st.DataObject) -> None:
    """Any drop, swap, repetition, byte change or cut, one to three at a time."""
    blocks = list(LOG.blocks)
    for _ in range(data.draw(st.integers(1, 3))):
        if not blocks:
            break
        which = data.draw(st.integers(0, len(blocks) - 1))
        kind = data.draw(st.sampled_from(["drop", "move", "repeat", "byte", "cut"]))
        if kind == "drop":
            del blocks[which]
        elif kind == "move":
            blocks.insert(data.draw(st.integers(0, len(blocks) - 1)), blocks.pop(which))
        elif kind == "repeat":
            blocks.insert(which, blocks[which])
        elif kind == "byte":
            place = data.draw(st.integers(0, len(blocks[which]) - 1))
            changed = bytearray(blocks[which])
            changed[place] ^= data.draw(st.integers(1, 255))
            blocks[which] = bytes(changed)
        else:
            del blocks[which:]
    assert check(blocks, LOG).exit_code == (0 if blocks == LOG.blocks else 1)


def test_the_samples_head_is_the_chain_over_all_entries() -> None:
    entries = [entry for data in LOG.blocks for entry in read_block(data).entries]
    assert LOG.ends[CHAIN].head == extend(bytes(32), entries)
