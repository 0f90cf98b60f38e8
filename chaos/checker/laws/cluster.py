"""I7 nothing open, I10 liveness, a digest of the result for I12: what the cluster and the round say of themselves."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any

from chaos.checker.facts import Facts, Place
from chaos.checker.formats import ascii_json
from chaos.checker.verdict import Verdict

EXITS = (0, 70, 72, 73, 74, 86)
"""Codes that docs/operating.md knows and that need nobody's decision: a successor goes on."""
USAGE = 2
SIGNALLED = ((-9, "kill"), (-9, "failpoint"), (-15, "early stop"))


def nothing_open(facts: Facts, verdict: Verdict) -> None:
    """I7: no transaction is open: on every partition the last stable offset is the high watermark."""
    for short in sorted(facts.admin.high):
        for partition, high in sorted(facts.admin.high[short].items()):
            stable = facts.admin.stable.get(short, {}).get(partition)
            words = f"last stable offset {stable}, high watermark {high}"
            verdict.expect(stable == high, words, [f"{facts.round.topic(short)}/{partition}"])


def liveness(facts: Facts, verdict: Verdict) -> None:
    """I10: the round drained in time, nothing is left unread, no process was restarted too often or ended in a way that
    none should, and there was anything to judge at all."""
    ran = facts.round
    verdict.expect(ran.deadline_met, "the deadline was missed", [f"seed {ran.seed}"])
    verdict.expect(ran.drained, "not drained", [f"seed {ran.seed}"])
    for stage, short in ran.inputs.items():
        last = {m.partition: m.offset for m in sorted(facts.evidence.topics.get(short, []))}
        for partition, offset in sorted(last.items()):
            committed = facts.admin.committed.get(stage, {}).get(partition) or 0
            words = f"stands at {committed}, the last message at {offset}"
            verdict.expect(committed > offset, words, [f"{stage}/{partition}"])
    for slot, times in sorted(ran.restarts.items()):
        verdict.expect(times <= ran.max_restarts, f"restarted {times} times", [f"slot {slot}"])
    for ended in ran.exits:
        words = f"ended with {ended['code']}" + (f" after {ended['by']}" if ended["by"] else "")
        verdict.expect(_may_end(ended, ran.harmed), words, [f"slot {ended['slot']}"])
    for what, there in {"published": facts.published, "frozen": facts.batches, "answered": facts.answers}.items():
        verdict.expect(bool(there), f"nothing was {what}", [f"seed {ran.seed}"])


def _may_end(ended: Mapping[str, Any], harmed: Collection[str]) -> bool:
    """Whether a process may end so: by a signal only if that was sent, and never because records could be skipped."""
    code, by = ended["code"], ended["by"]
    if code == USAGE:  # a cluster out of reach at the start
        return not ended["up"] and "cluster" in harmed
    return code in EXITS or (code, by) in SIGNALLED


def result_digest(facts: Facts) -> str:
    """I12: SHA-256 over the set of (record, outcomes, the records of its batch); no topic name, clock or batch id is
    in it, so rounds under other names can be compared. Equal for equal seeds where the pipeline is deterministic."""
    entries = sorted(
        (list(where), sorted([answer.outcome, _membership(facts, answer.batch)] for answer in answers))
        for where, answers in facts.answers.items()
    )
    return sha256(ascii_json(entries)).hexdigest()


def _membership(facts: Facts, batch: str | None) -> str:
    frozen = facts.batch.get(batch or "")
    places: list[Place] = frozen.places if frozen is not None else []
    return sha256(ascii_json(places)).hexdigest() if places else ""
