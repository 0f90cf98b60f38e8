"""Owns the submissions that span chunks: what is open of each, and which large one has the parser process.

Two large ones would take it from each other in every chunk, and be opened anew in every chunk: the other waits, and its
partition with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol

from schemas.pack import Record, Refusal, Submission, Unpacked
from streams.runtime.log import LogError
from streams.runtime.parser_child import LARGE_SUBMISSION
from streams.stage import Message
from streams.validate.headers import NO_HEADERS, read_headers


class Unpack(Protocol):
    """Reads submissions in a pack's place."""

    def __call__(self, submission: Submission, start: int = 0) -> Unpacked:
        """See `schemas.pack.Pack.unpack`; the records from `start` on are wanted."""
        ...


class _Open(NamedTuple):
    offset: int
    unpacked: Unpacked
    alone: bool
    """It is large, and needs the parser process."""


class Spanning:
    """Open submissions by partition."""

    def __init__(self, heavy: Callable[[Submission], bool]) -> None:
        self._heavy = heavy
        self._open: dict[int, _Open] = {}
        self._waiting: set[int] = set()

    @property
    def room(self) -> Mapping[int, int] | None:
        """See `streams.stage.Stage`: partitions whose next submission waits."""
        return dict.fromkeys(self._waiting, 0) if self._waiting else None

    def at(self, partition: int, offset: int) -> Unpacked | None:
        """What is open there."""
        found = self._open.get(partition)
        return found.unpacked if found is not None and found.offset == offset else None

    def waits(self, message: Message) -> bool:
        """Whether the next submission of a partition has to wait for one of another."""
        partition = message.partition
        if partition in self._open or not any(one.alone for one in self._open.values()):
            return False
        content_type, *_ = read_headers(message.headers) if message.headers else NO_HEADERS
        if not self._alone(Submission(message.value, content_type)):
            return False
        self._waiting.add(partition)
        return True

    def keep(self, partition: int, offset: int, submission: Submission, unpacked: Unpacked) -> None:
        """The rest of it is for the next chunk."""
        self._open[partition] = _Open(offset, unpacked, self._alone(submission))

    def end(self, partition: int) -> None:
        """Nothing of the partition is open any more."""
        if self._open.pop(partition, None) is not None:
            self._waiting.clear()

    def forget(self, partition: int) -> None:
        """Nor does it wait."""
        self._waiting.discard(partition)
        self.end(partition)

    def _alone(self, submission: Submission) -> bool:
        return len(submission.value or b"") > LARGE_SUBMISSION and self._heavy(submission)


class Rest:
    """What is left of a submission that cannot be worked when a part of it has committed with its count: each record by
    itself, since every one of them was promised an answer. Those that cannot be worked share one refusal."""

    def __init__(self, unpacked: Unpacked, refusal: Refusal) -> None:
        self.content_type, self.count, self.notes = unpacked.content_type, unpacked.count, unpacked.notes
        self._unpacked, self._refusal = unpacked, refusal

    def records(self, start: int = 0) -> Iterator[Record | Refusal]:
        """See `schemas.pack.Unpacked`."""
        for index in range(start, self.count):
            try:
                item = next(self._unpacked.records(index), self._refusal)
            except LogError:
                raise
            except Exception:  # noqa: BLE001 - it becomes this record's dead letter
                item = self._refusal
            yield item
