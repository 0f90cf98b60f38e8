"""Which event a record is, in a few words: what tells a commissioning from a packing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from schemas.packs.epcis.event import value

_TOLD = ("type", "action", "bizStep", "parentID")


def brief(data: bytes) -> Mapping[str, str]:
    """Type, action, business step and parent of an event, by their EPCIS names, as far as it has them; `data`: a
    payload, or a JSON event as it came. Nothing of what cannot be read, or is XML."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(found, dict):
        return {}
    inner = found.get("event")
    event: dict[str, Any] = inner if isinstance(inner, dict) else found
    return {name: value(name, event[name]) for name in _TOLD if isinstance(event.get(name), str)}
