"""Owns what is done with a submission that is read in another process (VA3): its records are taken in slices, each when
it is wanted, so that neither process holds more than the document and a slice, and none is waited for longer than two
tries.

What fails is tried once more in a fresh process. A submission that fails before it is open is refused as a whole. One
that fails later is read on record by record, and the record that fails alone is refused alone.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Mapping
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

log = structlog.get_logger("waybill")

Item = Record | Refusal


class Failed(Exception):
    """A try came to nothing; says why, in words that are the same each time."""


@dataclass(slots=True)
class Answer:
    """What the process has said in one try."""

    whole: bytes = b""
    """The submission's value."""
    expected: tuple[str, int] | None = None
    """Content type and count, where they are known."""
    opened: tuple[str, int, dict[str, int]] | None = None
    """Content type, count and notes."""
    alone: tuple[bytes, str, bool] | None = None
    """The record asked for, by itself: see `schemas.pack.Divided`."""
    items: list[Item] = field(default_factory=list)
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
        elif kind == parser_child.BYTES:
            self.alone = value
        elif kind == parser_child.READ:
            if not self.count:
                raise ValueError("records of a submission that was not opened")
            self.items = [_item(item, self.whole) for item in value]
        return kind, value


class Ask(Protocol):
    """One try in the process. Raises Failed, and Abortable where there is no process."""

    def __call__(self, start: int, most: int, judged: bool, found: Answer) -> None:
        """Has the records from `start` on in `found`, up to `most` and at least one; not `judged`: its bytes alone."""
        ...


class Sliced:
    """An `Unpacked` of which a slice is at hand."""

    def __init__(self, ask: Ask, submission: Submission, broken: int = 0) -> None:
        self.content_type, self.count = "", 0
        self.notes: Mapping[str, int] = {}
        self._ask, self._submission = ask, submission
        self._first = 0
        self._items: list[Item] = []
        self._careful = 0
        """Up to here records are taken one by one."""
        self.broken = broken
        """Of its records, up to the last that was taken, those that broke their reader."""
        self._lost = False
        """Its reader broke twice on the bytes of a record: it is asked for no more of them."""

    def records(self, start: int = 0) -> Iterator[Item]:
        """See `schemas.pack.Unpacked`. Raises Abortable where no process can be started, or the submission not be
        opened again."""
        for index in range(start, self.count):
            if not 0 <= index - self._first < len(self._items):
                self._fetch(index)
            yield self._items[index - self._first]

    def open(self, start: int) -> Unpacked:
        """What it comes to. Raises Failed, Abortable."""
        self._fetch(start)
        if not start and len(self._items) == self.count:
            return Listed(self.content_type, self._items, self.notes)
        return self

    def _fetch(self, index: int) -> None:
        """Makes the record at `index` one of those at hand."""
        self._first, self._items = index, []  # first: a slice at a time
        self._items = [self._unread(index)] if self.broken >= MOST_BROKEN else self._read(index)

    def _read(self, index: int) -> list[Item]:
        found = self._answer()
        try:
            self._ask(index, 1 if index < self._careful else SLICE_RECORDS, True, found)
        except Failed as first:
            log.warning("parser process replaced", why=str(first), record=index)
            self._careful = index + SLICE_RECORDS
            found = self._answer()
            try:
                self._ask(index, 1, True, found)
            except Failed as failed:
                if found.opened is None:
                    raise self._unopened(failed) from None
                self.broken += 1
                found.items = [self._refusal(f"the reader {failed}; tried twice", found)]
        if found.opened is not None:
            self.content_type, self.count, self.notes = found.opened
        return found.items

    def _answer(self) -> Answer:
        return Answer(self._submission.value or b"", (self.content_type, self.count) if self.count else None)

    def _unopened(self, failed: Failed) -> Exception:
        if not self.count:
            return failed
        # No record's fault: it was opened before. From the last commit on it is opened again, or ends the worker.
        return Abortable(f"the reader {failed} where it opened a submission again")

    def _unread(self, index: int) -> Item:
        found = self._answer()
        for last in () if self._lost else (False, True):
            found = self._answer()
            try:
                self._ask(index, 1, False, found)
                break
            except Failed as failed:
                if last and found.opened is None:
                    raise self._unopened(failed) from None
                self._lost = last
        return self._refusal(f"not read: {MOST_BROKEN} records before it broke the reader", found)

    def _refusal(self, message: str, found: Answer) -> Refusal:
        finding = Finding(PARSER_FAILED, "", message)
        if found.alone is None:
            return refuse_whole(self._submission, finding)
        original, content_type, canonical = found.alone
        return Refusal((finding,), original, content_type, canonical)


def unpack(ask: Ask, submission: Submission, start: int, broken: int = 0) -> Unpacked:
    """A submission, its records from `start` on wanted, or one refusal; `broken`: of those before `start`, how many
    have broken their reader. Raises Abortable."""
    try:
        return Sliced(ask, submission, broken).open(start)
    except Failed as failed:
        refusal = refuse_whole(submission, Finding(PARSER_FAILED, "", f"the reader {failed}; tried twice"))
        return Listed(refusal.content_type, [refusal])


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
