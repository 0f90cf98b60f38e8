"""The Log on Apache Kafka: a group consumer, a transactional producer and two readers, owned by one thread.

Rebalance callbacks only mark what changed and assign nothing: a new partition is fetched only after `seek`, which
names its offset, so that neither a group's reset policy nor a pending transaction decides where reading begins (TX3).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as KafkaMessage

from streams.runtime import failpoints, restore
from streams.runtime.admin import Cluster
from streams.runtime.clients import CLIENT_LOG, check_token, client_settings, whole_ms
from streams.runtime.log import Fatal, Fetched, Indeterminate, LogError, LogGap, Reached, Row, StaleMember
from streams.runtime.restore import Reader, refuse
from streams.runtime.transaction import Transactor, offsets_of
from streams.runtime.watchdog import Watchdog
from streams.stage import Message, Output, TableStore
from topology.model import EVENT_TOPICS, Pipeline

INPUTS = {"validate": "raw", "batch": "validated", "dispatch": "batched"}
SLICE = 2_000
"""Messages taken from the client at once: small, so that the size of a chunk is checked often."""
INIT_SECONDS = 60.0
"""For init_transactions: the coordinator of a starting cluster, and the end of a predecessor's transaction."""
COMMITTED_SECONDS = 1.0
"""One question for a committed offset, which times out while a transaction holds it (TX1)."""
IDLE_SLICE = 0.05
"""Longest wait for a first message before a rebalance is noticed, of a fetch that does not rest."""
REST = 1.0
"""A fetch that may wait so long rests: it lets go of what it can, wakes for a message and for callbacks, and looks so
often whether it is called or its assignment has changed: a turn of the whole loop costs ten times such a look."""
FILL_SLICE = 0.02
"""Longest wait for a slice to fill."""
PASSED = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}


