"""I8 audit, the spans: every transaction says which input it read, without gap, and its entries are of that input."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from chaos.checker.facts import Block, Facts, Place, place
from chaos.checker.published import said
from chaos.checker.verdict import Verdict
from chaos.checker.versions import decide

SPAN = ("pipeline", "input_topic", "first_offset", "last_offset", "next_offset")
"""What the blocks of one transaction say alike."""


def spans(verdict: Verdict, facts: Facts, chain: tuple[str, int], blocks: list[Block]) -> None:
    """Follows one chain through its input. The head that was written with a block says the same as it does."""
    stage, partition = chain
    walk = _Walk(facts, stage, partition)
    heads = {m.value["counter"]: m.value for m in facts.decoded("heads") if m.name and _of(m.value, chain)}
    for sequence, parts in groupby(blocks, key=lambda block: int(block.value["sequence"])):
        values = [part.value for part in parts]
        ids = [f"audit {stage}/{partition} block {sequence}.0"]
        for words in walk.step(values):
            verdict.expect(not words, words, ids)
        if (head := heads.get(sequence)) is not None:
            for name, mine in (("processed_through", walk.through), ("committed", values[0]["next_offset"])):
                words = f"comes to {name} {mine}, the head written with it says {head[name]}"
                verdict.expect(head[name] == mine, words, ids)


def _of(row: dict[str, Any], chain: tuple[str, int]) -> bool:
    return (row["stage"], row["partition"]) == chain


class _Walk:
    """How far a chain has come in its input."""

    def __init__(self, facts: Facts, stage: str, partition: int) -> None:
        self._facts, self._stage, self._partition = facts, stage, partition
        self._input = facts.round.inputs[stage]
        messages = facts.evidence.topics.get(self._input, [])
        self._offsets = sorted(m.offset for m in messages if m.partition == partition)
        self.through = -1
        """Last offset whose effects are committed."""
        self._committed = 0
        self._lines = [
            (min(offsets), max(offsets))
            for batch in facts.batches
            if batch.value["partition"] == partition
            and (offsets := [facts.validated_offset.get(where, -1) for where in batch.places])
        ]
        """First and last `validated` offset of every batch of this partition: the windows there were."""

    def step(self, blocks: list[dict[str, Any]]) -> Iterator[str]:
        """One transaction: what is wrong with it, or an empty text for each check that holds."""
        value = blocks[0]
        for name in SPAN:
            same = all(block[name] == value[name] for block in blocks)
            yield "" if same else f"its parts say different things of {name}"
        for name, wanted in (("pipeline", self._facts.round.pipeline), ("input_topic", self._input)):
            yield "" if value[name] == wanted else f"its {name} is {value[name]}, not {wanted}"
        entries = [entry for block in blocks for entry in block["entries"]]
        yield self._read(value["first_offset"], value["last_offset"], entries)
        yield self._commits(value["next_offset"])

    def _read(self, first: int | None, last: int | None, entries: list[dict[str, Any]]) -> str:
        """Moves on over what the transaction read."""
        if first is None or last is None:
            left = entries if self._stage != "dispatch" else ()
            return f"read {first} to {last}, and has entries" if left or first != last else ""
        goes_on = next((offset for offset in self._offsets if offset > self.through), None)
        if first != goes_on or last < first or last not in self._offsets:
            self.through = max(self.through, last)
            return f"read {first} to {last}, where the input goes on at {goes_on}"
        read = [offset for offset in self._offsets if first <= offset <= last]
        self.through = last
        if self._stage == "validate":
            count = said(self._facts).get((self._partition, last, 0), {}).get("count", 0)
            if max((e["raw_index"] for e in entries if e["raw_offset"] == last), default=0) + 1 < count:
                self.through = last - 1  # the rest of this submission is for the next transaction (VA2)
            same = sorted({entry["raw_offset"] for entry in entries}) == read
        elif self._stage == "batch":
            same = [place(entry) for entry in entries] == list(self._worked(first, last))
        else:
            same = True  # its entries are of batches, which may have been read long before
        return "" if same else f"read {first} to {last}, its entries are of other input"

    def _worked(self, first: int, last: int) -> Iterator[Place]:
        """The records of which batch notes something, in their order on `validated`."""
        decided = decide(self._facts).by_place
        for message in self._facts.decoded("validated"):
            at, value = message.at, message.value
            if at.partition != self._partition or not first <= at.offset <= last:
                continue
            if message.name == "cap":
                continue
            if message.name == "retain":
                yield from (place(kept) for kept in value["keys"])
                continue
            known = place(value) in decided and self._facts.validated_offset[place(value)] == at.offset
            if known or message.name == "release":
                yield place(value)

    def _commits(self, offset: int | None) -> str:
        """The offset committed: the next one, or for batch the first of an open window; which of several were open the
        topics do not say, the heads do."""
        words = f"commits offset {offset} after reading to {self.through}"
        if self._stage != "batch" or offset is None:
            return "" if offset == self.through + 1 else words
        back = offset < self._committed
        self._committed = offset
        open_from = {first for first, _ in self._lines if first <= self.through} | {self.through + 1}
        left_behind = any(first < offset and last > self.through for first, last in self._lines)
        return words if back or left_behind or offset not in open_from else ""
