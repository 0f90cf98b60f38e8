"""A log in memory: topics, groups and transactions in one process, with the same `Log` protocol as Kafka.

It keeps nothing and serves no Kafka protocol. Like Kafka it spends an offset on each transaction's marker, refuses
stale generations and fences older producers; unlike Kafka it does so at once. Faults are injected through
`MemoryBroker.fault`, which simulators set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from streams.runtime.log import Abortable, Fatal, Fetched, Indeterminate, LogError, Reached, Row, StaleMember
from streams.stage import Header, Message, Output, TableStore
from topology.model import ANY_TABLE, Pipeline, partition_for


class Token(NamedTuple):
    """Stands for Kafka's group metadata."""

    member: str
    generation: int


class MemoryBroker:
    """Topics of one pipeline, and who may write."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self._topics: dict[str, list[list[Message]]] = {}
        self._ends: dict[tuple[str, int], int] = {}
        self._committed: dict[tuple[str, int], int] = {}
        self.generation: dict[str, int] = {}
        self.members: dict[str, list[str]] = {}
        self.owners: dict[tuple[str, int], str] = {}
        self.epochs: dict[str, int] = {}
        self.fault: Callable[[str], str] = lambda stage: "ok"
        """Asked at each commit with the stage's name: ok, abort, lost-yes (committed, answer lost), lost-no."""
        self.now = 0
        """Broker time, ms; stamps messages without a time of their own (LogAppendTime)."""
        self.first_offset = 0
        """Of each partition that nothing has been written to. Above 0, what lies below are offsets without a message,
        as markers are."""

    def partitions(self, topic: str) -> list[list[Message]]:
        """The partitions of a topic by short name."""
        if topic not in self._topics:
            self._topics[topic] = [[] for _ in range(self.pipeline.partitions)]
        return self._topics[topic]

    def end(self, topic: str, partition: int) -> int:
        """High watermark: the next offset to be written."""
        return self._ends.get((topic, partition), self.first_offset)

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None,
        headers: tuple[Header, ...] = (), timestamp: int | None = None,
    ) -> int:  # fmt: skip
        """Writes one message outside any transaction and returns its offset."""
        offset = self.end(topic, partition)
        stamp = self.now if timestamp is None else timestamp
        self.partitions(topic)[partition].append(Message(partition, offset, stamp, key, value, headers))
        self._ends[topic, partition] = offset + 1
        return offset

    def publish(
        self,
        key: str | None,
        value: bytes | None,
        headers: Mapping[str, str] | None = None,
        timestamp: int | None = None,
    ) -> tuple[int, int]:
        """A publisher's message on `raw`; returns partition and offset."""
        partition = partition_for(key, self.pipeline.partitions) if key is not None else 0
        packed = tuple((name, text.encode()) for name, text in (headers or {}).items())
        offset = self.append("raw", partition, key.encode() if key is not None else None, value, packed, timestamp)
        return partition, offset

    def all(self, topic: str) -> list[Message]:
        """Every message of a topic, partition by partition."""
        return [message for partition in self.partitions(topic) for message in partition]

    def committed(self, group: str, partition: int) -> int | None:
        """A group's committed offset."""
        return self._committed.get((group, partition))

    def commit(self, outputs: Sequence[Output], group: str, offsets: Mapping[int, int]) -> None:
        """Makes a transaction visible at once; every partition it touched spends an offset on the marker."""
        touched = set()
        for output in outputs:
            self.append(output.topic, output.partition, output.key, output.value, output.headers)
            touched.add((output.topic, output.partition))
        for topic_partition in touched:
            self._ends[topic_partition] += 1
        for partition, offset in offsets.items():
            self._committed[group, partition] = offset

    # ---- groups ----------------------------------------------------------------------------------

    def join(self, group: str, member: str) -> None:
        """A member enters: a new generation, partitions dealt out in turn."""
        self.members.setdefault(group, []).append(member)
        self.rebalance(group)

    def leave(self, group: str, member: str) -> None:
        """A member is gone, by itself or because its session ran out."""
        if member in self.members.get(group, []):
            self.members[group].remove(member)
            self.rebalance(group)

    def rebalance(self, group: str) -> None:
        """A new generation with the members there are."""
        self.generation[group] = self.generation.get(group, 0) + 1
        members = self.members.get(group, [])
        for partition in range(self.pipeline.partitions):
            if members:
                self.owners[group, partition] = members[(partition + self.generation[group]) % len(members)]
            else:
                self.owners.pop((group, partition), None)


