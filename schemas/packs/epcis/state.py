"""State rules: what may happen to an item next, by what happened to it before (commissioned, packed, decommissioned).

Source: the rules that EPCIS repositories apply, EPCIS 2.0, 7.4 (what ADD, OBSERVE and DELETE mean), and CBV 2.0.

Rows are JSON texts under these keys:
- `item`: state, parent, what was done last and by which event, lot and expiry;
- `children`: the items that were ever packed into one; an index, each child's own row decides;
- `event`: which record told an event that changed something, or that the event was declared an error.

Nothing is ever undone row by row. An event counts no longer once it was declared an error or the record that told it
is known not to have been delivered; a row whose last change is by such an event is read as it was before that event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import orjson

from schemas.canonical import UNIT_SEPARATOR, sha256
from schemas.errors import Finding
from schemas.gs1.characters import unescape
from schemas.gs1.uri import find_key
from schemas.pack import Record
from schemas.packs.epcis import codes
from schemas.packs.epcis.event import EPC_LISTS
from schemas.packs.epcis.goods import check_goods, gtins_told
from schemas.packs.epcis.known import EXPIRY, LOT, Product
from schemas.packs.epcis.options import Options
from schemas.packs.epcis.transaction import Transaction, is_shipment, read_transaction
from schemas.state import Concerned, Domain, Judged

SEVERAL, OTHERS, NONE = "several", "others", "none"
"""Values of the field `issuer` that are no company's."""
MOST_CHILDREN = 30_000
"""Of one parent: their names fit into one row of the table."""
MOST_TOUCHED = 50_000
"""Items that one event may change with all that is packed in them."""
_LONGEST = 120
"""Characters of an identifier that is its own key."""
_MOST_FINDINGS = 100

Find = Callable[[str], str | None]


def issuer(event: dict[str, Any]) -> str:
    """Whose items an event is about: the first six digits of their GS1 company prefix, which no prefix has fewer of,
    and which every spelling has in one place. `others`: no GS1 keys; `several`; `none`: no items."""
    found = ""
    for epc in _epcs(event):
        one = _issuer(epc)
        if found and one != found:
            return SEVERAL
        found = one
    return found or NONE


def _issuer(epc: str) -> str:
    if epc.startswith("urn:epc:id:"):
        digits = epc.split(":", 4)[-1][:6]
    elif (key := find_key(epc)) is not None:
        start = int(key.type.leading or key.type.zero)
        digits = key.value[start : start + 6]
    else:
        return OTHERS
    return digits if len(digits) == 6 and digits.isdecimal() else OTHERS


def _epcs(event: dict[str, Any]) -> Iterator[str]:
    if "parentID" in event:
        yield event["parentID"]
    for name in EPC_LISTS:
        yield from event.get(name, ())


def item_key(epc: str) -> str:
    """One name for an item however it is spelt."""
    key = find_key(epc)
    if key is None or key.type.kind == "class":
        name = epc
    else:
        name = f"{key.type.scheme}:{unescape(key.value)}" + (f":{unescape(key.serial)}" if key.serial else "")
    return name if len(name) <= _LONGEST else f"sha256:{sha256(name.encode()).hex()}"


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
        return _text({"state": "decommissioned" if self.gone else "commissioned"} | row)


def _item(text: str) -> Item:
    row = orjson.loads(text)
    return Item(row["state"] == "decommissioned", *(row.get(name, "") for name in Item._fields[1:]))


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()


class ItemRules:
    """Fulfils `schemas.state.StateRules` for EPCIS events."""

    domains = frozenset({"issuer", "sender"})

    def __init__(self, options: Options, *, lenient: bool) -> None:
        """lenient: what that profile lets pass is not found."""
        self._options, self._lenient = options, lenient

    def facts(self, record: Record) -> bytes | None:
        """What is done (`do`) to which items (`on`, by the list that names them), in which parent, by which event; of a
        shipment under US law also what its document says of `gtins`."""
        payload = orjson.loads(record.payload)
        event: dict[str, Any] = payload["event"]
        facts: dict[str, Any] = {"event": payload["event_hash"]}
        if "errorDeclaration" in event:
            return orjson.dumps(facts | {"do": "declare"})
        do = _done(event)
        on = {name: [item_key(epc) for epc in event[name]] for name in EPC_LISTS if event.get(name)}
        ships = self._options.dscsa and is_shipment(event)
        if not (do or ships) or not (on or event.get("parentID")):
            return None
        facts |= {"do": do, "on": on}
        if event.get("parentID"):
            facts["parent"] = item_key(event["parentID"])
        if issuer(event) == SEVERAL:
            facts["several"] = True
        facts |= {name: found for name, names in (("lot", LOT), ("expiry", EXPIRY)) if (found := _master(event, names))}
        if ships:
            transaction = read_transaction(payload.get("transaction", {})) or Transaction()
            facts["gtins"] = gtins_told(transaction, self._lenient)
        return orjson.dumps(facts)

    def judge(self, facts: bytes, domain: Domain, place: str, find: Find, died: Callable[[str], bool]) -> Judged:
        """See `schemas.state.StateRules`."""
        told = orjson.loads(facts)
        event = _key("event", told["event"])
        known = orjson.loads(find(event) or "{}")
        declared = "declared" in known and not died(known["declared"])
        if told["do"] == "declare":
            return Judged() if declared else Judged((), {event: _text(known | {"declared": place})})
        if domain.field == "issuer" and told.get("several"):
            message = "items of several companies; in this pipeline an event's items are those of one"
            return Judged((Finding(codes.ITEMS_IN_SEVERAL_DOMAINS, "", message),))
        if declared or ("by" in known and not died(known["by"])):
            return Judged()  # an error, or told before by another sender: it changes nothing
        case = _Case(told, find, died, self._options.cascade)
        findings = tuple(islice(case.run(), _MOST_FINDINGS))
        if not findings and "gtins" in told:
            found = check_goods(_shipped(told), told["gtins"], case, self._options.max_file_items, self._lenient)
            findings = tuple(islice(found, _MOST_FINDINGS))
        if findings:
            early = all(finding.code == codes.ITEM_NOT_COMMISSIONED for finding in findings)
            return Judged(findings, lacks=frozenset(case.lacks) if early else frozenset())
        return Judged((), case.changes and case.changes | {event: _text({"by": place})})

    def awaited(self, key: str) -> str:
        """See `schemas.state.StateRules`."""
        return f"the commissioning of {key.partition(UNIT_SEPARATOR)[2]}"

    def concerns(self, facts: bytes, find: Find) -> Concerned:
        """See `schemas.state.StateRules`. Beside the items that an event names, those that lie in a container which it
        empties, decommissions or, under US law, ships with all that is in it; and the event itself, for its error
        declaration."""
        told = orjson.loads(facts)
        event = _key("event", told["event"])
        if told["do"] == "declare":
            return Concerned(frozenset({event}), frozenset())
        made = {
            key
            for name, keys in told["on"].items()
            for key in keys
            if told["do"] == "add" or (told["do"] == "make" and name.startswith("output"))
        }
        named = {key for keys in told["on"].values() for key in keys} | (
            {told["parent"]} if "parent" in told else set()
        )
        if told["do"] in ("unpack all", "delete", "make"):
            named |= _inside(named - made, find, self._options.cascade)
        if "gtins" in told:
            named |= _inside(named, find, deep=True)
        return Concerned(frozenset({event, *_item_keys(named)}), frozenset(_item_keys(made)))


