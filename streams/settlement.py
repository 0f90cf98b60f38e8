"""Owns what dispatch writes about a batch: acks, dead letters, releases, retains, and their audit entries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from schemas.canonical import RawPosition
from schemas.codec import Codec
from schemas.errors import (
    DEADLINE_EXCEEDED,
    OUTCOME_UNKNOWN,
    PARTNER_REFUSED,
    PARTNER_TOO_LARGE,
    RETRIES_EXHAUSTED,
    STORED_OBJECT_DIFFERS,
    Finding,
    lookup,
)
from schemas.sent import encode_delivered, shared_middle
from streams.attempts import Row
from streams.bodies import Frozen
from streams.deadletter import DeadLetters
from streams.progress import Progress
from streams.stage import Output
from topology.model import Pipeline, partition_for
from topology.partner import ObjectStorePartner

STORE_FAILED = frozenset(
    {
        RETRIES_EXHAUSTED,
        DEADLINE_EXCEEDED,
        OUTCOME_UNKNOWN,
        PARTNER_REFUSED,
        PARTNER_TOO_LARGE,
        STORED_OBJECT_DIFFERS,
    }
)
"""Codes of what an object store did not take, or holds otherwise; the others are our own faults."""
POSITION = ("raw_topic", "raw_incarnation", "raw_partition", "raw_offset", "raw_index")
ACKED = (*POSITION, "count", "digest", "warnings")
ACK_FIELDS = (*ACKED, "key", "topology_version", "recorded_at", "event_time", "passport")
"""What an ack repeats from the Validated message."""


def position(record: Mapping[str, Any]) -> RawPosition:
    """The raw position of a record."""
    return RawPosition(*(record[name] for name in POSITION))


def _ack(row: Row, record: Mapping[str, Any]) -> dict[str, Any]:
    """The ack of one record of a delivered batch."""
    ack = {name: record[name] for name in ACK_FIELDS} | {
        "outcome": "delivered",
        "duplicate_of": None,
        "batch_id": row.batch_id,
        "partner": row.partner,
        "answer": row.answer,
    }
    return ack if row.passport is None else ack | {"passport": row.passport}


class Settlement:
    """Writes the messages that settle batches of one pipeline."""

    def __init__(self, pipeline: Pipeline, codec: Codec, dead_letters: DeadLetters) -> None:
        self._pipeline, self._codec, self._dead_letters = pipeline, codec, dead_letters
        self._stores = {name for name, one in pipeline.partners.items() if isinstance(one, ObjectStorePartner)}

    def attempt(self, progress: Progress, row: Row, frozen: Frozen) -> None:
        """Notes that an attempt begins."""
        progress.note("ATTEMPT", f"{row.life}.{row.attempt}", frozen.first, row.batch_id)

    def split(self, progress: Progress, row: Row, frozen: Frozen) -> None:
        """Notes that a batch goes on in halves, or which halves those are (DI4). Nothing is answered by it."""
        progress.note("BATCH", "split" if row.state == "split" else "half", frozen.first, row.batch_id)

    def delivered(
        self, progress: Progress, row: Row, frozen: Frozen, code: str, refused: Mapping[int, str]
    ) -> Iterator[Output]:
        """The acks of a delivered batch; and the dead letters of those of its records that the partner did not take."""
        progress.note("BATCH", "sent", frozen.first, row.batch_id)
        taken = [record for place, record in enumerate(frozen.records) if place not in refused]
        positions = list(map(position, taken))
        for record, raw in zip(taken, positions, strict=True):
            progress.note("DELIVER", "", raw, record["digest"])
        yield from self._acks(row, frozen, taken, positions)
        if refused:
            not_taken = [(frozen.records[place], words) for place, words in sorted(refused.items())]
            yield from self._deaths(progress, row, code, frozen, not_taken)

    def _acks(
        self, row: Row, frozen: Frozen, taken: Sequence[Mapping[str, Any]], positions: Sequence[RawPosition]
    ) -> Iterator[Output]:
        if self._pipeline.acks == "batch":
            yield self._ack_batch(row, frozen, taken)
            return
        header = self._codec.header("sent") if row.passport is None else None
        middle = b"" if header is None else shared_middle(row.batch_id, row.partner, row.answer)
        for record, raw in zip(taken, positions, strict=True):
            key: str = record["key"]
            value = None if header is None else encode_delivered(header, record, raw, middle)
            target = partition_for(key, self._pipeline.partitions)
            yield Output("sent", target, key.encode(), value or self._codec.encode("sent", _ack(row, record)))

    def _ack_batch(self, row: Row, frozen: Frozen, taken: Sequence[Mapping[str, Any]]) -> Output:
        ack = {
            "batch_id": row.batch_id,
            "partner": row.partner,
            "answer": row.answer,
            "topology_version": frozen.batched["topology_version"],
            "records": [{name: record[name] for name in ACKED} for record in taken],
        }
        key = row.batch_id.hex()
        target = partition_for(key, self._pipeline.partitions)
        return Output("sent", target, key.encode(), self._codec.encode("sent_batch", ack))

    def dead(
        self, progress: Progress, row: Row, code: str, why: str, frozen: Frozen, refused: Mapping[int, str]
    ) -> Iterator[Output]:
        """The dead letters of a batch that died whole; `refused`: what the partner said of each record, if it did."""
        progress.note("BATCH", "dead", frozen.first, row.batch_id)
        dead = [(record, refused.get(place, why)) for place, record in enumerate(frozen.records)]
        yield from self._deaths(progress, row, code, frozen, dead)

    def _deaths(
        self, progress: Progress, row: Row, code: str, frozen: Frozen, dead: Sequence[tuple[Mapping[str, Any], str]]
    ) -> Iterator[Output]:
        """Dead letters, with a second one each where an object store failed for good (RTY-11); and, if no attempt can
        have taken effect, the releases of their keys (BA8)."""
        review = row.partner in self._stores and code in STORE_FAILED
        for record, why in dead:
            progress.note("DEAD", code, position(record), record["digest"])
            letter = self._dead_letters.valid(
                "dispatch",
                record,
                [Finding(code, "", why or lookup(code).meaning)],
                batch_id=row.batch_id,
                partner=row.partner,
                answer=row.answer,
                attempts=row.attempt,
                outcome_unknown=row.unknown,
                passport=row.passport if row.passport is not None else record["passport"],
            )
            yield letter
            if review:
                words = row.answer or why or lookup(code).meaning
                yield self._dead_letters.review(letter, f"{code}: {row.partner}: {words}", row.attempt)
        if row.unknown:
            return
        whole = len(dead) == len(frozen.records)
        if whole:
            progress.note("RELEASE", "", frozen.first, row.batch_id)
        for record, _ in dead:
            if not whole:
                progress.note("RELEASE", "", position(record), record["digest"])
            release = {name: record[name] for name in (*POSITION, "key", "digest")} | {"batch_id": row.batch_id}
            yield self._to_batch(frozen, record["key"], self._codec.encode("release", release))

    def retain(self, progress: Progress, row: Row, begin: bool, frozen: Frozen) -> Output:
        """Keeps the versions of an unsettled batch from expiring, or ends that (BA9)."""
        progress.note("RETAIN", "begin" if begin else "end", frozen.first, row.batch_id)
        keys = [{name: record[name] for name in (*POSITION, "key", "digest")} for record in frozen.records]
        retain = {"batch_id": row.batch_id, "begin": begin, "keys": keys}
        return self._to_batch(frozen, frozen.records[0]["key"], self._codec.encode("retain", retain))

    def _to_batch(self, frozen: Frozen, key: str, value: bytes) -> Output:
        """A message for the batch stage, in the partition that holds the versions."""
        return Output("validated", frozen.batched["partition"], key.encode(), value)
