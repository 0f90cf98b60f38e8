"""Which event a record is, in a few words: what tells a commissioning from a packing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

_TOLD = ("type", "action", "bizStep", "parentID")
_PREFIXES = ("urn:epcglobal:cbv:bizstep:", "https://ref.gs1.org/cbv/BizStep-")


def brief(data: bytes) -> Mapping[str, str]:
    """Type, action, business step and parent of an event, by their EPCIS names, as far as it has them; `data`: a
    payload, or a JSON event as it came. Nothing of what cannot be read, or is XML."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(value, dict):
        return {}
    inner = value.get("event")
    event: dict[str, Any] = inner if isinstance(inner, dict) else value
    found = {name: event[name] for name in _TOLD if isinstance(event.get(name), str)}
    for prefix in _PREFIXES:
        if "bizStep" in found:
            found["bizStep"] = found["bizStep"].removeprefix(prefix)
    return found
