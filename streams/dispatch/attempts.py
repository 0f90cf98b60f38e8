"""Owns the life of one batch: every step from one row of the `delivery` table to the next.

Pure functions of a row, an answer and the time passed in; who is next, and when, is decided in `deliveries.py`.

    pending ──write_ahead──> in_flight ──settle──> sent | dead | pending (wait) | split
    split ──halves──> two pending
    dead ──next_life──> pending
    in_flight ──crash──> found_in_flight (unknown) ──write_ahead──> in_flight
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from schemas.delivery import Row
from schemas.errors import (
    DEADLINE_EXCEEDED,
    OUTCOME_UNKNOWN,
    PARTNER_REFUSED,
    PARTNER_TOO_LARGE,
    RETRIES_EXHAUSTED,
    STORED_OBJECT_DIFFERS,
)
from schemas.messages import PassportPart
from streams.delivery.backoff import delay
from streams.delivery.breaker import OFF, BreakerTerms
from streams.delivery.bucket import FREE, RateTerms
from streams.delivery.protocol import NONE_REFUSED, Outcome, OutcomeKind
from streams.dispatch import parts
from streams.dispatch.sizing import SizeTerms
from topology.model import Pipeline
from topology.partner import HttpPartner, ObjectStorePartner, Partner
from topology.sections import BackoffPreset

STOP_WAIT = 60_000
"""Milliseconds before a partner that refused us (401, 403) is asked again: credentials take people to repair."""
NO_ANSWER = "not known: its partition was taken over before an answer came"
"""Why an attempt is repeated of which nobody heard: it was in flight when its worker ended, or lost the partition."""
DEFAULT_PAUSE = 5_000
"""Milliseconds of a pause that does not say how long."""
OBJECT_STORE_CONNECTIONS = 8
"""Writes at a time to one object store, which names no limit of its own."""


@dataclass(frozen=True, slots=True)
class PartnerTerms:
    """What a partner allows."""

    connections: int = OBJECT_STORE_CONNECTIONS
    """Attempts at one time."""
    breaker: BreakerTerms = OFF
    rate: RateTerms = FREE
    key_retention: int | None = None
    """Milliseconds after which a repeated key would be taken for a new one, less one attempt's time; None: never."""
    max_records: int | None = None
    """Records in one request; None: any number."""
    max_bytes: int | None = None
    """Of a body; None: any number."""
    sizing: SizeTerms | None = None
    """How its batches grow and shrink; None: they do not."""
    deadline: int | None = None
    """Milliseconds from the begin of a life to when it is given up, whatever it waits for; None: never."""

    def above(self, row: Row, size: int = 0) -> str:
        """Why a batch with a body of `size` bytes (0: not known yet) is more than the partner takes, in words; empty if
        it is not. One that may have taken effect is sent again as it was (DI2, DI3)."""
        if row.unknown:
            return ""
        if self.max_records is not None and row.count > self.max_records:
            return f"not sent: {row.count} records, the partner takes {self.max_records}"
        if self.max_bytes is not None and size > self.max_bytes:
            return f"not sent: {size} bytes, the partner takes {self.max_bytes}"
        return ""


UNKNOWN_PARTNER = PartnerTerms(connections=0)


@dataclass(frozen=True, slots=True)
class Terms:
    """The part of a pipeline that decides about deliveries. Times in ms."""

    attempts: int
    unknown_attempts: int
    backoff: BackoffPreset
    keep: int
    ordered: bool
    partners: Mapping[str, PartnerTerms] = field(default_factory=dict)
    outage: int = 0
    """For which a batch is spared attempts that a partner's outage costs."""

    def partner(self, name: str) -> PartnerTerms:
        """Terms of a partner. One that this topology does not know is sent nothing: its batches wait."""
        return self.partners.get(name, UNKNOWN_PARTNER)

    @classmethod
    def of(cls, pipeline: Pipeline) -> Terms:
        """The terms a pipeline's YAML states."""
        partners = {name: _terms(pipeline, name, partner) for name, partner in pipeline.partners.items()}
        retry = pipeline.retry
        return cls(
            retry.attempts,
            retry.unknown_attempts,
            retry.backoff,
            int(pipeline.keep * 1000),
            pipeline.ordering == "group",
            partners,
            int(retry.outage * 1000),
        )


def _terms(pipeline: Pipeline, name: str, partner: Partner) -> PartnerTerms:
    """What a partner's YAML allows. Its breaker opens before a batch alone has used up its attempts."""
    retention = None
    if partner.key_retention is not None:
        # A retry sent just in time must also arrive in time.
        retention = max(0, int((partner.key_retention - partner.timeout) * 1000))
    own, rate = partner.breaker, partner.rate
    http = partner if isinstance(partner, HttpPartner) else None
    return PartnerTerms(
        OBJECT_STORE_CONNECTIONS if isinstance(partner, ObjectStorePartner) else partner.connections,
        BreakerTerms(min(own.failures, pipeline.retry.attempts), int(own.first * 1000), int(own.longest * 1000)),
        FREE if rate is None else RateTerms(rate.per * 1000 / rate.attempts, rate.burst),
        retention,
        http.max_records if http else None,
        http.max_bytes if http else None,
        _size_terms(pipeline, name, http) if http else None,
        None if partner.deadline is None else int(partner.deadline * 1000),
    )


