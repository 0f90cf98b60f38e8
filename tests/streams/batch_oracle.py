"""What the rules say about every message of one partition of `validated`, read once from the beginning, in order: no
chunks, no windows, no store, no tidying. Written from the design, not from the product's code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from schemas.canonical import RawPosition

FOR_EVER = 10**18


class Said(NamedTuple):
    """One message of `validated`."""

    offset: int
    kind: str
    message: dict[str, Any]
    returned: bool = False
    """A record that batch wrote again, because its wait has ended."""


class Held(NamedTuple):
    """One admitted version."""

    raw: RawPosition
    digest: bytes
    ordering: str
    since: int


def position(m: dict[str, Any]) -> RawPosition:
    return RawPosition(m["raw_topic"], m["raw_incarnation"], m["raw_partition"], m["raw_offset"], m["raw_index"])


class Things(Protocol):
    """What was said of things, where the pipeline has state rules."""

    time: int
    """Stream time, ms."""

    def may(self, raw: RawPosition, offset: int) -> str:
        """What becomes of a record behind those before it: ADMIT, REJECT, or RETAIN where it waits."""

    def returns(self, raw: RawPosition) -> bool:
        """A record that waited is read again; False: nobody waits for it."""

    def passed(self, raw: RawPosition) -> None: ...

    def died(self, raw: RawPosition) -> None: ...

    def live_again(self, raws: set[RawPosition]) -> None: ...


def decisions(
    log: Sequence[Said], policy: str, keep: int, things: Things | None = None
) -> list[tuple[str, RawPosition]]:
    """Action and position, in order, as the audit chain must have them."""
    return list(each_decision(log, policy, keep, things))


def each_decision(
    log: Sequence[Said], policy: str, keep: int, things: Things | None = None
) -> Iterator[tuple[str, RawPosition]]:
    """The same one by one, with `things` as they are after each."""
    versions: dict[str, dict[int, Held]] = {}
    seen: dict[tuple[str, int], tuple[int, ...]] = {}
    time = 0

    def guard(key: str) -> Held | None:
        """The newest version that has not aged (BA2, BA9)."""
        held = versions.get(key, {})
        alive = [offset for offset, version in held.items() if time - version.since <= keep]
        return held[max(alive)] if alive else None

    for offset, kind, m, returned in log:
        if kind == "validated":
            raw = position(m)
            time = max(time, m["recorded_at"])
            if things is not None:
                things.time = time
            source, place = (raw.topic, raw.partition), (raw.incarnation, raw.offset, raw.index)
            if returned:
                assert things is not None
                if not things.returns(raw):
                    continue
            elif place <= seen.get(source, (-1, -1, -1)):
                continue
            else:
                seen[source] = place
            newest = guard(m["key"])
            if newest is None:
                action = "ADMIT" if things is None else things.may(raw, offset)
            elif newest.digest == m["digest"]:
                action = "DUPLICATE"
            elif policy == "supersede" and m["ordering"] > newest.ordering:
                action = "SUPERSEDE"
            else:
                action = "CONFLICT"
            if action in ("ADMIT", "SUPERSEDE"):
                versions.setdefault(m["key"], {})[offset] = Held(raw, m["digest"], m["ordering"], time)
                if things is not None:
                    things.passed(raw)
            yield action, raw
        elif kind == "release":
            if things is not None:
                things.died(position(m))
            held = versions.get(m["key"], {})
            versions[m["key"]] = {at: v for at, v in held.items() if v.raw != position(m)}
            yield "RELEASE", position(m)
        elif kind == "retain":
            for kept in m["keys"]:
                yield "RETAIN", position(kept)
                held = versions.get(kept["key"], {})
                for at, v in held.items():
                    if v.raw == position(kept) and time - v.since <= keep:
                        held[at] = v._replace(since=FOR_EVER if m["begin"] else time)
        elif kind == "replay":
            own = {position(member) for member in m["records"]}
            newer = [g for member in m["records"] if (g := guard(member["key"])) is not None and g.raw not in own]
            again = not newer and time - m["first_recorded_at"] <= keep
            for member in m["records"]:
                if again and things is not None:
                    things.live_again({position(member)})
                yield "REPLAY", position(member)
            for member in m["records"] if again else ():
                held = versions.setdefault(member["key"], {})
                held[member["offset"]] = Held(position(member), member["digest"], member["ordering"], time)
