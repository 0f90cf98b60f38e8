"""State rules: what may happen to an item next, by what happened to it before (commissioned, packed, decommissioned).

Source: the rules that EPCIS repositories apply, EPCIS 2.0, 7.4 (what ADD, OBSERVE and DELETE mean), and CBV 2.0.

`item_rows.py` says what the rows are, `item_case.py` what an event does to them.

Nothing is ever undone row by row. An event counts no longer once it was declared an error or the record that told it
is known not to have been delivered; a row whose last change is by such an event is read as it was before that event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import orjson

from schemas.canonical import UNIT_SEPARATOR, sha256
from schemas.errors import Finding
from schemas.gs1.characters import unescape
from schemas.gs1.uri import find_key
from schemas.pack import Record
from schemas.packs.epcis import codes
from schemas.packs.epcis.contents import contents_of
from schemas.packs.epcis.event import EPC_LISTS
from schemas.packs.epcis.goods import check_goods, gtins_told
from schemas.packs.epcis.item_case import MOST_TOUCHED, Case
from schemas.packs.epcis.item_rows import Find, row_key, text_of
from schemas.packs.epcis.known import EXPIRY, LOT
from schemas.packs.epcis.options import Options
from schemas.packs.epcis.transaction import Transaction, is_shipment, read_transaction
from schemas.state import Concerned, Domain, Judged

SEVERAL, OTHERS, NONE = "several", "others", "none"
"""Values of the field `issuer` that are no company's."""
_LONGEST = 120
"""Characters of an identifier that is its own key."""
_MOST_FINDINGS = 100


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
        event = row_key("event", told["event"])
        known = orjson.loads(find(event) or "{}")
        declared = "declared" in known and not died(known["declared"])
        if told["do"] == "declare":
            return Judged() if declared else Judged((), {event: text_of(known | {"declared": place})})
        if domain.field == "issuer" and told.get("several"):
            message = "items of several companies; in this pipeline an event's items are those of one"
            return Judged((Finding(codes.ITEMS_IN_SEVERAL_DOMAINS, "", message),))
        if declared or ("by" in known and not died(known["by"])):
            return Judged()  # an error, or told before by another sender: it changes nothing
        case = Case(told, find, died, self._options.cascade)
        findings = tuple(islice(case.run(), _MOST_FINDINGS))
        if not findings and "gtins" in told:
            found = check_goods(_shipped(told), told["gtins"], case, self._options.max_file_items, self._lenient)
            findings = tuple(islice(found, _MOST_FINDINGS))
        if findings:
            early = all(finding.code == codes.ITEM_NOT_COMMISSIONED for finding in findings)
            return Judged(findings, lacks=frozenset(case.lacks) if early else frozenset())
        return Judged((), case.changes and case.changes | {event: text_of({"by": place})})

    def awaited(self, key: str) -> str:
        """See `schemas.state.StateRules`."""
        return f"the commissioning of {key.partition(UNIT_SEPARATOR)[2]}"

    def concerns(self, facts: bytes, find: Find) -> Concerned:
        """See `schemas.state.StateRules`. Beside the items that an event names, those that lie in a container which it
        empties, decommissions or, under US law, ships with all that is in it; and the event itself, for its error
        declaration."""
        told = orjson.loads(facts)
        event = row_key("event", told["event"])
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
    return (row_key("item", name) for name in names)


def _inside(containers: set[str], find: Find, deep: bool) -> set[str]:
    """What was ever packed into containers; it may have left them. deep: and into that."""
    found: set[str] = set()
    left = list(containers)
    while left and len(found) <= MOST_TOUCHED:
        for name in contents_of(left.pop(), find).names(find):
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