class MemoryLog:
    """See streams.runtime.log.Log."""

    def __init__(self, broker: MemoryBroker, stage: str, input_topic: str, slot: int = 0) -> None:
        self._broker, self._stage, self._input = broker, stage, input_topic
        self._group = broker.pipeline.group_id(stage)
        self._transactional_id = broker.pipeline.transactional_id(stage, slot)
        self._member = f"{self._transactional_id}#{broker.epochs.get(self._transactional_id, 0) + 1}"
        self._epoch = self._init_transactions()
        self._positions: dict[int, int] = {}
        self._owned: frozenset[int] = frozenset()
        self._generation = -1
        self.before_revoke: Callable[[], None] = lambda: None
        """Never called: a rebalance of the in-memory log is not planned, but noticed."""
        broker.join(self._group, self._member)

    def _init_transactions(self) -> int:
        epochs = self._broker.epochs
        epochs[self._transactional_id] = epochs.get(self._transactional_id, 0) + 1
        return epochs[self._transactional_id]

    def fetch(
        self, records: int, size: int, linger: float, timeout: float, held: frozenset[int] = frozenset()
    ) -> Fetched:
        broker = self._broker
        generation = broker.generation[self._group]
        if generation != self._generation:
            owned = frozenset(
                p for p in range(broker.pipeline.partitions) if broker.owners.get((self._group, p)) == self._member
            )
            revoked, self._generation, self._owned = self._owned, generation, owned
            self._positions.clear()
            return Fetched([], owned, revoked, self._token())
        messages: list[Message] = []
        for partition, position in sorted(self._positions.items()):
            if partition in held:
                continue
            there = broker.partitions(self._input)[partition]
            start = _first_at(there, position)
            for message in there[start : start + records - len(messages)]:
                messages.append(message)
                self._positions[partition] = message.offset + 1
                size -= len(message.value or b"")
                if size <= 0:
                    return Fetched(messages, frozenset(), frozenset(), self._token())
        return Fetched(messages, frozenset(), frozenset(), self._token())

    def _token(self) -> Token:
        return Token(self._member, self._generation)

    def committed(self, partition: int) -> int | None:
        return self._broker.committed(self._group, partition)

    def bounds(self, partition: int) -> tuple[int, int]:
        return 0, self._broker.end(self._input, partition)

    def nothing_between(self, partition: int, start: int, end: int) -> bool:
        held = self._broker.partitions(self._input)[partition]
        index = _first_at(held, start)
        return index == len(held) or held[index].offset >= end

    def catch_up(self, table: str, partition: int, store: TableStore) -> None:
        held = self._broker.partitions(table)[partition]
        rows = [(m.key or b"", m.value) for m in held[_first_at(held, store.position) :]]
        store.apply(rows, self._broker.end(table, partition))

    def seek(self, partition: int, offset: int) -> None:
        self._positions[partition] = offset

    def transact(self, outputs: Sequence[Output], offsets: Mapping[int, int], token: Token) -> Reached:
        broker = self._broker
        if broker.epochs[self._transactional_id] != self._epoch:
            raise Fatal(f"{self._transactional_id} is fenced by a newer producer")
        if token.generation != broker.generation[self._group] or token.member != self._member:
            raise StaleMember(f"generation {token.generation} is over")
        what = broker.fault(self._stage)
        if what not in ("ok", "abort", "lost-yes", "lost-no"):
            raise ValueError(f"fault {what!r}; allowed: ok, abort, lost-yes, lost-no")
        if what in ("ok", "lost-yes"):
            broker.commit(outputs, self._group, offsets)
        if what == "abort":
            raise Abortable("injected")
        if what in ("lost-yes", "lost-no"):
            raise Indeterminate("injected")
        return {(o.topic, o.partition): broker.end(o.topic, o.partition) for o in outputs if o.topic in ANY_TABLE}

    def follow(self, table: str, partition: int, store: TableStore, rows: Sequence[Row], position: int | None) -> None:
        store.apply(rows, store.position if position is None else position)

    def recover(self, error: LogError) -> frozenset[int]:
        if isinstance(error, StaleMember):
            self._generation, self._owned = -1, frozenset()
            self._positions.clear()
            return frozenset()
        if isinstance(error, Indeterminate):
            self._epoch = self._init_transactions()
        return self._owned

    def read(self, topic: str, partition: int, offset: int) -> Message | None:
        held = self._broker.partitions(topic)[partition]
        index = _first_at(held, offset)
        return held[index] if index < len(held) and held[index].offset == offset else None

    def topic_id(self, topic: str) -> str:
        return f"memory-{topic}"

    def close(self) -> None:
        self._broker.leave(self._group, self._member)


def _first_at(messages: list[Message], offset: int) -> int:
    """Index of the first message at or above an offset (offsets rise, with gaps where markers are)."""
    low, high = 0, len(messages)
    while low < high:
        middle = (low + high) // 2
        if messages[middle].offset < offset:
            low = middle + 1
        else:
            high = middle
    return low
