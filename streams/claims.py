"""Claim checks (VA4): what is too large for a topic is kept beside it under its SHA-256, and the message says where.

It is kept durably before the transaction that names it, and found again by its digest alone, so that where it was
written and from where it is read need only be the same store.
"""

from __future__ import annotations

from typing import Protocol

from schemas.canonical import sha256
from streams.runtime.log import Abortable


class ClaimsAway(Abortable):
    """The store cannot be reached: a client's fault, never a record's (VA3)."""


class ClaimLost(Exception):
    """The store answers, and what was kept there is missing or has other bytes."""


class Claims(Protocol):
    """A store of payloads by content."""

    def put(self, data: bytes) -> str:
        """Keeps `data` durably and returns its URL; the same bytes are kept once. Raises ClaimsAway."""
        ...

    def get(self, digest: bytes) -> bytes:
        """The bytes with this SHA-256. Raises ClaimsAway, ClaimLost."""
        ...


class NoClaims:
    """For pipelines in which nothing is too large: whatever is, cannot be worked."""

    def put(self, data: bytes) -> str:
        raise ValueError(f"a record of {len(data)} bytes needs a claim store, and none is configured")

    def get(self, digest: bytes) -> bytes:
        raise ClaimsAway(f"payload {digest.hex()} lies in a claim store, and none is configured")


NO_CLAIMS = NoClaims()


class MemoryClaims:
    """A claim store in a dict, for the in-memory log."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}

    def put(self, data: bytes) -> str:
        digest = sha256(data)
        self.kept[digest] = data
        return f"memory:{digest.hex()}"

    def get(self, digest: bytes) -> bytes:
        data = self.kept.get(digest)
        if data is None or sha256(data) != digest:
            raise ClaimLost(f"memory:{digest.hex()} is not there, or has other bytes")
        return data
