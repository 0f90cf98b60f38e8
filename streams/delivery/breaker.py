"""When a partner as a whole is left alone: closed, open, half-open with one probe (RTY-08). Pure: time is passed in.

closed ──failures in a row──> open ──wait──> half-open ──probe fails──> open, for longer
   ^──────────────── any attempt that the partner answers well ────────────────┘
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class BreakerTerms:
    """When a breaker opens, and for how long. Times in ms."""

    failures: int
    """In a row; 0: it never opens."""
    first: int
    """Wait before the first probe; doubled with each that fails."""
    longest: int


OFF = BreakerTerms(0, 0, 0)


@dataclass(slots=True)
class Breaker:
    """The breaker of one partner. What is in flight when it opens stays in flight."""

    terms: BreakerTerms
    streak: int = 0
    """Failures in a row, while it is closed."""
    openings: int = 0
    """How often it has opened since the partner was last well; 0: it is closed."""
    until: int = 0
    """When the next probe may go out."""

    @property
    def closed(self) -> bool:
        return self.openings == 0

    def allows(self, now: int, probing: bool) -> bool:
        """Whether an attempt may begin; `probing`: one is out that began since the breaker opened."""
        return self.closed or (self.until <= now and not probing)

    def failed(self, now: int, probe: bool, rng: Random) -> bool:
        """An attempt failed through the partner's fault; `probe`: it began while the breaker was open. True: the
        breaker has opened by it, for the first time or again. Failures of attempts that began before say nothing new.
        """
        if not self.terms.failures:
            return False
        if self.closed:
            self.streak += 1
            if self.streak < self.terms.failures:
                return False
        elif not probe:
            return False
        self.streak = 0
        self.openings += 1
        wait = min(self.terms.first * 2 ** min(self.openings - 1, 30), self.terms.longest)
        self.until = now + int(wait * rng.uniform(0.8, 1.2))  # not all workers at once (RTY-05)
        return True

    def succeeded(self) -> None:
        """The partner answered well, whatever it said of the batch."""
        self.streak = self.openings = self.until = 0
