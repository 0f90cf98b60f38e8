"""What becomes of a reading, by the product's own pack and what the store knows. Pure, and free of Quix Streams."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple, Protocol

from schemas.pack import Record, Submission
from schemas.packs import load_pack
from schemas.packs.cold_chain.judge import Rules
from schemas.packs.cold_chain.options import NO_SOURCE, Options
from schemas.packs.cold_chain.plain import PlainReader

NOT_PLAIN, CONFLICT = "NOT_PLAIN", "CONFLICT"
"""What the peers say of a reading that the product takes the thorough way only, and of one that contradicts another."""


class Known(Protocol):
    """What the store holds for one message key, as Quix Streams gives it."""

    def get_bytes(self, key: bytes) -> bytes | None:
        """The value; None where there is none."""

    def set_bytes(self, key: bytes, value: bytes) -> None:
        """Stores a value."""


class Answer(NamedTuple):
    """What becomes of one reading."""

    valid: bool
    """Whether it goes to `validated`; else it is a dead letter."""
    value: bytes
    headers: list[tuple[str, bytes]]


class Judge:
    """Judges one reading after the other, and counts."""

    def __init__(self, pack: str, options: dict[str, Any], profile: Any) -> None:
        """Of the pipeline: name of the pack, its options and profile."""
        self._read_plain = PlainReader(Rules(Options.model_validate(options), profile), NO_SOURCE)
        self._pack = load_pack(pack, options, profile)
        self.read = 0
        self.counts: Counter[str] = Counter(refused=0, duplicates=0, conflicts=0)

    def judge(self, value: bytes, known: Known) -> tuple[Answer, ...]:
        """One answer, or none for a repeated reading."""
        self.read += 1
        record = self._read_plain(value) if value[:1] == b"{" else None
        if record is None:
            return self._refused("refused", value, self._why(value))
        when = b"%d" % record.event_time
        before = known.get_bytes(when)
        if before is None:
            known.set_bytes(when, record.digest)
            return (Answer(True, record.payload, [("digest", record.digest)]),)
        if before != record.digest:
            return self._refused("conflicts", value, CONFLICT)
        self.counts["duplicates"] += 1
        return ()

    def _refused(self, kind: str, value: bytes, code: str) -> tuple[Answer, ...]:
        self.counts[kind] += 1
        return (Answer(False, value, [("code", code.encode())]),)

    def _why(self, value: bytes) -> str:
        item = next(iter(self._pack.unpack(Submission(value)).records()))
        return NOT_PLAIN if isinstance(item, Record) else item.findings[0].code
