"""I4, beside the bytes: what an answer tells of its record is the record's own, and stands under the record's key."""

from __future__ import annotations

from typing import Any

from chaos.checker.facts import Answer, Facts, Place, place
from chaos.checker.published import said
from chaos.checker.verdict import Verdict

ALONE: dict[str, dict[str, Any]] = {
    "dead in validate": {"key": None, "partner": None},
    "duplicate": {"partner": None},
}
"""What is told of nobody then."""
NEVER = {"raw_incarnation": 0, "passport": None, "source": None, "site": None}
"""No round makes a topic anew, replays, or publishes headers."""
EARLY: dict[str, Any] = {"batch_id": None, "answer": None, "attempts": 0, "outcome_unknown": False}
"""What an answer tells of a delivery that never was."""


def told(facts: Facts, verdict: Verdict) -> None:
    """Fields and message keys of every answer to what was published."""
    warned = {place(message.value): {"warnings": message.value["warnings"]} for message in facts.validated}
    for where, answers in sorted(facts.answers.items()):
        known = said(facts).get(where)
        for answer in answers if known is not None else ():
            wanted = NEVER | (known or {}) | warned.get(where, {}) | _of_kind(facts, where, answer.outcome)
            found = answer.whole | answer.value
            for name in sorted(wanted.keys() & found.keys()):
                words = f"the answer's {name} is {found[name]!r}, not {wanted[name]!r}"
                verdict.expect(found[name] == wanted[name], words, facts.ids(where))
            key = _message_key(facts, where, answer, wanted.get("key")).encode()
            words = f"the answer lies under the message key {answer.at.key!r}, not {key!r}"
            verdict.expect(answer.at.key == key, words, facts.ids(where))


def _of_kind(facts: Facts, where: Place, outcome: str) -> dict[str, Any]:
    """What follows from the kind of answer."""
    wanted = dict(ALONE.get(outcome, {}))
    if outcome not in ("delivered", "dead in dispatch"):
        wanted |= EARLY
    if outcome != "dead in batch":
        wanted["conflicts_with"] = None
    if outcome != "dead in validate":
        wanted["canonical"] = True
    elif where[:2] in facts.raw:  # what has no bytes is kept as `null`
        wanted["canonical"] = facts.raw[where[:2]].value is None
    return wanted


def _message_key(facts: Facts, where: Place, answer: Answer, key: str | None) -> str:
    """The record's key, its id where it has none; the batch's id where a whole batch is answered at once."""
    if answer.whole is not answer.value:
        return answer.batch or ""
    return facts.record_id(where) if key is None else key
