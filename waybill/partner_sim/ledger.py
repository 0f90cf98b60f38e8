"""Owns what the fake partner remembers: every request and every batch stored, on disk before it is answered.

One line of JSON each, with `kind`, the request's `key`, `digest` (SHA-256 of the body, hex), `attempt`, `life`, `peer`
and `time` (seconds since the epoch):
- `attempt`: a request that carried a batch, with the `fault` it met (`none` if it met none) and, where it had to wait,
  the seconds in `slow`;
- `partial`: some records of a batch were taken, their ids in `records`;
- `effect`: a batch is stored, and nothing of it is taken any more; with `records` if earlier requests took a part, or
  some are `refused` for good (their ids): the ids this one added.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any


class Ledger:
    """The lines, and what follows from them: which key holds which digest, which records of it."""

    def __init__(self, file: Path | None = None, bodies: Path | None = None) -> None:
        """`file`: read and appended to; a restart on it remembers. `bodies`: folder for the bytes of every effect,
        see `body_name`. None: memory only."""
        self.lines: list[dict[str, Any]] = []
        self.stored: dict[str, str] = {}
        """Key -> digest of the batches stored."""
        self.refused: dict[str, frozenset[str]] = {}
        """Key -> ids of the records of a stored batch that were refused for good."""
        self.begun: dict[str, tuple[str, frozenset[str]]] = {}
        """Key -> digest and the ids taken, of batches stored in part."""
        self._bodies = bodies
        if bodies is not None:
            bodies.mkdir(parents=True, exist_ok=True)
        self._file = None
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._file = file.open("a+", encoding="utf-8")
            self._file.seek(0)
            whole, end, torn = self._file.read().rpartition("\n")
            if torn:  # a kill in the middle of a line: nobody was answered because of it
                self._file.truncate(len((whole + end).encode()))
            for text in whole.splitlines():
                self._learn(json.loads(text))

    def write(self, line: dict[str, Any], body: bytes = b"") -> None:
        """Adds a line; for an effect, its body first."""
        if line["kind"] == "effect" and self._bodies is not None:
            target = self._bodies / body_name(line["key"])
            staging = target.with_name("." + target.name)
            staging.write_bytes(body)
            staging.replace(target)
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        self._learn(line)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The lines of one kind, in order."""
        return [line for line in self.lines if line["kind"] == kind]

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def _learn(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        if line["kind"] == "effect":
            self.stored[line["key"]] = line["digest"]
            self.begun.pop(line["key"], None)
            if line.get("refused"):
                self.refused[line["key"]] = frozenset(line["refused"])
        elif line["kind"] == "partial":
            _, before = self.begun.get(line["key"], ("", frozenset[str]()))
            self.begun[line["key"]] = (line["digest"], before | set(line["records"]))


def body_name(key: str) -> str:
    """File of the body stored under a key: the key itself, or its SHA-256 where it is no plain name."""
    return key if re.fullmatch(r"[0-9A-Za-z_-]{1,128}", key) else hashlib.sha256(key.encode()).hexdigest()
