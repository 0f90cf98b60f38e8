"""I4, beside the bytes: a record goes where its fields say, under the key, group, date and times they say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from chaos.checker.facts import Effect, Facts, Place, place
from chaos.checker.published import said
from chaos.checker.verdict import Verdict

LINE = ("partner", "group", "date")
OWN = ("key", "event_time")


def routed(facts: Facts, verdict: Verdict) -> None:
    """Every place that says whom a record is for says the same, and so does every place that says when it was."""
    for message in facts.validated:
        names = (*LINE, *OWN, "count", "recorded_at")
        _expect(verdict, facts, place(message.value), message.value, names, "validated")
    for batch in facts.batches:
        for where in batch.places:
            _expect(verdict, facts, where, batch.value, LINE, "in a batch", batch.id)
    for line in facts.evidence.ledger:
        if line.key in facts.batch:
            words = f"{line.kind} at {line.partner}, for whom the batch is not"
            verdict.expect(line.partner == facts.batch[line.key].value["partner"], words, [line.key])
    for effect in facts.effects:
        _at_partner(verdict, facts, effect)


def _at_partner(verdict: Verdict, facts: Facts, effect: Effect) -> None:
    content = facts.contents[effect.batch] or {"records": []}
    bodies = {record["id"]: record for record in content["records"]}
    for where in facts.batch[effect.batch].places if effect.batch in facts.batch else ():
        _expect(verdict, facts, where, content | {"partner": effect.partner}, LINE, "at a partner", effect.batch)
        if (found := bodies.get(facts.record_id(where))) is not None:
            _expect(verdict, facts, where, found, OWN, "at a partner", effect.batch)


def _expect(
    verdict: Verdict,
    facts: Facts,
    where: Place,
    found: Mapping[str, Any],
    names: Iterable[str],
    at: str,
    *ids: str,
) -> None:
    wanted = said(facts).get(where, {})
    for name in names:
        if name in wanted:
            words = f"{at} under the {name} {found.get(name)}, its fields say {wanted[name]}"
            verdict.expect(found.get(name) == wanted[name], words, (*facts.ids(where), *ids))
