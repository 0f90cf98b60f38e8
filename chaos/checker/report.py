"""Owns how verdicts are told: as a table for people, as JSON for programs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from chaos.checker.facts import Facts
from chaos.checker.laws.caps import told_caps
from chaos.checker.laws.cluster import result_digest
from chaos.checker.verdict import Verdict

SHOWN = 20
"""Findings shown of one invariant."""


def last_line(facts: Facts, verdicts: list[Verdict]) -> str:
    """The result in one line."""
    findings = sum(len(verdict.findings) for verdict in verdicts)
    return f"checked records={len(facts.published)} batches={len(facts.batches)} findings={findings}"


def table(facts: Facts, verdicts: list[Verdict]) -> str:
    """One line for each invariant, its first findings below it, and the result."""
    ran = facts.round
    outcomes = ", ".join(f"{times} {name}" for name, times in sorted(_outcomes(facts).items()))
    lines = [f"seed {ran.seed}, pipeline {ran.pipeline}: {outcomes or 'no answers'}"]
    for verdict in verdicts:
        result = f"FAILED {len(verdict.findings)}" if verdict.findings else "ok"
        lines.append(f"{verdict.invariant:4} {verdict.title:40} {verdict.checked:>9,} checks  {result}")
        lines += [f"       {finding.words}: {', '.join(finding.ids)}" for finding in verdict.findings[:SHOWN]]
        if len(verdict.findings) > SHOWN:
            lines.append(f"       and {len(verdict.findings) - SHOWN} more")
    lines.append(f"{'I12':4} {'same seed, same result':40} not judged by one round; digest {result_digest(facts)}")
    return "\n".join([*lines, last_line(facts, verdicts)])


def as_json(facts: Facts, verdicts: list[Verdict]) -> dict[str, Any]:
    """The whole result, every finding included."""
    return {
        "seed": facts.round.seed,
        "pipeline": facts.round.pipeline,
        "records": len(facts.published),
        "batches": len(facts.batches),
        "restarts": sum(facts.round.restarts.values()),
        "exits": [ended["code"] for ended in facts.round.exits],
        "outcomes": dict(sorted(_outcomes(facts).items())),
        "parts": len(facts.parts),
        "reviews": len(facts.decoded("review")),
        "caps": {partner: len(told) for partner, told in sorted(told_caps(facts).items())},
        "digest": result_digest(facts),
        "findings": sum(len(verdict.findings) for verdict in verdicts),
        "invariants": [
            {
                "id": verdict.invariant,
                "title": verdict.title,
                "checked": verdict.checked,
                "findings": [finding._asdict() for finding in verdict.findings],
            }
            for verdict in verdicts
        ],
    }


def _outcomes(facts: Facts) -> Counter[str]:
    return Counter(answer.outcome for answers in facts.answers.values() for answer in answers)
