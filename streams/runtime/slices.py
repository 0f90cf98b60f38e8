"""Owns what is done with a submission that is read in another process (VA3): its records are taken in slices, each when
it is wanted, so that neither process holds more than the document and a slice, and none is waited for longer than two
tries. What takes long to open is opened in steps, between which whoever waits may do something else.

What fails is tried once more in a fresh process. A submission that fails before it is open is refused as a whole. One
that fails later is read on record by record, and the record that fails alone is refused alone.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import structlog

from schemas.errors import PARSER_FAILED, Finding
from schemas.pack import Listed, Record, Refusal, Submission, Unpacked, refuse_whole
from streams.runtime import parser_child
from streams.runtime.log import Abortable

SLICE_RECORDS = 256
"""In one answer at most; so many are taken one by one where a slice has failed."""
MOST_BROKEN = 20
"""Records of one submission that may break the reader; those behind them are refused unread. Each costs processes and
openings: a thousand of them would hold up their partition for hours."""
MOST_STEPS = 4096
"""In which a submission must be open, of half a second each: the largest there may be takes 22 minutes of a millisecond
for each event, and no process may say for ever that it is not ready yet."""

log = structlog.get_logger("waybill")

Item = Record | Refusal


class Failed(Exception):
    """A try came to nothing; says why, in words that are the same each time."""


@dataclass(slots=True)
class Answer:
    """What the process has said in one try."""

    whole: bytes = b""
    """The submission's value, while it is asked."""
    expected: tuple[str, int] | None = None
    """Content type and count, where they are known."""
    opened: tuple[str, int, dict[str, int]] | None = None
    """Content type, count and notes."""
    alone: tuple[bytes, str, bool] | None = None
    """The record asked for, by itself: see `schemas.pack.Divided`."""
    items: list[Item] = field(default_factory=list)
    opening: bool = False
    """There is no more yet: it is to be asked again."""
    done: bool = False

    @property
    def count(self) -> int:
        """Of the submission's records; 0: not known yet."""
        known = self.opened or self.expected
        return known[1] if known else 0

    def take(self, data: bytes) -> tuple[str, Any]:
        """One message; its kind, and what it says. Raises anything for what no honest process says."""
        kind, value = _plain(data)
        if kind == parser_child.OPENED:
            content_type, count, notes = value
            if (content_type, count) != (self.expected or (content_type, max(1, count))):
                raise ValueError(f"{count} records, where {self.expected} were seen before")
            self.opened = content_type, count, notes
        elif kind == parser_child.OPENING:
            self.opening = True
        elif kind == parser_child.BYTES:
            self.alone = value
        elif kind == parser_child.READ:
            if not self.count:
                raise ValueError("records of a submission that was not opened")
            self.items = [_item(item, self.whole) for item in value]
        return kind, value


class Ask(Protocol):
    """One try in the process. Raises Failed, and Abortable where there is no process."""

    def __call__(self, submission: Submission, start: int, most: int, judged: bool, found: Answer) -> None:
        """Has the records from `start` on in `found`, up to `most` and at least one; not `judged`: its bytes alone.
        Or nothing but that it is still opening."""
        ...


def never() -> bool:
    """Whoever waits has all the time it takes."""
    return False


