"""How often a partner may be asked: a token bucket (RTY-09). Pure: the time is passed in; it starts empty (DI7)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RateTerms:
    """Attempts that a partner allows."""

    interval: float
    """Milliseconds in which one token comes; 0: as many as wanted."""
    burst: int = 1
    """Tokens that can be saved up."""


FREE = RateTerms(0.0)


@dataclass(slots=True)
class Bucket:
    """Tokens of one partner."""

    terms: RateTerms
    _tokens: float = 0.0
    _at: int | None = None

    def ready(self, now: int) -> bool:
        """Whether a token is there."""
        if not self.terms.interval:
            return True
        if self._at is not None and now > self._at:
            self._tokens = min(self.terms.burst, self._tokens + (now - self._at) / self.terms.interval)
        self._at = now if self._at is None else max(self._at, now)
        return self._tokens >= 1.0

    def take(self) -> None:
        """Uses the token that `ready` saw."""
        if self.terms.interval:
            self._tokens -= 1.0
