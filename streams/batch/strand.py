"""What the records of one window from one raw partition have in common, made once for all of them."""

from __future__ import annotations

from typing import NamedTuple

from audit.block import TAGS, Tag
from schemas.avro import long, text
from schemas.kept import Kept
from schemas.validated import Shared
from streams.batch.window import Line, member_format

MOST = 8192
"""Strands kept at a time; dates pass, and groups may be many."""


class Strand(NamedTuple):
    """Records of one line from one raw partition."""

    line: Line
    partner: str
    source: tuple[str, int]
    """Raw topic and partition."""
    incarnation: int
    admitted: Tag
    """Of their audit entries where they are admitted."""
    member: bytes
    """Their text in a manifest, with room for digest, offset and index."""
    row_source: bytes
    row_line: bytes
    """Fields that their rows in `idempotency` share."""


def strands() -> Kept[Shared, Strand]:
    """Strands by what their messages begin with."""
    return Kept(_strand, MOST)


def _strand(shared: Shared) -> Strand:
    group, date, partner, topic, incarnation, partition = shared
    return Strand(
        Line(group, date),
        partner,
        (topic, partition),
        incarnation,
        TAGS["ADMIT", "", topic, incarnation, partition],
        member_format(topic, incarnation, partition),
        text(topic) + long(incarnation) + long(partition),
        text(group) + text(date),
    )
