"""Owns the submissions that span chunks: what is open of each, and which large one has the parser process.

Two large ones would take it from each other in every chunk, and be opened anew in every chunk: the other waits, and its
partition with it. First come, first served: a partition with many of them behind each other has one, and then the next
partition has its turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol

from schemas.pack import Listed, Record, Refusal, Submission, Unpacked
from streams.progress import Progress
from streams.runtime.log import Fatal, LogError
from streams.runtime.parser_child import LARGE_SUBMISSION
from streams.runtime.slices import Sliced, never
from streams.stage import Message
from streams.validate.headers import NO_HEADERS, read_headers

TURN_SECONDS = 30.0
"""For which others wait for the partition whose turn it is: its broker may be away, or the worker have much to do. Then
its turn has passed, and it queues again when its submission comes."""


class Unpack(Protocol):
    """Reads submissions in a pack's place."""

    def __call__(
        self, submission: Submission, start: int = 0, broken: int = 0, enough: Callable[[], bool] = never, /
    ) -> Unpacked:
        """See `schemas.pack.Pack.unpack`; the records from `start` on are wanted, and of those before it so many have
        broken their reader. Where it is `enough` before it is open, it is a `Sliced` that is `opening`."""
        ...


class _Open(NamedTuple):
    offset: int
    unpacked: Unpacked
    alone: bool
    """It is large, and needs the parser process."""


class Spanning:
    """Open submissions by partition."""

    def __init__(
        self,
        topic: str,
        unpack: Unpack,
        heavy: Callable[[Submission], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic, self._unpack, self._heavy, self._clock = topic, unpack, heavy, clock
        self._open: dict[int, _Open] = {}
        self._queue: dict[int, None] = {}
        """Partitions whose next submission waits, the longest first."""
        self._called: tuple[int, float] | None = None
        """Whose turn it is, and since when."""

    def spans(self, partition: int) -> bool:
        """Whether the next submission of a partition is open: it may need all the time that a chunk has."""
        return partition in self._open

    @property
    def room(self) -> Mapping[int, int] | None:
        """See `streams.stage.Stage`: partitions whose next submission waits, but for the one whose turn it is."""
        turn = self._turn()
        return dict.fromkeys((partition for partition in self._queue if partition != turn), 0) or None

    def unpacked(
        self,
        progress: Progress,
        message: Message,
        submission: Submission,
        refusal: Refusal | None,
        enough: Callable[[], bool] = never,
    ) -> Unpacked | None:
        """What a submission comes to, of which the records from `next_index` on are wanted; `refusal`: it cannot be
        worked. None: it takes long to open, and that was `enough`; the next chunk goes on with it. Raises Fatal where
        it has become another one since its first records were committed: no answer for the rest would be true."""
        start, begun = progress.next_index, progress.begun
        found = self._open.get(message.partition)
        if found is not None and found.offset == message.offset:
            sliced = _sliced(found.unpacked)
            if sliced is not None:
                sliced.submission = submission
            if sliced is None or sliced.count:
                return found.unpacked
            unpacked = sliced.open(start)
        elif refusal is not None and not start:
            return Listed(refusal.content_type, [refusal])
        else:
            unpacked = self._unpack(submission, start, begun.broken if begun else 0, enough)
        if isinstance(unpacked, Sliced) and not unpacked.count:
            self.keep(message.partition, message.offset, submission, unpacked)
            return None
        count = begun.count if begun else unpacked.count
        if start and not start < unpacked.count == count:
            raise Fatal(
                f"{self._topic}/{message.partition}/{message.offset} goes on at record {start} of {count}, but "
                f"unpacks to {unpacked.count} now: give it back the software and `parser` limits it began with"
            )
        return unpacked if refusal is None else Rest(unpacked, refusal)

    def waits(self, message: Message) -> bool:
        """Whether the next submission of a partition has to wait for one of another; else it is to be worked now."""
        if not self.queue(message):
            return False
        if self._turn() != message.partition:
            return True
        self._leave(message.partition)
        return False

    def queue(self, message: Message) -> bool:
        """Whether the next submission of a partition needs a turn. It queues for one from now on."""
        partition = message.partition
        if partition in self._open or not (self._queue or self._taken):
            return False
        content_type, *_ = read_headers(message.headers) if message.headers else NO_HEADERS
        if not self._alone(Submission(message.value, content_type)):
            self._leave(partition)
            return False
        self._queue.setdefault(partition)
        return True

    def keep(self, partition: int, offset: int, submission: Submission, unpacked: Unpacked) -> None:
        """The rest of it is for the next chunk, which reads it from the log again: so its bytes are not kept."""
        if (sliced := _sliced(unpacked)) is not None:
            sliced.submission = None
        self._open[partition] = _Open(offset, unpacked, self._alone(submission))

    def end(self, partition: int) -> None:
        """Nothing of the partition is open any more."""
        self._open.pop(partition, None)

    def forget(self, partition: int) -> None:
        """Nor does it wait."""
        self._leave(partition)
        self.end(partition)

    @property
    def _taken(self) -> bool:
        return any(one.alone for one in self._open.values())

    def _turn(self) -> int | None:
        """Whose turn it is, where no large one is open."""
        if self._taken or not self._queue:
            return None
        first, now = next(iter(self._queue)), self._clock()
        if self._called is None:
            self._called = first, now
        elif now - self._called[1] > TURN_SECONDS:
            self._leave(first)
            return self._turn()
        return first

    def _leave(self, partition: int) -> None:
        self._queue.pop(partition, None)
        if self._called is not None and self._called[0] == partition:
            self._called = None

    def _alone(self, submission: Submission) -> bool:
        return len(submission.value or b"") > LARGE_SUBMISSION and self._heavy(submission)


def broken(unpacked: Unpacked) -> int:
    """How many of the records that were taken from it have broken their reader."""
    sliced = _sliced(unpacked)
    return 0 if sliced is None else sliced.broken


def _sliced(unpacked: Unpacked) -> Sliced | None:
    """What is read in slices, also where it is the rest of something."""
    inner = unpacked.unpacked if isinstance(unpacked, Rest) else unpacked
    return inner if isinstance(inner, Sliced) else None


class Rest:
    """What is left of a submission that cannot be worked when a part of it has committed with its count: each record by
    itself, since every one of them was promised an answer. Those that cannot be worked share one refusal."""

    def __init__(self, unpacked: Unpacked, refusal: Refusal) -> None:
        self.content_type, self.count, self.notes = unpacked.content_type, unpacked.count, unpacked.notes
        self.unpacked, self._refusal = unpacked, refusal

    def records(self, start: int = 0) -> Iterator[Record | Refusal]:
        """See `schemas.pack.Unpacked`."""
        for index in range(start, self.count):
            try:
                item = next(self.unpacked.records(index), self._refusal)
            except LogError:
                raise
            except Exception:  # noqa: BLE001 - it becomes this record's dead letter
                item = self._refusal
            if isinstance(self.unpacked, Sliced) and self.unpacked.opening:
                return
            yield item
