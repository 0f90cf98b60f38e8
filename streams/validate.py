"""The validate stage: raw submissions become validated records or dead letters. No state but its head.

Key, group, partner, date, digest, times and position are decided here once and never again (VA1).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from schemas.canonical import RawPosition, idempotency_key, sha256
from schemas.codec import Codec
from schemas.errors import UNPROCESSABLE, Finding
from schemas.pack import Listed, Pack, Record, Refusal, Submission, Unpacked, refuse_whole
from schemas.validated import claim_payload, encode_validated, shared_front, shared_rest
from streams.claims import NO_CLAIMS
from streams.deadletter import Claim, DeadLetters
from streams.progress import Identity, Progress, take_over
from streams.runtime.log import Fatal
from streams.stage import Chunk, Message, Output, TableStore, Work
from streams.tables import MemoryRows
from topology.model import Pipeline, partition_for
from topology.topics import LEAST_INLINE

_new = tuple.__new__  # a named tuple's own constructor costs three times as much


class Limits:
    """What one transaction may grow to before the chunk is cut; the rest opens the next one (VA2)."""

    def __init__(self, pipeline: Pipeline, clock: Callable[[], float]) -> None:
        self._chunk, self._clock = pipeline.chunk, clock
        self._records, self._bytes, self._until = 0, 0, 0.0
        self.full = False

    def start(self) -> None:
        """A new chunk."""
        self._records, self._bytes, self._until = 0, 0, self._clock() + self._chunk.seconds
        self.full = False

    def took(self, size: int) -> bool:
        """Counts one output; True when the chunk is full. The clock is asked at every 256th only."""
        self._records += 1
        self._bytes += size
        if self._records % 256 == 0:
            self.full = self._records >= 2 * self._chunk.records or self._clock() > self._until
        self.full = self.full or self._bytes >= 2 * self._chunk.bytes
        return self.full

    def look(self) -> bool:
        """Asks the clock, between submissions: one alone may have taken long to read. True when the chunk is full."""
        self.full = self.full or self._clock() > self._until
        return self.full


class Common(NamedTuple):
    """What the records of one submission share."""

    recorded_at: int
    count: int  # type: ignore[assignment]  # the field hides tuple.count, on purpose
    submission_digest: bytes
    source: str | None
    site: str | None
    received_at: str | None
    topology_version: int


class ValidateStage:
    """See streams.stage.Stage."""

    name = "validate"
    input = "raw"
    room = None
    draining = False
    tables: tuple[str, ...] = ("heads",)

    def __init__(
        self,
        pipeline: Pipeline,
        codec: Codec,
        pack: Pack,
        identity: Identity,
        dead_letters: DeadLetters,
        clock: Callable[[], float] = time.monotonic,
        unpack: Callable[[Submission], Unpacked] | None = None,
        claim: Claim = NO_CLAIMS.put,
        inline: int = LEAST_INLINE,
    ) -> None:
        """`unpack` reads submissions in the pack's place: a worker has heavy ones read in another process (VA3).
        `claim` keeps the payload of a message that would have more than `inline` bytes (VA4)."""
        self.pipeline, self._codec, self._pack, self._identity = pipeline, codec, pack, identity
        self._dead_letters = dead_letters
        self._unpack = unpack or pack.unpack
        self._claim, self._inline = claim, inline
        self._limits = Limits(pipeline, clock)
        self._progress: dict[int, Progress] = {}
        self._open: dict[int, tuple[int, Unpacked]] = {}
        """Submissions that span chunks: offset and what was unpacked, by partition."""
        self._schema_version, self._raw_topic = pack.version, pipeline.raw_topic
        header = codec.header("validated")
        if header is None:
            raise ValueError(f"validate writes Avro, which {type(codec).__name__} does not")
        self._header = header
        self._group_and_partner = lru_cache(maxsize=4096)(self._destination)
        self._max_ahead = int(pipeline.raw.max_ahead * 1000)
        self._clamped = pipeline.raw.timestamps == "create"
        self.input_topic_id = ""
        self.table_topic_ids: Mapping[str, str] = {}

    def store(self, table: str, partition: int) -> TableStore:
        return MemoryRows()

    def restore(self, partition: int, stores: Mapping[str, TableStore], committed: int | None, now: int) -> int:
        progress = take_over(self, partition, stores["heads"], self._codec, committed)
        self._progress[partition] = progress
        return progress.processed_through + 1

    def forget(self, partition: int) -> None:
        self._progress.pop(partition, None)
        self._open.pop(partition, None)

    def process(self, chunk: Chunk) -> Work:
        work = Work()
        self._limits.start()
        touched: dict[int, tuple[int, int]] = {}
        full = False
        for message in chunk.messages:
            partition = message.partition
            if full:
                work.resume.setdefault(partition, message.offset)
                continue
            progress = self._progress[partition]
            if message.offset <= progress.processed_through:
                continue  # read again after a rebuild: its effects are committed
            touched[partition] = (touched.get(partition, (message.offset,))[0], message.offset)
            full = self._submission(work, progress, message, chunk)
            if full and progress.next_index:
                work.resume.setdefault(partition, message.offset)
        for partition, offsets in touched.items():
            progress = self._progress[partition]
            work.offsets[partition] = progress.processed_through + 1
            progress.close(work, self._codec, self._identity, chunk.observed_at, offsets)
        return work

    def _submission(self, work: Work, progress: Progress, message: Message, chunk: Chunk) -> bool:
        """Produces the records of one submission from `next_index` on; True when the chunk is full."""
        partition, offset = message.partition, message.offset
        value = message.value
        received_at = None
        if message.headers:
            headers = dict(message.headers)
            submission = Submission(
                value, _text(headers, "content-type"), _text(headers, "waybill-source"), _text(headers, "waybill-site")
            )
            received_at = _text(headers, "waybill-received-at")
        else:
            submission = Submission(value)
        if progress.next_index == 0:
            # A submission that spans chunks keeps the version it began with (VA1).
            progress.topology_version = self.pipeline.version
        condemned = chunk.condemned.get((partition, offset))
        unpacked = self._unpacked(progress, message, submission, condemned)
        recorded_at = message.timestamp
        if self._clamped:
            # Once (VA5): the later chunks of a submission are bounded by what its first came to, not by their clock.
            bound = progress.stream_time if progress.next_index else chunk.now + self._max_ahead
            recorded_at = min(recorded_at, bound)
        progress.stream_time = max(progress.stream_time, recorded_at)
        common = Common(
            recorded_at,
            unpacked.count,
            sha256(value or b""),
            submission.source,
            submission.site,
            received_at,
            progress.topology_version,
        )
        index = progress.next_index
        topic, incarnation = self._raw_topic, progress.incarnation
        for item in unpacked.records(index):
            position = RawPosition(topic, incarnation, partition, offset, index)
            if isinstance(item, Record):
                try:
                    size = self._record(work, progress, item, position, common)
                except Exception:
                    if condemned is None:
                        raise
                    size = self._refusal(work, progress, _unprocessable(submission, condemned), position, common)
            else:
                size = self._refusal(work, progress, item, position, common)
            index += 1
            if self._limits.took(size):
                break
        if index > unpacked.count or (index < unpacked.count and not self._limits.full):
            raise ValueError(
                f"pack {self._pack.name} gave {index} records of a submission it counts {unpacked.count} in"
            )
        if index < unpacked.count:
            progress.next_index = index
            self._open[partition] = (offset, unpacked)
        else:
            progress.next_index = 0
            progress.processed_through = offset
            self._open.pop(partition, None)
        return self._limits.look()

    def _unpacked(
        self, progress: Progress, message: Message, submission: Submission, condemned: str | None
    ) -> Unpacked:
        held = self._open.get(message.partition)
        if held is not None and held[0] == message.offset:
            return held[1]
        refusal = _unprocessable(submission, condemned) if condemned is not None else None
        if refusal is not None and progress.next_index == 0:
            return Listed(refusal.content_type, [refusal])
        unpacked = self._unpack(submission)
        if progress.next_index and progress.next_index >= unpacked.count:
            # Its first records have committed with another count: no answer for the rest would be true.
            raise Fatal(
                f"{self._raw_topic}/{message.partition}/{message.offset} goes on at record {progress.next_index}, but "
                f"unpacks to {unpacked.count} now: give it back the software and `parser` limits it began with"
            )
        return unpacked if refusal is None else _Rest(unpacked, refusal)

    def _destination(self, *values: str) -> tuple[str, str]:
        """Group and partner of the records with these values of `group_by`, which a partner rule looks at too."""
        fields = dict(zip(self.pipeline.group_by, values, strict=True))
        return self.pipeline.group_of(fields), self.pipeline.partner_of(fields)

    def _record(self, work: Work, progress: Progress, record: Record, position: RawPosition, common: Common) -> int:
        pipeline, fields = self.pipeline, record.fields
        topic, incarnation, partition, offset, index = position
        ordering_by = pipeline.ordering_by
        group, partner = self._group_and_partner(*[fields[name] for name in pipeline.group_by])
        message = encode_validated(
            self._header,
            shared_front(group, event_date(record.event_time // 86_400_000), partner, topic, incarnation, partition),
            idempotency_key([fields[name] for name in pipeline.idempotency]),
            record.digest,
            fields[ordering_by] if ordering_by else None,
            common.recorded_at,
            offset,
            index,
            record.event_time,
            common.submission_digest,
            common.received_at,
            shared_rest(common.count, common.source, common.site, self._schema_version, common.topology_version),
            record.warnings,
            record.payload,
        )
        size = len(message)
        if size > self._inline:
            message = claim_payload(message, record.payload, self._claim(record.payload))
        partition_key = idempotency_key([fields[name] for name in pipeline.partition_by])
        target, key = _target(partition_key, pipeline.partitions)
        work.outputs.append(_new(Output, ("validated", target, key, message, ())))
        progress.note("VALIDATE", record.warnings[0].code if record.warnings else "", position, record.digest)
        return size

    def _refusal(self, work: Work, progress: Progress, refusal: Refusal, position: RawPosition, common: Common) -> int:
        output, digest = self._dead_letters.refused(refusal, position, {**common._asdict(), "passport": None})
        work.outputs.append(output)
        progress.note("REJECT", refusal.findings[0].code, position, digest)
        return max(len(output.value or b""), len(refusal.original))

    def committed(self, work: Work, now: int) -> None:
        """Validate keeps no table but its head, which is in memory already."""

    def due(self, now: int) -> bool:
        return False

    def drain(self, chunk: Chunk, ending: bool) -> Work:
        return Work()


def _unprocessable(submission: Submission, error: str) -> Refusal:
    """Of a submission that made processing fail twice when it was alone (VA4)."""
    return refuse_whole(submission, Finding(UNPROCESSABLE, "", error))


class _Rest:
    """What is left of such a submission when a part of it has committed with its count: each record by itself, since
    every one of them was promised an answer. Those that cannot be worked share one refusal."""

    def __init__(self, unpacked: Unpacked, refusal: Refusal) -> None:
        self.content_type, self.count, self.notes = unpacked.content_type, unpacked.count, unpacked.notes
        self._unpacked, self._refusal = unpacked, refusal

    def records(self, start: int = 0) -> Iterator[Record | Refusal]:
        for index in range(start, self.count):
            try:
                item = next(self._unpacked.records(index), self._refusal)
            except Exception:  # noqa: BLE001 - it becomes this record's dead letter
                item = self._refusal
            yield item


def _text(headers: Mapping[str, bytes | None], name: str) -> str | None:
    """A header as text; bytes that are no UTF-8 are shown with escapes rather than refused."""
    value = headers.get(name)
    return None if value is None else value.decode("utf-8", "backslashreplace")


@lru_cache(maxsize=65_536)
def _target(key: str, partitions: int) -> tuple[int, bytes]:
    """Partition and bytes of a message key."""
    return partition_for(key, partitions), key.encode()


@lru_cache(maxsize=4096)
def event_date(day: int) -> str:
    """YYYY-MM-DD of a day number since 1970-01-01, UTC."""
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")
