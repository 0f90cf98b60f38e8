"""A pack that reads nothing, for tests of what comes behind validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.pack import Columns, Origin, Submission, Unpacked


class StubPack:
    """See schemas.pack.Pack."""

    name = "stub"
    version = "1"
    fields: frozenset[str] = frozenset()
    parties: tuple[str, ...] = ()
    media_types: frozenset[str] = frozenset()
    settings: Mapping[str, Any] = {}

    def heavy(self, submission: Submission) -> bool:
        return False

    def unpack(self, submission: Submission) -> Unpacked:
        raise NotImplementedError

    def singles(self, values: Sequence[bytes | None], origins: Sequence[Origin] | None = None) -> Columns:
        raise NotImplementedError

    def summarize(self, payloads: Sequence[bytes]) -> Mapping[str, Any]:
        raise NotImplementedError
