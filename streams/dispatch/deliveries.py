"""Owns which batch is attempted next: the unsettled batches of a thread's partitions in their queues, the partners'
gates, and the waits. Pure: no Kafka, no clock, no I/O; `attempts.py` says what becomes of one batch.

The `delivery` table is the truth. State here changes at once, as if every change committed; on any doubt `forget` and
`restore` rebuild it from the table (TX1). A batch is in one of these places: open (an attempt is out), in its
partner's `ready` line, behind a timer, or in a queue behind the head of its group. The halves of a split batch take its
place at the head of its queue. Wherever it is, unless it is open, its deadline ends it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count
from random import Random

from schemas.delivery import Row
from schemas.errors import BODY_DIGEST_CHANGED
from schemas.messages import PartnerState, PassportPart
from streams.delivery.protocol import Outcome
from streams.dispatch.allowance import Allowances
from streams.dispatch.attempts import (
    Name,
    Settled,
    Terms,
    dead,
    deadline,
    found_in_flight,
    give_up,
    halves,
    next_life,
    overdue,
    settle,
    spare,
    spent,
    too_large,
    write_ahead,
)
from streams.dispatch.changes import Broken, Changes, Event, Later, Launch, Prepare, What
from streams.dispatch.gate import Batch, Gate, Heard
from streams.dispatch.reminders import Reminders
from topology.model import STANDARD, Lane

TIDY_AT_ONCE = 1_000
"""Settled rows tombstoned at a time: tidying must not make a chunk long."""

ATTEMPTS_AT_ONCE = 32
"""Bodies rendered at a time, for the same reason; what is left over is due at once."""
GIVEN_UP_AT_ONCE = 2_000
"""Records given up in one turn, by whole batches, and not more of these than are attempted: each record is a dead
letter, and a turn has to stay well within the transaction's time-out."""
OPEN_WAIT = 1_000
"""Milliseconds until we look again whether a batch that is past its deadline still has an attempt out."""
BUSY_WAIT = 100
"""Milliseconds until we look again whether a forgotten attempt of the same batch has come back."""


@dataclass(slots=True, eq=False)
class Part:
    """One partition of `batched`."""

    unsettled: dict[bytes, Batch] = field(default_factory=dict)
    settled: dict[bytes, Row] = field(default_factory=dict)
    queues: dict[str, deque[Batch]] = field(default_factory=dict)
    """Group -> its unsettled batches in order. The head is attempted, the rest waits for it."""
    children: Counter[bytes] = field(default_factory=Counter)
    """Split batch -> how many of its halves have a row. Its own row goes last."""


