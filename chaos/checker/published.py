"""Owns what must be said of a record wherever it is named, as the manifest and its place on `raw` give it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from chaos.checker.evidence import Round
from chaos.checker.facts import Facts, Place

SEPARATOR = "\x1f"
"""Joins the idempotency fields into a key."""


@lru_cache(maxsize=1)
def said(facts: Facts) -> dict[Place, dict[str, Any]]:
    """By record: `count` of its submission and, if that is on raw, `recorded_at`; if it is good also `partner`,
    `group`, `date`, `key` and `event_time`."""
    found: dict[Place, dict[str, Any]] = {}
    for submission in facts.evidence.manifest:
        at = submission.partition, submission.offset
        shared: dict[str, Any] = {"count": len(submission.records)}
        if at in facts.raw:
            shared["recorded_at"] = facts.raw[at].timestamp
        for record in submission.records:
            good = record.kind != "bad" and record.value is not None
            own = _read(facts.round, record.value or {}) if good else {}
            found[*at, record.index] = shared | own
    return found


def _read(ran: Round, value: dict[str, Any]) -> dict[str, Any]:
    """What the fields of a good record say. Its event time is in UTC with milliseconds where it is a field."""
    moment = datetime.fromisoformat(str(value["timestamp_utc"])).astimezone(UTC)
    text = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fields = {name: str(content) for name, content in value.items()} | {"event_time": text}
    return {
        "partner": ran.routing["map"].get(fields.get(ran.routing["by"]), ran.routing["default"]),
        "group": "|".join(_escaped(fields[name]) for name in ran.group_by) or "all",
        "date": moment.date().isoformat(),
        "key": SEPARATOR.join(fields[name] for name in ran.idempotency),
        "event_time": round(moment.timestamp() * 1000),
    }


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")
