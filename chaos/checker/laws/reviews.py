"""I6, the second dead letters: what an object store did not take for good lies on `review` as well (RTY-11)."""

from __future__ import annotations

from collections import Counter

from chaos.checker.facts import Decoded, Facts, place
from chaos.checker.laws.deaths import CAUSES
from chaos.checker.verdict import Verdict
from chaos.checker.wire import NotReadable

OUR_OWN = "BODY_DIGEST_CHANGED"
"""A cause of dispatch that no store has given."""

Letter = tuple[int, bytes | None, bytes | None]
"""Partition, message key and bytes of a dead letter."""


def reviews(facts: Facts, verdict: Verdict) -> None:
    """Each dead letter that an object store caused has one copy on `review`, byte for byte, and nothing else has."""
    stores = {name for name, partner in facts.round.partners.items() if partner["kind"] == "object-store"}
    due = Counter(
        (message.at.partition, message.at.key, message.at.value)
        for message in facts.decoded("dead-letter")
        if message.name == "dead_letter" and _caused(message, stores)
    )
    found = Counter(_copy(message) for message in facts.decoded("review") if message.name == "review")
    for letter in sorted(due.keys() | found.keys(), key=repr):
        words = f"{found[letter]} copies on `review` of a dead letter that asks for {due[letter]}"
        verdict.expect(found[letter] == due[letter], words, _ids(facts, letter))
    for message in facts.decoded("review"):
        where = [f"{facts.round.topic('review')}/{message.at.partition}/{message.at.offset}"]
        if verdict.expect(message.name == "review", f"a {message.name or 'tombstone'} lies on `review`", where):
            _told(verdict, facts, message)


def _caused(message: Decoded, stores: set[str]) -> bool:
    letter = message.value
    codes = {finding["code"] for finding in letter["findings"]}
    return letter["stage"] == "dispatch" and letter["partner"] in stores and bool(codes & (CAUSES.keys() - {OUR_OWN}))


def _copy(message: Decoded) -> Letter:
    return message.at.partition, message.at.key, message.value["dead_letter"]


def _ids(facts: Facts, letter: Letter) -> tuple[str, ...]:
    try:
        return facts.ids(place(facts.read(letter[2])[1]))
    except (NotReadable, KeyError):
        return (f"under the message key {letter[1]!r}",)


def _told(verdict: Verdict, facts: Facts, message: Decoded) -> None:
    """A copy tells of the attempts and the store's words what the dead letter tells."""
    try:
        letter = facts.read(message.value["dead_letter"])[1]
        finding, partner = letter["findings"][0], letter["partner"]
    except (NotReadable, LookupError):
        return  # no copy of any dead letter there is, and found as such
    why = f"{finding['code']}: {partner}: {letter['answer'] or finding['message']}"
    for name, wanted in (("why", why), ("attempts", letter["attempts"])):
        words = f"the copy's {name} is {message.value[name]!r}, the dead letter says {wanted!r}"
        verdict.expect(message.value[name] == wanted, words, facts.ids(place(letter)))
