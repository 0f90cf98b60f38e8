"""Facts about a batch: how many events of which kind, for which items, between which times."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.packs.epcis.event import EPC_LISTS, QUANTITY_LISTS


def summarize(payloads: Sequence[bytes]) -> Mapping[str, Any]:
    """Counts by event type and business step, items and classes named, first and last event time, declarations."""
    events = [json.loads(payload)["event"] for payload in payloads]
    times = sorted(event["eventTime"] for event in events)
    items = {epc for event in events for name in EPC_LISTS for epc in event.get(name, ())}
    items |= {event["parentID"] for event in events if "parentID" in event}
    classes = {one.get("epcClass", "") for event in events for name in QUANTITY_LISTS for one in event.get(name, ())}
    return {
        "events": len(events),
        "types": dict(sorted(Counter(event["type"] for event in events).items())),
        "biz_steps": dict(sorted(Counter(event.get("bizStep", "none") for event in events).items())),
        "error_declarations": sum("errorDeclaration" in event for event in events),
        "items": len(items),
        "classes": len(classes),
        "first": times[0] if times else None,
        "last": times[-1] if times else None,
    }
