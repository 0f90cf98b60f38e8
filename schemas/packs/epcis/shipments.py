"""Owns the pass over a whole document that its shipments need before they can be judged (option `dscsa`).

What a refused event says is not believed: a shipment cannot stand on a commissioning that nobody took.
"""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from schemas.errors import Finding
from schemas.pack import Record
from schemas.packs.epcis import codes
from schemas.packs.epcis.event import Event
from schemas.packs.epcis.known import InFile
from schemas.packs.epcis.options import Options
from schemas.packs.epcis.pieces import Read
from schemas.packs.epcis.transaction import Around, FileFacts
from schemas.packs.epcis.xml_text import Places

_SHIPPING = b"shipping"
"""Stands in every spelling of the business step."""


def is_told_in(data: bytes, options: Options) -> bool:
    """Whether a document may tell of a shipment that has rules to keep."""
    return options.dscsa and _SHIPPING in data


def gather(around: Around, data: bytes, places: Places, read: Read, options: Options) -> FileFacts:
    """What a document says of its shipments. `read` judges its events one by one. Raises TooMany."""
    events = InFile(options.max_file_items)
    events.learn(_accepted(data, places, read, options.max_event_bytes))
    return FileFacts(around, events)


def _accepted(data: bytes, places: Places, read: Read, largest: int) -> Iterator[Event]:
    for piece in places.of(data):
        if len(piece) <= largest and isinstance(outcome := read(piece), Record):
            yield orjson.loads(outcome.payload)["event"]


def too_many(options: Options) -> Finding:
    """Of a document that is refused as a whole."""
    message = f"a document with shipments that mentions more than {options.max_file_items} items; send it in parts"
    return Finding(codes.TOO_MANY_ITEMS, "", message)
