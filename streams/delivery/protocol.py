"""What a delivery attempt is and what may come of it: the contract between dispatch, the engine and every sink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable


class Envelope(NamedTuple):
    """One attempt to deliver one frozen batch. Everything but `attempt`, `life` and `metadata` is the same for every
    attempt of a batch (law 3)."""

    batch_id: bytes
    """32 bytes (BA7)."""
    idempotency_key: str
    """The batch id in hex; the same for every attempt and every life (law 7)."""
    partner: str
    path: str
    """Object path below the root of an object store, see `object_store.object_path`; HTTP partners ignore it."""
    body: bytes
    body_digest: bytes
    """SHA-256 of `body`, as recorded by the write-ahead (DI3)."""
    content_type: str
    metadata: Mapping[str, str]
    """`batch_digest`, `record_count`, `flush_utc` (DEL-05). What depends on the clock stands here and never in the
    body, which a retry must repeat byte for byte (trap T6)."""
    attempt: int
    life: int
    names: Sequence[str] = ()
    """Of the records in their order, by which the partner tells them apart; empty unless it answers for each one."""


class OutcomeKind(StrEnum):
    """What is known after an attempt. Only DELIVERED is success (law 4)."""

    DELIVERED = "delivered"
    """The partner has exactly these bytes."""
    PARTIAL = "partial"
    """Every record has a known outcome of its own, and `Outcome.refused` names those that were not taken."""
    REFUSED = "refused"
    """Known and permanent: the partner does not want this batch. Dead letter, no retry (RTY-07)."""
    TOO_LARGE = "too_large"
    """Known: the partner takes no request of this size (413). The batch goes on in halves (DI4)."""
    INVALID = "invalid"
    """Known: something in the batch is wrong to the partner (400, 422). Halves of it find what."""
    FAILED = "failed"
    """Known not done: no byte was sent, or the partner said so. Retried; uses the budget."""
    UNKNOWN = "unknown"
    """The batch may or may not have taken effect. Retried with the same key; sticky (DI2)."""
    PAUSED = "paused"
    """The partner asks to wait (429, 503 with Retry-After). No attempt is used (trap T14)."""
    STOPPED = "stopped"
    """The partner refuses us, not the batch (401, 403). It stops with an alarm; no attempt is used."""
    CONFLICT = "conflict"
    """The partner holds other bytes under this key. Compliance stop; nothing was overwritten."""


class Kept(NamedTuple):
    """The beginning of an answer's body, or of all that came where it had no readable head."""

    excerpt: str
    """Its first 4 KiB as text, without secrets; what is no UTF-8 is replaced."""
    digest: bytes
    """SHA-256 of it as far as it was read."""


NONE_REFUSED: Mapping[int, str] = {}


class Outcome(NamedTuple):
    """The end of one attempt."""

    kind: OutcomeKind
    answer: str
    """Short text for the ack and the audit: status line and the first 200 characters, without secrets."""
    retry_after: float | None = None
    """Seconds; set for PAUSED."""
    refused: Mapping[int, str] = NONE_REFUSED
    """Of PARTIAL: index of each record that was refused for good, and the partner's words."""
    status: int | None = None
    """Of the HTTP answer, if there was one."""
    kept: Kept | None = None
    """What is kept of an answer's body, for people who must find out."""
    at_work: bool = False
    """UNKNOWN, but the partner is well: it said that it is still at it."""
    seconds: float | None = None
    """From when the attempt was begun to its end, as the engine measured it; None: nobody did."""


class NotAllowed(Exception):
    """There is no Authorization for this attempt; `outcome` is what the attempt came to."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.answer)
        self.outcome = outcome


class Probed(NamedTuple):
    """What came back from a probe, by which nothing is delivered."""

    well: bool | None
    """True: the partner answers, and takes us for whom we are; False: it does not; None: the answer does not tell."""
    answer: str
    """Short text, without secrets."""


@runtime_checkable
class Probing(Protocol):
    """A sink that can ask its partner whether it is well. Not every kind of partner can be asked."""

    async def probe(self) -> Probed:
        """One question, which changes nothing at the partner. Never raises anything but CancelledError."""
        ...


class Sink(Protocol):
    """A way to one partner. One instance lives in one event loop."""

    async def send(self, envelope: Envelope) -> Outcome:
        """One attempt. Never raises anything but CancelledError, after which the outcome is unknown."""
        ...

    async def close(self) -> None:
        """Gives back connections. Safe to call twice."""
        ...
