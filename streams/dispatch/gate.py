"""Owns what one partner lets through: its pauses, its breaker, what it allows the lanes together, and the size of its
batches (DI7).

Pure: the time is passed in. Deliveries asks before each attempt and tells every answer; what stands here is of the
partner as a whole, never of one batch.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from schemas.delivery import Row
from schemas.messages import CapReason, PartnerStanding, PartnerState
from streams.delivery.breaker import Breaker
from streams.delivery.protocol import Outcome, OutcomeKind
from streams.dispatch.allowance import Allowance
from streams.dispatch.attempts import PartnerTerms, put_off
from streams.dispatch.sizing import Sent, Size, heard, restored, too_large
from topology.model import STANDARD, Lane


@dataclass(slots=True, eq=False)
class Batch:
    """An unsettled batch and where it stands."""

    partition: int
    row: Row
    open: bool = False
    """An attempt of ours is out and its answer will be taken."""


class Charge(NamedTuple):
    """An attempt that failed while the breaker was closed, and counts against its batch unless it opens."""

    batch: Batch
    life: int
    known: bool
    """It failed; else it ended unknown."""


class Heard(NamedTuple):
    """What an answer says of the partner."""

    outage: bool = False
    """The attempt failed because the partner as a whole is down."""
    give_back: tuple[Charge, ...] = ()
    """Attempts before it that this outage cost, too."""
    changed: bool = False
    """`Gate.row` is to be written."""
    cap: CapReason | None = None
    """Why `Gate.cap` is another one now."""


@dataclass(slots=True, eq=False)
class Gate:
    """One partner, as the thread sees it that owns its batches."""

    partner: str
    terms: PartnerTerms
    allowance: Allowance
    lane: Lane = STANDARD
    outdone: bool = False
    """Something is ready, and waits for the limits that all lanes share."""
    breaker: Breaker = field(init=False)
    not_before: int = 0
    paused: bool = False
    """An operator has ordered that nothing is sent."""
    ready: deque[Batch] = field(default_factory=deque)
    """Heads of groups whose wait is over."""
    waiting: dict[bytes, Batch] = field(default_factory=dict)
    """Every unsettled batch, in the order they came."""
    standing: PartnerState | None = None
    """Why it is left alone, as the table says or is to say."""
    size: Size | None = None
    """What was learnt about the size of its batches; None: nothing yet."""
    home: int | None = None
    """Partition of `batched` in whose table its row stands."""
    _probe: Batch | None = None
    _charges: list[Charge] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.breaker = Breaker(self.terms.breaker)

    def free(self, now: int) -> bool:
        """Whether one more attempt may go out; asked while something is ready."""
        if self.paused or self.not_before > now or not self.breaker.allows(now, self._probe is not None):
            self.rest()
            return False
        free = self.allowance.free(self.lane, now)
        self.outdone = not free
        return free

    def rest(self) -> None:
        """Nothing is to go out just now: others need not wait for it."""
        self.outdone = False
        self.allowance.rest(self.lane)

    def begin(self, batch: Batch) -> None:
        """An attempt goes out."""
        self.allowance.begin(self.lane)
        if not self.breaker.closed:
            self._probe = batch

    def end(self, batch: Batch) -> bool:
        """An attempt is over, or forgotten. True: it was the probe."""
        self.allowance.end(self.lane)
        was_probe = self._probe is batch
        if was_probe:
            self._probe = None
        return was_probe

    def hear(self, batch: Batch, outcome: Outcome, probe: bool, now: int, rng: Random) -> Heard:
        """An attempt of `batch` was answered; `probe` as `end` said."""
        self.home = batch.partition
        found = self._hear(batch, outcome, probe, now, rng)
        terms, row = self.terms.sizing, batch.row
        if terms is None or row.parent is not None or found.outage:
            return found
        sent = Sent(row.count, row.last_attempt_at)
        return self._resized(found, *heard(self._size(), terms, sent, outcome, now))

    def found_too_large(self, batch: Batch, now: int) -> Heard:
        """A batch is above the partner's own bounds, and was not sent."""
        self.home = batch.partition
        terms, row = self.terms.sizing, batch.row
        if terms is None or row.parent is not None:
            return Heard()
        return self._resized(Heard(), *too_large(self._size(), terms, Sent(row.count, now), now))

    def _size(self) -> Size:
        return self.size or Size(self.cap or 0)

    def _resized(self, found: Heard, size: Size, reason: CapReason | None) -> Heard:
        before, self.size = self._size(), size
        return found._replace(changed=found.changed or size._replace(calm=before.calm) != before, cap=reason)

    @property
    def cap(self) -> int | None:
        """Records that a batch for it may have; None: nobody watches."""
        terms = self.terms.sizing
        return None if terms is None else terms.most if self.size is None else self.size.records

    @property
    def row(self) -> PartnerState | None:
        """As it stands in the table; None: there is nothing to tell."""
        size = self.size if self.size is not None and self.size.at else None
        if self.standing is None and size is None:
            return None
        at = size.at if size else 0
        well: PartnerState = {
            "partner": self.partner, "state": "well", "at": at, "until": at, "openings": 0, "answer": None,
            "sizing": None,
        }  # fmt: skip
        return {**(self.standing or well), "sizing": size.message() if size else None}

    def _hear(self, batch: Batch, outcome: Outcome, probe: bool, now: int, rng: Random) -> Heard:
        match outcome.kind:
            case OutcomeKind.PAUSED | OutcomeKind.STOPPED:
                return self._left_alone(outcome, now)
            case OutcomeKind.FAILED:
                return self._failed(batch, outcome, probe, now, rng)
            case OutcomeKind.UNKNOWN if not outcome.at_work:
                return self._failed(batch, outcome, probe, now, rng)
            case _:
                self._charges.clear()
                self.breaker.succeeded()
                changed, self.standing = self.standing is not None, None
                return Heard(changed=changed)

    def _left_alone(self, outcome: Outcome, now: int) -> Heard:
        wait = put_off(outcome)
        if not wait:
            return Heard()
        self.not_before = max(self.not_before, now + wait)
        self.allowance.put_off(self.not_before)
        self._stands("stopped" if outcome.kind is OutcomeKind.STOPPED else "paused", self.not_before, outcome, now)
        return Heard(changed=True)

    def _failed(self, batch: Batch, outcome: Outcome, probe: bool, now: int, rng: Random) -> Heard:
        if self.breaker.failed(now, probe, rng):
            self._stands("open", self.breaker.until, outcome, now)
            charges, self._charges = tuple(self._charges), []
            return Heard(True, charges, True)
        if self.breaker.closed:
            if self.terms.breaker.failures:
                self._charges.append(Charge(batch, batch.row.life, outcome.kind is OutcomeKind.FAILED))
            return Heard()
        return Heard(outage=True)

    def _stands(self, state: PartnerStanding, until: int, outcome: Outcome, now: int) -> None:
        self.standing = {
            "partner": self.partner,
            "state": state,
            "at": now,
            "until": until,
            "openings": self.breaker.openings,
            "answer": outcome.answer,
            "sizing": None,
        }

    def take_over(self, standing: PartnerState, now: int) -> None:
        """What the table says of the partner, after a restart or from the worker before. It is left alone no longer
        from now than it would have been in all: the clock that wrote it may have been ahead of ours (fault C1)."""
        if self.terms.sizing is not None and standing["sizing"] is not None:
            self.size = restored(standing["sizing"], self.terms.sizing, now)
        if standing["state"] == "well":
            return
        until = min(standing["until"], now + max(0, standing["until"] - standing["at"]))
        self.standing = standing
        if standing["openings"] and self.terms.breaker.failures:
            self.breaker.openings, self.breaker.until = standing["openings"], until
        if standing["state"] != "open":
            self.not_before = max(self.not_before, until)
            self.allowance.put_off(self.not_before)

    def state(self, now: int) -> str:
        """In a word: closed, open, half-open, paused or stopped."""
        if self.not_before > now and self.standing is not None and self.standing["state"] != "open":
            return self.standing["state"]
        if self.breaker.closed:
            return "closed"
        return "open" if self.breaker.until > now else "half-open"
