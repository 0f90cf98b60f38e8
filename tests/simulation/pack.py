"""The domain of the simulation: a pack whose records are short lines, small enough to be published by the dozen.

A line is `key group day order content`. `!` before it is refused, `boom` in it makes the pack raise (which no pack
may do), a submission `crash` cannot even be opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat, takewhile
from typing import Any

from schemas.canonical import canonical_json_fast, sha256
from schemas.errors import EMPTY_MESSAGE, MALFORMED_CSV, Finding
from schemas.pack import CANONICAL_TYPE, Columns, Origin, Record, Refusal, Submission, columns_of

DAY = 86_400_000
FIELDS = ("k", "g", "d", "o", "v")


def payload_of(line: str) -> bytes:
    """Canonical JSON of a good line."""
    return canonical_json_fast(dict(zip(FIELDS, line.split(" "), strict=True)))


class Lines:
    """See schemas.pack.Unpacked."""

    content_type = "text/plain"
    notes: Mapping[str, int] = {}

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines or [""]
        self.count = len(self._lines)

    def records(self, start: int = 0) -> Iterator[Record | Refusal]:
        for line in self._lines[start:]:
            if "boom" in line:
                raise RuntimeError(f"cannot work {line}")
            if not line or line.startswith("!"):
                code = MALFORMED_CSV if line else EMPTY_MESSAGE
                yield Refusal((Finding(code, "", "refused"),), line.encode(), "text/plain")
                continue
            key, group, day, order, _ = line.split(" ")
            payload = payload_of(line)
            yield Record({"k": key, "g": group, "o": order}, int(day) * DAY, payload, sha256(payload))


class LinePack:
    """See schemas.pack.Pack."""

    name, version = "lines", "1"
    fields = frozenset({"k", "g", "o"})
    parties: tuple[str, ...] = ()
    media_types: frozenset[str] = frozenset()
    settings: Mapping[str, Any] = {}

    def heavy(self, submission: Submission) -> bool:
        """Nothing here is."""
        return False

    def unpack(self, submission: Submission) -> Lines:
        value = submission.value or b""
        if value == b"crash":
            raise RuntimeError("the reader crashed")
        if submission.content_type == CANONICAL_TYPE:
            record = json.loads(value)
            return Lines([" ".join(record[name] for name in FIELDS)])
        return Lines(value.decode().splitlines())

    def singles(self, values: Sequence[bytes | None], origins: Sequence[Origin] | None = None) -> Columns:
        found = map(self._single, values, origins or repeat((None, None, None)))
        return columns_of(list(takewhile(bool, found)))  # type: ignore[arg-type]

    def _single(self, value: bytes | None, origin: Origin) -> Record | None:
        """A good line alone."""
        if origin[0] == CANONICAL_TYPE or value == b"crash":
            return None
        lines = Lines((value or b"").decode().splitlines())
        item = next(lines.records()) if lines.count == 1 else None
        return item if isinstance(item, Record) else None

    def summarize(self, payloads: Sequence[bytes]) -> Mapping[str, Any]:
        return {"records": len(payloads)}