def _size_terms(pipeline: Pipeline, name: str, partner: HttpPartner) -> SizeTerms | None:
    chosen = partner.adaptive
    if chosen is None:
        return None
    sla = None if chosen.sla is None else int(chosen.sla * 1000)
    return SizeTerms(chosen.min_records, pipeline.cap_for(name, None), chosen.step, sla)


Name = Callable[[Row, int, int], bytes]
"""The id of a part of a batch: its row, index of the part's first record in the frozen batch, number of records."""


class Settled(NamedTuple):
    """What an answer led to."""

    row: Row
    code: str = ""
    """Error code of a batch that died, or of the records in `refused`."""
    refused: Mapping[int, str] = NONE_REFUSED
    """Records that the partner did not take although it took others: their index, and its words."""
    why: str = ""
    """Of a batch that died, in words; empty: its code says it all."""


def next_life(row: Row, life: int, passport: PassportPart, begun_at: int) -> Row:
    """A dead batch is delivered again (DI6): same id, key and bytes, fresh attempts and a fresh deadline; unknown stays
    (DI2)."""
    return row._replace(
        state="pending", life=life, attempt=0, budget_used=0, not_before=0, answer=None, retained=False,
        passport=passport, spared=0, spared_since=0, excerpt=None, answer_digest=None, begun_at=begun_at,
    )  # fmt: skip


def split(row: Row, answer: str) -> Settled:
    """A batch of several records goes on in halves (DI4): the end of it, and no answer to any record."""
    return Settled(row._replace(state="split", answer=answer))


def too_large(row: Row, answer: str) -> Settled:
    """A batch that its partner does not take as large as it is, and that cannot have taken effect."""
    return split(row, answer) if row.count > 1 else dead(row, PARTNER_TOO_LARGE, answer)


def halves(row: Row, name: Name) -> tuple[Row, Row]:
    """The children of a split batch (DI4). Each has an id of its own, which follows from its records alone, and stands
    at the beginning of the life that its parent was in."""
    left, right = parts.halves(row.first, row.count)
    return _half(row, name, *left), _half(row, name, *right)


def _half(row: Row, name: Name, first: int, count: int) -> Row:
    return row._replace(
        batch_id=name(row, first, count), parent=row.batch_id, first=first, count=count, state="pending", attempt=0,
        body_digest=None, render_version=0, budget_used=0, not_before=0, first_attempt_at=0, last_attempt_at=0,
        answer=None, spared=0, spared_since=0, excerpt=None, answer_digest=None,
    )  # fmt: skip


def found_in_flight(row: Row) -> Row:
    """An attempt in flight on restore is unknown (DI2); the next write-ahead or settlement says so in the table."""
    return row._replace(unknown=True) if row.state == "in_flight" else row


def write_ahead(row: Row, now: int, body_digest: bytes, render_version: int) -> Row:
    """The row to commit before an attempt is sent (law 7)."""
    return row._replace(
        state="in_flight",
        attempt=row.attempt + 1,
        body_digest=body_digest,
        render_version=render_version,
        first_attempt_at=row.first_attempt_at if row.unknown else now,
        last_attempt_at=now,
    )


def spent(row: Row, now: int, terms: Terms) -> str:
    """Why a batch may not be attempted again, as an error code; empty while it may (DI2, DI3)."""
    if row.budget_used >= terms.attempts:
        return OUTCOME_UNKNOWN if row.unknown else RETRIES_EXHAUSTED
    if not row.unknown:
        return ""
    if row.attempt - row.budget_used - row.spared >= terms.unknown_attempts:
        return OUTCOME_UNKNOWN
    retention = terms.partner(row.partner).key_retention
    if retention is not None and now - row.first_attempt_at > retention:
        return OUTCOME_UNKNOWN
    return ""


def attempts_left(row: Row, terms: Terms) -> int:
    """Attempts that a batch may still fail before `spent` ends it, the one under way included; an outage of its partner
    uses up none. An end by age (`key_retention`) is not foreseen."""
    left = terms.attempts - row.budget_used
    if row.unknown:
        ended = row.attempt - (row.state == "in_flight")
        left = min(left, terms.unknown_attempts - (ended - row.budget_used - row.spared))
    return max(0, left)


def deadline(row: Row, terms: Terms) -> int | None:
    """When a batch is given up that has no final answer by then, ms since epoch; None: never."""
    allowed = terms.partner(row.partner).deadline
    return None if allowed is None else row.begun_at + allowed


def overdue(row: Row, now: int, terms: Terms) -> bool:
    """Whether the deadline of a batch has come."""
    at = deadline(row, terms)
    return at is not None and at <= now


