"""What EPCIS 1.2 can say of a canonical event, which is of 2.0: the event without the rest, and what the rest is.

1.2 has no association events, sensor readings, persistent dispositions and certificates; its identifiers are EPC URNs.
A Digital Link becomes one only where the length of its company prefix is known. It is never guessed: the event itself
must name the prefix in a URN, and then it is certain, because no company prefix begins with another.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any

import orjson

from schemas.errors import Finding
from schemas.gs1.keys import PREFIX_LENGTHS, Key, KeyType, NotAKey, split
from schemas.gs1.uri import find_key
from schemas.gs1.urn import parse_urn, to_urn
from schemas.packs.epcis import codes
from schemas.packs.epcis import event as ev
from schemas.packs.epcis.event import Event
from schemas.packs.epcis.judge import few
from schemas.packs.epcis.vocabulary import SINCE_2_0
from schemas.packs.jsontext import shorten

_DROPPED = ("sensorElementList", "persistentDisposition", "certificationInfo")


def check_1_2(payload: bytes) -> Sequence[Finding]:
    """What keeps a record's event from being written in EPCIS 1.2 (NOT_IN_1_2), or is left out (DROPPED_IN_1_2)."""
    return few(_Downgrade(orjson.loads(payload)["event"]).findings())


def to_1_2(event: Event) -> Event:
    """An event with what 1.2 can say of it. Raises ValueError where it cannot be said."""
    made = _Downgrade(event)
    refused = [finding for finding in made.findings() if finding.code == codes.NOT_IN_1_2]
    if refused:
        raise ValueError(f"{refused[0].path}: {refused[0].message}")
    return made.event


class _Downgrade:
    """One event on its way to 1.2."""

    def __init__(self, event: Event) -> None:
        self._before = event
        self._prefixes = stated_prefixes([event])
        self._found: list[Finding] = []
        self.event = {name: self._part(name, part) for name, part in event.items() if name not in _DROPPED}

    def findings(self) -> Iterator[Finding]:
        """Everything that 1.2 cannot say."""
        event, kind = self._before, self._before["type"]
        if kind == "AssociationEvent":
            yield Finding(codes.NOT_IN_1_2, "type", "EPCIS 1.2 has no AssociationEvent")
        if kind == "ObjectEvent" and "epcList" not in event and not event.get("quantityList"):
            yield Finding(codes.NOT_IN_1_2, "", "an event of sensor readings alone; EPCIS 1.2 has no such readings")
        yield from self._found
        for name in _DROPPED:
            if name in event:
                yield Finding(codes.DROPPED_IN_1_2, name, f"EPCIS 1.2 has no {name}: it is left out")
        for name, terms in SINCE_2_0.items():
            if event.get(name) in terms:
                message = f"{event[name]} is a term of CBV 2.0 that CBV 1.2 does not have; it is written as a URN"
                yield Finding(codes.NEWER_THAN_1_2, name, message)

    def _part(self, name: str, part: Any) -> Any:
        if name == "parentID":
            return self._urn(part, name)
        if name in ev.EPC_LISTS:
            return [self._urn(epc, f"{name}[{index}]") for index, epc in enumerate(part)]
        if name in ev.PLACES:
            return self._with_urn(part, "id", name)
        key = "epcClass" if name in ev.QUANTITY_LISTS else ev.PAIR_LISTS[name][0] if name in ev.PAIR_LISTS else None
        if key is None:
            return part
        return [self._with_urn(one, key, f"{name}[{index}]") for index, one in enumerate(part)]

    def _with_urn(self, part: Event, key: str, path: str) -> Event:
        return {**part, key: self._urn(part[key], f"{path}.{key}")} if key in part else part

    def _urn(self, text: str, path: str) -> str:
        key = find_key(text) if text.startswith("http") else None
        if key is None:
            return text  # an EPC URN, or an identifier of one's own
        length = prefix_length(key.type, key.value, self._prefixes)
        urn = None if length is None else to_urn(key, length)
        if urn is None or isinstance(parse_urn(urn), NotAKey):
            message = (
                f"{shorten(text, 120)} has no EPC URN that can be told: a link does not say how long its company "
                "prefix is, and no URN in the event names it"
            )
            self._found.append(Finding(codes.NOT_IN_1_2, path, message))
        elif key.qualifiers or key.attributes:
            more = ", ".join(f"({ai})" for ai in [*key.qualifiers, *key.attributes])
            message = f"the URN of {shorten(text, 120)} has no place for {more}: it is left out"
            self._found.append(Finding(codes.DROPPED_IN_1_2, path, message))
        return urn or text


def stated_prefixes(events: Iterable[Event]) -> set[str]:
    """The company prefixes that URNs in events name."""
    return {prefix for event in events for text in _identifiers(event) if (prefix := _stated_prefix(text))}


def prefix_length(kind: KeyType, value: str, prefixes: Container[str]) -> int | None:
    """Digits of the company prefix of a key, where it is one of these; None: it cannot be told."""
    lengths = [length for length in PREFIX_LENGTHS if split(kind, value, length)[0] in prefixes]
    return lengths[0] if len(lengths) == 1 else None


def _identifiers(event: Event) -> Iterator[str]:
    """Every text of an event that may be an EPC URN of a thing, a class, a place or a party."""
    yield from (text for _, text in ev.identifiers(event))
    yield from (event[name].get("id", "") for name in ev.PLACES if name in event)
    for name, (key, _) in ev.PAIR_LISTS.items():
        yield from (pair.get(key, "") for pair in event.get(name, ()))


def _stated_prefix(text: str) -> str:
    """The company prefix that a URN names; empty: it names none."""
    key = parse_urn(text) if text.startswith("urn:epc:") else None
    return split(key.type, key.value, key.prefix_length)[0] if isinstance(key, Key) and key.prefix_length else ""