class KafkaLog:
    """One stage's connection, see `log.Log`. overrides: client settings, as far as no guarantee rests on them."""

    def __init__(
        self,
        bootstrap: str,
        pipeline: Pipeline,
        stage: str,
        slot: int,
        thread: int = 0,
        overrides: Mapping[str, str] | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        """cluster: shared with others, because each is a client with threads of its own; None: one of its own."""
        self._settings = client_settings(bootstrap, pipeline, stage, slot, thread, overrides or {})
        self._pipeline, self._stage = pipeline, stage
        self._input = pipeline.topic(INPUTS[stage])
        self._topics = {short: pipeline.topic(short) for short in ("raw", *EVENT_TOPICS, *pipeline.tables)}
        self._delete_retention: dict[str, float] = {}
        self._closed = False
        self._leaving = False
        """While the group's consumer is being closed."""
        self.before_revoke: Callable[[], None] = lambda: None
        self._between_chunks = False
        """Inside `fetch`: the stage is not in the middle of anything."""
        self._revoking = False
        self._cluster = cluster or Cluster(self._settings.common)
        self._watchdog = Watchdog(f"{self._settings.producer['transactional.id']}")
        patience = self._settings.patience
        self.progressed: Callable[[], None] = lambda: None
        """Called while tables are read, with every slice, and while a fetch rests."""
        self.called: Callable[[], bool] = lambda: False
        """Whether something else than a message waits for the stage: it ends a rest."""
        self._tables = Reader(
            self._settings.reader, self._cluster, patience, self._keep_alive, progressed=lambda: self.progressed()
        )
        self._positions = Reader(self._settings.reader, self._cluster, patience, self._keep_alive)
        self._forget_assignment()
        self._transactor = self._new_transactor()  # first: it ends a predecessor's open transaction
        self._consumer = self._new_consumer()

    # ---- clients ---------------------------------------------------------------------------------

    def _new_transactor(self) -> Transactor:
        transactor = Transactor(
            Producer(dict(self._settings.producer), logger=CLIENT_LOG),
            self._stage,
            self._topics,
            self._settings.transaction_seconds,
            self._watchdog,
            self._limits,
        )
        transactor.init(INIT_SECONDS)
        return transactor

    def _new_consumer(self) -> Any:
        consumer = Consumer(dict(self._settings.consumer))
        consumer.subscribe([self._input], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)
        return consumer

    def _limits(self, topics: Sequence[str]) -> dict[str, int]:
        return {name: int(c["max.message.bytes"]) for name, c in self._cluster.configs(topics).items()}

    # ---- assignment: callbacks only mark -----------------------------------------------------------

    def _forget_assignment(self) -> None:
        self._assigned: frozenset[int] = frozenset()
        """What the group gave us."""
        self._next: dict[int, int] = {}
        """Next offset of the partitions that are being fetched."""
        self._seeks: dict[int, int] = {}
        """Seeks that the next fetch carries out."""
        self._held: frozenset[int] = frozenset()
        """Partitions that are paused."""
        self._token: bytes | None = None
        self._changed = False
        self._revoked: frozenset[int] = frozenset()

    def _on_assign(self, consumer: Any, partitions: Sequence[Any]) -> None:
        if self._leaving:
            return
        consumer.assign([])  # nothing is fetched before `seek`
        self._assigned = frozenset(p.partition for p in partitions)
        self._token = consumer.consumer_group_metadata()
        self._mark()

    def _on_revoke(self, consumer: Any, partitions: Sequence[Any]) -> None:
        if self._leaving:
            return
        if self._between_chunks and not self._changed:
            self._revoking = True  # nothing may poll in there: this is a callback of the poll at hand
            try:
                self.before_revoke()  # the generation is in force until `unassign`
            finally:
                self._revoking = False
        self._on_lost(consumer, partitions)

    def _on_lost(self, consumer: Any, partitions: Sequence[Any]) -> None:
        if self._leaving:
            return
        consumer.unassign()
        self._revoked |= self._assigned
        self._assigned = frozenset()
        self._token = None
        self._mark()

    def _mark(self) -> None:
        self._next.clear()
        self._seeks.clear()
        self._changed = True

    def _report(self) -> Fetched:
        """A change of assignment, without messages."""
        fetched = Fetched([], self._assigned, self._revoked, self._token)
        self._changed, self._revoked = False, frozenset()
        if fetched.assigned:
            self._check_partition_counts()
        return fetched

    def _check_partition_counts(self) -> None:
        """TX2: stages and tables are joined by partition number."""
        found, wanted = self._cluster.partitions(), self._pipeline.partitions
        wrong = {name: found.get(name, 0) for name in self._topics.values() if found.get(name, 0) != wanted}
        if wrong:
            counts = ", ".join(f"{name} has {n}" for name, n in sorted(wrong.items()))
            raise Fatal(f"every topic of {self._pipeline.pipeline} needs {wanted} partitions, but {counts}")

    # ---- reading -----------------------------------------------------------------------------------

    def fetch(
        self, records: int, size: int, linger: float, timeout: float, held: frozenset[int] = frozenset()
    ) -> Fetched:
        """See `Log.fetch`. Raises LogGap where input is gone, Fatal where the consumer cannot go on."""
        self._carry_out_seeks()
        self._hold(held)
        messages: list[Message] = []
        filled = 0
        resting = timeout >= REST
        if resting:
            self._tables.rest()
            self._positions.rest()
        deadline = time.monotonic() + timeout
        while True:
            wait = max(0.0, deadline - time.monotonic())
            if messages:
                raw = self._poll(min(SLICE, records - len(messages)), min(wait, FILL_SLICE))
            else:  # returns with the first message, or soon to serve callbacks
                raw = self._poll(1, min(wait, REST if resting else IDLE_SLICE))
            if self._changed:
                return self._report()  # what was read belongs to an assignment that is no more
            raw = self._without_errors(raw)
            if raw:
                if not messages:
                    deadline = time.monotonic() + linger
                found = restore.convert(raw)
                last = {message[0]: message[1] for message in found}
                self._next.update((partition, offset + 1) for partition, offset in last.items())
                messages += found
                filled += sum(map(len, raw))
            if len(messages) >= records or filled >= size or time.monotonic() >= deadline:
                break
            if resting and not messages:
                self.progressed()
                if self.called():
                    break
        if messages:
            failpoints.hit(f"{self._stage}:after-fetch")
        return Fetched(messages, frozenset(), frozenset(), self._token)

    def _poll(self, count: int, seconds: float) -> list[Any]:
        """Messages for the chunk; callbacks that come meanwhile find the stage between two chunks."""
        self._between_chunks = True
        try:
            found: list[Any] = self._consumer.consume(count, whole_ms(seconds))
            return found
        finally:
            self._between_chunks = False

    def _without_errors(self, raw: list[Any]) -> list[Any]:
        if not any(map(KafkaMessage.error, raw)):
            return raw
        for message in raw:
            error = message.error()
            if error is not None and error.code() in PASSED:
                raise LogGap(
                    f"{self._input}[{message.partition()}]: offset {message.offset()} is not in the log: retention "
                    f"has passed it, or the topic was cut or recreated: {error.str()}"
                )
            if error is not None:
                refuse(message)
        return [message for message in raw if message.error() is None]

    def seek(self, partition: int, offset: int) -> None:
        """See `Log.seek`; carried out by the next fetch. Without effect while a change of assignment has yet to be
        reported, because every partition is rebuilt after it. Raises ValueError for a partition of somebody else."""
        if self._changed:
            return
        if partition not in self._assigned:
            raise ValueError(f"{self._input}[{partition}] is not assigned to this member")
        self._seeks[partition] = offset

    def _carry_out_seeks(self) -> None:
        seeks, self._seeks = self._seeks, {}
        if not seeks:
            return
        moved = [TopicPartition(self._input, partition, offset) for partition, offset in seeks.items()]
        running = seeks.keys() <= self._next.keys()
        self._next.update(seeks)
        if running:
            try:
                for where in moved:
                    self._consumer.seek(where)
            except KafkaException as early:  # "Erroneous state": the client has not begun to fetch it yet
                if early.args[0].code() != KafkaError._STATE:
                    raise Fatal(f"{self._input}: cannot seek: {early.args[0].str()}") from early
            else:
                return
        # assigning anew names every position; it also drops what the client has prefetched, so only where needed
        where = [TopicPartition(self._input, p, offset) for p, offset in sorted(self._next.items())]
        self._consumer.assign(where)
        # also what is not in `_held`: the client may remember the pause of a partition that left and came back
        self._consumer.resume(where)
        self._held = frozenset()

    def standing(self, worked: Mapping[int, int]) -> dict[int, int]:
        """The next offsets to be `worked`, by partition; where all that was read has been worked, behind the markers
        that follow it. Not for other threads: the client lets them wait for ever."""
        caught_up = [partition for partition, offset in worked.items() if self._next.get(partition) == offset]
        standing = dict(worked)
        try:
            for tp in self._consumer.position([TopicPartition(self._input, partition) for partition in caught_up]):
                standing[tp.partition] = max(tp.offset, standing[tp.partition])
        except (KafkaException, RuntimeError):  # closed for a moment, or for good
            pass
        return standing

    def _hold(self, held: frozenset[int]) -> None:
        """Pauses and resumes what is being read. The client drops what it has fetched of a paused partition."""
        held &= self._next.keys()
        for move, partitions in ((self._consumer.pause, held - self._held), (self._consumer.resume, self._held - held)):
            if where := [TopicPartition(self._input, partition) for partition in partitions & self._next.keys()]:
                move(where)
        self._held = held

    def _keep_alive(self) -> None:
        """Polls the group's consumer while something else takes long: heartbeats alone do not keep a membership."""
        if self._revoking:
            return
        for message in self._without_errors(self._consumer.consume(SLICE, 0)):
            if not self._changed:  # nothing of it is worked: the partition is read from there again
                self._seeks.setdefault(message.partition(), message.offset())

    def _stop_reading(self) -> None:
        """Fetches nothing until `seek`."""
        self._next.clear()
        self._seeks.clear()
        self._consumer.assign([])

    def committed(self, partition: int) -> int | None:
        """See `Log.committed`. Raises Fatal if a pending transaction outlives its time-out."""
        deadline = time.monotonic() + self._settings.patience
        while True:
            try:
                (found,) = self._consumer.committed([TopicPartition(self._input, partition)], COMMITTED_SECONDS)
                error = found.error
            except KafkaException as failed:
                found, error = None, failed.args[0]
            self._keep_alive()
            if error is None and found is not None:
                return int(found.offset) if found.offset >= 0 else None
            if time.monotonic() >= deadline:
                raise Fatal(
                    f"{self._input}[{partition}]: no stable committed offset of {self._settings.consumer['group.id']} "
                    f"in {self._settings.patience:g} s: the broker is out of reach, or another producer's transaction "
                    f"has been open for longer than its time-out: {error}"
                )

    def bounds(self, partition: int) -> tuple[int, int]:
        return self._cluster.bounds(self._input, partition)

    def nothing_between(self, partition: int, start: int, end: int) -> bool:
        return start >= end or self._positions.empty(self._input, partition, start, end)

    def catch_up(self, table: str, partition: int, store: TableStore) -> None:
        name = self._topics[table]
        if name not in self._delete_retention:
            self._delete_retention[name] = int(self._cluster.configs([name])[name]["delete.retention.ms"]) / 1000
        self._tables.catch_up(name, partition, store, self._delete_retention[name])

    def read(self, topic: str, partition: int, offset: int) -> Message | None:
        return self._positions.read(self._topics[topic], partition, offset)

    def topic_id(self, topic: str) -> str:
        return self._cluster.topic_id(self._topics[topic])

    # ---- writing -----------------------------------------------------------------------------------

    def transact(self, outputs: Sequence[Output], offsets: Mapping[int, int], token: Any) -> Reached:
        """See `Log.transact`. Raises ValueError without offsets: such a transaction would not be fenced (DI1)."""
        failpoints.hit(f"{self._stage}:after-process")
        metadata = check_token(token)
        if not offsets:
            raise ValueError("a transaction without offsets is not bound to the generation it was read in")
        return self._transactor.run(outputs, offsets_of(self._input, offsets), metadata)

    def follow(self, table: str, partition: int, store: TableStore, rows: Sequence[Row], position: int | None) -> None:
        self._tables.follow(self._topics[table], partition, store, rows, position)

    def recover(self, error: LogError) -> frozenset[int]:
        """See `Log.recover`. Raises what cannot be recovered from."""
        if isinstance(error, Fatal | LogGap):
            raise error
        if isinstance(error, StaleMember):
            self._leave()
            self._transactor.discard()
            self._forget_assignment()
            self._transactor = self._new_transactor()
            self._consumer = self._new_consumer()
            return frozenset()
        if isinstance(error, Indeterminate):
            self._transactor.discard()
            self._transactor = self._new_transactor()
        else:
            self._transactor.abort()
        self._stop_reading()
        return self._assigned

    def _leave(self) -> None:
        """Closes the group's consumer. What is left of its callbacks is served meanwhile, and must not do anything: the
        client gives its partitions up by itself, and group metadata, for one, is not to be had any more (client 2.16
        makes a SystemError of the error in a callback, on Python 3.11)."""
        self._leaving = True
        try:
            self._consumer.close()
        finally:
            self._leaving = False

    def close(self) -> None:
        """Aborts what is open, leaves the group, closes every client; idempotent."""
        if self._closed:
            return
        self._closed = True
        try:
            self._transactor.abort()
        finally:
            self._leave()
            self._tables.close()
            self._positions.close()
            self._transactor.discard()
            self._watchdog.close()
