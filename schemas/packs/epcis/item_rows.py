"""Owns the rows of what is known of items: their keys and their forms, which are JSON texts.

- `item`: state, parent, what was done last and by which event, lot and expiry;
- `children`, `page`: what was packed into a container (`contents.py`);
- `event`: which record told an event that changed something, or that the event was declared an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from schemas.canonical import UNIT_SEPARATOR

Find = Callable[[str], str | None]
"""The row of a key."""


def row_key(kind: str, name: str) -> str:
    """The key of a row."""
    return f"{kind}{UNIT_SEPARATOR}{name}"


def text_of(value: Any) -> str:
    """A row."""
    return orjson.dumps(value).decode()


class Item(NamedTuple):
    """What is known of an item."""

    gone: bool
    parent: str
    """What it is packed in; empty: nothing."""
    was: str
    """What it was unpacked from."""
    did: str
    """What its last change was: add, pack, unpack, delete."""
    event: str
    """Hash of the event that made it."""
    made: str
    """Hash of the event that commissioned it."""
    lot: str
    expiry: str

    def text(self) -> str:
        """The row."""
        row: dict[str, Any] = {name: value for name, value in self._asdict().items() if name != "gone" and value}
        return text_of({"state": "decommissioned" if self.gone else "commissioned"} | row)


def find_item(find: Find, name: str) -> Item | None:
    """The item as its row has it, whether its last event counts or not."""
    text = find(row_key("item", name))
    if text is None:
        return None
    row = orjson.loads(text)
    return Item(row["state"] == "decommissioned", *(row.get(name, "") for name in Item._fields[1:]))
