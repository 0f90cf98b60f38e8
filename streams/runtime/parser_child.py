"""What runs inside a parser process (VA3): one pack, one submission at a time, under limits the kernel keeps.

It trusts nothing of what it reads, and its parent trusts nothing of what it says: answers are plain tuples, which the
parent reads without making anything but built-in values. A submission is read in slices (`Ask`), and kept open between
them. It ends when its parent's end of the pipe is closed, and soon after its time limit in any case, so it does not
outlive a worker that was killed.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from math import ceil
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from schemas.pack import Divided, Gradual, Listed, Pack, Record, Refusal, Steps, Submission, Unpacked

OUT_OF_MEMORY = 77
"""Exit code: the submission needed more memory than it may have."""
ALARM_GRACE = 1.0
"""Seconds after which the kernel ends a process whose parent has not: the parent's clock comes first."""
SLICE_SECONDS = 0.5
"""A slice of records ends here, at the next record's end, and so does a part of the opening, at its next step's end."""
SLICE_BYTES = 2**22
"""A slice of records ends here, too."""
ITEM_BYTES = 16
"""Of an answer around each of its records, at most."""
LARGE_SUBMISSION = 2**22
"""Bytes. Of submissions above this one is open at a time."""
MOST_OPEN = 8
"""Submissions kept open. One of each partition may be begun and not ended."""

OPENING, OPENED, BYTES, READ = "opening", "opened", "bytes", "read"
GONE, RAISED, TOO_MUCH = "gone", "raised", "too much"
"""Kinds of answers. OPENED and BYTES come before another; OPENING: it takes longer, ask again."""


class Ask(NamedTuple):
    """What the parent wants: the records of a submission from `start` on, up to `most` or the end of a slice, but one
    at least."""

    number: int
    """By which the submission is known while it is open."""
    start: int
    most: int
    judged: bool
    """False: its records' bytes (BYTES), one answer for each."""
    stated: tuple[str | None, str | None, str | None, int | None] | None
    """Opens it: content type, source, site, and the bytes of its value, which follows; None: it is open."""


class _Open:
    """A submission that is being opened, or is open, and where it is being read."""

    def __init__(self, opening: Steps[Unpacked], value: bytes) -> None:
        self.unpacked: Unpacked = Listed("", ())
        """Of no records until it is open."""
        self.size = len(value)
        self._opening: Steps[Unpacked] | None = opening
        self._whole: bytes | None = value
        """The only record may be all of it."""
        self._next, self._held = -1, b""
        self._rest: Iterator[Record | Refusal] = iter(())

    @property
    def is_open(self) -> bool:
        return self._opening is None

    def open(self, until: float) -> bool:
        """Goes on with it for a while, or to its end; whether it is open now."""
        while self._opening is not None:
            try:
                next(self._opening)
            except StopIteration as end:
                self.unpacked, self._opening = end.value, None
                if self.unpacked.count != 1:
                    self._whole = None
            if time.monotonic() > until:
                break
        return self._opening is None

    def _take(self, index: int) -> bytes:
        """A record in pickled form. Raises whatever the pack raises, and ValueError where its count is wrong."""
        if self._held and index == self._next:
            found, self._held = self._held, b""
        else:
            rest = self._rest if index == self._next else self.unpacked.records(index)
            self._next, self._held = -1, b""  # what raises is begun anew
            item = next(rest, None)
            if item is None or (index + 1 == self.unpacked.count and next(rest, None) is not None):
                raise ValueError("the count is wrong")
            found, self._rest = pickle.dumps(_item(item, self._whole)), rest
        self._next = index + 1
        return found

    def slice(self, start: int, most: int, output: int, until: float) -> list[bytes]:
        """Records from `start` on, up to where one raises; none where the first is more than `output` bytes. Raises
        what the first raises."""
        items: list[bytes] = []
        size = 0
        for index in range(start, min(start + most, self.unpacked.count)):
            try:
                item = self._take(index)
            except Exception as error:
                if items and not isinstance(error, MemoryError):
                    break  # it raises again when it is asked for
                raise
            size += len(item) + ITEM_BYTES
            if size > output:
                self._next, self._held = index, item  # the next slice begins with it
                break
            items.append(item)
            if size > SLICE_BYTES or time.monotonic() > until:
                break
        return items


