"""Owns how many records a batch for a partner may have, as its answers teach it (BAT-07): additive increase and
multiplicative decrease, as TCP finds what a path carries (RFC 5681). Pure, and without chance: the same answers at the
same times give the same caps.

    413, or a body above `max_bytes`       half of what that batch had
    429, 503 with Retry-After              half of the cap
    an answer that took longer than `sla`  half of the cap
    CALM full batches in time, HOLD apart  `step` more

A cap reaches the batch stage by way of the log, and what was frozen before is larger. So an answer counts only where
the batch was within the cap, and a halving is not repeated for what was sent before it; parts of a split batch were
cut by the answers to it and not by the cap, and tell nothing. Full batches alone let the cap grow (RFC 7661: what was
not used proves nothing), and never to a size that was refused within RECALL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from schemas.messages import CapReason, SizingPart
from streams.delivery.protocol import Outcome, OutcomeKind

CALM = 8
"""Full batches in a row, taken in time, before the cap grows."""
HOLD = 10_000
"""Milliseconds between two steps of growth: each is a message on every partition of `validated`."""
RECALL = 3_600_000
"""Milliseconds for which the cap stays below a size that was refused as too large."""


class SizeTerms(NamedTuple):
    """Bounds and pace of a partner's cap."""

    least: int
    most: int
    step: int
    sla: int | None = None
    """Milliseconds; None: any time is good."""


class Sent(NamedTuple):
    """What was answered: a whole batch, never a part of one."""

    count: int  # type: ignore[assignment]  # the field hides tuple.count, as in the delivery row
    """Records."""
    at: int
    """When its attempt began, ms."""


class Size(NamedTuple):
    """What is known of one partner. Times in ms."""

    records: int
    """The cap, as the batch stage was told last."""
    at: int = 0
    """When it was decided."""
    too_large: int = 0
    """Records of the smallest batch that was refused as too large; 0: none."""
    too_large_at: int = 0
    calm: int = 0
    """Full batches taken in time since; not kept over a restart."""

    def message(self) -> SizingPart:
        """As it stands in the partner's row."""
        return {
            "records": self.records,
            "at": self.at,
            "too_large": self.too_large,
            "too_large_at": self.too_large_at,
        }


def restored(row: Mapping[str, Any], terms: SizeTerms, now: int) -> Size:
    """What a row says, within today's bounds; no time in it is ahead of ours (fault C1)."""
    records = min(terms.most, max(terms.least, row["records"]))
    return Size(records, min(row["at"], now), row["too_large"], min(row["too_large_at"], now))


def heard(size: Size, terms: SizeTerms, sent: Sent, outcome: Outcome, now: int) -> tuple[Size, CapReason | None]:
    """What an answer makes of the cap; and why, if that is another cap than before."""
    if sent.count > size.records:
        return size, None
    if outcome.kind is OutcomeKind.TOO_LARGE:
        return too_large(size, terms, sent, now)
    # A pause of no time is none of the partner's: our token was old (401), and there is another one.
    busy = outcome.kind is OutcomeKind.PAUSED and outcome.retry_after != 0
    reason: CapReason | None = "busy" if busy else "slow" if _slow(outcome, terms) else None
    if reason is not None:
        size = size._replace(calm=0)
        return (size, None) if sent.at < size.at else _to(size, max(terms.least, size.records // 2), now, reason)
    if outcome.kind not in (OutcomeKind.DELIVERED, OutcomeKind.PARTIAL):
        return size._replace(calm=0), None
    if sent.count < size.records:
        return size, None
    return _grown(size._replace(calm=size.calm + 1), terms, now)


def too_large(size: Size, terms: SizeTerms, sent: Sent, now: int) -> tuple[Size, CapReason | None]:
    """A batch within the cap is more than the partner takes, by its word or by its `max_bytes`."""
    if sent.count > size.records or sent.count <= terms.least < size.records:
        return size, None  # of as few as it may always have it was their size and not their number
    size = size._replace(calm=0, too_large=sent.count, too_large_at=now)
    return _to(size, max(terms.least, sent.count // 2), now, "too_large")


def _slow(outcome: Outcome, terms: SizeTerms) -> bool:
    """Whether it took too long, answered or not."""
    kinds = (OutcomeKind.DELIVERED, OutcomeKind.PARTIAL, OutcomeKind.UNKNOWN)
    took = outcome.seconds
    return terms.sla is not None and took is not None and outcome.kind in kinds and took * 1000 > terms.sla


def _grown(size: Size, terms: SizeTerms, now: int) -> tuple[Size, CapReason | None]:
    if size.calm < CALM or now - size.at < HOLD:
        return size, None
    records = min(terms.most, size.records + terms.step)
    if size.too_large and records >= size.too_large and now - size.too_large_at < RECALL:
        return size, None
    return _to(size, records, now, "well")


def _to(size: Size, records: int, now: int, reason: CapReason) -> tuple[Size, CapReason | None]:
    if records == size.records:
        return size, None
    return size._replace(records=records, at=now, calm=0), reason
