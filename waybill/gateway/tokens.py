"""Owns who may publish: bearer tokens, of which the file holds the SHA-256 alone, read again when the file changes.

A line is `NAME SHA256 [PIPELINE,…]`; without pipelines the token is for all of them. `#` begins a comment.
"""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from waybill.output import Fault

LONGEST = 1024
"""Characters of a token; a longer one is no token."""


class Grant(NamedTuple):
    """What a token is good for."""

    name: str
    digest: bytes
    pipelines: frozenset[str]
    """Empty: all of them."""

    def allows(self, pipeline: str) -> bool:
        """Whether its holder may publish there."""
        return not self.pipelines or pipeline in self.pipelines


class Tokens:
    """The tokens of a file."""

    def __init__(self, path: Path) -> None:
        """Raises Fault for a file that cannot be read or understood."""
        self._path = path
        self._seen = self._state()
        self._grants = self._read()

    def find(self, authorization: str | None) -> Grant | None:
        """The grant of an Authorization header; None where there is none. Takes as long whichever line it is."""
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > LONGEST:
            return None
        digest = sha256(token.encode("utf-8", "surrogateescape")).digest()
        found = [grant for grant in self._grants if hmac.compare_digest(grant.digest, digest)]
        return found[0] if found else None

    def reload(self) -> bool:
        """Reads the file again if it has changed; whether it has. Raises Fault, and keeps what was in force, for one
        that cannot be read or understood; the same state of the file is complained of once."""
        state = self._state()
        if state == self._seen:
            return False
        self._seen = state
        self._grants = self._read()
        return True

    def _state(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> tuple[Grant, ...]:
        try:
            text = self._path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as wrong:
            why = wrong.strerror if isinstance(wrong, OSError) else "it is no UTF-8"
            raise Fault(f"{self._path}: cannot be read: {why}; name a file of tokens with --tokens") from wrong
        grants = [
            _grant(words, f"{self._path}:{number}")
            for number, line in enumerate(text.splitlines(), 1)
            if (words := line.partition("#")[0].split())
        ]
        if not grants:
            raise Fault(f"{self._path}: holds no token, so that nobody could publish; a line is {FORM}")
        return tuple(grants)


FORM = "`NAME SHA256 [PIPELINE,…]`, with the SHA-256 of the token in hex"


def _grant(words: list[str], where: str) -> Grant:
    # Never shows what it cannot read: it may be a token.
    if len(words) not in (2, 3):
        raise Fault(f"{where}: {len(words)} words; a line is {FORM}")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", words[1]):
        raise Fault(f"{where}: the second word is no SHA-256 in hex (64 characters); a line is {FORM}")
    pipelines = frozenset(name for name in words[2].split(",") if name) if len(words) == 3 else frozenset[str]()
    if len(words) == 3 and not pipelines:
        raise Fault(f"{where}: the third word names no pipeline; a line is {FORM}")
    return Grant(words[0], bytes.fromhex(words[1]), pipelines)
