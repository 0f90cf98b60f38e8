"""Owns what a law says: what it looked at, and what it found wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from chaos.checker.facts import Facts


class Finding(NamedTuple):
    """One thing that breaks an invariant."""

    ids: tuple[str, ...]
    """Records, batches, partitions or blocks it is about."""
    words: str


@dataclass
class Verdict:
    """One invariant held against one round."""

    invariant: str
    title: str
    checked: int = 0
    findings: list[Finding] = field(default_factory=list)

    def expect(self, holds: bool, words: str, ids: Iterable[str]) -> bool:
        """Counts one check; notes it as a finding if it does not hold."""
        self.checked += 1
        if not holds:
            self.findings.append(Finding(tuple(ids), words))
        return holds


Law = Callable[[Facts, Verdict], None]
