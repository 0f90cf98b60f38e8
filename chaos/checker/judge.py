"""Owns the list of laws: what a round is held against, in the order of the invariants' numbers."""

from __future__ import annotations

from chaos.checker.evidence import Evidence
from chaos.checker.facts import Facts
from chaos.checker.laws.answers import no_loss, one_answer
from chaos.checker.laws.atomicity import atomicity
from chaos.checker.laws.audit import audit
from chaos.checker.laws.cluster import liveness, nothing_open, same_result
from chaos.checker.laws.content import fidelity
from chaos.checker.laws.partners import one_effect, order, stable_attempts, written_ahead
from chaos.checker.verdict import Law, Verdict

LAWS: tuple[Law, ...] = (
    no_loss, one_effect, one_answer, fidelity, order, atomicity, nothing_open, audit, stable_attempts, liveness,
    written_ahead, same_result,
)  # fmt: skip


def judge(evidence: Evidence) -> tuple[Facts, list[Verdict]]:
    """Holds a round against every law."""
    facts = Facts(evidence)
    return facts, [law(facts) for law in LAWS]
