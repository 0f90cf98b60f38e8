"""I4, beside the bytes: a record goes where its fields say, under the group and the date they say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from chaos.checker.facts import Facts, Place, place
from chaos.checker.verdict import Verdict

NAMES = ("partner", "group", "date")


@lru_cache(maxsize=1)
def destinations(facts: Facts) -> dict[Place, dict[str, str]]:
    """Partner, group and date of every good record, from what was published."""
    ran, found = facts.round, {}
    for where, record in facts.published.items():
        if record.kind != "bad" and record.value is not None:
            fields = {name: str(value) for name, value in record.value.items()}
            moment = datetime.fromisoformat(fields["timestamp_utc"]).astimezone(UTC)
            found[where] = {
                "partner": ran.routing["map"].get(fields.get(ran.routing["by"]), ran.routing["default"]),
                "group": "|".join(_escaped(fields[name]) for name in ran.group_by) or "all",
                "date": moment.date().isoformat(),
            }
    return found


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")


def routed(facts: Facts, verdict: Verdict) -> None:
    """Every place that says whom a record is for says the same."""
    for message in facts.validated:
        _expect(verdict, facts, place(message.value), message.value, "validated")
    for batch in facts.batches:
        for where in batch.places:
            _expect(verdict, facts, where, batch.value, "in a batch", batch.id)
    for effect in facts.effects:
        content = facts.contents[effect.batch] or {}
        for where in facts.batch[effect.batch].places if effect.batch in facts.batch else ():
            _expect(verdict, facts, where, content | {"partner": effect.partner}, "at a partner", effect.batch)


def _expect(verdict: Verdict, facts: Facts, where: Place, found: Mapping[str, Any], at: str, *ids: str) -> None:
    wanted = destinations(facts).get(where)
    for name in NAMES if wanted is not None else ():
        words = f"{at} under the {name} {found.get(name)}, its fields say {wanted[name]}" if wanted else ""
        verdict.expect(wanted is not None and found.get(name) == wanted[name], words, (*facts.ids(where), *ids))
