"""Owns what dispatch writes about a batch: acks, dead letters, releases, retains, and their audit entries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from schemas.codec import Codec
from schemas.delivery import Row
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
from schemas.members import Member
from schemas.messages import RawPositionPart, position_part
from schemas.sent import encode_delivered, encode_delivered_whole
from streams.deadletter import DeadLetters
from streams.dispatch.bodies import Frozen
from streams.progress import Progress
from streams.stage import Output
from topology.model import Pipeline, partition_for, partition_of
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
POSITION = tuple(RawPositionPart.__annotations__)
ACKED = (*POSITION, "count", "digest", "warnings")
ACK_FIELDS = (*ACKED, "key", "topology_version", "recorded_at", "event_time", "passport")
"""What an ack repeats from the Validated message."""
_new = tuple.__new__  # of outputs with acks: a named tuple's own constructor costs three times as much


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


def _key(record: Member) -> dict[str, Any]:
    """Which version of which key a message for batch is about."""
    return {**position_part(record.raw), "key": record.key, "digest": record.digest}


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
    ) -> list[Output]:
        """The acks of a delivered batch; and the dead letters of those of its records that the partner did not take."""
        progress.note("BATCH", "sent", frozen.first, row.batch_id)
        places = [place for place in range(row.count) if place not in refused]
        taken = [frozen.records[place] for place in places] if refused else frozen.records
        progress.note_each("DELIVER", "", taken)
        if self._pipeline.acks == "batch":
            outputs = [self._ack_batch(row, frozen, places, taken)]
        else:
            outputs = self._acks(row, frozen, places, taken)
        if refused:
            outputs += self._deaths(progress, row, code, frozen, sorted(refused.items()))
        return outputs

    def _acks(self, row: Row, frozen: Frozen, places: Sequence[int], taken: Sequence[Member]) -> list[Output]:
        header, partitions = self._codec.header("sent"), self._pipeline.partitions
        values: Iterable[bytes]
        if header is None:
            values = [self._codec.encode("sent", _ack(row, self._record(frozen, place))) for place in places]
        else:
            values = encode_delivered(header, taken, row.batch_id, row.partner, row.answer, row.passport)
        keys = [record.key.encode() for record in taken]
        return [
            _new(Output, ("sent", partition_of(key, partitions), key, value, ()))
            for key, value in zip(keys, values, strict=True)
        ]

    def _ack_batch(self, row: Row, frozen: Frozen, places: Sequence[int], taken: Sequence[Member]) -> Output:
        header, version = self._codec.header("sent_batch"), frozen.batched["topology_version"]
        if header is None:
            records = [self._record(frozen, place) for place in places]
            ack = {
                "batch_id": row.batch_id,
                "partner": row.partner,
                "answer": row.answer,
                "topology_version": version,
                "records": [{name: record[name] for name in ACKED} for record in records],
            }
            value = self._codec.encode("sent_batch", ack)
        else:
            value = encode_delivered_whole(header, taken, row.batch_id, row.partner, row.answer, version)
        key = row.batch_id.hex()
        return Output("sent", partition_for(key, self._pipeline.partitions), key.encode(), value)

    def _record(self, frozen: Frozen, place: int) -> dict[str, Any]:
        """The Validated message of a record, read in full."""
        return self._codec.decode(frozen.batched["records"][place])[1]

    def dead(
        self, progress: Progress, row: Row, code: str, why: str, frozen: Frozen, refused: Mapping[int, str]
    ) -> list[Output]:
        """The dead letters of a batch that died whole; `refused`: what the partner said of each record, if it did."""
        progress.note("BATCH", "dead", frozen.first, row.batch_id)
        dead = [(place, refused.get(place, why)) for place in range(row.count)]
        return self._deaths(progress, row, code, frozen, dead)

    def _deaths(
        self, progress: Progress, row: Row, code: str, frozen: Frozen, dead: Sequence[tuple[int, str]]
    ) -> list[Output]:
        """Dead letters of records, by their places, with a second one each where an object store failed for good
        (RTY-11); and, if no attempt can have taken effect, the releases of their keys (BA8)."""
        review = row.partner in self._stores and code in STORE_FAILED
        members = [frozen.records[place] for place, _ in dead]
        progress.note_each("DEAD", code, members)
        outputs = []
        for place, why in dead:
            record = self._record(frozen, place)
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
            outputs.append(letter)
            if review:
                words = row.answer or why or lookup(code).meaning
                outputs.append(self._dead_letters.review(letter, f"{code}: {row.partner}: {words}", row.attempt))
        if row.unknown:
            return outputs
        if len(dead) == len(frozen.records):
            progress.note("RELEASE", "", frozen.first, row.batch_id)
        else:
            progress.note_each("RELEASE", "", members)
        for member in members:
            release = {**_key(member), "batch_id": row.batch_id}
            outputs.append(self._to_batch(frozen, member.key, self._codec.encode("release", release)))
        return outputs

    def retain(self, progress: Progress, row: Row, begin: bool, frozen: Frozen) -> Output:
        """Keeps the versions of an unsettled batch from expiring, or ends that (BA9)."""
        progress.note("RETAIN", "begin" if begin else "end", frozen.first, row.batch_id)
        retain = {"batch_id": row.batch_id, "begin": begin, "keys": [_key(record) for record in frozen.records]}
        return self._to_batch(frozen, frozen.records[0].key, self._codec.encode("retain", retain))

    def _to_batch(self, frozen: Frozen, key: str, value: bytes) -> Output:
        """A message for the batch stage, in the partition that holds the versions."""
        return Output("validated", frozen.batched["partition"], key.encode(), value)
