"""Owns the pass over a whole document that its shipments need before they can be judged (option `dscsa`).

What a refused event says is not believed: a shipment cannot stand on a commissioning that nobody took.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from schemas.errors import Finding
from schemas.pack import CANONICAL_TYPE, Record, Refusal, Steps
from schemas.packs.epcis import codes
from schemas.packs.epcis.event import Event
from schemas.packs.epcis.judge import Rules
from schemas.packs.epcis.known import InFile, TooMany
from schemas.packs.epcis.options import Options
from schemas.packs.epcis.transaction import Around, FileFacts, is_shipment

_SHIPPING = b"shipping"
"""Stands in every spelling of the business step."""


def is_told_in(data: bytes, options: Options) -> bool:
    """Whether a document may tell of a shipment that has rules to keep."""
    return options.dscsa and _SHIPPING in data


def gather(around: Around, judged: Iterable[Record | Refusal], rules: Rules) -> Steps[FileFacts]:
    """What a document says of its shipments, event by event. Raises TooMany where it mentions too many items, or its
    shipments together hold too many: each shipment's record names all of its own."""
    options = rules.options
    events = InFile(options.max_file_items)
    shipments: list[Event] = []
    for item in judged:
        _take(item, events, shipments)
        yield
    events.sort()
    facts = FileFacts(around, events, rules.state)
    left = options.max_file_items
    for shipment in shipments:
        for cost in facts.cost(shipment):
            left -= cost
            if left < 0:
                raise TooMany
        yield
    return facts


def _take(item: Record | Refusal, events: InFile, shipments: list[Event]) -> None:
    """Learns of an event that is taken. A shipment, which cannot be judged yet, is added to `shipments`."""
    if isinstance(item, Refusal) and item.content_type != CANONICAL_TYPE:
        return
    event = orjson.loads(item.payload if isinstance(item, Record) else item.original)["event"]
    if is_shipment(event):
        shipments.append(event)
    if isinstance(item, Record):
        events.learn(event)


def too_many(options: Options) -> Finding:
    """Of a document that is refused as a whole."""
    message = (
        f"more than {options.max_file_items} items in a document with shipments, or in its shipments; send it in parts"
    )
    return Finding(codes.TOO_MANY_ITEMS, "", message)
