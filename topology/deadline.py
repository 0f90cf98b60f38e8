"""Owns how long a partner may take for a batch in all: the setting, and what it must leave room for."""

from __future__ import annotations

from typing import Protocol, TypeVar

from schemas.wording import RulesBroken

LONGEST = 315_360_000
"""Seconds: ten years."""
DEADLINE = (
    "seconds that a batch is given from when its delivery began, through retries, outages, pauses and restarts; what "
    "has no final answer then is a dead letter; none: as long as it takes"
)


class Timed(Protocol):
    """What every partner has."""

    @property
    def timeout(self) -> float:
        """Seconds for one attempt."""

    @property
    def deadline(self) -> float | None:
        """Seconds for all of them; None: any number."""


P = TypeVar("P", bound=Timed)


def in_time(partner: P) -> P:
    """Raises RulesBroken where a deadline is over before one attempt."""
    if partner.deadline is not None and partner.deadline < partner.timeout:
        what = f"{partner.deadline:g} s are less than one attempt may take; allowed: at least `timeout`"
        raise RulesBroken([(("deadline",), f"{what}, {partner.timeout:g} s")])
    return partner
