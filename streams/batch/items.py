"""The table `items` of one partition of `validated` as the chunk at hand sees it, and the pack's state rules before it:
whether a record passes, waits or is refused. Pure: no Kafka, no clock.

What a row says is the pack's affair. The table holds committed rows only; what a chunk changes lies in `pending` until
it has committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from schemas.canonical import UNIT_SEPARATOR, RawPosition, record_id
from schemas.codec import Codec
from schemas.errors import TOO_MANY_WAITING, Finding
from schemas.state import Concerned, Domain, StateRules
from streams.batch.waiting import Wait, Waiting, touch
from streams.progress import Progress
from streams.stage import Message, Output, TableStore, Work
from streams.tables import decode_row
from topology.model import Pipeline

FACTS = "waybill-items"
"""Header of a Validated message: what the state rules need of the record, decided by validate (VA1)."""
WAITED = "waybill-waited"
"""Header of a Validated message that batch wrote again: why (CALLED, OVER), a space, and the record id. It lets the
record past the check for records seen before (BA4)."""
CALLED, OVER = "called", "over"
"""What it waited for is there, or was refused; its time is over."""
IDLE = 2
"""By the wall clock a wait takes so many times as long: where the stream moves, its own time ends it."""
MOST_ROWS = 200_000
"""Rows read and written for one chunk before it is cut: a short message may concern thousands of things, and a stage
has to answer for its chunk in time."""


class ItemStore(TableStore, Protocol):
    """A table store that can be asked by row key."""

    def get(self, key: bytes) -> bytes | None:
        """One row."""
        ...


class Returned(NamedTuple):
    """A record that waited, read again."""

    wait: Wait
    over: bool
    """Its time is over: now or never."""


class Case(NamedTuple):
    """A record before the rules."""

    message: Message
    raw: RawPosition
    digest: bytes
    now: int
    """Clock for waits, ms."""
    returned: Returned | None


class Items:
    """What is known of the things that the records of one partition are about, and which records wait."""

    def __init__(
        self,
        pipeline: Pipeline,
        codec: Codec,
        progress: Progress,
        rules: StateRules,
        store: ItemStore,
        waiting: TableStore,
    ) -> None:
        """store, waiting: the tables `items` and `waiting`, restored."""
        self._pipeline, self._codec, self._progress = pipeline, codec, progress
        self._partition, self._rules, self._store = progress.partition, rules, store
        self._field = pipeline.items.domain if pipeline.items else None
        self._wait = int(pipeline.items.wait * 1000) if pipeline.items else 0
        self._pending: dict[bytes, str | None] = {}
        self._rows = 0
        self._ready: list[Wait] = []
        self.waiting = Waiting(pipeline, codec, self._partition, waiting)
        self._restored = bool(self.waiting)
        """Whether some may wait for nothing any more."""
        self._awake: int | None = None
        """Since when the clock is looked at here, ms. While nobody did, what a record waits for may have been published
        and not been read: so no wait ends by the clock before a whole one has gone by since."""
        longest = max((wait.until - wait.since for wait in self.waiting), default=0)
        self._silent = IDLE * max(self._wait, longest)
        """For how long the clock says nothing then, ms: `wait` may have been longer when those came that wait."""
        for wait in self.waiting:
            if not wait.returning:
                self.waiting.lack(wait, self._left(wait))
        self._rows = 0

    @property
    def full(self) -> bool:
        """Whether the rest of the chunk is for the next one."""
        return self._rows >= MOST_ROWS

    # ---- records ---------------------------------------------------------------------------------

    def returned(self, work: Work, message: Message, raw: RawPosition) -> Returned | None:
        """The record, where the message is one that waited: it waits no more, unless it is judged to. None: it is a
        message like others."""
        why = self._header(message, WAITED)
        wait = self.waiting.get(record_id(raw))
        if why is None or wait is None or not wait.returning:
            return None
        self.waiting.leave(work, wait, message.offset)
        return Returned(wait, why.split(b" ")[0] == OVER.encode())

    def abandoned(self, work: Work, message: Message) -> None:
        """A message cannot be worked: if it is a record that waited, it has its answer."""
        why = self._header(message, WAITED)
        wait = None if why is None else self.waiting.get(why.partition(b" ")[2].decode(errors="replace"))
        if wait is not None and wait.returning:
            self.waiting.leave(work, wait, message.offset)

    def judge(self, work: Work, case: Case) -> Sequence[Finding] | None:
        """Why a record may not follow those before it; none: it may, and the rows have changed as it says. None itself:
        it waits."""
        message = case.message
        facts = self._header(message, FACTS)
        if facts is None:
            return ()
        domain = self._domain(message.key)
        if self.waiting:
            about = self._concerns(facts, domain)
            at = case.returned.wait.offset if case.returned else message.offset
            held = self._touches(domain, about.touches - about.makes)
            if before := self.waiting.before(held, at):
                return self._waits(work, case, facts, about, (), (), before)
        found = self._rules.judge(facts, domain, record_id(case.raw), partial(self._find, domain.value), self._died)
        if found.lacks and self._may_wait(case.returned):
            return self._waits(work, case, facts, self._concerns(facts, domain), found.findings, found.lacks, [])
        if found.lacks and case.returned is not None:
            return [_waited(finding, case.returned.wait) for finding in found.findings]
        if not found.findings:
            for key, row in found.changes.items():
                self._put(work, message.offset, domain.value, key, row)
            if self.waiting:
                self._ready = self.waiting.made(_row_key(domain.value, key) for key in found.changes)
        return found.findings

    def passed(self, work: Work) -> None:
        """The record judged last was admitted: those that waited for it are called."""
        ready, self._ready = self._ready, []
        for wait in ready:
            self._reconsider(work, wait)

    def _may_wait(self, returned: Returned | None) -> bool:
        if returned is None:
            return self._wait > 0
        return not returned.over and self._progress.stream_time < returned.wait.until

    def _waits(
        self,
        work: Work,
        case: Case,
        facts: bytes,
        about: Concerned,
        findings: Sequence[Finding],
        lacks: Iterable[str],
        before: Sequence[Wait],
    ) -> Sequence[Finding] | None:
        """A record waits for what it lacks, or behind those before it. Findings, where it cannot."""
        message, time = case.message, self._progress.stream_time
        domain = self._domain(message.key)
        wait = Wait(
            case.raw, message.offset, case.digest, message.key or b"", message.value or b"", facts,
            self._touches(domain, about.touches), self._touches(domain, about.makes & about.touches),
            tuple(sorted(lacks)), time, time + self._wait, case.now + IDLE * self._wait,
            left={_row_key(domain.value, key) for key in lacks},
        )  # fmt: skip
        if case.returned is not None:
            first = case.returned.wait
            wait.offset, wait.since, wait.until, wait.until_wall = (
                first.offset, first.since, first.until, first.until_wall,
            )  # fmt: skip
        elif why := self.waiting.no_room(wait):
            return [*findings, Finding(TOO_MANY_WAITING, "", why)]
        self._progress.note("RETAIN", "behind" if before else "waits", case.raw, case.digest)
        self.waiting.enter(work, wait)
        self._call_if_free(work, wait)
        return None

    # ---- ends of waits ---------------------------------------------------------------------------

    def over(self, work: Work, now: int | None = None) -> bool:
        """Calls those whose wait is over, by stream time and by the clock for waits (None: it is not asked). Returns
        whether there were any."""
        stirred = False
        while (wait := self.waiting.overdue(self._progress.stream_time, now)) is not None:
            self._call(work, wait, OVER)
            stirred = True
        return stirred

    def settle(self, work: Work, now: int) -> bool:
        """What the clock asks for, and what came of a restart. Returns whether there was anything."""
        stirred = self.over(work, self._clock(now))
        if self._restored:
            self._restored = False
            for wait in self.waiting:
                stirred = self._call_if_free(work, wait) or stirred
        return stirred

    def due(self, now: int) -> bool:
        """Whether `settle` has something to do."""
        return self._restored or self.waiting.overdue(self._progress.stream_time, self._clock(now)) is not None

    def _clock(self, now: int) -> int | None:
        """The clock for waits; None: it says nothing yet."""
        if self._awake is None:
            self._awake = now
        return now if now - self._awake >= self._silent else None

    def _reconsider(self, work: Work, wait: Wait) -> None:
        left = self._still(wait)
        self.waiting.lack(wait, left)
        self._call_if_free(work, wait)

    def _call_if_free(self, work: Work, wait: Wait) -> bool:
        if wait.returning or wait.left or self.waiting.held(wait):
            return False
        self._call(work, wait, CALLED)
        return True

    def _call(self, work: Work, wait: Wait, why: str) -> None:
        """Writes a record to `validated` again, and behind it, in order, those that only stood behind it."""
        self._write_again(work, wait, why)
        for other in self.waiting.behind(wait):
            self._write_again(work, other, CALLED)

    def _write_again(self, work: Work, wait: Wait, why: str) -> None:
        self._progress.note("RETAIN", why, wait.raw, wait.digest)
        headers = ((FACTS, wait.facts), (WAITED, f"{why} {wait.id}".encode()))
        work.outputs.append(Output("validated", self._partition, wait.key, wait.value, headers))
        self.waiting.called(work, wait)

    def _still(self, wait: Wait) -> set[bytes]:
        """Row keys of what a record lacks now."""
        domain = self._domain(wait.key)
        found = self._rules.judge(wait.facts, domain, wait.id, partial(self._find, domain.value), self._died)
        return {_row_key(domain.value, key) for key in found.lacks}

    def _left(self, wait: Wait) -> set[bytes]:
        """The same after a restart: as if the rows that are there had just been written."""
        domain = self._domain(wait.key)
        left = {_row_key(domain.value, key) for key in wait.lacks if self._find(domain.value, key) is None}
        return left or (self._still(wait) if wait.lacks else set())

    # ---- lives of records ------------------------------------------------------------------------

    def released(self, work: Work, offset: int, raw: RawPosition) -> None:
        """A record died with a known outcome: what it said did not reach anybody (BA8)."""
        self._put(work, offset, "", _death(record_id(raw)), "{}")

    def lives_again(self, work: Work, offset: int, raw: RawPosition) -> None:
        """A record that died is delivered again (DI6)."""
        if self._find("", _death(record_id(raw))) is not None:
            self._put(work, offset, "", _death(record_id(raw)), None)
            for wait in self.waiting.lacking():
                self._reconsider(work, wait)

    def committed(self) -> None:
        """The table has what was written (step 6)."""
        self._pending.clear()
        self._rows = 0

    # ---- rows ------------------------------------------------------------------------------------

    def _header(self, message: Message, wanted: str) -> bytes | None:
        return next((value for name, value in message.headers if name == wanted), None)

    def _domain(self, key: bytes | None) -> Domain:
        """`partition_by` is the domain: its value is the message's key."""
        return Domain(self._field, (key or b"").decode()) if self._field else Domain("", "")

    def _concerns(self, facts: bytes, domain: Domain) -> Concerned:
        return self._rules.concerns(facts, partial(self._find, domain.value))

    def _touches(self, domain: Domain, keys: Iterable[str]) -> frozenset[bytes]:
        return frozenset(touch(domain.value, key) for key in keys)

    def _died(self, place: str) -> bool:
        return self._find("", _death(place)) is not None

    def _find(self, domain: str, key: str) -> str | None:
        self._rows += 1
        name = _row_key(domain, key)
        if name in self._pending:
            return self._pending[name]
        data = self._store.get(name)
        if data is None:
            return None
        row: str = decode_row(self._codec, self._pipeline, "items", self._partition, name, data)["row"]
        return row

    def _put(self, work: Work, offset: int, domain: str, key: str, row: str | None) -> None:
        self._rows += 1
        name = _row_key(domain, key)
        self._pending[name] = row
        value = None
        if row is not None:
            value = self._codec.encode("item", {"domain": domain, "key": key, "offset": offset, "row": row})
        work.outputs.append(Output("items", self._partition, name, value))


def _row_key(domain: str, key: str) -> bytes:
    return f"{domain}{UNIT_SEPARATOR}{key}".encode()


def _death(place: str) -> str:
    return f"died{UNIT_SEPARATOR}{place}"


def _waited(finding: Finding, wait: Wait) -> Finding:
    """Told to whoever reads the dead letter."""
    return finding._replace(message=f"{finding.message}; it waited {(wait.until - wait.since) / 1000:g} s for that")
