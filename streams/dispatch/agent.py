"""The dispatch stage: frozen batches go to partners, every record gets its final answer. Thin, over `deliveries.py`.

The commit protocol, numbered as in the design; the `delivery` table is the truth, not the offset:

1. a batch is read: its row `pending` and the offset, in one transaction;
2. before each attempt the row says `in_flight`, with attempt, body digest and render version (write-ahead);
3. the attempt is sent, which the runner does only after 2 has committed (`Work.effects`);
4. its answer is settled: acks, or dead letters with releases, and the row, in one transaction; or the batch goes on
   in halves, whose rows are written with its own (DI4).

All steps that are ready at one moment share a transaction; the table shows the last row of each batch. So a fresh
batch that nothing holds back goes to `in_flight` at once: 1 and 2 are one commit, which still comes before 3.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from random import Random
from typing import Any, NamedTuple

from schemas.codec import Codec, WireError
from schemas.delivery import Row, encode_delivery
from schemas.errors import UNPROCESSABLE, Finding
from schemas.pack import Pack
from streams.claims import NO_CLAIMS, Claims, ClaimsAway
from streams.deadletter import DeadLetters
from streams.dispatch.allowance import Allowances
from streams.dispatch.attempts import Terms, attempts_left, deadline, taken_over
from streams.dispatch.bodies import Bodies, Body, Fault, Fetch
from streams.dispatch.changes import Broken, Changes, Event, Later, Prepared, What
from streams.dispatch.deliveries import Deliveries
from streams.dispatch.gate import Gate
from streams.dispatch.settlement import Settlement
from streams.progress import Identity, Progress, take_over
from streams.stage import Chunk, Message, Output, TableStore, Work
from streams.tables import decode_row
from topology.model import STANDARD, Lane, Pipeline

PARTNER_KEY = b"partner/"
"""What the key of a partner's own row in `delivery` begins with; the others are the 32 bytes of a batch id."""
CLAIMS_WAIT = 10_000
"""Milliseconds before the claim store is asked again for a batch that needs it."""


class PartnerView(NamedTuple):
    """One partner as it stands."""

    partner: str
    state: str
    """closed, open, half-open, paused, stopped."""
    unsettled: int
    """Batches without a final answer."""
    age: int
    """Milliseconds since the first record of the oldest of them was recorded."""
    paused: bool = False
    """By an operator's order."""
    cap: int | None = None
    """Records that its batches may have; None: nobody watches."""
    attempts_left: int = 0
    """That the unsettled batch with the fewest left may still fail before it dies; `retry.attempts` without a batch."""
    time_left: int | None = None
    """Milliseconds until the first unsettled batch is given up; all of `deadline` without a batch; None: there is no
    deadline."""


