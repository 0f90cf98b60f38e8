"""A record's canonical payload as a submission of its own: read back, judged again, and compared.

Nothing derived is believed: the event is brought into canonical form again and its hash computed again; a payload that
is not what its event gives is refused.
"""

from __future__ import annotations

from typing import Any

from schemas import errors
from schemas.errors import Finding
from schemas.pack import Record
from schemas.packs.epcis import codes
from schemas.packs.epcis.json_event import to_event
from schemas.packs.epcis.judge import KIND, Around, Rules, judge
from schemas.packs.jsontext import inspect

_NAMES = {"kind", "event", "event_hash", "sender", "receiver", "ignored"}


def read_canonical(data: bytes, rules: Rules) -> Record | tuple[Finding, ...]:
    """The record of a canonical payload, or every finding."""
    value, found = inspect(data, rules.options.max_depth)
    if value is None and not found:
        return (Finding(errors.TOMBSTONE, "", "a null value means nothing on a raw topic"),)
    if found:
        return tuple(found)
    if not isinstance(value, dict) or not isinstance(event := value.get("event"), dict):
        return (Finding(errors.WRONG_TYPE, "", "a canonical record is a JSON object with an event in it"),)
    if value.get("kind") != KIND or not _NAMES.issuperset(value):
        return (Finding(codes.NOT_CANONICAL, "", f"a canonical record has kind {KIND!r} and no other fields"),)
    names = [value.get(role, "") for role in ("sender", "receiver")]
    ignored = value.get("ignored", [])
    if not all(isinstance(name, str) for name in names) or not _is_list_of_text(ignored):
        return (Finding(errors.WRONG_TYPE, "", "sender and receiver are texts, ignored is a list of them"),)
    outcome = judge(to_event(event, {}), Around(names[0], names[1], tuple(sorted(ignored))), rules, [])
    if isinstance(outcome, Record) and outcome.payload != data:
        return (Finding(codes.NOT_CANONICAL, "", "the payload is not what its event gives"),)
    return outcome


def _is_list_of_text(item: Any) -> bool:
    return isinstance(item, list) and all(isinstance(one, str) for one in item)
