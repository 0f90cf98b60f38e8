"""One stage on one thread: fetch a chunk, have it worked, commit it, and on any doubt rebuild (TX1).

The runner owns the loop and the local stores; it knows neither Kafka (see `log.py`) nor what a stage does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Protocol

from streams.runtime.log import (
    Abortable,
    Fatal,
    Fetched,
    Indeterminate,
    Log,
    LogError,
    LogGap,
    StaleMember,
    TooLarge,
)
from streams.runtime.turns import NoTurns, Turns
from streams.stage import Chunk, Message, Stage, TableStore, Work
from streams.tables import table_rows
from topology.sections import Chunking

CONDEMNED_IN_A_ROW = 100
"""So many messages that each fail alone mean that the stage is broken, not the messages: stop (compare DlqLimit of
other systems) rather than dead-letter everything."""

RECOVERIES = 10
"""So many doubts in a row while recovering from one mean that the log cannot be used: stop."""

IDLE_TIMEOUT = 0.2
"""Seconds a fetch waits when nothing is going on."""

REST_TIMEOUT = 5.0
"""The same once nothing has gone on for `REST_AFTER` seconds and nothing becomes due meanwhile: a message ends the wait
at once; whatever else wants the stage, and a change of assignment, ends it as soon as the log looks. An idle stage
costs what its turns cost."""

REST_AFTER = 5.0
"""Seconds."""

REVOKE_SECONDS = 5.0
"""Longest wait for partners' answers when a planned rebalance asks for the partitions (DI1): all members of the group
stand still meanwhile. What is open then is in flight in the table, and unknown to the next owner."""

BUSY_TIMEOUT = 0.005
"""Seconds a fetch waits while a partner's answer may come in at any moment."""

HURRY_TIMEOUT = 0.05
"""The same while another lane may free what this one waits for."""


_partition = itemgetter(0)


def wall_clock() -> int:
    """Milliseconds since epoch."""
    return time.time_ns() // 1_000_000


_AHEAD = wall_clock() - time.monotonic_ns() // 1_000_000


def steady_clock() -> int:
    """The wall clock when this process began and the time since then, ms: a clock that is put right, or wrong, moves
    no wait (fault C1)."""
    return time.monotonic_ns() // 1_000_000 + _AHEAD


class Exchange(Protocol):
    """The partners' side of dispatch: what was launched comes back as answers."""

    def launch(self, effects: Sequence[Any]) -> None:
        """Starts sending; called only after the write-ahead has committed."""
        ...

    def poll(self) -> list[Any]:
        """Answers that came in since the last call."""
        ...

    def busy(self) -> bool:
        """Whether something is under way."""
        ...


class NoExchange:
    """For stages that talk to nobody."""

    def launch(self, effects: Sequence[Any]) -> None:
        if effects:
            raise AssertionError("a stage without partners wants to send")

    def poll(self) -> list[Any]:
        return []

    def busy(self) -> bool:
        return False


@dataclass(slots=True)
class Step:
    """What one turn of the loop came to, for metrics and logs."""

    messages: int = 0
    work: Work | None = None
    seconds: float = 0.0
    """From the fetch's answer on; of a turn that fetched nothing, all of it."""
    fetched_at: float | None = None
    result: str = "idle"
    """idle, rebuilt-window, commit, abort, stale, indeterminate, failed, revoking."""
    error: BaseException | None = None


