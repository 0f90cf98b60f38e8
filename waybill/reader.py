"""Owns how commands read a cluster: topics from anywhere to where they end now, tables, and what groups committed.

Reads by assignment, outside every group, read_committed; commits and produces nothing. The end of a topic is its last
stable offset when it was asked for, recognised by the EOF event's offset, which passes transaction markers (TX4).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from streams.runtime.admin import PASSING as BUSY
from streams.runtime.admin import offsets
from streams.runtime.restore import PASSING, convert
from streams.stage import Message
from waybill.context import client_settings
from waybill.output import Fault

if TYPE_CHECKING:
    from schemas.canonical import RawPosition
    from topology.model import Pipeline

SLICE = 5_000
"""Messages taken at once."""
SLICE_SECONDS = 0.1
PATIENCE = 30.0
"""Seconds without progress after which a broker counts as out of reach: one that restarts is back by then."""
REQUEST_SECONDS = 10.0
RETRY_SECONDS = 0.05

Offsets = dict[int, int]
"""Partition -> offset."""


class Ends(NamedTuple):
    """Where a topic begins and ends, by partition."""

    low: Offsets
    high: Offsets
    """Last stable offset: everything below is committed or aborted."""


class Reader:
    """Reads topics of one cluster. Not for two topics at a time."""

    def __init__(self, brokers: str) -> None:
        self.brokers = brokers
        self._admin: Any = AdminClient(client_settings(brokers))
        settings = {
            "group.id": f"waybill-command-{uuid.uuid4().hex[:8]}",  # asked for by the client; nothing is ever committed
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.queue.backoff.ms": 10,  # TX5: the default starves a fast reader
            "fetch.wait.max.ms": 20,  # how late the end of a partition is noticed
        }
        self._consumer: Any = Consumer(client_settings(brokers, **settings))

    def close(self) -> None:
        """Closes the client."""
        self._consumer.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- where things are ------------------------------------------------------------------------

    def partitions(self, topic: str) -> list[int]:
        """Partitions of a topic; none if there is no such topic."""
        # Asked of the consumer: it looks for the leaders at once then, and not at its next refresh, a second later.
        found = self._consumer.list_topics(topic, timeout=REQUEST_SECONDS).topics[topic]
        return sorted(found.partitions) if found.error is None else []

    def ends(self, topic: str) -> Ends:
        """Bounds of a topic, as they are now."""
        where = [TopicPartition(topic, partition) for partition in self.partitions(topic)]

        def ask(spec: Any, level: Any) -> Offsets:
            def once() -> Offsets:
                found = offsets(self._admin, dict.fromkeys(where, spec), level, REQUEST_SECONDS)
                return {tp.partition: offset for tp, offset in found.items()}

            return _patiently(once)

        if not where:
            return Ends({}, {})
        high = ask(OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)
        return Ends(ask(OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED), high)

    def at_time(self, topic: str, ms: int) -> Offsets:
        """Per partition the first offset written at `ms` or later; the end where there is none."""
        where = [TopicPartition(topic, partition, ms) for partition in self.partitions(topic)]
        ends = self.ends(topic).high
        found = self._consumer.offsets_for_times(where, REQUEST_SECONDS) if where else []
        return {tp.partition: tp.offset if tp.offset >= 0 else ends[tp.partition] for tp in found}

    def committed(self, group: str, topic: str) -> dict[int, int | None]:
        """What a consumer group has committed, by partition; None where nothing."""
        where = [TopicPartition(topic, partition) for partition in self.partitions(topic)]
        if not where:
            return {}
        # Asked as a consumer that never joins: the admin client's request crashes the process where the coordinator has
        # just moved or is not there yet (librdkafka #5040). read_uncommitted: an open transaction holds up no answer.
        settings = {"group.id": group, "isolation.level": "read_uncommitted", "enable.auto.commit": False}
        consumer = Consumer(client_settings(self.brokers, **settings))
        try:
            found = _patiently(lambda: consumer.committed(where, REQUEST_SECONDS))
        finally:
            consumer.close()
        return {tp.partition: tp.offset if tp.offset >= 0 else None for tp in found}

    # ---- reading ---------------------------------------------------------------------------------

    def read(self, topic: str, start: Mapping[int, int], until: Mapping[int, int] | None) -> Iterator[list[Message]]:
        """Messages from `start` on, in slices, each partition in order; up to `until`, or without end for None.

        Partitions that `start` does not name are left out. Raises Fault if the log has lost `start`, or if nothing
        comes for PATIENCE seconds although there is more.
        """
        left = {
            partition: until[partition] if until is not None else None
            for partition, offset in start.items()
            if until is None or offset < until.get(partition, 0)
        }
        if not left:
            return
        self._consumer.assign([TopicPartition(topic, partition, start[partition]) for partition in left])
        deadline = time.monotonic() + PATIENCE
        try:
            while left:
                found: list[Any] = []
                done: set[int] = set()
                for message in self._consumer.consume(SLICE, SLICE_SECONDS):
                    partition = message.partition()
                    error = message.error()
                    if error is not None:
                        if error.code() == KafkaError._PARTITION_EOF:
                            end = left.get(partition)
                            if end is not None and message.offset() >= end:
                                done.add(partition)
                        elif error.code() not in PASSING:
                            raise Fault(f"{topic}[{partition}]: {error.str()}: run it again, or with a later --from")
                        continue
                    if partition not in left:
                        continue
                    end = left[partition]
                    if end is None or message.offset() < end:
                        found.append(message)
                    if end is not None and message.offset() + 1 >= end:
                        done.add(partition)
                if found:
                    yield convert(found)
                for partition in done:
                    left.pop(partition, None)
                if found or done or until is None:
                    deadline = time.monotonic() + PATIENCE
                elif time.monotonic() >= deadline:
                    raise Fault(
                        f"{topic}: nothing comes although there is more to read ({PATIENCE:g} s): the broker at "
                        f"{self.brokers} is out of reach"
                    )
        finally:
            self._consumer.unassign()

    def all(self, topic: str, ends: Ends | None = None) -> Iterator[Message]:
        """Every message of a topic up to its end as it is now, or as given."""
        ends = ends or self.ends(topic)
        for slice_ in self.read(topic, ends.low, ends.high):
            yield from slice_

    def at(self, topic: str, position: RawPosition) -> Message | None:
        """The message at the partition and offset of a position; None where none stands."""
        partition, offset = position.partition, position.offset
        ends = self.ends(topic)
        if not ends.low.get(partition, offset + 1) <= offset < ends.high.get(partition, 0):
            return None
        slices = self.read(topic, {partition: offset}, {partition: offset + 1})
        return next((one for slice_ in slices for one in slice_ if one.offset == offset), None)

    def table(self, topic: str) -> dict[tuple[int, bytes], Message]:
        """The rows of a compacted table as they stand now, by (partition, row key)."""
        rows: dict[tuple[int, bytes], Message] = {}
        for message in self.all(topic):
            key = (message.partition, message.key or b"")
            if message.value is None:
                rows.pop(key, None)
            else:
                rows[key] = message
        return rows

    def waiting(self, topic: str, committed: Mapping[int, int | None], cap: int = 100_000) -> dict[int, int]:
        """Messages not yet taken by a group, by partition. Above `cap` offsets the difference of offsets is given,
        below them messages are counted, since offsets are also used up by transaction markers."""
        ends = self.ends(topic)
        start = {p: max(committed.get(p) or 0, low) for p, low in ends.low.items()}
        counts = {p: ends.high[p] - start[p] for p in start}
        near = {p: offset for p, offset in start.items() if 0 < counts[p] <= cap}
        counts.update(dict.fromkeys(near, 0))
        for slice_ in self.read(topic, near, ends.high):
            for message in slice_:
                counts[message.partition] += 1
        return counts


T = TypeVar("T")


def _patiently(ask: Callable[[], T]) -> T:
    """Asks again while the cluster is only busy: a new topic, a coordinator or leader that moves."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return ask()
        except KafkaException as failed:
            error = failed.args[0]
            if not (error.retriable() or error.code() in BUSY | PASSING) or time.monotonic() >= deadline:
                raise
        time.sleep(RETRY_SECONDS)


