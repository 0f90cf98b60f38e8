"""The rules of a pack about what its records say of things over time: what may happen to a thing next depends on what
happened to it before. Pure, like everything in a pack: the rows are handed in, and what becomes of them is handed back.

Whoever keeps the rows knows keys and texts, and nothing of the domain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from schemas.errors import Finding
from schemas.pack import Pack, Record


class Domain(NamedTuple):
    """The part of a pipeline's records within which things have one history."""

    field: str
    """The field whose values divide them; empty: the pipeline is one domain."""
    value: str


class Judged(NamedTuple):
    """What comes of a record."""

    findings: tuple[Finding, ...] = ()
    """Why it may not pass; then nothing changes."""
    changes: Mapping[str, str | None] = MappingProxyType({})
    """Rows as they are from now on, by key; None: gone."""
    lacks: frozenset[str] = frozenset()
    """Keys of rows that are missing, where the findings say nothing worse: the record may pass once they are there.
    Some are enough."""


class Concerned(NamedTuple):
    """Keys of rows, by which records keep their order where one of them waits."""

    touches: frozenset[str]
    """What the record is about: a later one about any of it waits behind it."""
    makes: frozenset[str]
    """Those that come into being by it: for them it waits behind nobody."""


class StateRules(Protocol):
    """What a pack may offer as its attribute `state_rules`."""

    domains: frozenset[str]
    """Fields that may divide records into domains."""

    def facts(self, record: Record) -> bytes | None:
        """What `judge` needs of a record, compact; None: the record concerns no thing. Decided where the record is
        validated, and carried with it (VA1)."""
        ...

    def judge(
        self,
        facts: bytes,
        domain: Domain,
        place: str,
        find: Callable[[str], str | None],
        died: Callable[[str], bool],
    ) -> Judged:
        """The next record of a domain, in the order of the log. place: its record id. find: the row of a key. died:
        whether the record of an id was admitted before, and is known not to have been delivered (BA8)."""
        ...

    def awaited(self, key: str) -> str:
        """What a record waits for that lacks the row of this key, in words: `the commissioning of …`."""
        ...

    def concerns(self, facts: bytes, find: Callable[[str], str | None]) -> Concerned:
        """What a record of a domain is about, be it named there or not. find: the row of a key."""
        ...


def state_rules(pack: Pack) -> StateRules | None:
    """The state rules of a pack; None: it has none."""
    rules: StateRules | None = getattr(pack, "state_rules", None)
    return rules