class Deliveries:
    """All batches of the partitions one thread owns."""

    def __init__(
        self,
        terms: Terms,
        rng: Random,
        name: Name,
        busy: Callable[[bytes], bool] = lambda batch_id: False,
        allowances: Allowances | None = None,
        lane: Lane = STANDARD,
    ) -> None:
        """`name` gives the ids of halves, `busy` says whether an attempt of a batch is still out that was forgotten
        meanwhile. `allowances`: what this `lane` shares with others; None: it shares nothing."""
        self.terms, self._rng, self._name, self._busy = terms, rng, name, busy
        self._allowances, self._lane = allowances or Allowances(), lane
        self.may_send = False
        """DI5: set when the control topic has been read to its end (a hold may stand there)."""
        self.draining = False
        """Set at a stop: answers are still taken, no attempt begins."""
        self._paused: Collection[str] = ()
        self._parts: dict[int, Part] = {}
        self._gates: dict[str, Gate] = {}
        self._open: dict[bytes, Batch] = {}
        self._sequence = count()
        self._timers: list[tuple[int, int, Batch]] = []
        self._deadlines, self._retains, self._expiries = self._reminders = Reminders(), Reminders(), Reminders()

    # ---- taking over and letting go --------------------------------------------------------------

    def restore(self, partition: int, rows: Iterable[Row], partners: Iterable[PartnerState] = (), now: int = 0) -> None:
        """Takes a partition over from its table. Whatever was in flight is unknown now (DI2)."""
        for standing in partners:
            gate = self._gate(standing["partner"])
            gate.home = partition
            gate.take_over(standing, now)
        part = self._parts[partition] = Part()
        unsettled = []
        for row in rows:
            if row.parent is not None:
                part.children[row.parent] += 1
            if row.settled:
                self._keep_settled(partition, part, row)
            else:
                unsettled.append(found_in_flight(row))
        for row in sorted(unsettled, key=_rank):
            self._enqueue(partition, part, row)

    def forget(self, partition: int) -> None:
        """Drops a partition: answers still out will be discarded, their entries stay in flight in the table (DI1)."""
        for gate in self._gates.values():
            if gate.home == partition:
                gate.size = None  # what was decided may not have committed: the batch stage obeys the table's word
        part = self._parts.pop(partition, None)
        if part is None:
            return
        for batch in part.unsettled.values():
            if batch.open:
                self._close(batch)
            self._gate(batch.row.partner).waiting.pop(batch.row.batch_id, None)
        self._timers = [entry for entry in self._timers if entry[2].partition != partition]
        heapify(self._timers)
        for reminders in self._reminders:
            reminders.drop(partition)

    @property
    def unsettled(self) -> int:
        """Batches without a final answer."""
        return sum(len(part.unsettled) for part in self._parts.values())

    @property
    def unsettled_by_partition(self) -> dict[int, int]:
        """The same for each partition."""
        return {partition: len(part.unsettled) for partition, part in self._parts.items()}

    # ---- new batches -----------------------------------------------------------------------------

    def admit(self, changes: Changes, partition: int, row: Row) -> bool:
        """A first life. False: the id is known, and a known id is not sent again (law 7)."""
        part = self._parts[partition]
        if row.batch_id in part.unsettled or row.batch_id in part.settled:
            return False
        self._begin(changes, partition, part, row)
        return True

    def again(self, changes: Changes, partition: int, row: Row, life: int, passport: PassportPart) -> bool:
        """Another life of a dead batch (DI6); `row` is what its message says, for an id whose row is gone by age.

        False: not the life that comes next, so this passport has been used, or the batch is not dead.
        """
        part = self._parts[partition]
        old = part.settled.get(row.batch_id)
        if row.batch_id in part.unsettled or (old is not None and (old.state != "dead" or life != old.life + 1)):
            return False
        # With the row gone nobody knows how the former lives ended (law 4).
        former = old if old is not None else row._replace(unknown=True)
        if part.settled.pop(row.batch_id, None) is None and row.parent is not None:
            part.children[row.parent] += 1
        self._begin(changes, partition, part, next_life(former, life, passport, row.begun_at))
        return True

    def _begin(self, changes: Changes, partition: int, part: Part, row: Row) -> None:
        self._enqueue(partition, part, row)
        changes.rows[partition, row.batch_id] = row

    def _enqueue(self, partition: int, part: Part, row: Row) -> None:
        batch = self._register(partition, part, row)
        queue = part.queues.setdefault(self._line(row), deque())
        queue.append(batch)
        if queue[0] is batch:
            self._offer(batch)

    def _register(self, partition: int, part: Part, row: Row) -> Batch:
        batch = part.unsettled[row.batch_id] = Batch(partition, row)
        self._gate(row.partner).waiting[row.batch_id] = batch
        if not row.retained:
            self._retains.add(row.recorded_at + self.terms.keep // 2, partition, row.batch_id)
        if (at := deadline(row, self.terms)) is not None:
            self._deadlines.add(at, partition, row.batch_id)
        return batch

    def _line(self, row: Row) -> str:
        """Whose head must be settled first: the group's, or nobody's with `ordering: none`."""
        return row.group if self.terms.ordered else row.batch_id.hex()

    # ---- answers ---------------------------------------------------------------------------------

    def answer(self, changes: Changes, batch_id: bytes, life: int, attempt: int, outcome: Outcome, now: int) -> bool:
        """Takes an answer. False: it belongs to no attempt that is out (forgotten, or of an older one)."""
        batch = self._open.get(batch_id)
        if batch is None or (batch.row.life, batch.row.attempt) != (life, attempt):
            return False
        gate = self._gate(batch.row.partner)
        heard = gate.hear(batch, outcome, self._close(batch), now, self._rng)
        for charged, of_life, known in heard.give_back:
            if self._alive(charged) and charged.row.life == of_life:
                charged.row = spare(charged.row, known, now, self.terms)
                if not charged.open:  # else the row says it with the answer: a write-ahead is written once
                    changes.rows[charged.partition, charged.row.batch_id] = charged.row
        self._told(changes, gate, batch.partition, heard)
        self._apply(changes, batch, settle(batch.row, outcome, now, self.terms, self._rng, heard.outage))
        return True

    def _told(self, changes: Changes, gate: Gate, partition: int, heard: Heard) -> None:
        """Writes down what was learnt of a partner."""
        if heard.changed:
            changes.partners[partition, gate.partner] = gate.row
        if heard.cap is not None and gate.cap is not None:
            changes.caps[gate.partner] = gate.cap, heard.cap

    def _apply(self, changes: Changes, batch: Batch, result: Settled) -> None:
        """Writes down where a batch stands, and lets the next of its group follow if it is settled."""
        partition, row = batch.partition, result.row
        part = self._parts[partition]
        if not row.settled:
            batch.row = changes.rows[partition, row.batch_id] = row
            changes.events.append(Event(What.WAIT, partition, row))
            changes.ended[row.batch_id] = True
            self._offer(batch)
            return
        children = halves(row, self._name) if row.state == "split" else ()
        if children:
            changes.events.append(Event(What.SPLIT, partition, row))
            changes.events += [Event(What.HALF, partition, child) for child in children]
        else:
            what = What.DELIVERED if row.state == "sent" else What.DEAD
            changes.events.append(Event(what, partition, row, result.code, result.refused, result.why))
            if row.retained:
                changes.events.append(Event(What.RETAIN_END, partition, row._replace(retained=False)))
        row = row._replace(retained=False)  # halves inherit it, each for its own records
        changes.rows[partition, row.batch_id] = row
        del part.unsettled[row.batch_id]
        self._gate(row.partner).waiting.pop(row.batch_id, None)
        self._follow(changes, part, batch, children)
        self._keep_settled(partition, part, row)

    def _follow(self, changes: Changes, part: Part, batch: Batch, children: Sequence[Row]) -> None:
        """What comes after the head of a queue: its halves (DI4), or who waited behind it."""
        partition, line = batch.partition, self._line(batch.row)
        queue = part.queues[line]
        was_head = queue[0] is batch
        queue.remove(batch)
        for child in children:
            part.children[batch.row.batch_id] += 1
            changes.rows[partition, child.batch_id] = child
        if self.terms.ordered:
            queue.extendleft([self._register(partition, part, child) for child in reversed(children)])
        else:
            for child in children:
                self._enqueue(partition, part, child)
        if not queue:
            del part.queues[line]
        elif was_head:
            self._offer(queue[0])

    def _keep_settled(self, partition: int, part: Part, row: Row) -> None:
        part.settled[row.batch_id] = row._replace(excerpt=None)  # the table has it; here it would be kept for days
        self._expiries.add(self._expires(row), partition, row.batch_id)

    def _expires(self, row: Row) -> int:
        """When a settled row may go: nobody may replay its batch any more."""
        return max(row.recorded_at, row.last_attempt_at) + self.terms.keep

    # ---- attempts --------------------------------------------------------------------------------

    def start(self, changes: Changes, now: int, prepare: Prepare) -> None:
        """Begins the attempts that may begin now: their write-ahead is in `changes.rows`, the launch beside it."""
        self._wake(now)
        if not self._sending:
            return
        left = ATTEMPTS_AT_ONCE
        for gate in list(self._gates.values()):
            while left and gate.ready and gate.free(now):
                batch = gate.ready.popleft()
                if self._is_next(batch):
                    self._attempt(changes, batch, gate, now, prepare)
                    left -= 1
                    if changes.launches and changes.launches[-1].prepared.slow:
                        return
            if not gate.ready:
                gate.rest()

    def _attempt(self, changes: Changes, batch: Batch, gate: Gate, now: int, prepare: Prepare) -> None:
        row = batch.row
        if self._busy(row.batch_id):
            return heappush(self._timers, (now + BUSY_WAIT, next(self._sequence), batch))
        if code := spent(row, now, self.terms):
            return self._apply(changes, batch, dead(row, code, row.answer))
        if overdue(row, now, self.terms):
            return self._apply(changes, batch, give_up(row, now))
        if words := gate.terms.above(row):  # before all of it is rendered
            return self._apply(changes, batch, too_large(row, words))
        prepared = prepare(batch.partition, row)
        if isinstance(prepared, Broken):
            return self._apply(changes, batch, dead(row, prepared.code, row.answer)._replace(why=prepared.why))
        if isinstance(prepared, Later):
            return heappush(self._timers, (now + prepared.milliseconds, next(self._sequence), batch))
        if row.body_digest is not None and prepared.digest != row.body_digest:  # DI3
            return self._apply(changes, batch, dead(row, BODY_DIGEST_CHANGED, row.answer))
        if words := gate.terms.above(row, prepared.size):
            self._told(changes, gate, batch.partition, gate.found_too_large(batch, now))
            return self._apply(changes, batch, too_large(row, words))
        if row.state == "in_flight":  # as it was found
            changes.ended[row.batch_id] = False
        elif row.batch_id in changes.ended:
            changes.passed.append((batch.partition, row))
        batch.row = row = write_ahead(row, now, prepared.digest, prepared.version)
        batch.open = True
        gate.begin(batch)
        self._open[row.batch_id] = batch
        changes.rows[batch.partition, row.batch_id] = row
        changes.events.append(Event(What.ATTEMPT, batch.partition, row))
        changes.launches.append(Launch(batch.partition, row, prepared))
        return None

    @property
    def _sending(self) -> bool:
        return self.may_send and not self.draining

    def _gate(self, partner: str) -> Gate:
        gate = self._gates.get(partner)
        if gate is None:
            terms = self.terms.partner(partner)
            allowance = self._allowances.enter(self._lane, partner, terms)
            gate = self._gates[partner] = Gate(partner, terms, allowance, self._lane)
            gate.paused = partner in self._paused
        return gate

    def pause(self, partners: Collection[str]) -> None:
        """An operator has ordered that nothing is sent to these; the others are resumed. What is out stays out."""
        self._paused = partners
        for gate in self._gates.values():
            gate.paused = gate.partner in partners

    @property
    def gates(self) -> Iterable[Gate]:
        """Every partner that was met, for those who watch."""
        return self._gates.values()

    @property
    def outdone(self) -> bool:
        """Whether something is ready that waits for limits which other lanes use."""
        return any(gate.outdone for gate in self._gates.values())

    def _close(self, batch: Batch) -> bool:
        """An attempt is over, or forgotten. True: it was its partner's probe."""
        batch.open = False
        del self._open[batch.row.batch_id]
        return self._gate(batch.row.partner).end(batch)

    def _offer(self, batch: Batch) -> None:
        """Puts the head of a queue where it will be found when its wait is over."""
        if batch.row.not_before:
            heappush(self._timers, (batch.row.not_before, next(self._sequence), batch))
        else:
            self._gate(batch.row.partner).ready.append(batch)

    def _is_next(self, batch: Batch) -> bool:
        """Whether a batch found in a ready line or behind a timer is still the unattempted head of its queue."""
        if batch.open or not self._alive(batch):
            return False
        return self._parts[batch.partition].queues[self._line(batch.row)][0] is batch

    def _alive(self, batch: Batch) -> bool:
        part = self._parts.get(batch.partition)
        return part is not None and part.unsettled.get(batch.row.batch_id) is batch

    def _wake(self, now: int) -> None:
        while self._timers and self._timers[0][0] <= now:
            batch = heappop(self._timers)[2]
            if self._is_next(batch):
                self._gate(batch.row.partner).ready.append(batch)

    # ---- age -------------------------------------------------------------------------------------

    def age(self, changes: Changes, now: int) -> None:
        """Gives up what is overdue, retains what stays unsettled (BA9), tombstones what was settled long ago."""
        self._give_up(changes, now)
        while found := self._retains.take(now):
            batch = self._parts[found.partition].unsettled.get(found.batch_id)
            if batch is not None and not batch.row.retained:
                batch.row = changes.rows[found.partition, found.batch_id] = batch.row._replace(retained=True)
                changes.events.append(Event(What.RETAIN, found.partition, batch.row))
        for _ in range(TIDY_AT_ONCE):
            if not (found := self._expiries.take(now)):
                return
            expires, _, partition, batch_id = found
            settled = self._parts[partition].settled
            row = settled.get(batch_id)
            if row is not None and self._expires(row) <= expires and not self._parts[partition].children[batch_id]:
                del settled[batch_id]
                changes.rows[partition, batch_id] = None
                self._child_gone(partition, row, now)

    def _give_up(self, changes: Changes, now: int) -> None:
        """Ends what is overdue, whatever it waits for. An attempt that is out is not torn: its answer decides."""
        left, partners, out = GIVEN_UP_AT_ONCE, set[str](), list[Batch]()
        while left > 0 and (found := self._deadlines.take(now)):
            batch = self._parts[found.partition].unsettled.get(found.batch_id)
            if batch is None:
                continue
            if batch.open:
                out.append(batch)
            elif overdue(batch.row, now, self.terms):
                left -= max(batch.row.count, GIVEN_UP_AT_ONCE // ATTEMPTS_AT_ONCE)
                partners.add(batch.row.partner)
                self._apply(changes, batch, give_up(batch.row, now))
        for batch in out:  # should the clock step back before the answer comes, it waits on
            self._deadlines.add(now + OPEN_WAIT, batch.partition, batch.row.batch_id)
        for gate in map(self._gate, partners):  # while a partner is down nobody else takes the dead out of its line
            gate.ready = deque(filter(self._alive, gate.ready))

    def _child_gone(self, partition: int, row: Row, now: int) -> None:
        """The row of a split batch goes after those of its halves, so that its id stays known as long."""
        part, parent = self._parts[partition], row.parent
        if parent is None:
            return
        part.children[parent] -= 1
        if not part.children[parent]:
            del part.children[parent]
            if (split := part.settled.get(parent)) is not None:
                self._expiries.add(max(now, self._expires(split)), partition, parent)

    def due(self, now: int) -> bool:
        """Whether some wait has run out, or an attempt could begin."""
        if (self._timers and self._timers[0][0] <= now) or any(one.due(now) for one in self._reminders):
            return True
        return self._sending and any(gate.ready and gate.free(now) for gate in self._gates.values())


def _rank(row: Row) -> tuple[int, int, int]:
    """The order in which unsettled batches are put back into their queues. Only the head of a group is ever attempted,
    or split, so what was attempted stands before the rest of its group, even where a later life of an older batch came
    in between; and halves before who waited behind their parent."""
    return 0 if row.attempt else 1 if row.parent is not None else 2, row.batched_offset, row.first