class Delivery(NamedTuple):
    """The rows of the `delivery` table."""

    batches: list[dict[str, Any]]
    partners: list[dict[str, Any]]
    """Why partners are left alone."""


class Decoder:
    """Messages of a pipeline's topics as (kind, fields). The audit block is one of the kinds."""

    def __init__(self, pipeline: Pipeline) -> None:
        from schemas.registry import codec_for

        self.codec = codec_for(pipeline.registry)

    def delivery(self, rows: Iterable[Message]) -> Delivery:
        """The rows of `delivery`, told apart."""
        decoded = [self.codec.decode(row.value or b"") for row in rows]
        return Delivery(
            [fields for name, fields in decoded if name == "delivery"],
            [fields for name, fields in decoded if name == "partner_state"],
        )

    def batches(self, rows: Iterable[Message]) -> list[dict[str, Any]]:
        """The rows of `delivery` that are about batches."""
        return self.delivery(rows).batches

    def waits(self, rows: Iterable[Message]) -> list[dict[str, Any]]:
        """The rows of `waiting` of records that wait; the others are about those that went."""
        decoded = (self.codec.decode(row.value or b"") for row in rows)
        return [fields for name, fields in decoded if name == "waiting"]

    def decode(self, value: bytes) -> tuple[str, dict[str, Any]]:
        """Raises schemas.codec.WireError or audit.block.BlockError."""
        from audit.block import HEADER, read_block

        if value[: len(HEADER)] == HEADER:
            block = read_block(value)
            fields = {**block.chain._asdict(), "sequence": block.sequence, "part": block.part, "parts": block.parts}
            fields |= block.span._asdict() | {"prev_head": block.prev_head, "head": block.head}
            return "audit_block", fields | {
                "observed": block.observed._asdict(),
                "entries": [entry._asdict() for entry in block.entries],
            }
        return self.codec.decode(value)