def _item_keys(names: Iterable[str]) -> Iterator[str]:
    return (_key("item", name) for name in names)


def _inside(containers: set[str], find: Find, deep: bool) -> set[str]:
    """What was ever packed into containers; it may have left them. deep: and into that."""
    found: set[str] = set()
    left = list(containers)
    while left and len(found) <= MOST_TOUCHED:
        for name in orjson.loads(find(_key("children", left.pop())) or "[]"):
            if name not in found:
                found.add(name)
                if deep:
                    left.append(name)
    return found


def _done(event: dict[str, Any]) -> str:
    kind, action = event["type"], event.get("action")
    if kind == "ObjectEvent":
        return {"ADD": "add", "DELETE": "delete"}.get(action or "", "observe")
    if kind == "AggregationEvent":
        if action == "DELETE" and not event.get("childEPCs"):
            return "" if event.get("childQuantityList") else "unpack all"
        return {"ADD": "pack", "DELETE": "unpack"}.get(action or "", "observe")
    return {"TransactionEvent": "observe", "TransformationEvent": "make"}.get(kind, "")


def _shipped(told: dict[str, Any]) -> list[tuple[str, str]]:
    """As `known.shipped`, of facts; without classes, which have no rows."""
    on = told["on"]
    found = [(f"{name}[{n}]", key) for name in ("epcList", "childEPCs") for n, key in enumerate(on.get(name, ()))]
    return found or ([("parentID", told["parent"])] if "parent" in told else [])


def _master(event: dict[str, Any], names: Iterable[str]) -> str:
    ilmd = event.get("ilmd", {})
    return next((ilmd[name] for name in names if isinstance(ilmd.get(name), str)), "")


def _key(kind: str, name: str) -> str:
    return f"{kind}{UNIT_SEPARATOR}{name}"


class _Case:
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
        if not found:
            inside = dict.fromkeys([*self._children(parent), *(key for _, key in on)])
            if len(inside) > MOST_CHILDREN:
                words = f"{len(inside)} items in {parent}; {MOST_CHILDREN} are kept track of"
                found.append(Finding(codes.TOO_MANY_CHILDREN, "parentID", words))
        yield from found
        if found or not parent:
            return
        for _, key in on:
            item = self._item(key)
            if item is not None and self._lies_in(item) != parent:
                self._put(key, item._replace(parent=parent, was="", did="pack", event=self._event))
        if self.changes:
            self.changes[_key("children", parent)] = _text(list(inside))

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
                self.lacks.append(_key("item", key))
                yield Finding(codes.ITEM_NOT_COMMISSIONED, path, f"{key} was never commissioned")
            elif item.gone:
                yield self._decommissioned(path, key, item)

    def _decommissioned(self, path: str, key: str, item: Item) -> Finding:
        return Finding(codes.ITEM_DECOMMISSIONED, path, f"{key} was decommissioned{self._by(item.event)}")

    def _by(self, event: str) -> str:
        place = orjson.loads(self._find(_key("event", event)) or "{}").get("by")
        return f" by {place}" if place else ""

    def _put(self, key: str, item: Item) -> None:
        self._items[key] = item
        self.changes[_key("item", key)] = item.text()

    def _item(self, key: str) -> Item | None:
        """The item as it is without the events that count no longer; None: not commissioned."""
        if key not in self._items:
            text = self._find(_key("item", key))
            item = None if text is None else _item(text)
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
            known = orjson.loads(self._find(_key("event", event)) or "{}")
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
        names = orjson.loads(self._find(_key("children", parent)) or "[]")
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
