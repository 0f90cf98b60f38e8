"""The table `items` of one partition of `validated` as the chunk at hand sees it, and the pack's state rules before it.
Pure: no Kafka, no clock.

What a row says is the pack's affair. The table holds committed rows only; what a chunk changes lies in `pending` until
it has committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from schemas.canonical import UNIT_SEPARATOR, RawPosition, record_id
from schemas.codec import Codec
from schemas.errors import Finding
from schemas.state import Domain, StateRules
from streams.stage import Message, Output, TableStore, Work
from streams.tables import decode_row
from topology.model import Pipeline

FACTS = "waybill-items"
"""Header of a Validated message: what the state rules need of the record, decided by validate (VA1)."""
MOST_ROWS = 200_000
"""Rows read and written for one chunk before it is cut: a short message may concern thousands of things, and a stage
has to answer for its chunk in time."""


class ItemStore(TableStore, Protocol):
    """A table store that can be asked by row key."""

    def get(self, key: bytes) -> bytes | None:
        """One row."""
        ...


class Items:
    """What is known of the things that the records of one partition are about."""

    def __init__(self, pipeline: Pipeline, codec: Codec, partition: int, rules: StateRules, store: ItemStore) -> None:
        self._pipeline, self._codec, self._partition = pipeline, codec, partition
        self._rules, self._store = rules, store
        self._field = pipeline.items.domain if pipeline.items else None
        self._pending: dict[bytes, str | None] = {}
        self._rows = 0

    @property
    def full(self) -> bool:
        """Whether the rest of the chunk is for the next one."""
        return self._rows >= MOST_ROWS

    def judge(self, work: Work, message: Message, raw: RawPosition) -> Sequence[Finding]:
        """Why a record may not follow those before it; none: it may, and the rows have changed as it says."""
        facts = next((value for name, value in message.headers if name == FACTS), None)
        if facts is None:
            return ()
        # `partition_by` is the domain: its value is the message's key.
        domain = Domain(self._field, (message.key or b"").decode()) if self._field else Domain("", "")
        found = self._rules.judge(facts, domain, record_id(raw), partial(self._find, domain.value), self._died)
        for key, row in found.changes.items():
            self._put(work, message.offset, domain.value, key, row)
        return found.findings

    def released(self, work: Work, offset: int, raw: RawPosition) -> None:
        """A record died with a known outcome: what it said did not reach anybody (BA8)."""
        self._put(work, offset, "", _death(record_id(raw)), "{}")

    def lives_again(self, work: Work, offset: int, raw: RawPosition) -> None:
        """A record that died is delivered again (DI6)."""
        if self._find("", _death(record_id(raw))) is not None:
            self._put(work, offset, "", _death(record_id(raw)), None)

    def committed(self) -> None:
        """The table has what was written (step 6)."""
        self._pending.clear()
        self._rows = 0

    def _died(self, place: str) -> bool:
        return self._find("", _death(place)) is not None

    def _find(self, domain: str, key: str) -> str | None:
        self._rows += 1
        name = _row_key(domain, key)
        if name in self._pending:
            return self._pending[name]
        data = self._store.get(name)
        if data is None:
            return None
        row: str = decode_row(self._codec, self._pipeline, "items", self._partition, name, data)["row"]
        return row

    def _put(self, work: Work, offset: int, domain: str, key: str, row: str | None) -> None:
        self._rows += 1
        name = _row_key(domain, key)
        self._pending[name] = row
        value = None
        if row is not None:
            value = self._codec.encode("item", {"domain": domain, "key": key, "offset": offset, "row": row})
        work.outputs.append(Output("items", self._partition, name, value))


def _row_key(domain: str, key: str) -> bytes:
    return f"{domain}{UNIT_SEPARATOR}{key}".encode()


def _death(place: str) -> str:
    return f"died{UNIT_SEPARATOR}{place}"
