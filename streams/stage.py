"""The contract between a stage's pure core and whatever moves its messages: Kafka, or the in-memory log.

A stage never sees Kafka, a clock or a socket. It gets a chunk, answers with a `Work` in which everything commits
together (law 2), and learns through `committed` that it did. On any doubt the runner calls `forget` and `restore`
instead (TX1), so a stage may change its in-memory state freely while processing: nobody reads it after an abort.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

Header = tuple[str, bytes]


class Message(NamedTuple):
    """One message read from a stage's input topic."""

    partition: int
    offset: int
    timestamp: int
    """Broker time, ms since epoch."""
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()


class Output(NamedTuple):
    """One message to produce. Rows of tables are outputs too; a tombstone has no value."""

    topic: str
    """Short name (`validated`, `idempotency`, ...), see `topology.model.SHORT_NAMES`."""
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()


@dataclass(slots=True)
class Chunk:
    """What a stage gets in one go. `messages` are in offset order within each partition."""

    messages: list[Message]
    now: int
    """For waits, ms: the wall clock as it was when the process started, and the time since then; it never jumps."""
    answers: list[Any] = field(default_factory=list)
    """Dispatch only: (envelope, outcome) pairs that came in from partners."""
    condemned: dict[tuple[int, int], str] = field(default_factory=dict)
    """(partition, offset) of messages that made processing fail twice when alone, and how (VA4): each must end as a
    dead letter of its own."""
    stamp: int | None = None
    """Wall clock, ms since epoch: what is observed, never content (law 6). None: the same as `now`."""

    @property
    def observed_at(self) -> int:
        """When this chunk was worked, by the wall clock."""
        return self.now if self.stamp is None else self.stamp


@dataclass(slots=True)
class Work:
    """What processing a chunk came to; all of it commits in one transaction, or none."""

    outputs: list[Output] = field(default_factory=list)
    offsets: dict[int, int] = field(default_factory=dict)
    """Next offset to commit, per input partition; sent with every transaction, even unchanged (DI1)."""
    effects: list[Any] = field(default_factory=list)
    """Dispatch only: envelopes to send, once and only if the transaction has committed (write-ahead)."""
    ended: Mapping[bytes, bool] = field(default_factory=dict)
    """Dispatch only: batches that go on after an attempt that ended. False: it was in flight when its worker ended, and
    nobody knows its answer."""
    resume: dict[int, int] = field(default_factory=dict)
    """Partitions to go back to: the stage was cut here (VA2) and wants this offset again in the next chunk."""

    opening: set[int] = field(default_factory=set)
    """Of these, those whose input takes several chunks to open: a step was done, and there is nothing to commit yet."""

    @property
    def empty(self) -> bool:
        """Nothing to commit: the chunk only rebuilt what was known."""
        return not self.outputs


class TableStore(Protocol):
    """The local copy of one partition of a compacted table. It holds committed rows only."""

    position: int
    """Next changelog offset to read: every row below it that this stage or its predecessors wrote is in the store
    (`heads` has rows of other stages, too). 0 in a new store."""

    def apply(self, rows: Iterable[tuple[bytes, bytes | None]], position: int) -> None:
        """Rows from the changelog, in order; a row without value deletes. Idempotent."""
        ...

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        """Every row as it stands in the changelog: row key and value."""
        ...

    def clear(self) -> None:
        """Back to a new store."""
        ...

    def close(self) -> None: ...


class Stage(Protocol):
    """One of validate, batch, dispatch, for all partitions assigned to one thread."""

    name: str
    input: str
    """Short name of the input topic."""
    input_topic_id: str
    """Kafka's id of the input topic; the runner sets it before `restore` (TX3)."""
    table_topic_ids: Mapping[str, str]
    """Kafka's ids of the topics of `tables`, `heads` apart; the runner sets it before `restore` (TX3)."""
    tables: tuple[str, ...]
    """Tables whose partition p must be at hand before partition p is worked on; `heads` is always among them."""

    draining: bool
    """At a stop, and while a rebalance asks for partitions: answers are taken, and nothing is begun with a partner.
    `drain` sets it, `restore` ends it; the runner sets it again for what is restored during a stop."""

    @property
    def room(self) -> Mapping[int, int] | None:
        """How many more messages of each partition the stage has room for; None: any number. 0 holds the partition up,
        and the log is the buffer."""
        ...

    def store(self, table: str, partition: int) -> TableStore:
        """A new or reopened store for one partition of one of `tables`."""
        ...

    def restore(self, partition: int, stores: Mapping[str, TableStore], committed: int | None, now: int) -> int:
        """Takes over a partition from restored stores; `committed` is the group's stable committed offset.

        Returns the input offset to read on from. Raises streams.runtime.log.LogGap where records could be skipped
        (TX3).
        """
        ...

    def forget(self, partition: int) -> None:
        """Drops all in-memory state of a partition: windows, open requests, pending changes. Never raises."""
        ...

    def process(self, chunk: Chunk) -> Work:
        """Works a chunk. No record's content makes it raise (law 5)."""
        ...

    def committed(self, work: Work, now: int) -> None:
        """The transaction of `work` has committed, and the stores have its rows (step 6)."""
        ...

    def due(self, now: int) -> bool:
        """Whether `process` should be called although no message came (a wait has run out)."""
        ...

    def drain(self, chunk: Chunk, ending: bool) -> Work:
        """What is left to write when no more input comes: `ending` at the end of a bounded run, else at a stop. The
        chunk is empty."""
        ...