class Sliced:
    """An `Unpacked` of which a slice is at hand. `enough` is asked between the steps of an opening: whether whoever
    waits wants to go on later."""

    submission: Submission | None
    """None: it was taken away until it goes on, so that nobody holds a large one twice."""

    def __init__(self, ask: Ask, submission: Submission, broken: int = 0, enough: Callable[[], bool] = never) -> None:
        self.content_type, self.count = "", 0
        """0: it was not opened yet."""
        self.notes: Mapping[str, int] = {}
        self._ask, self.submission, self._enough = ask, submission, enough
        self._under_way: tuple[int, Iterator[None]] | None = None
        """The record that is wanted, and the rest of what gets it."""
        self._first = 0
        self._items: list[Item] = []
        self._careful = 0
        """Up to here records are taken one by one."""
        self.broken = broken
        """Of its records, up to the last that was taken, those that broke their reader."""
        self._lost = False
        """Its reader broke twice on the bytes of a record: it is asked for no more of them."""

    @property
    def _own(self) -> Submission:
        assert self.submission is not None
        return self.submission

    @property
    def opening(self) -> bool:
        """Whether it was enough before what is wanted was at hand: asked again, it goes on."""
        return self._under_way is not None

    def records(self, start: int = 0) -> Iterator[Item]:
        """See `schemas.pack.Unpacked`; they end early where it is `opening` again. Raises Abortable where no process
        can be started, or the submission not be opened again."""
        for index in range(start, self.count):
            if not 0 <= index - self._first < len(self._items) and not self._fetch(index):
                return
            yield self._items[index - self._first]

    def open(self, start: int) -> Unpacked:
        """What it comes to: itself, also while it is `opening`; or its only records, or one refusal. Raises
        Abortable."""
        try:
            if not self._fetch(start):
                return self
        except Failed as failed:
            finding = Finding(PARSER_FAILED, "", f"the reader {failed}; tried twice")
            refusal = refuse_whole(self._own, finding)
            return Listed(refusal.content_type, [refusal])
        if not start and len(self._items) == self.count:
            return Listed(self.content_type, self._items, self.notes)
        return self

    def _fetch(self, index: int) -> bool:
        """Makes the record at `index` one of those at hand; False: it was enough before that."""
        if self._under_way is None or self._under_way[0] != index:
            self._first, self._items = index, []  # first: a slice at a time
            self._under_way = index, self._unread(index) if self.broken >= MOST_BROKEN else self._read(index)
        over = True
        try:
            for _ in self._under_way[1]:
                if self._enough():
                    over = False
                    break
        finally:
            if over:
                self._under_way = None
        return over

    def _try(self, index: int, most: int, judged: bool, found: Answer) -> Iterator[None]:
        """One try, asked again as long as it opens the submission."""
        for _ in range(MOST_STEPS):
            found.opening = found.done = False
            found.whole = self._own.value or b""
            self._ask(self._own, index, most, judged, found)
            found.whole = b""
            if not found.opening:
                return
            yield
        raise Failed(f"has not opened it in {MOST_STEPS} steps")

    def _read(self, index: int) -> Iterator[None]:
        found = self._answer()
        try:
            yield from self._try(index, 1 if index < self._careful else SLICE_RECORDS, True, found)
        except Failed as first:
            log.warning("parser process replaced", why=str(first), record=index)
            self._careful = index + SLICE_RECORDS
            found = self._answer()
            try:
                yield from self._try(index, 1, True, found)
            except Failed as failed:
                if found.opened is None:
                    raise self._unopened(failed) from None
                self.broken += 1
                found.items = [self._refusal(f"the reader {failed}; tried twice", found)]
        self._got(found, found.items)

    def _answer(self) -> Answer:
        return Answer(expected=(self.content_type, self.count) if self.count else None)

    def _unopened(self, failed: Failed) -> Exception:
        if not self.count:
            return failed
        # No record's fault: it was opened before. From the last commit on it is opened again, or ends the worker.
        return Abortable(f"the reader {failed} where it opened a submission again")

    def _unread(self, index: int) -> Iterator[None]:
        found = self._answer()
        for last in () if self._lost else (False, True):
            found = self._answer()
            try:
                yield from self._try(index, 1, False, found)
                break
            except Failed as failed:
                if last and found.opened is None:
                    raise self._unopened(failed) from None
                self._lost = last
        self._got(found, [self._refusal(f"not read: {MOST_BROKEN} records before it broke the reader", found)])

    def _got(self, found: Answer, items: list[Item]) -> None:
        if found.opened is not None:
            self.content_type, self.count, self.notes = found.opened
        self._items = items

    def _refusal(self, message: str, found: Answer) -> Refusal:
        finding = Finding(PARSER_FAILED, "", message)
        if found.alone is None:
            return refuse_whole(self._own, finding)
        original, content_type, canonical = found.alone
        return Refusal((finding,), original, content_type, canonical)


class _Plain(pickle.Unpickler):
    """Reads built-in values and refuses to make anything else."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"{module}.{name} has no business in an answer")


def _plain(data: bytes) -> Any:
    return _Plain(io.BytesIO(data)).load()


def _item(data: bytes, whole: bytes) -> Item:
    """The reverse of what `parser_child` does."""
    valid, findings, body = _plain(data)
    found = tuple(Finding(*one) for one in findings)
    if valid:
        return Record(*body)._replace(warnings=found)
    original, content_type, canonical = body
    return Refusal(found, whole if original is None else original, content_type, canonical)
