"""Reads the topics of a pipeline outside any group: a table up to its end, or one message by position.

The end of a table is the high watermark, recognised by the EOF event's offset, which passes transaction markers;
records are never counted (TX4). Nothing here commits or produces.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any, NamedTuple, Protocol, runtime_checkable

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka import Message as KafkaMessage

from streams.runtime.admin import Cluster
from streams.runtime.log import Fatal, LogGap, Row
from streams.stage import Message, TableStore

SLICE_ROWS = 5_000
"""Rows applied to a store at once."""
SLICE_SECONDS = 0.05
"""Longest wait for a slice to fill; also how often the group's consumer is kept alive meanwhile."""
REST_SECONDS = 10.0
"""A client that has not been used for so long is closed when its stage rests."""
NEAR = 500
"""A message at most so many offsets ahead is read on to, rather than jumped to."""


class Origin(NamedTuple):
    """Where the rows of a store come from."""

    topic_id: str
    caught_up_at: float
    """Seconds since epoch when it was last known to be complete; tombstones since then may not have been kept for
    longer than delete.retention.ms."""


@runtime_checkable
class Lasting(Protocol):
    """A store that outlives the process, and so must remember its origin itself, written with its rows."""

    origin: Origin | None

    def arrived(self, origin: Origin, position: int) -> None:
        """The store is complete up to `position`; durable together."""
        ...


class OutOfRange(Exception):
    """The offset asked for is not in the log."""


class Reader:
    """One assigned read_committed consumer without a group. `keep_alive` is called while it waits."""

    def __init__(
        self,
        settings: Mapping[str, str | int | bool],
        cluster: Cluster,
        patience: float,
        keep_alive: Callable[[], None],
        clock: Callable[[], float] = time.time,
        progressed: Callable[[], None] = lambda: None,
    ) -> None:
        """progressed: called with each slice of a table that has been applied, because a large one takes long."""
        self._settings = dict(settings)
        self._made: Any = None
        """The client, made when it is needed."""
        self._used = time.monotonic()
        self._cluster = cluster
        self._patience = patience
        self._keep_alive = keep_alive
        self._clock = clock
        self._progressed = progressed
        self._origins: dict[tuple[str, int], Origin] = {}
        self._at: tuple[str, int, int] | None = None
        """Topic, partition and next offset the consumer stands at; None: nowhere."""
        self._ahead: Any = None
        """A message read past the one that was asked for."""

    @property
    def _consumer(self) -> Any:
        self._used = time.monotonic()
        if self._made is None:
            self._made = Consumer(dict(self._settings))
        return self._made

    def rest(self) -> None:
        """Closes the client if it has not been used for a while: it costs threads and, where it stands at the end of a
        topic, a request every tenth of a second. The next call makes a new one."""
        if self._made is not None and time.monotonic() - self._used >= REST_SECONDS:
            self.close()

    # ---- tables ----------------------------------------------------------------------------------

    def catch_up(self, topic: str, partition: int, store: TableStore, delete_retention: float) -> None:
        """Brings a store to the high watermark as it is now; rebuilds it whole under the conditions of TX4.

        delete_retention: seconds the topic keeps tombstones. Raises Fatal when a transaction of somebody else stays
        open for longer than the transaction time-out and the broker's cleanup allow; LogGap where rows are gone from
        the topic, because what is left is a part (T1).
        """
        now = self._clock()
        topic_id = self._cluster.topic_id(topic)
        low, high = self._cluster.bounds(topic, partition)
        origin = store.origin if isinstance(store, Lasting) else self._origins.get((topic, partition))
        same = origin is not None and origin.topic_id == topic_id
        if low > 0:  # compaction never moves it
            raise LogGap(_cut(topic, partition, f"it begins at {low}"))
        if same and store.position > high:
            raise LogGap(_cut(topic, partition, f"it ends at {high} and was read to {store.position} before"))
        if origin is None or not same or now - origin.caught_up_at >= delete_retention or store.position > high:
            store.clear()
        try:
            self._read_up_to(topic, partition, store, store.position, high)
        except OutOfRange as gone:  # the log start moved past us while we read
            raise LogGap(_cut(topic, partition, str(gone))) from gone
        origin = Origin(topic_id, now)
        if isinstance(store, Lasting):
            store.arrived(origin, store.position)
        else:
            self._origins[topic, partition] = origin

    def follow(
        self,
        topic: str,
        partition: int,
        store: TableStore,
        rows: Sequence[Row],
        position: int | None,
    ) -> None:
        """Applies rows that have just committed, see `log.Log.follow`: the store is complete at this moment, too."""
        if position is None:
            store.apply(rows, store.position)
            return
        now = self._clock()
        if isinstance(store, Lasting):
            if store.origin is not None:
                store.origin = store.origin._replace(caught_up_at=now)
        elif (origin := self._origins.get((topic, partition))) is not None:
            self._origins[topic, partition] = origin._replace(caught_up_at=now)
        store.apply(rows, position)

    def _read_up_to(self, topic: str, partition: int, store: TableStore, start: int, high: int) -> None:
        position = start
        if position < high:
            self._go_to(topic, partition, start)
        deadline = time.monotonic() + self._patience
        while position < high:
            rows: list[Row] = []
            before = position
            for message in self._consumer.consume(SLICE_ROWS, SLICE_SECONDS):
                if message.error() is None:
                    rows.append((message.key() or b"", message.value()))
                    position = message.offset() + 1
                elif (end := _end_of_partition(message)) is not None:
                    position = max(position, end)
            if position > before:
                _apply(topic, partition, store, rows, position)
                self._progressed()
                deadline = time.monotonic() + self._patience
            elif time.monotonic() >= deadline:
                raise Fatal(_stuck(topic, partition, position, high, self._patience))
            self._keep_alive()
        self._at = None
        if store.position < position:  # nothing to read: the log start, or an empty table, is where it stands
            store.apply([], position)
        self._consumer.unassign()

    # ---- single messages -------------------------------------------------------------------------

    def read(self, topic: str, partition: int, offset: int) -> Message | None:
        """The committed message at exactly this offset, or None. Raises Fatal like `catch_up`."""
        try:
            found = self._next_from(topic, partition, offset)
        except OutOfRange:  # the client stops fetching there; the next read must assign anew
            self._at = self._ahead = None
            return None
        if found is None or found.offset() != offset:
            return None
        return convert([found])[0]

    def empty(self, topic: str, partition: int, start: int, end: int) -> bool:
        """Whether no committed message lies from `start` to below `end`. Raises Fatal like `catch_up`."""
        try:
            found = self._next_from(topic, partition, start)
        except OutOfRange:
            self._at = self._ahead = None
            return False
        return found is None or found.offset() >= end

    def _next_from(self, topic: str, partition: int, offset: int) -> Any:
        """The first committed message at or after an offset; None at the end of the log."""
        if self._at is None or self._at[:2] != (topic, partition) or not self._at[2] <= offset < self._at[2] + NEAR:
            self._go_to(topic, partition, offset)
        deadline = time.monotonic() + self._patience
        while True:
            if self._ahead is not None:
                if self._ahead.offset() >= offset:
                    return self._ahead
                self._ahead = None
            for message in self._consumer.consume(1, SLICE_SECONDS):
                if message.error() is None:
                    self._ahead = message
                    self._at = (topic, partition, message.offset())
                    continue
                end = _end_of_partition(message)
                # the end of what is stable is the end of the log, unless somebody's transaction is open
                if end is not None and (end > offset or offset >= self._cluster.bounds(topic, partition)[1]):
                    self._at = None
                    return None
            if self._ahead is None and time.monotonic() >= deadline:
                raise Fatal(_stuck(topic, partition, offset, offset + 1, self._patience))
            self._keep_alive()

    # ---- both ------------------------------------------------------------------------------------

    def _go_to(self, topic: str, partition: int, offset: int) -> None:
        self._ahead = None
        self._at = (topic, partition, offset)
        self._consumer.assign([TopicPartition(topic, partition, offset)])

    def close(self) -> None:
        """Closes the client; idempotent."""
        made, self._made = self._made, None
        self._at = self._ahead = None
        if made is not None:
            made.close()


