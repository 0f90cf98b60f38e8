"""A record's canonical payload as a submission of its own: read back, judged again, and compared.

Nothing derived is believed: the event is brought into canonical form again and its hash computed again; a payload that
is not what its event gives is refused.
"""

from __future__ import annotations

from typing import Any

from schemas import errors
from schemas.errors import Finding
from schemas.pack import Record, Refusal
from schemas.packs.epcis import codes
from schemas.packs.epcis.json_event import to_event
from schemas.packs.epcis.judge import KIND, Around, Outcome, Rules, judge
from schemas.packs.epcis.transaction import read_transaction
from schemas.packs.jsontext import inspect

_NAMES = {"kind", "event", "event_hash", "sender", "receiver", "ignored", "transaction"}


def read_canonical(data: bytes, rules: Rules) -> Outcome:
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
    transaction = read_transaction(value.get("transaction", {}))
    if transaction is None:
        return (Finding(errors.WRONG_TYPE, "transaction", "is not what a shipment's record says beside its event"),)
    around = Around(names[0], names[1], tuple(sorted(ignored)), about=lambda _: transaction)
    outcome = judge(to_event(event, {}), around, rules, [])
    if isinstance(outcome, (Record, Refusal)) and data != _written(outcome):
        return (Finding(codes.NOT_CANONICAL, "", "the payload is not what its event gives"),)
    return outcome


def _written(outcome: Record | Refusal) -> bytes:
    return outcome.payload if isinstance(outcome, Record) else outcome.original


def _is_list_of_text(item: Any) -> bool:
    return isinstance(item, list) and all(isinstance(one, str) for one in item)
