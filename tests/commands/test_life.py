"""The order in which `trace` tells a life."""

from __future__ import annotations

from itertools import permutations
from typing import Any, cast
from unittest.mock import create_autospec

import pytest

from audit.block import Block, Chain, Observation, Span
from audit.chain import Action, Entry
from schemas.canonical import RawPosition
from streams.stage import Message
from topology.load import load_pipeline
from waybill.batch_result import BatchResult, batch_result
from waybill.commands.trace import as_words, find
from waybill.life import Finder, Life, path_of, steps

RAW = RawPosition("cold-chain.raw", 0, 0, 7, 0)
EVENT_HASH = f"ni:///sha-256;{'0a' * 32}?ver=CBV2.0"


def written(
    stage: str, sequence: int, at: int, *actions: str, worker_clock: int = 0
) -> list[tuple[Message, Block, Entry]]:
    """A block of a stage's chain with these entries about the record, as `Finder` finds them."""
    entries = [Entry(cast(Action, action), "1.1" if action == "ATTEMPT" else "", *RAW, b"d" * 32) for action in actions]
    observed = Observation("w", worker_clock, "waybill/0", 1, "cold_chain/1")
    chain = Chain("cold-chain", stage, 0)
    block = Block(chain, sequence, 0, 1, Span("t", 0, 0, 1), b"", b"", observed, entries, [])
    return [(Message(0, sequence, at, None, b""), block, entry) for entry in entries]


def told(life: Life) -> list[str]:
    return [str(step.facts["action"]) for step in steps(life, load_pipeline("cold-chain")) if step.name == "AUDIT"]


def test_audit_entries_are_told_in_the_order_of_the_life_whatever_the_order_they_are_found_in() -> None:
    blocks = [
        written("validate", 4, 1000, "VALIDATE"),
        written("batch", 9, 1000, "ADMIT"),
        written("dispatch", 2, 1005, "ATTEMPT"),
        written("dispatch", 3, 1010, "BATCH", "DEAD"),
        written("batch", 10, 1020, "RELEASE"),
    ]
    for found in permutations(blocks):
        life = Life(RAW, audit=[entry for block in found for entry in block])
        assert told(life) == ["VALIDATE", "ADMIT", "ATTEMPT", "BATCH", "DEAD", "RELEASE"]


def test_a_zero_is_a_fact_and_what_is_not_there_is_none() -> None:
    life = Life(RAW, audit=written("validate", 0, 1000, "VALIDATE"))
    (words,) = [as_words(step) for step in steps(life, load_pipeline("cold-chain")) if step.name == "AUDIT"]
    assert "partition=0  sequence=0" in words
    assert "None" not in words


def test_the_headers_of_a_message_are_told_in_one_order() -> None:
    for headers in ((("b", b"2"), ("a", b"1")), (("a", b"1"), ("b", b"2"))):
        life = Life(RAW, submission=Message(0, 7, 1000, None, b"", headers))
        (step,) = steps(life, load_pipeline("cold-chain"))
        assert as_words(step) == "bytes=0  headers=a=1 b=2"


@pytest.mark.parametrize("asked", [EVENT_HASH, f"{EVENT_HASH}|none|none"])
def test_an_event_whose_payload_is_kept_elsewhere_is_found_by_its_hash_or_its_whole_key(asked: str) -> None:
    position = RAW._asdict()
    kept = {"key": f"{EVENT_HASH}\x1fnone\x1fnone", "payload": None, **position}
    others = [{**kept, "key": None}, {**kept, "key": "none\x1fnone"}]
    finder = create_autospec(Finder, instance=True)
    finder.records.side_effect = lambda mark, matches: [
        RAW for fields in (kept, *others) if mark in (fields["key"] or "").encode() and matches(fields)
    ]
    finder.lives.side_effect = lambda positions, audit: [Life(raw) for raw in positions]
    assert [life.raw for life in find(finder, None, load_pipeline("epcis"), asked)] == [RAW]


def test_the_clock_of_a_worker_changes_nothing() -> None:
    ahead = written("validate", 1, 1000, "VALIDATE", worker_clock=9_999_999)
    behind = written("batch", 1, 1001, "ADMIT", worker_clock=1)
    assert told(Life(RAW, audit=[*behind, *ahead])) == ["VALIDATE", "ADMIT"]


def test_a_record_of_a_split_batch_is_followed_to_the_part_that_holds_it() -> None:
    def row(name: bytes, parent: bytes | None, first: int, count: int, state: str) -> dict[str, Any]:
        return {"batch_id": name, "parent": parent, "first": first, "count": count, "state": state}

    whole, left, right = row(b"w", None, 0, 5, "split"), row(b"l", b"w", 0, 2, "sent"), row(b"r", b"w", 2, 3, "split")
    third, rest = row(b"3", b"r", 2, 1, "dead"), row(b"45", b"r", 3, 2, "pending")
    children = {b"w": [left, right], b"r": [third, rest]}
    found = [[one["batch_id"] for one in path_of(number, whole, children)] for number in range(5)]
    assert found == [[b"w", b"l"]] * 2 + [[b"w", b"r", b"3"]] + [[b"w", b"r", b"45"]] * 2
    assert Life(RAW, path=path_of(2, whole, children)).transmission == "DeadLetter"
    assert path_of(0, None, children) == []


def test_del09_the_result_of_a_batch_counts_each_of_its_records_once() -> None:
    batch, other = b"b" * 32, b"o" * 32

    def life(index: int, answer: str | None, at: int, *rows: dict[str, Any], last: bytes = batch) -> Life:
        said = [(Message(0, index, at, None, b""), {"outcome": "delivered", "stage": "dispatch", "passport": None})]
        found = Life(RAW._replace(index=index), path=list(rows), batched=[(said[0][0], {"batch_id": last})])
        if answer is not None:
            setattr(found, answer, said)
        return found

    sent = {"batch_id": batch, "state": "sent", "body_digest": b"d" * 32}
    moved = life(2, "sent", 99, sent | {"batch_id": other}, last=other)
    done = [life(0, "sent", 10, sent), life(1, "dead", 20, sent), moved]
    assert batch_result(batch, done) == BatchResult(batch, 3, 1, 2, 0, b"d" * 32, 20)
    pending = {"batch_id": batch, "state": "pending", "body_digest": None}
    assert batch_result(batch, [life(0, None, 0, pending)]) == BatchResult(batch, 1, 0, 0, 1, None, None)
    assert batch_result(b"digest of a payload".ljust(32), done) is None