def give_up(row: Row, now: int) -> Settled:
    """The end of a batch that is overdue: as that of one whose attempts are used up (DI2)."""
    last = "in flight when its worker ended" if row.state == "in_flight" else row.answer or "none"
    why = f"no final answer {(now - row.begun_at) / 1000:,.0f} s after its delivery began; attempts: {row.attempt}"
    code = OUTCOME_UNKNOWN if row.unknown else DEADLINE_EXCEEDED
    return dead(row, code, row.answer)._replace(why=f"{why}, last outcome: {last}")


def dead(row: Row, code: str, answer: str | None) -> Settled:
    """The end of a life without success. A partner that holds other bytes under our key may have got them from us:
    nobody else knows the key. So a conflict is no known failure (law 4)."""
    unknown = row.unknown or code == STORED_OBJECT_DIFFERS
    return Settled(row._replace(state="dead", unknown=unknown, answer=answer), code)


def refusal(row: Row) -> str:
    """The code of what a partner refuses. It speaks of this attempt; an earlier one may have taken effect (DI2)."""
    return OUTCOME_UNKNOWN if row.unknown else PARTNER_REFUSED


def settle(row: Row, outcome: Outcome, now: int, terms: Terms, rng: Random, outage: bool = False) -> Settled:
    """What an answer makes of a batch in flight. `outage`: it failed because the partner as a whole is down; then the
    batch waits for the partner, and nothing of its own is used up. One that is overdue neither waits nor is split."""
    settled = _settle(row, outcome, now, terms, rng, outage)
    if settled.row.state in ("pending", "split") and overdue(row, now, terms):
        return give_up(settled.row, now)
    return settled


def _settle(row: Row, outcome: Outcome, now: int, terms: Terms, rng: Random, outage: bool) -> Settled:
    answer = outcome.answer
    row = row._replace(
        excerpt=outcome.kept.excerpt if outcome.kept else None,
        answer_digest=outcome.kept.digest if outcome.kept else None,
    )
    match outcome.kind:
        case OutcomeKind.DELIVERED:
            return Settled(row._replace(state="sent", answer=answer, excerpt=None))
        case OutcomeKind.PARTIAL if len(outcome.refused) < row.count:
            return Settled(row._replace(state="sent", answer=answer), refusal(row), outcome.refused)
        case OutcomeKind.TOO_LARGE if not row.unknown:
            return too_large(row, answer)
        case OutcomeKind.INVALID if row.count > 1 and not row.unknown:
            return split(row, answer)
        case OutcomeKind.REFUSED | OutcomeKind.TOO_LARGE | OutcomeKind.INVALID | OutcomeKind.PARTIAL:
            return dead(row, refusal(row), answer)._replace(refused=outcome.refused)
        case OutcomeKind.CONFLICT:
            return dead(row, STORED_OBJECT_DIFFERS, answer)
        case OutcomeKind.PAUSED | OutcomeKind.STOPPED:
            back = row._replace(state="pending", attempt=row.attempt - 1, answer=answer)
            return Settled(back._replace(not_before=now + put_off(outcome)))
        case OutcomeKind.FAILED:
            row = row._replace(budget_used=row.budget_used + 1)
            tries = row.budget_used
        case OutcomeKind.UNKNOWN:
            row = row._replace(unknown=True)
            tries = row.attempt - row.spared
    if outage and (spared := spare(row, outcome.kind is OutcomeKind.FAILED, now, terms)) is not row:
        row, tries = spared, 0
    if code := spent(row, now, terms):
        return dead(row, code, answer)
    wait = int(delay(terms.backoff, tries, rng) * 1000) if tries else 0
    return Settled(row._replace(state="pending", not_before=now + wait if wait else 0, answer=answer))


def spare(row: Row, known: bool, now: int, terms: Terms) -> Row:
    """Gives back an attempt that an outage of the partner cost, as long as a batch waits for a partner at all.
    `known`: it was counted as a known failure."""
    since = row.spared_since or row.last_attempt_at
    if now - since > terms.outage:
        return row
    return row._replace(budget_used=row.budget_used - known, spared=row.spared + 1, spared_since=since)


def taken_over(row: Row, now: int) -> Row:
    """A restored row by our clock; the one that wrote it may have been ahead of ours (fault C1). It waits no longer
    from now than it would have waited in all, and its life has begun: where the row does not say when, with its last
    attempt, or if it had none, when its first record was recorded."""
    return row._replace(
        not_before=min(row.not_before, now + max(0, row.not_before - row.last_attempt_at)),
        begun_at=min(row.begun_at or max(row.recorded_at, row.last_attempt_at), now),
    )


def put_off(outcome: Outcome) -> int:
    """Milliseconds for which the whole partner is left alone after an answer; 0 after most."""
    if outcome.kind is OutcomeKind.STOPPED:
        return STOP_WAIT
    if outcome.kind is OutcomeKind.PAUSED:
        return DEFAULT_PAUSE if outcome.retry_after is None else int(outcome.retry_after * 1000)
    return 0
