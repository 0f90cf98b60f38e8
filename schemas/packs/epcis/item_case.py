"""One event before the rows of items: what it does to them, and why it may not. The rules are those of `state.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson

from schemas.errors import Finding
from schemas.packs.epcis import codes
from schemas.packs.epcis.contents import MOST_CHILDREN, contents_of
from schemas.packs.epcis.item_rows import Find, Item, find_item, row_key
from schemas.packs.epcis.known import Product

MOST_TOUCHED = 50_000
"""Items that one event may change with all that is packed in them."""


class Case:
    """One event before the rows."""

    def __init__(self, told: dict[str, Any], find: Find, died: Callable[[str], bool], cascade: bool) -> None:
        self._told, self._find, self._died, self._cascade = told, find, died, cascade
        self._event: str = told["event"]
        self._counts: dict[str, bool] = {}
        self._items: dict[str, Item | None] = {}
        self.changes: dict[str, str | None] = {}
        self.lacks: list[str] = []
        """Rows of what was never commissioned, as far as the findings were asked for."""

    def run(self) -> Iterator[Finding]:
        """Every finding. Without any, `changes` are the rows from now on."""
        told = self._told
        on = [(f"{name}[{index}]", key) for name, keys in told["on"].items() for index, key in enumerate(keys)]
        inputs = [(path, key) for path, key in on if not path.startswith("output")]
        outputs = [(path, key) for path, key in on if path.startswith("output")]
        match told["do"]:
            case "add":
                yield from self._add(inputs)
            case "make":
                yield from self._delete(inputs)
                yield from self._add(outputs)
            case "delete":
                yield from self._delete(inputs)
            case "pack":
                yield from self._pack(told.get("parent", ""), inputs)
            case "unpack":
                yield from self._unpack(told.get("parent", ""), inputs)
            case "unpack all":
                yield from self._unpack_all(told.get("parent", ""))
            case "observe":
                yield from self._there([*self._parent(), *inputs])

    # ---- what is done ------------------------------------------------------------------------------

    def _add(self, on: list[tuple[str, str]]) -> Iterator[Finding]:
        for path, key in _once(on):
            item = self._item(key)
            if item is None:
                lot, expiry = self._told.get("lot", ""), self._told.get("expiry", "")
                self._put(key, Item(False, "", "", "add", self._event, self._event, lot, expiry))
            elif item.gone:
                yield self._decommissioned(path, key, item)
            else:
                words = f"{key} is commissioned already{self._by(item.made)}"
                yield Finding(codes.ITEM_COMMISSIONED_TWICE, path, words)

    def _delete(self, on: list[tuple[str, str]]) -> Iterator[Finding]:
        found = list(self._there(on))
        yield from found
        if found:
            return
        left, touched = [key for _, key in on], 0
        while left:
            key = left.pop()
            item = self._item(key)
            if item is None or item.gone:
                continue  # packed in two of them
            touched += 1
            if touched > MOST_TOUCHED:
                words = f"more than {MOST_TOUCHED} items with all that is packed in them"
                yield Finding(codes.TOO_MANY_CHILDREN, "", words)
                return
            if self._cascade:
                left += self._children(key)
            self._put(key, item._replace(gone=True, was="", did="delete", event=self._event))

    def _pack(self, parent: str, on: list[tuple[str, str]]) -> Iterator[Finding]:
        found = list(self._there([*self._parent(), *on]))
        above = self._above(parent)
        for path, key in _once(on):
            item = self._item(key)
            if item is None or item.gone:
                continue
            if key in above:
                found.append(Finding(codes.PACKED_INTO_ITSELF, path, f"{parent} lies in {key}"))
            elif (other := self._lies_in(item)) and other != parent:
                words = f"{key} lies in {other}{self._by(item.event)}"
                found.append(Finding(codes.ITEM_IN_OTHER_PARENT, path, words))
        yield from found
        if found or not parent:
            return
        new = {key: item for _, key in on if (item := self._item(key)) and self._lies_in(item) != parent}
        if not new:
            return
        contents = contents_of(parent, self._find)
        if contents.untidy(len(new)):
            names = contents.names(self._find)
            inside = self._of_these(names, parent)
            if (many := len(inside) + len(new)) > MOST_CHILDREN:
                words = f"{many} items in {parent}; {MOST_CHILDREN} are kept track of"
                yield Finding(codes.TOO_MANY_CHILDREN, "parentID", words)
                return
            self.changes |= contents.tidy(names, inside, list(new), lambda name: find_item(self._find, name))
        else:
            self.changes |= contents.add(list(new))
        for key, item in new.items():
            self._put(key, item._replace(parent=parent, was="", did="pack", event=self._event))

    def _unpack(self, parent: str, on: list[tuple[str, str]]) -> Iterator[Finding]:
        found = list(self._there([*self._parent(), *on]))
        yield from found
        if not found:
            self._take_out(parent, [key for _, key in on])

    def _unpack_all(self, parent: str) -> Iterator[Finding]:
        found = list(self._there(self._parent()))
        yield from found
        if not found:
            self._take_out(parent, self._children(parent))

    def _take_out(self, parent: str, keys: Iterable[str]) -> None:
        """An item that does not lie in the parent stays where it is."""
        for key in keys:
            item = self._item(key)
            if parent and item is not None and self._lies_in(item) == parent:
                self._put(key, item._replace(parent="", was=parent, did="unpack", event=self._event))

    # ---- what is known -----------------------------------------------------------------------------

    def product(self, key: str) -> Product | None:
        """See goods.Rows."""
        item = self._item(key)
        return None if item is None or item.gone else Product(item.lot, item.expiry)

    def contents(self, key: str) -> list[str]:
        """See goods.Rows."""
        item = self._item(key)
        return [] if item is None or item.gone else self._children(key)

    def _parent(self) -> list[tuple[str, str]]:
        return [("parentID", self._told["parent"])] if self._told.get("parent") else []

    def _there(self, on: Iterable[tuple[str, str]]) -> Iterator[Finding]:
        """What is not commissioned, or no longer."""
        for path, key in _once(on):
            item = self._item(key)
            if item is None:
                self.lacks.append(row_key("item", key))
                yield Finding(codes.ITEM_NOT_COMMISSIONED, path, f"{key} was never commissioned")
            elif item.gone:
                yield self._decommissioned(path, key, item)

    def _decommissioned(self, path: str, key: str, item: Item) -> Finding:
        return Finding(codes.ITEM_DECOMMISSIONED, path, f"{key} was decommissioned{self._by(item.event)}")

    def _by(self, event: str) -> str:
        place = orjson.loads(self._find(row_key("event", event)) or "{}").get("by")
        return f" by {place}" if place else ""

    def _put(self, key: str, item: Item) -> None:
        self._items[key] = item
        self.changes[row_key("item", key)] = item.text()

    def _item(self, key: str) -> Item | None:
        """The item as it is without the events that count no longer; None: not commissioned."""
        if key not in self._items:
            item = find_item(self._find, key)
            while item is not None and not self._holds(item.event):
                if item.did == "add":
                    item = None
                    break
                parent = item.was if item.did == "unpack" else "" if item.did == "pack" else item.parent
                item = item._replace(gone=False, parent=parent, was="", did="add", event=item.made)
            self._items[key] = item
        return self._items[key]

    def _holds(self, event: str) -> bool:
        if event not in self._counts:
            known = orjson.loads(self._find(row_key("event", event)) or "{}")
            declared = "declared" in known and not self._died(known["declared"])
            self._counts[event] = not declared and not self._died(known.get("by", ""))
        return self._counts[event]

    def _lies_in(self, item: Item) -> str:
        """What an item is packed in now; a container that is gone holds nothing."""
        if not item.parent:
            return ""
        parent = self._item(item.parent)
        return "" if parent is None or parent.gone else item.parent

    def _children(self, parent: str) -> list[str]:
        """What is packed in a container now."""
        return self._of_these(contents_of(parent, self._find).names(self._find), parent)

    def _of_these(self, names: Iterable[str], parent: str) -> list[str]:
        """Those that lie in a container."""
        found = ((name, self._item(name)) for name in names)
        return [name for name, item in found if item is not None and not item.gone and item.parent == parent]

    def _above(self, key: str) -> set[str]:
        """The container, and all it lies in."""
        seen: set[str] = set()
        while key and key not in seen:
            seen.add(key)
            item = self._item(key)
            key = "" if item is None or item.gone else self._lies_in(item)
        return seen


def _once(on: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Each item at the first place that names it; two spellings of one name it twice."""
    places: dict[str, str] = {}
    for path, key in on:
        places.setdefault(key, path)
    return [(path, key) for key, path in places.items()]
