"""I3, the bad end: a dead letter says all that is wrong, and a batch dies in dispatch only where there was cause."""

from __future__ import annotations

from collections import Counter
from typing import Any

from chaos.checker.facts import Facts, Place
from chaos.checker.verdict import Verdict

FATAL = "FATAL_SCHEMA_MISMATCH", "dlq", "schema_violation"
BLOCK = "COMPLIANCE_BLOCK", "regulatory-affairs", "conflict"
TIMEOUT = "RECOVERABLE_TIMEOUT", "operations", "transient_failure"
"""Error class, route and reason."""
REFUSED = FATAL
"""What is bad in the load is of wrong form."""
CONFLICTS = {"conflict": "CONFLICTING_VERSION", "supersede": "STALE_VERSION"}
"""The code of a conflict, by policy. It is a BLOCK."""
CAUSES: dict[str, tuple[tuple[str, str, str], bool | None]] = {
    "PARTNER_REFUSED": (FATAL, False),
    "PARTNER_TOO_LARGE": (FATAL, False),
    "RETRIES_EXHAUSTED": (TIMEOUT, False),
    "OUTCOME_UNKNOWN": (TIMEOUT, True),
    "STORED_OBJECT_DIFFERS": (BLOCK, True),
    "BODY_DIGEST_CHANGED": (BLOCK, None),
}
"""Codes of dispatch, and whether the outcome is unknown then; None: either may be."""


def letters(facts: Facts, verdict: Verdict) -> None:
    """Every finding is there, and class, route and reason are those of the gravest."""
    for where, answers in sorted(facts.answers.items()):
        for answer in answers:
            if answer.outcome.startswith("dead"):
                _letter(verdict, facts, where, answer.value)


def _letter(verdict: Verdict, facts: Facts, where: Place, letter: dict[str, Any]) -> None:
    stage, ids, record = letter["stage"], facts.ids(where), facts.published.get(where)
    wrong = ("",) if stage != "validate" else record.wrong if record is not None and record.kind == "bad" else None
    paths = sorted(finding["path"] for finding in letter["findings"])
    words = f"the dead letter finds fault with {paths}, wrong is {sorted(wrong or ())}"
    if not verdict.expect(bool(paths) and wrong in (None, tuple(paths)), words, ids):
        return
    code, judged, unknown = letter["findings"][0]["code"], REFUSED, None
    if stage == "batch":
        judged = BLOCK
        wanted = CONFLICTS[facts.round.on_conflict]
        verdict.expect(code == wanted, f"dead in batch for {code}, where {wanted} is the only cause", ids)
    elif stage == "dispatch":
        if not verdict.expect(code in CAUSES, f"dead in dispatch for {code}, for which no round gives cause", ids):
            return
        judged, unknown = CAUSES[code]
    said = letter["error_class"], letter["route"], letter["reason"]
    verdict.expect(said == judged, f"{code} is told as {' '.join(said)}, it is {' '.join(judged)}", ids)
    same = unknown in (None, letter["outcome_unknown"])
    verdict.expect(same, f"{code}, and yet outcome_unknown is {letter['outcome_unknown']}", ids)


def deaths(facts: Facts, verdict: Verdict) -> None:
    """Every batch with a dead letter of dispatch has an attempt that explains it."""
    dead = {
        answer.batch
        for where, answers in facts.answers.items()
        for answer in answers
        if answer.outcome == "dead in dispatch" and answer.batch in facts.batch
        if not facts.refuses(answer.batch, where)
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
    mine = [line for line in facts.evidence.ledger if (line.key, line.partner) == (batch, partner)]
    arrived = [line for line in mine if line.kind == "attempt"]
    if ahead[last] > Counter((line.life, line.attempt) for line in arrived)[last]:
        return "" if partner in ran.harmed else f"the last attempt did not reach {partner}, which was there"
    refused = batch not in facts.effect
    return "" if refused or not arrived[-1].well else f"{partner} took it at the last attempt and said so"