def _end_of_partition(message: Any) -> int | None:
    """The offset of an EOF event; None for news that the client deals with itself. Raises OutOfRange or Fatal."""
    error = message.error()
    code = error.code()
    if code == KafkaError._PARTITION_EOF:
        return int(message.offset())
    if code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
        raise OutOfRange(error.str())
    refuse(message)
    return None


PASSING = {
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TRANSPORT,
    KafkaError._RESOLVE,
    KafkaError._TIMED_OUT,
    KafkaError._MAX_POLL_EXCEEDED,
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NETWORK_EXCEPTION,
}
"""Events of a consumer that librdkafka answers itself, by trying again or by a rebalance that follows."""


def refuse(message: Any) -> None:
    """Raises Fatal for an error event that will not pass by itself."""
    error = message.error()
    if error.fatal() or not (error.code() in PASSING or error.retriable()):
        where = f"{message.topic()}[{message.partition()}]: " if message.topic() else ""
        raise Fatal(f"{where}the consumer cannot go on: {error.str()} ({error.name()})")


def _apply(topic: str, partition: int, store: TableStore, rows: Sequence[Row], position: int) -> None:
    try:
        store.apply(rows, position)
    except (ValueError, OverflowError) as strange:
        raise LogGap(
            f"{topic}[{partition}]: one of the {len(rows)} rows before {position} has a key that cannot be read: "
            f"{strange}. Nothing of ours writes that: find out who did, and delete it with a message without value"
        ) from strange


def _cut(topic: str, partition: int, how: str) -> str:
    return f"{topic}[{partition}]: {how}: rows of this table were deleted or lost, and what is left is only a part"


_new = tuple.__new__
_second = itemgetter(1)


def convert(raw: list[Any]) -> list[Message]:
    """Kafka's messages as ours. Columns instead of a loop body: half the time of attribute calls per message."""
    kind = KafkaMessage
    headers = list(map(kind.headers, raw))
    shown = [tuple(h) if h else () for h in headers] if any(headers) else [()] * len(raw)
    columns = zip(
        map(kind.partition, raw),
        map(kind.offset, raw),
        map(_second, map(kind.timestamp, raw)),
        map(kind.key, raw),
        map(kind.value, raw),
        shown,
        strict=True,
    )
    return list(map(_new, repeat(Message), columns))


def _stuck(topic: str, partition: int, position: int, high: int, patience: float) -> str:
    return (
        f"{topic}[{partition}] could not be read from {position} to {high} in {patience:g} s: the broker is out of "
        "reach, or a transaction of another producer has been open for longer than its time-out; look for hanging "
        "transactions (kafka-transactions.sh find-hanging)"
    )
