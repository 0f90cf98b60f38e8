"""What one round of dispatch came to: rows, events, attempts to launch. Plain values between the core and the stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from schemas.delivery import Row
from schemas.messages import CapReason, PartnerState
from streams.delivery.protocol import NONE_REFUSED


class What(StrEnum):
    """What happened to a batch."""

    ATTEMPT = "attempt"
    WAIT = "wait"
    DELIVERED = "delivered"
    DEAD = "dead"
    SPLIT = "split"
    HALF = "half"
    RETAIN = "retain"
    RETAIN_END = "retain-end"


class Event(NamedTuple):
    """One thing that happened, in the order to be written down."""

    what: What
    partition: int
    row: Row
    code: str = ""
    """Of the dead letters."""
    refused: Mapping[int, str] = NONE_REFUSED
    """Of DELIVERED: the records that were not taken, which are dead. Of any: index -> the partner's words."""
    why: str = ""
    """Of DEAD: in words."""


class Prepared(NamedTuple):
    """A body ready to be sent."""

    digest: bytes
    version: int
    body: Any
    """For the launch; the core does not look at it."""
    size: int = 0
    """Bytes of it."""
    slow: bool = False
    """It had to be fetched; the others may wait for the next turn."""


class Broken(NamedTuple):
    """A body that cannot be made: code of the batch's dead letters, and why in words."""

    code: str
    why: str


class Later(NamedTuple):
    """A body that cannot be made now, through no fault of the batch."""

    milliseconds: int


Prepare = Callable[[int, Row], Prepared | Broken | Later]
"""Renders the body of a batch; (partition, row)."""


class Launch(NamedTuple):
    """An attempt to be sent once its write-ahead has committed."""

    partition: int
    row: Row
    prepared: Prepared


@dataclass(slots=True)
class Changes:
    """What one round of work came to."""

    rows: dict[tuple[int, bytes], Row | None] = field(default_factory=dict)
    """The table's rows as they are to be, by (partition, batch id); None: a tombstone."""
    partners: dict[tuple[int, str], PartnerState | None] = field(default_factory=dict)
    """Rows of partners, by (partition, partner); None: a tombstone."""
    caps: dict[str, tuple[int, CapReason]] = field(default_factory=dict)
    """Partner -> records that its batches may have from now on, and why (DI7)."""
    events: list[Event] = field(default_factory=list)
    launches: list[Launch] = field(default_factory=list)
    ended: dict[bytes, bool] = field(default_factory=dict)
    """Batches of which an attempt has ended and that go on: whether it was answered, or found in flight."""
    passed: list[tuple[int, Row]] = field(default_factory=list)
    """Rows, with their partitions, that say what an attempt was answered and are replaced in this round: the next one
    need not wait."""