class DispatchStage:
    """See streams.stage.Stage. `Chunk.answers` are (Envelope, Outcome), `Work.effects` are Envelopes."""

    name = "dispatch"
    input = "batched"
    tables: tuple[str, ...] = ("heads", "delivery")

    def __init__(
        self,
        pipeline: Pipeline,
        codec: Codec,
        pack: Pack,
        identity: Identity,
        dead_letters: DeadLetters,
        fetch: Fetch,
        rng: Random,
        stores: Callable[[str, int], TableStore],
        busy: Callable[[bytes], bool] = lambda batch_id: False,
        claims: Claims = NO_CLAIMS,
        allowances: Allowances | None = None,
        lane: Lane = STANDARD,
    ) -> None:
        """`fetch` reads `batched` by position, `rng` gives the jitter, `stores` makes table stores, `busy` says
        whether an attempt of a batch is still out although it was forgotten, `claims` keeps large payloads,
        `allowances` is what this `lane` shares with the pipeline's others."""
        self.pipeline, self.codec, self.identity, self.dead_letters = pipeline, codec, identity, dead_letters
        self._new_store = stores
        self.input_topic_id = ""
        self.table_topic_ids: Mapping[str, str] = {}
        self.bodies = Bodies(pipeline, codec, pack, fetch, claims)
        self.deliveries = Deliveries(Terms.of(pipeline), rng, self.bodies.name, busy, allowances, lane)
        self._settlement = Settlement(pipeline, codec, dead_letters)
        self._heads: dict[int, Progress] = {}
        self._full: frozenset[int] = frozenset()

    @property
    def may_send(self) -> bool:
        """DI5: off until the control topic has been read to the end offset taken at start."""
        return self.deliveries.may_send

    @may_send.setter
    def may_send(self, value: bool) -> None:
        self.deliveries.may_send = value

    @property
    def draining(self) -> bool:
        """See `streams.stage.Stage`."""
        return self.deliveries.draining

    @draining.setter
    def draining(self, value: bool) -> None:
        self.deliveries.draining = value

    def pause(self, partners: Collection[str]) -> None:
        """See Deliveries.pause."""
        self.deliveries.pause(partners)

    @property
    def unsettled(self) -> int:
        """Batches without a final answer: a bounded run ends when there is none."""
        return self.deliveries.unsettled

    def partners(self, now: int) -> list[PartnerView]:
        """Every partner that batches were for, for those who watch."""
        terms = self.deliveries.terms
        return [
            PartnerView(
                gate.partner,
                gate.state(now),
                len(gate.waiting),
                now - min(batch.row.recorded_at for batch in gate.waiting.values()) if gate.waiting else 0,
                gate.paused,
                gate.cap,
                min((attempts_left(batch.row, terms) for batch in gate.waiting.values()), default=terms.attempts),
                self._time_left(gate, now),
            )
            for gate in self.deliveries.gates
        ]

    def _time_left(self, gate: Gate, now: int) -> int | None:
        if gate.terms.deadline is None:
            return None
        ends = (deadline(batch.row, self.deliveries.terms) for batch in gate.waiting.values())
        return min((max(0, at - now) for at in ends if at is not None), default=gate.terms.deadline)

    @property
    def room(self) -> Mapping[int, int]:
        """What may still be parked of each partition, in equal shares: a partner that is down must not hold up those of
        other partitions. A full share takes nothing before a tenth of it is free again: input that stops and goes for
        every batch would be read anew each time."""
        parked = self.deliveries.unsettled_by_partition
        share = max(1, self.pipeline.max_unsettled // max(1, len(parked)))
        self._full = frozenset(
            partition
            for partition, unsettled in parked.items()
            if unsettled >= share or (partition in self._full and unsettled > share * 9 // 10)
        )
        return {
            partition: 0 if partition in self._full else share - unsettled for partition, unsettled in parked.items()
        }

    # ---- taking over and letting go --------------------------------------------------------------

    def store(self, table: str, partition: int) -> TableStore:
        return self._new_store(table, partition)

    def restore(self, partition: int, stores: Mapping[str, TableStore], committed: int | None, now: int) -> int:
        progress = take_over(self, partition, stores["heads"], self.codec, committed)
        self._heads[partition] = progress
        self.draining = False
        rows, partners = [], []
        for key, value in stores["delivery"].items():
            kind = "partner_state" if key.startswith(PARTNER_KEY) else "delivery"
            decoded: Any = decode_row(self.codec, self.pipeline, "delivery", partition, key, value, kind)
            if kind == "delivery":
                rows.append(taken_over(Row(**decoded), now))
            else:
                partners.append(decoded)
        self.deliveries.restore(partition, rows, partners, now)
        return progress.processed_through + 1

    def forget(self, partition: int) -> None:
        self.deliveries.forget(partition)
        self.bodies.forget(partition)
        self._heads.pop(partition, None)

    # ---- a chunk ---------------------------------------------------------------------------------

    def process(self, chunk: Chunk) -> Work:
        work, changes = Work(), Changes()
        covered: dict[int, tuple[int, int]] = {}
        for envelope, outcome in chunk.answers:
            self.deliveries.answer(
                changes, envelope.batch_id, envelope.life, envelope.attempt, outcome, chunk.now
            )  # fmt: skip
        for message in chunk.messages:
            progress = self._heads[message.partition]
            if message.offset > progress.processed_through:
                self._take(work, changes, message, chunk.condemned.get((message.partition, message.offset)), chunk.now)
                progress.processed_through = message.offset
                first = covered.get(message.partition, (message.offset, 0))[0]
                covered[message.partition] = (first, message.offset)
        self.bodies.claims_away = False
        self.deliveries.age(changes, chunk.now)
        self.deliveries.start(changes, chunk.now, self._prepare)
        self._write(work, changes)
        self.bodies.trim()
        touched = covered.keys() | {partition for partition, _ in changes.rows}
        for partition in sorted(touched):
            self._close(work, partition, chunk.observed_at, covered.get(partition))
        return work

    def _take(self, work: Work, changes: Changes, message: Message, condemned: str | None, now: int) -> None:
        """One message of `batched`: a first life, or another one (DI6)."""
        if condemned is not None:
            return self._condemned(work, message, condemned)
        progress = self._heads[message.partition]
        try:
            name, value = self.codec.decode(message.value or b"")
            frozen = self.bodies.read(message, value) if name == "batched" else None
        except WireError as unreadable:  # no need to hunt for it: these bytes will not get better
            return self._condemned(work, message, str(unreadable))
        if frozen is not None:
            row = new_row(value, message.partition, message.offset, now)
            if self.deliveries.admit(changes, message.partition, row):
                self.bodies.keep(row, frozen)
        elif name == "batched_again":
            partition, offset = value["batched_partition"], value["batched_offset"]
            whole, part = self.bodies.find(partition, offset, value["batch_id"])
            row = new_row(whole.batched, partition, offset, now)._replace(**part._asdict())
            if self.deliveries.again(changes, message.partition, row, value["life"], value["passport"]):
                progress.note("REPLAY", str(value["life"]), self.bodies.of(row).first, row.batch_id)
        else:
            return self._condemned(work, message, f"a {name} message has no business in `batched`")
        return None

    def _condemned(self, work: Work, message: Message, error: str) -> None:
        """A message of our own topic that cannot be worked: kept whole, so that nothing is lost (VA4)."""
        output, raw, digest = self.dead_letters.unreadable(
            self.name, self.pipeline.topic(self.input), message, Finding(UNPROCESSABLE, "", error)
        )
        work.outputs.append(output)
        self._heads[message.partition].note("DEAD", UNPROCESSABLE, raw, digest)

    def _prepare(self, partition: int, row: Row) -> Prepared | Broken | Later:
        try:
            body = self.bodies.render(row)
        except ClaimsAway:
            # Not raised: other batches need no claim, and their answers must not be lost with this turn.
            self.bodies.release(row)
            return Later(CLAIMS_WAIT)
        if isinstance(body, Fault):
            return Broken(body.code, body.why)
        return Prepared(body.digest, body.version, body, len(body.data), body.fetched)

    # ---- what is written -------------------------------------------------------------------------

    def _write(self, work: Work, changes: Changes) -> None:
        """Acks, dead letters, releases, retains, audit entries; the rows; and what may be sent after the commit."""
        for event in changes.events:
            work.outputs.extend(self._event(event))
        for partition, passed in changes.passed:
            work.outputs.append(Output("delivery", partition, passed.batch_id, self._encode(passed)))
        for (partition, batch_id), row in changes.rows.items():
            work.outputs.append(Output("delivery", partition, batch_id, None if row is None else self._encode(row)))
        for (partition, partner), standing in changes.partners.items():
            value = None if standing is None else self.codec.encode("partner_state", standing)
            work.outputs.append(Output("delivery", partition, PARTNER_KEY + partner.encode(), value))
        for partner, (records, reason) in changes.caps.items():
            # On every partition of `validated`: windows for one partner are open in all of them (DI7).
            cap = self.codec.encode("cap", {"partner": partner, "records": records, "reason": reason})
            work.outputs += [Output("validated", p, partner.encode(), cap) for p in range(self.pipeline.partitions)]
        for launch in changes.launches:
            body: Body = launch.prepared.body
            work.effects.append(body.envelope(launch.row))
        work.ended = changes.ended

    def _encode(self, row: Row) -> bytes:
        header = self.codec.header("delivery")
        return self.codec.encode("delivery", row.message()) if header is None else encode_delivery(header, row)

    def _event(self, event: Event) -> list[Output]:
        row, progress = event.row, self._heads[event.partition]
        if event.what is What.WAIT:
            self.bodies.release(row)
            return []
        frozen = self.bodies.of(row)
        match event.what:
            case What.ATTEMPT:
                self._settlement.attempt(progress, row, frozen)
                return []
            case What.SPLIT | What.HALF:
                self._settlement.split(progress, row, frozen)
                if event.what is What.SPLIT:
                    self.bodies.release(row)
                return []
            case What.DELIVERED:
                outputs = self._settlement.delivered(progress, row, frozen, event.code, event.refused)
            case What.DEAD:
                outputs = self._settlement.dead(progress, row, event.code, event.why, frozen, event.refused)
            case What.RETAIN | What.RETAIN_END:
                return [self._settlement.retain(progress, row, event.what is What.RETAIN, frozen)]
        self.bodies.release(row)
        return outputs

    def _close(self, work: Work, partition: int, now: int, offsets: tuple[int, int] | None) -> None:
        """Offsets go with every transaction, even unchanged, so that a worker that lost its partitions is refused
        (DI1); the head says the same offset, so the two can be compared (TX3)."""
        progress = self._heads[partition]
        work.offsets[partition] = progress.processed_through + 1
        progress.topology_version = self.pipeline.version
        progress.close(work, self.codec, self.identity, now, offsets)

    def committed(self, work: Work, now: int) -> None:
        """Nothing is left to do: the state here has changed already."""

    def due(self, now: int) -> bool:
        return self.deliveries.due(now)

    def drain(self, chunk: Chunk, ending: bool) -> Work:
        """Nothing is left to write: rows are in the table. From here on answers are taken and no attempt begins."""
        self.draining = True
        return Work()


def new_row(batched: Mapping[str, Any], partition: int, offset: int, now: int) -> Row:
    """The row of a batch that was never attempted, whose life begins now; (partition, offset) is where its frozen body
    lies."""
    return Row(
        batch_id=batched["batch_id"],
        batched_partition=partition,
        batched_offset=offset,
        partner=batched["partner"],
        group=batched["group"],
        count=batched["count"],
        state="pending",
        life=1,
        attempt=0,
        unknown=False,
        body_digest=None,
        render_version=0,
        budget_used=0,
        not_before=0,
        first_attempt_at=0,
        last_attempt_at=0,
        answer=None,
        retained=False,
        recorded_at=batched["first_recorded_at"],
        parent=None,
        begun_at=now,
    )
