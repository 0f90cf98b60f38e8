"""Owns which parts a frozen batch can have, and their ids (DI4). Pure.

A batch is only ever cut in halves: the first `count // 2` records and the rest, and those again. So its parts are the
nodes of one tree, whoever cuts and why; and the id of each is that of a batch of just these records (BA7).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from schemas.members import Member
from streams.batch.window import MANIFEST_TAIL, Line, manifest_head, manifest_record


class Part(NamedTuple):
    """One node of the tree."""

    batch_id: bytes
    parent: bytes | None
    first: int
    count: int  # type: ignore[assignment]  # the field hides tuple.count, as in the delivery row


def part_id(batched: Mapping[str, Any], records: Sequence[Member]) -> bytes:
    """The id of a batch of these records (BA7). `batched`: the message of the frozen batch they lie in; `records`: its
    members, or some of them."""
    return _id(batched, [_member(record) for record in records])


def find_part(batched: Mapping[str, Any], records: Sequence[Member], batch_id: bytes) -> Part | None:
    """The part that has this id, the whole batch included; None if it has none such. `records`: all its members."""
    whole = Part(batched["batch_id"], None, 0, len(records))
    if whole.batch_id == batch_id:
        return whole
    parts = _below(batched, [_member(record) for record in records], whole)
    return next((part for part in parts if part.batch_id == batch_id), None)


def halves(first: int, count: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where a part of several records is cut: first record and number of records of each half."""
    middle = count // 2
    return (first, middle), (first + middle, count - middle)


def _below(batched: Mapping[str, Any], members: Sequence[str], part: Part) -> Iterator[Part]:
    if part.count > 1:
        for first, count in halves(part.first, part.count):
            half = Part(_id(batched, members[first : first + count]), part.batch_id, first, count)
            yield half
            yield from _below(batched, members, half)


def _member(record: Member) -> str:
    return manifest_record(json.dumps(record.source.topic), record.raw, record.digest)


def _id(batched: Mapping[str, Any], members: Sequence[str]) -> bytes:
    head = manifest_head(batched["pipeline"], batched["partition"], Line(batched["group"], batched["date"]))
    return sha256((head + ",".join(members) + MANIFEST_TAIL).encode()).digest()
