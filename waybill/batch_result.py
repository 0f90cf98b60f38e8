"""What became of a batch as a whole, read off the lives of its records. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from waybill.life import Life


class BatchResult(NamedTuple):
    """DEL-09. `committed`, `quarantined` and `in_flight` make up its records."""

    batch_id: bytes
    records: int
    committed: int
    """Acknowledged: by this batch, or by the parts that it went on in."""
    quarantined: int
    """Dead letters; also records that another batch holds by now: their keys were released when they died in this."""
    in_flight: int
    hash: bytes | None
    """SHA-256 of the body as it was sent; None: it was not, or its row is gone by age."""
    processed_at: int | None
    """When the last of its records had its answer, ms since the epoch; None while one has none."""


def batch_result(batch_id: bytes, lives: Sequence[Life]) -> BatchResult | None:
    """The result of a batch, or of a part of one. lives: of all of its records. None: no row and no record knows it as
    a batch, so the id is of something else."""
    rows = [row for life in lives for row in life.path if row["batch_id"] == batch_id]
    if not rows and all(life.batch_id != batch_id for life in lives):
        return None
    committed = quarantined = in_flight = 0
    answered = []
    for life in lives:
        answer = life.answer
        if life.batch_id != batch_id and all(row["batch_id"] != batch_id for row in life.path):
            quarantined += 1
        elif answer is None or life.in_flight:
            in_flight += 1
        else:
            committed += answer[0] == "sent"
            quarantined += answer[0] != "sent"
            answered.append(answer[1].timestamp)
    return BatchResult(
        batch_id,
        len(lives),
        committed,
        quarantined,
        in_flight,
        rows[0]["body_digest"] if rows else None,
        max(answered) if answered and not in_flight else None,
    )