class Reader:
    """The submissions that are open, and the answers to what is asked of them."""

    def __init__(self, pack: Pack, seconds: float, output: int, say: Callable[[bytes], None]) -> None:
        """`say` takes one answer, pickled; no more than `output` bytes of records at a time."""
        self._pack, self._seconds, self._output, self._say = pack, seconds, output, say
        self._open: dict[int, _Open] = {}

    def make_room(self, size: int) -> None:
        """Closes what may not be open beside a submission of so many bytes."""
        if size > LARGE_SUBMISSION:
            self._open = {key: one for key, one in self._open.items() if one.size <= LARGE_SUBMISSION}
        while len(self._open) >= MOST_OPEN:
            del self._open[next(iter(self._open))]

    def answer(self, ask: Ask, submission: Submission | None) -> None:
        """Says what came of it; `submission` comes with what opens it. Raises MemoryError."""
        until = time.monotonic() + min(SLICE_SECONDS, self._seconds / 2)
        try:
            if submission is not None:
                self._open[ask.number] = _Open(_opening(self._pack, submission), submission.value or b"")
            opened = self._open.get(ask.number)
            if opened is None:
                self._tell(GONE, None)
            elif not self._is_open(opened, ask.number, until):
                self._tell(OPENING, None)
            elif ask.judged:
                self._slice(opened, ask, until)
            else:
                self._bytes(opened, ask.start)
                self._read_through(opened, ask, ask.start + 1)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - no pack may raise; one that does has crashed on this input
            self._tell(RAISED, type(error).__name__)

    def _is_open(self, opened: _Open, number: int, until: float) -> bool:
        """Whether it is open, at the latest now; the parent is told when it has become so."""
        if opened.is_open:
            return True
        try:
            if not opened.open(until):
                return False
        except Exception:
            del self._open[number]
            raise
        unpacked = opened.unpacked
        self._tell(OPENED, (unpacked.content_type, unpacked.count, dict(unpacked.notes)))
        return True

    def _slice(self, opened: _Open, ask: Ask, until: float) -> None:
        if ask.most == 1:
            self._bytes(opened, ask.start)
        items = opened.slice(ask.start, ask.most, self._output, until)
        if not items and ask.start < opened.unpacked.count:
            self._tell(TOO_MUCH, self._output)
        else:
            self._tell(READ, items)
            self._read_through(opened, ask, ask.start + len(items))

    def _bytes(self, opened: _Open, index: int) -> None:
        unpacked = opened.unpacked
        found = unpacked.original(index) if isinstance(unpacked, Divided) else None
        most = max(self._output, opened.size)
        self._tell(BYTES, None if found is None or len(found[0]) > most else found)

    def _read_through(self, opened: _Open, ask: Ask, index: int) -> None:
        """The records up to `index` have been told."""
        if index == opened.unpacked.count:
            del self._open[ask.number]

    def _tell(self, kind: str, value: Any) -> None:
        self._say(pickle.dumps((kind, value)))


def main(descriptor: int) -> None:
    """Serves the parent at the other end of a pipe until that is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a stop is the worker's business: it still wants its answer
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe = Connection(descriptor)
    try:
        build, seconds, memory, output = pickle.loads(pipe.recv_bytes())
        pack = build()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        pipe.send_bytes(b"ready")
        serve(pipe, Reader(pack, seconds, output, pipe.send_bytes), seconds)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


def serve(pipe: Connection, reader: Reader, seconds: float) -> None:
    """Answers what the parent asks. Raises EOFError when the parent is gone, MemoryError where the limit is met."""
    while True:
        ask = Ask(*pickle.loads(pipe.recv_bytes()))
        submission = None
        if ask.stated is not None:
            content_type, source, site, size = ask.stated
            reader.make_room(size or 0)  # first: there is memory for one large value
            submission = Submission(None if size is None else pipe.recv_bytes(), content_type, source, site)
        _limit(seconds)
        reader.answer(ask, submission)
        signal.setitimer(signal.ITIMER_REAL, 0)
        del submission


def _limit(seconds: float) -> None:
    """From now on the kernel ends this process (SIGALRM, SIGXCPU) when it takes longer."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (ceil(used.ru_utime + used.ru_stime + seconds + ALARM_GRACE), most))
    signal.setitimer(signal.ITIMER_REAL, seconds + ALARM_GRACE)


def _opening(pack: Pack, submission: Submission) -> Steps[Unpacked]:
    if isinstance(pack, Gradual):
        return (yield from pack.opening(submission))
    return pack.unpack(submission)


def _item(item: Record | Refusal, whole: bytes | None) -> tuple[bool, list[tuple[str, ...]], tuple[Any, ...]]:
    """Whether it is a record, its findings, and the rest of it. The parent has the original of a refusal of the
    `whole` submission: it is left out, and not counted as output."""
    if isinstance(item, Record):
        return (
            True,
            [tuple(found) for found in item.warnings],
            tuple(item._replace(fields=dict(item.fields), warnings=())),
        )
    original = None if item.original == whole else item.original
    return False, [tuple(found) for found in item.findings], (original, item.content_type, item.canonical)


if __name__ == "__main__":
    main(int(sys.argv[1]))
