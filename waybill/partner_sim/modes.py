"""What is wrong with the fake partner until somebody changes it, as against faults, which are played once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from waybill.partner_sim.faults import NO_FAULT, SECONDS, check_faults


@dataclass(frozen=True)
class Modes:
    """The default is a healthy partner."""

    down: str = ""
    """`refuse`: nobody listens on the port, open connections are cut; `reset`: connections are taken and reset at once.
    `refuse:3`, `reset:3`: for so many seconds; over HTTP only so, since a partner that is down cannot be told to come
    back."""
    slow: float = 0.0
    """Seconds each request waits before anything is done with it."""
    fault: str = ""
    """A fault that every request meets which takes none from the queue."""
    unauthorized: bool = False
    """The token has expired: every request is answered 401."""
    capacity: int | None = None
    """Bytes a body may have; a larger one is answered 413."""
    per_second: float | None = None
    """Requests it can serve in a second. One waits for its turn, and is answered 503 where that is more than half a
    second away."""
    poison: frozenset[str] = frozenset()
    """A batch with a record whose `zone_id` is one of these is answered 400."""

    def changed(self, changes: Mapping[str, Any]) -> Modes:
        """These modes with some of them changed. Raises ValueError naming what is no mode or no value of it."""
        known = [field.name for field in fields(self)]
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"{name!r} is no mode; there are {', '.join(known)}")
            if not _CHECKS[name](value):
                raise ValueError(f"{value!r} is no value of {name!r}")
        fault = changes.get("fault")
        if fault and check_faults([fault]) != [fault]:
            raise ValueError(f"{fault!r} is more than one fault; a mode has one")
        named = dict(changes)
        if "poison" in named:
            named["poison"] = frozenset(named["poison"])
        return replace(self, **named)

    def refusal(self, body: bytes) -> str:
        """The fault these modes mean for a request that takes none from the queue."""
        if self.fault:
            return self.fault
        if self.unauthorized:
            return "status:401"
        if self.capacity is not None and len(body) > self.capacity:
            return "status:413"
        if self.poison and self.poison & {zone for _, zone in records_of(body)}:
            return "status:400"
        return NO_FAULT

    def as_json(self) -> dict[str, Any]:
        """For `GET /mode`."""
        return {**asdict(self), "poison": sorted(self.poison)}


def records_of(body: bytes) -> list[tuple[str, str | None]]:
    """Id and zone of each record of a batch as streams.delivery.render writes it; by number where there is no id.
    Empty for any other body."""
    try:
        given = json.loads(body)["records"]
        return [_record(number, each) for number, each in enumerate(given)]
    except (ValueError, LookupError, TypeError):
        return []


def _record(number: int, given: Any) -> tuple[str, str | None]:
    if not isinstance(given, dict):
        return str(number), None
    inner = given.get("record")
    zone = inner.get("zone_id") if isinstance(inner, dict) else None
    return str(given.get("id", number)), zone if isinstance(zone, str) else None


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


_CHECKS: dict[str, Callable[[Any], object]] = {
    "down": lambda value: isinstance(value, str) and re.fullmatch(rf"((refuse|reset)(:{SECONDS})?)?", value),
    "slow": _is_seconds,
    "fault": lambda value: isinstance(value, str),
    "unauthorized": lambda value: isinstance(value, bool),
    "capacity": lambda value: value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0),
    "per_second": lambda value: value is None or (_is_seconds(value) and value > 0),
    "poison": lambda value: (
        isinstance(value, list | tuple | set | frozenset) and all(isinstance(zone, str) for zone in value)
    ),
}
