"""The log as the runner sees it: one stage's consumer, transactional producer and table readers behind one
protocol, with two implementations (`kafka.py`, `memory.py`), and the small tree of things that can go wrong.

    LogError
    ├── Abortable       nothing of the transaction is visible; rebuild and do the chunk again
    │   └── TooLarge    aborted because of one output, which its topic does not take
    ├── StaleMember     the partitions belong to somebody else now; rejoin and rebuild
    ├── Indeterminate   nobody knows whether it committed; new producer, then rebuild (law 4)
    ├── Fatal           fenced or beyond repair; the process must end and never rejoin
    └── LogGap          records could be skipped (TX3); an operator must decide
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from streams.stage import Message, Output, TableStore


class LogError(Exception):
    """Root of what a log raises; never raised itself."""


class Abortable(LogError):
    """The transaction was aborted; nothing of it is visible."""


class TooLarge(Abortable):
    """The transaction was aborted because of this one output, which its topic does not take."""

    def __init__(self, output: Output, why: str) -> None:
        self.output = output
        size = len(output.key or b"") + len(output.value or b"")
        super().__init__(f"{output.topic}[{output.partition}]: a message of {size} bytes is too large: {why}")


class StaleMember(LogError):
    """Stale generation, lost assignment or missed generation."""


class Indeterminate(LogError):
    """A commit or abort whose outcome is unknown."""


class Fatal(LogError):
    """Fenced by a newer owner, or an error without any flag that allows going on."""


class LogGap(LogError):
    """Input that was never read is gone, a table is no longer whole, or a topic is another one."""


class Fetched(NamedTuple):
    """What one fetch brought. `token` binds the messages to the generation they were read under."""

    messages: list[Message]
    assigned: frozenset[int]
    """Partitions that are new to this member and must be rebuilt before their messages are worked on."""
    revoked: frozenset[int]
    """Partitions to forget."""
    token: Any


Row = tuple[bytes, bytes | None]
"""Key and value of a table's row; without value it is deleted."""

Reached = Mapping[tuple[str, int], int]
"""(table, partition) -> the offset behind the last row that a transaction wrote there."""


class Log(Protocol):
    """One stage's connection. Used from one thread only."""

    before_revoke: Callable[[], None]
    """Called from inside `fetch` when a planned rebalance asks for the partitions, while they still are ours: what it
    commits with the last token is accepted. It may use `transact` and `read` only, and raises nothing."""

    def fetch(
        self, records: int, size: int, linger: float, timeout: float, held: frozenset[int] = frozenset()
    ) -> Fetched:
        """Fills a chunk: up to `records` messages or `size` bytes, waiting `linger` seconds for more once the first
        is there and `timeout` seconds for the first. Never mixes messages with a change of assignment: when the
        assignment changed, `messages` is empty and newly assigned partitions stay paused until `seek`. Nothing is taken
        of the partitions that are `held` up, and the membership is kept."""
        ...

    def committed(self, partition: int) -> int | None:
        """The group's stable committed offset of an input partition, or None. Waits for pending transactions."""
        ...

    def bounds(self, partition: int) -> tuple[int, int]:
        """First offset kept and next offset to be written (high watermark) of an input partition."""
        ...

    def nothing_between(self, partition: int, start: int, end: int) -> bool:
        """Whether no committed message of an input partition lies from `start` to below `end`: only markers and
        aborted messages may, so that positions alone cannot tell whether an end was reached (TX4)."""
        ...

    def catch_up(self, table: str, partition: int, store: TableStore) -> None:
        """Brings a store up to the table's high watermark as it is now (TX1), from `store.position`. Rebuilds it
        whole if the changelog no longer has that position."""
        ...

    def seek(self, partition: int, offset: int) -> None:
        """Reads a partition on from `offset`, and resumes it if it was paused."""
        ...

    def transact(self, outputs: Sequence[Output], offsets: Mapping[int, int], token: Any) -> Reached:
        """Steps 3 to 5: begin, produce all, send offsets with the token's group metadata, commit.

        Returns where the tables' changelogs stand behind the rows among `outputs`. Raises Abortable, StaleMember,
        Indeterminate or Fatal; returns only if it surely committed."""
        ...

    def follow(self, table: str, partition: int, store: TableStore, rows: Sequence[Row], position: int | None) -> None:
        """Step 6 for one table: applies the rows that have just committed. With them the store is complete up to
        `position`, because nobody else writes rows of this stage there; None, where it is not known, leaves the
        store's position as it is, and the rows are read again by the next `catch_up`."""
        ...

    def recover(self, error: LogError) -> frozenset[int]:
        """After Abortable, StaleMember or Indeterminate: makes the log usable again (abort, new producer, rejoin as
        the error asks) and returns the partitions still assigned, which must all be rebuilt."""
        ...

    def read(self, topic: str, partition: int, offset: int) -> Message | None:
        """One committed message of any topic of the pipeline by position; None if it is not there (any more)."""
        ...

    def topic_id(self, topic: str) -> str:
        """Kafka's id of a topic, which tells a recreated topic from the old one."""
        ...

    def close(self) -> None:
        """Leaves the group and closes every client."""
        ...
