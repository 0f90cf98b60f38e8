"""Owns what the batch stage must have decided: the log of `validated` read anew, by rules BA2, BA4 and BA8.

No version ages: a round is shorter than `keep`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from chaos.checker.facts import Decoded, Facts, Place, place


class Decision(NamedTuple):
    """What became of one record."""

    action: str
    """ADMIT, SUPERSEDE, DUPLICATE or CONFLICT, as the audit says it."""
    of: Place | None
    """The version it was compared with."""


Row = tuple[int, str, int]
"""Partition, key and `validated` offset of a version."""


@dataclass
class Decisions:
    """Every decision, and the versions left at the end."""

    by_place: dict[Place, Decision] = field(default_factory=dict)
    live: dict[Row, dict[str, Any]] = field(default_factory=dict)
    again: list[Place] = field(default_factory=list)
    """Records that lie on `validated` more than once."""
    released: dict[Place, int] = field(default_factory=dict)
    """How often a record was released."""


@lru_cache(maxsize=1)
def decide(facts: Facts) -> Decisions:
    """Reads `validated` from its beginning."""
    found = Decisions()
    seen: dict[tuple[int, str, int], tuple[int, int, int]] = {}
    newest: dict[tuple[int, str], list[int]] = defaultdict(list)
    for message in facts.decoded("validated"):
        partition, value = message.at.partition, message.value
        if message.name == "release":
            found.released[place(value)] = found.released.get(place(value), 0) + 1
            offsets = newest[partition, value["key"]]
            for offset in [o for o in offsets if place(found.live[partition, value["key"], o]) == place(value)]:
                offsets.remove(offset)
                del found.live[partition, value["key"], offset]
        if message.name != "validated":
            continue
        source = partition, value["raw_topic"], value["raw_partition"]
        position = value["raw_incarnation"], value["raw_offset"], value["raw_index"]
        if seen.get(source, (-1, -1, -1)) >= position:
            found.again.append(place(value))
            continue
        seen[source] = position
        offsets = newest[partition, value["key"]]
        last = found.live[partition, value["key"], offsets[-1]] if offsets else None
        decision = found.by_place[place(value)] = _decide(message, last, facts.round.on_conflict)
        if decision.action in ("ADMIT", "SUPERSEDE"):
            offsets.append(message.at.offset)
            found.live[partition, value["key"], message.at.offset] = value
    return found


def _decide(message: Decoded, last: dict[str, Any] | None, on_conflict: str) -> Decision:
    value = message.value
    if last is None:
        return Decision("ADMIT", None)
    if last["digest"] == value["digest"]:
        return Decision("DUPLICATE", place(last))
    mine, theirs = value["ordering"], last["ordering"]
    rises = mine is not None and theirs is not None and mine > theirs
    return Decision("SUPERSEDE" if on_conflict == "supersede" and rises else "CONFLICT", place(last))
