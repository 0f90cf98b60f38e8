"""Owns the list of laws: what a round is held against, in the order of the invariants' numbers.

I12, same seed, same result, takes two runs of one input; no round has those. `tests/system/test_life.py` has."""

from __future__ import annotations

from chaos.checker.facts import Facts
from chaos.checker.laws.answers import no_loss, one_answer
from chaos.checker.laws.atomicity import atomicity
from chaos.checker.laws.audit import audit
from chaos.checker.laws.cluster import liveness, nothing_open
from chaos.checker.laws.content import fidelity
from chaos.checker.laws.partners import one_effect, order, stable_attempts, written_ahead
from chaos.checker.verdict import Law, Verdict

LAWS: dict[str, tuple[str, Law]] = {
    "I1": ("no loss", no_loss),
    "I2": ("no duplicate effect", one_effect),
    "I3": ("one final answer, and the right one", one_answer),
    "I4": ("byte fidelity", fidelity),
    "I5": ("order within a group", order),
    "I6": ("atomicity", atomicity),
    "I7": ("no open transaction", nothing_open),
    "I8": ("audit complete", audit),
    "I9": ("stable attempts", stable_attempts),
    "I10": ("liveness", liveness),
    "I11": ("nothing after fencing", written_ahead),
}


def hold(facts: Facts, invariant: str) -> Verdict:
    """Holds a round against one law."""
    title, law = LAWS[invariant]
    verdict = Verdict(invariant, title)
    law(facts, verdict)
    return verdict


def judge(facts: Facts) -> list[Verdict]:
    """Holds a round against every law."""
    return [hold(facts, invariant) for invariant in LAWS]