class Runner:
    """Runs one stage over one log. `hand_over` does step 2 (a Faust agent in a worker); default: a direct call."""

    def __init__(
        self,
        log: Log,
        stage: Stage,
        chunking: Chunking,
        exchange: Exchange | None = None,
        hand_over: Callable[[Chunk], Work] | None = None,
        clock: Callable[[], int] | None = None,
        observe: Callable[[Step], None] = lambda step: None,
        turns: Turns | None = None,
    ) -> None:
        """clock: for waits and stamps; None: the machine's. turns: what it shares with other lanes."""
        self.log, self.stage = log, stage
        self._chunking = chunking
        self._exchange = exchange or NoExchange()
        self._hand_over = hand_over or stage.process
        self._clock, self._wall = (clock, clock) if clock else (steady_clock, wall_clock)
        self._observe = observe
        self._turns = turns or NoTurns()
        self._stores: dict[int, dict[str, TableStore]] = {}
        self._positions: dict[int, int] = {}
        self._token: Any = None
        self._limit = chunking.records
        self._failed_at: tuple[int, int] | None = None
        """First position of the chunk that failed last."""
        self._condemned: dict[tuple[int, int], str] = {}
        self._condemned_in_a_row = 0
        self._condemned_last: tuple[int, int] | None = None
        self._revoke_error: Exception | None = None
        self._stopping = False
        self._held: frozenset[int] = frozenset()
        self._moved = self._clock()
        """When something went on last."""
        log.before_revoke = self._before_revoke

    @property
    def partitions(self) -> frozenset[int]:
        """Partitions that are restored and being worked."""
        return frozenset(self._positions)

    @property
    def positions(self) -> dict[int, int]:
        """Next input offset to be worked, per partition."""
        return dict(self._positions)

    @property
    def joined(self) -> bool:
        """Whether the group has given this member its partitions; there may be none for it."""
        return self._token is not None

    @property
    def held(self) -> frozenset[int]:
        """Partitions whose input the stage holds up."""
        return self._held

    @property
    def busy(self) -> bool:
        """Whether a partner has something in hand."""
        return self._exchange.busy()

    # ---- the loop --------------------------------------------------------------------------------

    def step(self, timeout: float | None = None) -> Step:
        """One turn. Raises Fatal and LogGap only: both mean that this process must stop."""
        return self._turn(lambda step: self._step(step, timeout))

    def _turn(self, turn: Callable[[Step], None]) -> Step:
        """Runs `turn` with the one treatment of errors there is."""
        step = Step()
        started = time.perf_counter()
        try:
            try:
                turn(step)
            except (Abortable, StaleMember, Indeterminate) as error:
                step.result, step.error = _named(error), error
                self._recover(error)
        except LogError:
            raise
        except Exception as error:
            # No record can be blamed for what fails outside `process`: nobody knows what state we are in.
            raise Fatal(f"{self.stage.name} failed outside a record: {type(error).__name__}: {error}") from error
        step.seconds = time.perf_counter() - (step.fetched_at or started)
        self._observe(step)
        return step

    def _step(self, step: Step, timeout: float | None) -> None:
        if timeout is None:
            timeout = self._idle_wait()
        if self._exchange.busy() or self.stage.due(self._clock()):
            timeout = min(timeout, BUSY_TIMEOUT)
        elif self._turns.hurry():
            timeout = min(timeout, HURRY_TIMEOUT)
        chunking, part = self._chunking, self._turns.share()
        room = self.stage.room or {}
        self._held = frozenset(partition for partition, left in room.items() if not left)
        records = min([max(1, int(self._limit * part)), *filter(None, room.values())])
        fetched = self.log.fetch(records, int(chunking.bytes * part), chunking.linger, timeout, self._held)
        step.fetched_at = time.perf_counter()
        if fetched.messages or fetched.assigned or fetched.revoked or self._exchange.busy():
            self._moved = self._clock()
        self._token = fetched.token
        if self._revoke_error is not None:
            error, self._revoke_error = self._revoke_error, None
            raise error  # what is ours after the rebalance is rebuilt by the recovery, too
        self._follow(fetched)
        answers = self._exchange.poll()
        messages = fetched.messages
        if not self._positions.keys() >= set(map(_partition, messages)):
            messages = [message for message in messages if message.partition in self._positions]
        if not messages and not answers and not self.stage.due(self._clock()):
            return
        step.messages = len(messages)
        chunk = self._chunk(messages, answers)
        work = self._process(chunk, step)
        if work is None:
            return
        try:
            self._commit(work, step)
        except TooLarge as error:  # some record's fault: redone alone it would fail alike for ever (VA4)
            step.result, step.error = "failed", error
            self._suspect(chunk, error)
            return
        for partition, offset in {message[0]: message[1] for message in messages}.items():  # the last of each
            self._positions[partition] = offset + 1
            self._went_well(partition, offset)
        for partition, offset in work.resume.items():
            self.log.seek(partition, offset)
            self._positions[partition] = offset

    def _idle_wait(self) -> float:
        now = self._clock()
        resting = now - self._moved >= REST_AFTER * 1000 and not self.stage.due(now + int(REST_TIMEOUT * 1000))
        return REST_TIMEOUT if resting else IDLE_TIMEOUT

    def _chunk(self, messages: list[Message], answers: list[Any]) -> Chunk:
        return Chunk(messages, self._clock(), answers, self._condemned, self._wall())

    def _commit(self, work: Work, step: Step) -> None:
        step.work = work
        if work.empty:
            step.result = "rebuilt-window"
            return
        reached = self.log.transact(work.outputs, work.offsets, self._token)
        for (table, partition), rows in table_rows(work.outputs, self.stage.tables).items():
            store = self._stores[partition][table]
            self.log.follow(table, partition, store, rows, reached.get((table, partition)))
        self.stage.committed(work, self._clock())
        self._exchange.launch(work.effects)
        step.result = "commit"
        self._failed_at = None
        self._limit = min(self._chunking.records, self._limit * 2)

    # ---- assignment and rebuild ------------------------------------------------------------------

    def _follow(self, fetched: Fetched) -> None:
        for partition in fetched.revoked:
            self._forget(partition)
            for store in self._stores.pop(partition, {}).values():
                store.close()
        self._rebuild(fetched.assigned)

    def _before_revoke(self) -> None:
        """DI1: starts nothing, waits for open calls, settles; the rest is forgotten and stays in flight."""
        if not self._exchange.busy():
            return
        self._observe(Step(result="revoking"))
        deadline = time.monotonic() + REVOKE_SECONDS
        try:
            # a stage with partners writes nothing then, and starts no attempt
            self.stage.drain(self._chunk([], []), ending=False)
            while self._exchange.busy() and time.monotonic() < deadline:
                step = Step()
                if answers := self._exchange.poll():
                    self._commit(self._hand_over(self._chunk([], answers)), step)
                    self._observe(step)
                else:
                    time.sleep(BUSY_TIMEOUT)
        except Exception as error:  # noqa: BLE001 - raised behind `fetch`, where errors are judged
            self._revoke_error = error

    def _forget(self, partition: int) -> None:
        self._positions.pop(partition, None)
        self.stage.forget(partition)

    def _recover(self, error: LogError) -> None:
        """One path for every doubt: whatever is still ours is rebuilt from what has committed."""
        for _ in range(RECOVERIES):
            try:
                for partition in list(self._positions):
                    self._forget(partition)
                assigned = self.log.recover(error)
                for partition in set(self._stores) - assigned:
                    for store in self._stores.pop(partition).values():
                        store.close()
                return self._rebuild(assigned)
            except (Abortable, StaleMember, Indeterminate) as again:
                error = again
        raise Fatal(f"{self.stage.name}: in doubt {RECOVERIES} times while recovering, the last: {error}") from error

    def _rebuild(self, partitions: Iterable[int]) -> None:
        """Stable committed offset first, then the tables up to their high watermark, then the stage (TX1)."""
        if not partitions:
            return
        self.stage.input_topic_id = self.log.topic_id(self.stage.input)
        for partition in sorted(partitions):
            committed, start = self._restore(partition)
            low, high = self.log.bounds(partition)
            where = f"{self.stage.name} partition {partition} of {self.stage.input}"
            if committed is None and low > 0:
                raise LogGap(f"{where}: never read before, but the log starts at {low}: {low} offsets are gone")
            if start < low:
                raise LogGap(f"{where}: goes on at {start}, but the log starts at {low}: retention has passed it")
            if start > high:
                raise LogGap(f"{where}: goes on at {start}, but the log ends at {high}: was the topic recreated?")
            self.log.seek(partition, start)
            self._positions[partition] = start
        self.stage.draining = self.stage.draining or self._stopping

    def _restore(self, partition: int) -> tuple[int | None, int]:
        """The stage takes over; returns the committed offset it did so from, and where to read on.

        A member that lost the partition meanwhile, and does not know it yet, sees another's commit in the tables but
        not in the offset it has read: no gap, it only reads once more."""
        stores = self._stores.get(partition)
        if stores is None:
            stores = {table: self.stage.store(table, partition) for table in self.stage.tables}
            self._stores[partition] = stores
        while True:
            self._forget(partition)
            committed = self.log.committed(partition)
            for table, store in stores.items():
                self.log.catch_up(table, partition, store)
            # behind the reading: a table made anew meanwhile has been read in part
            self.stage.table_topic_ids = {table: self.log.topic_id(table) for table in stores if table != "heads"}
            try:
                return committed, self.stage.restore(partition, stores, committed, self._clock())
            except LogGap:
                if self.log.committed(partition) == committed:
                    raise

    # ---- faults of records -----------------------------------------------------------------------

    def _process(self, chunk: Chunk, step: Step) -> Work | None:
        """Step 2. An exception there is some record's fault until shown otherwise: the chunk is redone, then in
        halves, down to the record, which is condemned when it fails alone (VA4, law 5)."""
        try:
            with self._turns.turn():
                return self._hand_over(chunk)
        except LogError:
            raise
        except Exception as error:  # noqa: BLE001 - the point of the rule: no exception leaves an agent
            step.result, step.error = "failed", error
            self._suspect(chunk, error)
            return None

    def _went_well(self, partition: int, offset: int) -> None:
        """A good message ends a row of condemned ones if it lies behind them: one before them is only read again."""
        if self._condemned_last and partition == self._condemned_last[0] and offset > self._condemned_last[1]:
            self._condemned_in_a_row, self._condemned_last = 0, None

    def _suspect(self, chunk: Chunk, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        if not chunk.messages:
            raise Fatal(f"{self.stage.name} failed without any input: {text}") from error
        first = chunk.messages[0].partition, chunk.messages[0].offset
        if self._failed_at == first:
            if len(chunk.messages) == 1:
                self._condemned_in_a_row += 1
                if self._condemned_in_a_row > CONDEMNED_IN_A_ROW:
                    raise Fatal(f"{CONDEMNED_IN_A_ROW} messages in a row failed alone, the last with {text}") from error
                self._condemned[first] = text
                self._condemned_last = first
            self._limit = max(1, len(chunk.messages) // 2)
        self._failed_at = first
        self._recover(Abortable(text))

    # ---- the end ---------------------------------------------------------------------------------

    def drain(self, ending: bool = False) -> Step:
        """Commits what is left when no more input is taken. Raises like `step`.

        After a doubt (`result` abort, stale or indeterminate) nothing is lost: the windows are open in the log as
        before. At a stop that is all; at the end of a bounded run, step on until idle and drain again.
        """

        def turn(step: Step) -> None:
            work = self.stage.drain(self._chunk([], []), ending)
            if not work.empty:
                self._commit(work, step)

        return self._turn(turn)

    def stop(self, seconds: float, ending: bool = False) -> bool:
        """Drains and waits for what partners still have in hand, up to `seconds`; the rest stays in flight in the
        table and is unknown to whoever takes over (DI2). Returns whether nothing was left. Raises like `step`."""
        deadline = time.monotonic() + seconds
        self._stopping = True
        self.drain(ending)
        while self._exchange.busy() and time.monotonic() < deadline:
            self.step(BUSY_TIMEOUT)
        return not self._exchange.busy()

    def close(self) -> None:
        """Closes stores and log; nothing is committed any more."""
        for partition in list(self._positions):
            self._forget(partition)
        for stores in self._stores.values():
            for store in stores.values():
                store.close()
        self._stores.clear()
        self.log.close()


def _named(error: LogError) -> str:
    """A doubt as the result of a step."""
    if isinstance(error, StaleMember):
        return "stale"
    return "indeterminate" if isinstance(error, Indeterminate) else "abort"
