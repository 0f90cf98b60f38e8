"""I1 no loss, I3 exactly one final answer and the right one."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any

from chaos.checker.evidence import Record
from chaos.checker.facts import Answer, Facts, Place
from chaos.checker.laws.deaths import deaths, letters
from chaos.checker.verdict import Verdict
from chaos.checker.versions import Decisions, decide

ADMITTED = ("delivered", "dead in dispatch")
ANSWERS = {"ADMIT": ADMITTED, "SUPERSEDE": ADMITTED, "DUPLICATE": ("duplicate",), "CONFLICT": ("dead in batch",)}
"""What a record may be answered after the batch stage's decision."""


def no_loss(facts: Facts, verdict: Verdict) -> None:
    """I1: what was published is on raw and answered, what was acknowledged is at the partner, and nothing else is."""
    published = {(s.partition, s.offset) for s in facts.evidence.manifest}
    for partition, offset in sorted(published | facts.raw.keys()):
        ids = [f"{facts.round.raw}/{partition}/{offset}"]
        verdict.expect((partition, offset) in facts.raw, "published, but not on raw", ids)
        verdict.expect((partition, offset) in published, "on raw, but the manifest does not name it", ids)
    for where in sorted(facts.published.keys() | facts.answers.keys()):
        verdict.expect(where in facts.answers, "no final answer", facts.ids(where))
        verdict.expect(where in facts.published, "an answer to what was never published", facts.ids(where))
    for stray in facts.strays:
        topic = f"{stray.value['raw_topic']}/{stray.value['raw_partition']}/{stray.value['raw_offset']}"
        verdict.expect(False, f"a message of an own topic was dead-lettered in {stray.value.get('stage')}", [topic])
    for where, answers in facts.answers.items():
        for answer in answers:
            if answer.outcome == "delivered":
                _is_there(verdict, facts, where, answer.batch or "")


def _is_there(verdict: Verdict, facts: Facts, where: Place, batch: str) -> None:
    """An acknowledged record is in the partner's hands: unknown is not success."""
    ids = (*facts.ids(where), batch)
    if not verdict.expect(batch in facts.effect, "acknowledged, but the partner does not have its batch", ids):
        return
    content = facts.contents[batch]
    if content is not None:
        held = {record["id"] for record in content["records"]} - facts.refused.get(batch, set())
        verdict.expect(facts.record_id(where) in held, "acknowledged, but not in the batch that the partner has", ids)


def one_answer(facts: Facts, verdict: Verdict) -> None:
    """I3: end states exclude each other, and each is one that the manifest allows."""
    decisions = decide(facts)
    for where, answers in sorted(facts.answers.items()):
        said = ", ".join(answer.outcome for answer in answers)
        verdict.expect(len(answers) == 1, f"{len(answers)} final answers: {said}", facts.ids(where))
        for answer in answers:
            _right(verdict, facts, decisions, where, answer)
    _admitted_once(verdict, facts)
    letters(facts, verdict)
    deaths(facts, verdict)


def _right(verdict: Verdict, facts: Facts, decisions: Decisions, where: Place, answer: Answer) -> None:
    record, outcome, ids = facts.published.get(where), answer.outcome, facts.ids(where)
    if record is not None:
        refused = outcome == "dead in validate"
        verdict.expect(refused == (record.kind == "bad"), f"published as {record.kind}, answered {outcome}", ids)
    if outcome == "dead in validate":
        return
    decision = decisions.by_place.get(where)
    if verdict.expect(decision is not None, f"answered {outcome} without having been validated", ids) and decision:
        allowed = ANSWERS[decision.action]
        verdict.expect(outcome in allowed, f"answered {outcome}, but the log says {decision.action}", ids)
    if outcome == "duplicate":
        _compared(verdict, facts, decisions, where, answer.value["duplicate_of"], equal=True)
    elif outcome == "dead in batch":
        _compared(verdict, facts, decisions, where, answer.value["conflicts_with"], equal=False)
    else:
        _batched(verdict, facts, where, answer)


def _batched(verdict: Verdict, facts: Facts, where: Place, answer: Answer) -> None:
    """A record shares the fate of its batch."""
    batch, ids = answer.batch or "", (*facts.ids(where), answer.batch or "no batch")
    frozen = facts.batch.get(batch)
    verdict.expect(frozen is not None and where in frozen.places, "answered for a batch it is not in", ids)
    if answer.outcome == "dead in dispatch" and not answer.value["outcome_unknown"]:
        left_out = batch not in facts.effect or facts.refuses(batch, where)
        absent = left_out and facts.record_id(where) not in facts.held
        verdict.expect(absent, "dead with a known outcome, but the partner has it", ids)


def _compared(
    verdict: Verdict, facts: Facts, decisions: Decisions, where: Place, other: dict[str, Any] | None, *, equal: bool
) -> None:
    """The version that a duplicate or a conflict names is the one it met, and its content is what is said of it."""
    what = "a duplicate of" if equal else "in conflict with"
    if not verdict.expect(other is not None, f"{what} nothing", facts.ids(where)) or other is None:
        return
    named = other["raw_partition"], other["raw_offset"], other["raw_index"]
    ids = facts.ids(where, named)
    mine, theirs = facts.published.get(where), facts.published.get(named)
    verdict.expect(decisions.by_place.get(where, (None, None))[1] == named, f"{what} another version than said", ids)
    known = verdict.expect(mine is not None and theirs is not None, f"{what} what was never published", ids)
    if known and mine and theirs and mine.value is not None and theirs.value is not None:
        verdict.expect(_key(mine) == _key(theirs), f"{what} a record of another key", ids)
        verdict.expect((mine.value == theirs.value) == equal, f"{what} it, but the contents say otherwise", ids)
        admitted = decisions.by_place.get(named)
        verdict.expect(
            admitted is not None and admitted.action in ("ADMIT", "SUPERSEDE"), f"{what} what was not admitted", ids
        )


def _admitted_once(verdict: Verdict, facts: Facts) -> None:
    """Of the records of one key at most one stands, unless the others were released or superseded (BA2, BA8)."""
    standing: dict[tuple[str, int], list[Place]] = defaultdict(list)
    for where, record in sorted(facts.published.items()):
        if record.kind != "bad" and record.value is not None:
            for answer in facts.answers.get(where, []):
                if answer.outcome in ADMITTED and not _released(answer):
                    standing[_key(record)].append(where)
    for places in standing.values():
        values = [facts.published[where].value for where in places]
        if facts.round.on_conflict == "supersede":
            once = all(value not in values[:number] for number, value in enumerate(values))
            verdict.expect(once, "one content of a key was admitted more than once", facts.ids(*places))
        else:
            verdict.expect(len(places) == 1, "several records of one key were admitted", facts.ids(*places))


def _released(answer: Answer) -> bool:
    return answer.outcome == "dead in dispatch" and not answer.value["outcome_unknown"]


def _key(record: Record) -> tuple[str, int]:
    """Sensor and moment: what makes two readings the same one."""
    value = record.value or {}
    moment = datetime.fromisoformat(str(value.get("timestamp_utc") or record.time))
    return str(value.get("sensor_id")), round(moment.timestamp() * 1000)
