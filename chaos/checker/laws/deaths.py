"""I3, the bad end: a batch dies in dispatch only where its partner gave cause."""

from __future__ import annotations

from collections import Counter

from chaos.checker.facts import Facts
from chaos.checker.verdict import Verdict


def deaths(facts: Facts, verdict: Verdict) -> None:
    """Every batch with a dead letter of dispatch has an attempt that explains it."""
    dead = {
        answer.batch
        for answers in facts.answers.values()
        for answer in answers
        if answer.outcome == "dead in dispatch" and answer.batch in facts.batch
    }
    for batch in sorted(batch for batch in dead if batch):
        said = _explained(facts, batch)
        verdict.expect(not said, f"dead in dispatch, but {said}", [batch])


def _explained(facts: Facts, batch: str) -> str:
    """Empty, or what speaks against it. What killed workers leave behind is tried again under the same key, so that
    only what became of the last attempt explains a death, or that all attempts a batch may have are used up."""
    ran, partner = facts.round, facts.batch[batch].value["partner"]
    ahead = {key[1:]: len(rows) for key, rows in facts.write_aheads.items() if key[0] == batch}
    if not ahead:
        return "no attempt was made"
    last = max(ahead)
    if last[1] >= ran.unknown_attempts:
        return ""
    if ran.partners.get(partner, {}).get("kind") != "http":
        return "" if partner in ran.harmed else f"nothing was wrong with {partner}"
    arrived = [line for line in facts.evidence.ledger if line.kind == "attempt" and line.key == batch]
    if ahead[last] > Counter((line.life, line.attempt) for line in arrived)[last]:
        return "" if partner in ran.harmed else f"the last attempt did not reach {partner}, which was there"
    refused = batch not in facts.effect
    return "" if refused or not arrived[-1].well else f"{partner} took it at the last attempt and said so"
