"""Owns how commands speak: data on stdout, talk on stderr, JSON Lines on request, progress only where it helps.

Text from records and files is data of strangers: control characters are shown escaped, never sent to a terminal.
"""

from __future__ import annotations

import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any, NoReturn

import typer

from schemas.canonical import UNIT_SEPARATOR

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
KEY_SEPARATOR = "|"
"""How the separator between idempotency fields is shown, and may be typed."""


class Code(IntEnum):
    """Exit codes, the same for every command."""

    FINE = 0
    FOUND = 1
    """The command found what it looks for: a refused record, a broken chain, an imbalance."""
    USAGE = 2
    """Wrong usage, unreadable input, an unreachable broker."""
    INCOMPLETE = 3
    """Fine so far: nothing checked, no anchor, still in flight."""


class Fault(Exception):
    """Ends a command with one clear line on stderr, and exit code 2 unless another is given."""

    def __init__(self, message: str, code: Code = Code.USAGE) -> None:
        super().__init__(message)
        self.code = code


def finish(code: int) -> NoReturn:
    """Ends a command."""
    raise typer.Exit(int(code))


def say(text: str) -> None:
    """Talk and progress: one line on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def line(text: str) -> None:
    """One line of data."""
    sys.stdout.write(text + "\n")


def flush() -> None:
    """For commands that follow something: what is there is seen now."""
    sys.stdout.flush()


def emit(row: Mapping[str, Any]) -> None:
    """One row of data as a line of JSON. Bytes are shown as hex."""
    import orjson

    sys.stdout.write(orjson.dumps(row, default=plain, option=orjson.OPT_NON_STR_KEYS).decode() + "\n")


def plain(value: Any) -> Any:
    """A value JSON does not know."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    return str(value)


def shown(value: object) -> str:
    """A value as a person reads it, on one line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes):
        return value.hex()
    return safe(str(value))


def safe(text: str) -> str:
    """Text without characters that a terminal obeys or a line cannot hold."""
    return CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def utc(ms: int | None) -> str | None:
    """A time as RFC 3339 in UTC with milliseconds; None for none (Kafka's -1 too)."""
    if ms is None or ms < 0:
        return None
    try:
        moment = EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        return str(ms)  # beyond the year 9999: still exact
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event_utc(ms: int) -> str:
    """An event time, which may lie before 1970."""
    try:
        moment = EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        return str(ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def count(number: int, word: str) -> str:
    """`1 record`, `2 records`, `2 batches`."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}{'es' if word.endswith('ch') else 's'}"


def finding_text(found: Mapping[str, str]) -> str:
    """A finding on one line: its code, where, and what."""
    where = f" {found['path']}" if found["path"] else ""
    return f"{found['code']}{where}: {found['message']}"


def key_text(key: str | None) -> str | None:
    """An idempotency key with its fields joined by a character that can be read and typed."""
    return None if key is None else key.replace(UNIT_SEPARATOR, KEY_SEPARATOR)


class Ticker:
    """Progress on stderr, redrawn in place; silent where stderr is no terminal."""

    def __init__(self, text: Callable[[int], str]) -> None:
        self._text = text
        self._on = sys.stderr.isatty()
        self._shown = 0
        self.count = 0

    def add(self, count: int = 1) -> None:
        """So many more are done."""
        self.count += count
        if self._on and self.count - self._shown >= 1000:
            self._shown = self.count
            sys.stderr.write("\r\x1b[K" + self._text(self.count))
            sys.stderr.flush()

    def close(self) -> None:
        """Clears the line."""
        if self._on and self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


class Meter:
    """How far something is, on stderr, at most once a second: a bar redrawn in place on a terminal, else
    a line where something has changed."""

    def __init__(self, total: int, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._what, self._clock = total, what, clock
        self._on = sys.stderr.isatty()
        self._next = clock() + 1.0
        self._last = -1

    def show(self, done: int) -> None:
        """So many are done by now."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + 1.0
        text = f"{done:,} of {self._total:,} {self._what}"
        if not self._on:
            if done != self._last:
                say(text)
            self._last = done
            return
        width = min(30, shutil.get_terminal_size().columns - len(text) - 4)
        full = width * min(done, self._total) // max(self._total, 1)
        bar = f"[{'#' * full}{'-' * (width - full)}] " if width >= 10 else ""
        sys.stderr.write(f"\r\x1b[K{bar}{text}")
        sys.stderr.flush()

    @contextmanager
    def following(self, done: Callable[[], int]) -> Iterator[None]:
        """Asks `done`, in a thread of its own, as long as the block runs."""
        stop = threading.Event()

        def follow() -> None:
            while not stop.wait(1.0):
                self.show(done())

        thread = threading.Thread(target=follow, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self.close()

    def close(self) -> None:
        """Clears the bar."""
        if self._on:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
