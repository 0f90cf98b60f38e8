"""A pack of one line per record. A line is `key group value`; `!` before it is refused, `boom` in it makes the pack
raise (which no pack may do). Imports little, because parser processes of tests import it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, repeat, takewhile
from signal import SIGSEGV, pause
from typing import Any

from schemas.canonical import canonical_json, sha256
from schemas.errors import EMPTY_MESSAGE, MALFORMED_CSV, Finding
from schemas.pack import Columns, Origin, Record, Refusal, Submission, columns_of

PADDING = "x" * 780
"""Makes a message about 900 bytes, so that a few of them fill the smallest chunk there is."""


class Lines:
    """See schemas.pack.Unpacked."""

    content_type = "text/plain"
    notes: Mapping[str, int] = {}

    def __init__(self, value: bytes) -> None:
        self._lines = value.decode().splitlines() or [""]
        self.count = len(self._lines)

    def records(self, start: int = 0) -> Iterator[Record | Refusal]:
        for line in self._lines[start:]:
            if "boom" in line:
                raise RuntimeError(f"cannot work {line}")
            if not line or line.startswith("!"):
                code = MALFORMED_CSV if line else EMPTY_MESSAGE
                yield Refusal((Finding(code, "", "refused"),), line.encode(), "text/plain")
                continue
            key, group, value = line.split(" ")
            payload = canonical_json({"k": key, "g": group, "v": value, "pad": PADDING})
            fields = {"k": key, "g": group, "o": value}
            if value == "nogroup":  # a pack that forgets a field it promised
                del fields["g"]
            yield Record(fields, 0, payload, sha256(payload))


class LinePack:
    """See schemas.pack.Pack."""

    name, version = "lines", "1"
    fields = frozenset({"k", "g", "o"})
    parties: tuple[str, ...] = ()
    media_types: frozenset[str] = frozenset()
    settings: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.unpacked = 0

    def heavy(self, submission: Submission) -> bool:
        return False

    def unpack(self, submission: Submission) -> Lines:
        self.unpacked += 1
        if submission.value == b"crash":
            raise RuntimeError("the reader crashed")
        return Lines(submission.value or b"")

    def singles(self, values: Sequence[bytes | None], origins: Sequence[Origin] | None = None) -> Columns:
        found = map(self._single, values, origins or repeat((None, None, None)))
        return columns_of(list(takewhile(bool, found)))  # type: ignore[arg-type]

    def _single(self, value: bytes | None, origin: Origin) -> Record | None:
        if value == b"crash" or (value or b"")[:1] == b"%":
            return None
        lines = Lines(value or b"")
        item = next(lines.records()) if lines.count == 1 else None
        return item if isinstance(item, Record) else None

    def summarize(self, payloads: Sequence[bytes]) -> Mapping[str, Any]:
        return {}


def misbehave(deed: str) -> None:
    """Does to the process what a submission, or a line of it, says."""
    word, _, path = deed.partition(":")
    match word:
        case "hang":
            while True:
                pause()
        case "spin":
            while True:
                pass
        case "memory":
            bytearray(2**30)
        case "eat":
            eaten = []
            while True:
                eaten.append(bytearray(2**22))
        case "exit":
            os._exit(3)
        case "segv":
            os.kill(os.getpid(), SIGSEGV)
        case "raise":
            raise RuntimeError(f"at {id(word)}")
        case "once":  # crashes, unless it has done so before
            if not os.path.exists(path):
                os.close(os.open(path, os.O_CREAT))
                os._exit(3)
        case "again":  # crashes where it has been before
            if os.path.exists(path):
                os._exit(3)
            os.close(os.open(path, os.O_CREAT))


class HeavyLines(Lines):
    """Lines that do what their values say. See schemas.pack.Divided, too."""

    def records(self, start: int = 0) -> Iterator[Record | Refusal]:
        for index in range(start, self.count):
            misbehave(self._lines[index].rpartition(" %")[2])
            yield from islice(super().records(index), 1)

    def original(self, index: int) -> tuple[bytes, str, bool]:
        return b"%" + self._lines[index].encode(), "text/plain", False


class HeavyPack(LinePack):
    """A pack for which `%` before the lines says that they are heavy, and whose reader does what some of them say: the
    first line alone, as `%deed`, where the submission is opened; one whose value is `%deed` where that is read."""

    def heavy(self, submission: Submission) -> bool:
        return (submission.value or b"")[:1] == b"%"

    def unpack(self, submission: Submission) -> Lines:
        value = submission.value or b""
        if not self.heavy(submission):
            return super().unpack(submission)
        deed, _, rest = value[1:].partition(b"\n")
        if b" " in deed:
            return HeavyLines(value[1:])
        if deed == b"who":
            return HeavyLines(b"pid g %d" % os.getpid())
        misbehave(deed.decode())
        return HeavyLines(rest or b"done g 1")
