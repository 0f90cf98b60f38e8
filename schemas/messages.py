"""The wire messages as types: one TypedDict per schema of `schemas/wire/`, and their shared parts. A row of `delivery`
is a `schemas.delivery.Row`.

Only for the type checker; `schemas.codec` judges values. Times are ms since epoch, digests 32 bytes, raw positions
the five `raw_*` fields of `schemas.canonical.RawPosition`. A test holds keys and types equal to the .avsc files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from schemas.canonical import RawPosition

Stage = Literal["validate", "batch", "dispatch"]
OutcomeName = Literal["delivered", "duplicate"]
ReasonName = Literal["schema_violation", "transient_failure", "conflict"]
PartnerStanding = Literal["open", "paused", "stopped", "well"]
CapReason = Literal["too_large", "busy", "slow", "well"]
DeliveryState = Literal["pending", "in_flight", "sent", "dead", "split"]


class RawPositionPart(TypedDict):
    """A raw position inside a message."""

    raw_topic: str
    raw_incarnation: int
    raw_partition: int
    raw_offset: int
    raw_index: int


class FindingPart(TypedDict):
    """A finding: code, field path, words."""

    code: str
    path: str
    message: str


class PassportPart(TypedDict):
    """What travels with a replayed record."""

    reason: str
    approver: str
    attempt: int
    original_position: str


class ClaimPart(TypedDict):
    """Where a payload is kept that is too large for the topic."""

    url: str
    size: int


class Validated(RawPositionPart):
    """One valid record, as validate decided it (VA1)."""

    key: str
    digest: bytes
    group: str
    date: str
    partner: str
    recorded_at: int
    event_time: int
    ordering: str | None
    count: int
    submission_digest: bytes
    source: str | None
    site: str | None
    received_at: str | None
    schema_version: str
    topology_version: int
    warnings: list[FindingPart]
    passport: PassportPart | None
    payload: bytes
    claim: ClaimPart | None


class Release(RawPositionPart):
    """The version of a record that dispatch dead-lettered no longer guards its key (BA8)."""

    key: str
    batch_id: bytes
    digest: bytes


class RetainedKey(RawPositionPart):
    """A version kept by a `Retain`."""

    key: str
    digest: bytes


class Retain(TypedDict):
    """Begins or ends keeping the versions of an unsettled batch (BA9)."""

    batch_id: bytes
    begin: bool
    keys: list[RetainedKey]


class Cap(TypedDict):
    """From here on, batches for a partner have so many records at most (DI7)."""

    partner: str
    records: int
    reason: CapReason


class ReplayedRecord(RawPositionPart):
    """One member of a batch to be replayed."""

    key: str
    digest: bytes
    offset: int
    ordering: str | None


class Replay(TypedDict):
    """Asks for a dead batch to be delivered again (DI6)."""

    batch_id: bytes
    batched_partition: int
    batched_offset: int
    life: int
    partner: str
    group: str
    date: str
    first_recorded_at: int
    records: list[ReplayedRecord]
    passport: PassportPart


class BatchedAgain(TypedDict):
    """A dead batch to be delivered once more; its body is the frozen one at the named position."""

    batch_id: bytes
    batched_partition: int
    batched_offset: int
    life: int
    partner: str
    group: str
    date: str
    passport: PassportPart


class Batched(TypedDict):
    """One frozen batch."""

    batch_id: bytes
    pipeline: str
    partition: int
    group: str
    date: str
    partner: str
    close_reason: str
    first_recorded_at: int
    last_recorded_at: int
    topology_version: int
    life: int
    passport: PassportPart | None
    count: int
    records: list[bytes]


class Sent(RawPositionPart):
    """The ack of one record."""

    count: int
    key: str
    digest: bytes
    outcome: OutcomeName
    duplicate_of: RawPositionPart | None
    batch_id: bytes | None
    partner: str | None
    answer: str | None
    warnings: list[FindingPart]
    topology_version: int
    recorded_at: int
    event_time: int
    passport: PassportPart | None


class AckedRecord(RawPositionPart):
    """One record of a `SentBatch`."""

    count: int
    digest: bytes
    warnings: list[FindingPart]


class SentBatch(TypedDict):
    """The ack of a whole batch, with `acks: batch`."""

    batch_id: bytes
    partner: str
    answer: str | None
    topology_version: int
    records: list[AckedRecord]


class DeadLetter(RawPositionPart):
    """Why a record was refused, and the record as a submission of its own."""

    count: int
    key: str | None
    digest: bytes
    submission_digest: bytes
    recorded_at: int
    stage: Stage
    route: str
    error_class: str
    reason: ReasonName
    findings: list[FindingPart]
    content_type: str
    original: bytes | None
    claim: str | None
    canonical: bool
    source: str | None
    site: str | None
    conflicts_with: RawPositionPart | None
    batch_id: bytes | None
    partner: str | None
    answer: str | None
    attempts: int
    outcome_unknown: bool
    topology_version: int
    passport: PassportPart | None


class Review(TypedDict):
    """Second dead letter, around the bytes of the first."""

    dead_letter: bytes
    why: str
    attempts: int


class Idempotency(RawPositionPart):
    """One admitted version of a key (BA2)."""

    key: str
    offset: int
    digest: bytes
    admitted_at: int
    group: str
    date: str
    ordering: str | None


class Window(TypedDict):
    """How far a line of a partition is sealed (BA3)."""

    partition: int
    group: str
    date: str
    sealed_through: int


class Item(TypedDict):
    """What is known of one thing, or of one record about things (ADR 22)."""

    domain: str
    key: str
    offset: int
    row: str


class Waiting(RawPositionPart):
    """A record that waits for what must come before it (ADR 22)."""

    offset: int
    digest: bytes
    key: bytes
    value: bytes
    facts: bytes
    touches: bytes
    makes: bytes
    lacks: list[str]
    since: int
    until: int
    until_wall: int
    returning: bool


class Legacy(TypedDict):
    """What a record was about that waits no more, as long as others stand behind it (ADR 22)."""

    left: int
    offset: int
    heir: int
    touches: bytes


class TablePart(TypedDict):
    """A table beside a head, and the id of its topic."""

    table: str
    topic_id: str


class CapInForce(TypedDict):
    """What the last `Cap` of a partner says."""

    partner: str
    records: int


class Begun(TypedDict):
    """What the first chunk of a submission came to, and its chunks so far."""

    recorded_at: int
    count: int
    broken: int


class Head(TypedDict):
    """Progress of one stage on one partition."""

    stage: str
    partition: int
    chain: bytes
    counter: int
    processed_through: int
    next_index: int
    stream_time: int
    topology_version: int
    input_topic_id: str
    incarnation: int
    sources: list[RawPositionPart]
    committed: int
    tables: list[TablePart]
    caps: list[CapInForce]
    begun: Begun | None


class SizingPart(TypedDict):
    """How many records a batch for a partner may have, and what was learnt of it."""

    records: int
    at: int
    too_large: int
    too_large_at: int


class PartnerState(TypedDict):
    """Why a partner is left alone, and until when; and its cap."""

    partner: str
    state: PartnerStanding
    at: int
    until: int
    openings: int
    answer: str | None
    sizing: SizingPart | None


class Control(TypedDict):
    """Something operators decided."""

    kind: str
    subject: str
    version: int
    body: str
    actor: str
    reason: str
    at: int


def position_part(position: RawPosition) -> RawPositionPart:
    """A raw position as the five fields of a message."""
    topic, incarnation, partition, offset, index = position
    return {
        "raw_topic": topic,
        "raw_incarnation": incarnation,
        "raw_partition": partition,
        "raw_offset": offset,
        "raw_index": index,
    }


def position_of(message: Mapping[str, Any]) -> RawPosition:
    """The raw position a message carries."""
    return RawPosition(
        message["raw_topic"],
        message["raw_incarnation"],
        message["raw_partition"],
        message["raw_offset"],
        message["raw_index"],
    )
