"""The validate stage: raw submissions become validated records or dead letters. No state but its head.

Key, group, partner, date, digest, times and position are decided here once and never again (VA1).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from schemas.canonical import RawPosition, idempotency_key, sha256
from schemas.codec import Codec
from schemas.errors import UNPROCESSABLE, Finding
from schemas.kept import Kept
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
        self._seconds, self._clock = pipeline.chunk.seconds, clock
        self._most_records, self._most_bytes = 2 * pipeline.chunk.records, 2 * pipeline.chunk.bytes
        self._records, self._bytes, self._until = 0, 0, 0.0
        self.full = False

    def start(self) -> None:
        """A new chunk."""
        self._records, self._bytes, self._until = 0, 0, self._clock() + self._seconds
        self.full = False

    def took(self, size: int) -> bool:
        """Counts one output; True when the chunk is full. The clock is asked at every 256th only."""
        self._records = records = self._records + 1
        self._bytes = total = self._bytes + size
        if not records & 255:
            self.full = records >= self._most_records or self._clock() > self._until
        if total >= self._most_bytes:
            self.full = True
        return self.full

    def look(self) -> bool:
        """Asks the clock, between submissions: one alone may have taken long to read. True when the chunk is full."""
        self.full = self.full or self._clock() > self._until
        return self.full


class Origin(NamedTuple):
    """What the headers of a submission say."""

    content_type: str | None = None
    source: str | None = None
    site: str | None = None
    received_at: str | None = None


NO_HEADERS = Origin()
Values = str | tuple[str, ...]
"""Of the fields that a setting names: the text of one, else a tuple of them."""


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
        self._group_of, self._key_of = values_of(pipeline.group_by), values_of(pipeline.idempotency)
        self._partition_of = values_of(pipeline.partition_by)
        self._fronts = Kept(self._front, 8192)
        self._targets = Kept(self._target, 65_536)
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
        # Once per record and measured: what costs a call or a new object here is a per cent of the stage's time.
        work, limits, condemned = Work(), self._limits, chunk.condemned
        limits.start()
        single, clamped, version = self._pack.single, self._clamped, self.pipeline.version
        bare = shared_rest(None, 1, None, None, self._schema_version, version)
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        full = False
        for message in chunk.messages:
            partition, offset, recorded_at, _, value, headers = message
            if full:
                work.resume.setdefault(partition, offset)
                continue
            progress = self._progress[partition]
            if offset <= progress.processed_through:
                continue  # read again after a rebuild: its effects are committed
            first.setdefault(partition, offset)
            last[partition] = offset
            origin = _origin(headers) if headers else NO_HEADERS
            begins = not progress.next_index
            if clamped:
                # Once (VA5): later chunks of a submission are bounded by what its first came to, not by their clock.
                recorded_at = min(recorded_at, chunk.now + self._max_ahead if begins else progress.stream_time)
            if recorded_at > progress.stream_time:
                progress.stream_time = recorded_at
            record = None
            if begins:
                progress.topology_version = version  # one that spans chunks keeps the version it began with (VA1)
                if not condemned or (partition, offset) not in condemned:
                    record = single(value, origin.content_type, origin.source, origin.site)
            if record is None:
                full = self._submission(
                    work, progress, message, origin, recorded_at, condemned.get((partition, offset))
                )
                if full and progress.next_index:
                    work.resume.setdefault(partition, offset)
                continue
            rest = bare
            if headers:
                _, source, site, received_at = origin
                rest = shared_rest(received_at, 1, source, site, self._schema_version, version)
            size = self._record(work, progress, record, offset, 0, recorded_at, sha256(value or b""), rest)
            progress.processed_through = offset
            full = limits.took(size)  # without a look at the clock each time: none of these takes long
        for partition, offset in first.items():
            progress = self._progress[partition]
            work.offsets[partition] = progress.processed_through + 1
            progress.close(work, self._codec, self._identity, chunk.observed_at, (offset, last[partition]))
        return work

    def _submission(
        self,
        work: Work,
        progress: Progress,
        message: Message,
        origin: Origin,
        recorded_at: int,
        condemned: str | None,
    ) -> bool:
        """Produces the records of one submission from `next_index` on; True when the chunk is full."""
        partition, offset, value = message.partition, message.offset, message.value
        content_type, source, site, received_at = origin
        submission = Submission(value, content_type, source, site)
        unpacked = self._unpacked(progress, message, submission, condemned)
        count, version, digest = unpacked.count, progress.topology_version, sha256(value or b"")
        rest = shared_rest(received_at, count, source, site, self._schema_version, version)
        common = {
            "recorded_at": recorded_at,
            "count": count,
            "submission_digest": digest,
            "source": source,
            "site": site,
            "topology_version": version,
            "passport": None,
        }
        index = progress.next_index
        for item in unpacked.records(index):
            if isinstance(item, Record):
                try:
                    size = self._record(work, progress, item, offset, index, recorded_at, digest, rest)
                except Exception:
                    if condemned is None:
                        raise
                    size = self._refusal(work, progress, _unprocessable(submission, condemned), offset, index, common)
            else:
                size = self._refusal(work, progress, item, offset, index, common)
            index += 1
            if self._limits.took(size):
                break
        if index > count or (index < count and not self._limits.full):
            raise ValueError(f"pack {self._pack.name} gave {index} records of a submission it counts {count} in")
        if index < count:
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

    def _front(self, place: tuple[Values, int, int, int]) -> bytes:
        """The front of messages by their values of `group_by` (a partner rule looks at no other field), day, and raw
        incarnation and partition."""
        values, day, incarnation, partition = place
        by = self.pipeline.group_by
        fields = dict(zip(by, [values] if isinstance(values, str) else values, strict=True))
        group, partner = self.pipeline.group_of(fields), self.pipeline.partner_of(fields)
        return shared_front(self._header, group, event_date(day), partner, self._raw_topic, incarnation, partition)

    def _target(self, values: Values) -> tuple[int, bytes]:
        """Partition and key of messages by their values of `partition_by`."""
        key = values if isinstance(values, str) else idempotency_key(values)
        return partition_for(key, self.pipeline.partitions), key.encode()

    def _record(
        self,
        work: Work,
        progress: Progress,
        record: Record,
        offset: int,
        index: int,
        recorded_at: int,
        submission_digest: bytes,
        rest: bytes,
    ) -> int:
        """Produces one valid record; its bytes. `rest` is what its message shares with those of its submission."""
        fields, event_time, payload, digest, warnings = record
        incarnation, partition = progress.incarnation, progress.partition
        front = self._fronts[self._group_of(fields), event_time // 86_400_000, incarnation, partition]
        key = self._key_of(fields)
        ordering_by = self.pipeline.ordering_by
        message = encode_validated(
            front,
            key if isinstance(key, str) else idempotency_key(key),
            digest,
            fields[ordering_by] if ordering_by else None,
            recorded_at,
            offset,
            index,
            event_time,
            submission_digest,
            rest,
            warnings,
            payload,
        )
        size = len(message)
        if size > self._inline:
            message = claim_payload(message, payload, self._claim(payload))
        target, target_key = self._targets[self._partition_of(fields)]
        work.outputs.append(_new(Output, ("validated", target, target_key, message, ())))
        position = _new(RawPosition, (self._raw_topic, incarnation, partition, offset, index))
        progress.note("VALIDATE", warnings[0].code if warnings else "", position, digest)
        return size

    def _refusal(
        self, work: Work, progress: Progress, refusal: Refusal, offset: int, index: int, common: Mapping[str, Any]
    ) -> int:
        position = RawPosition(self._raw_topic, progress.incarnation, progress.partition, offset, index)
        output, digest = self._dead_letters.refused(refusal, position, common)
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


def _decode(value: bytes) -> str:
    """A header as text; bytes that are no UTF-8 are shown with escapes rather than refused."""
    return value.decode("utf-8", "backslashreplace")


def _origin(headers: Iterable[tuple[str, bytes | None]]) -> Origin:
    get = dict(headers).get
    content_type, source, site = get("content-type"), get("waybill-source"), get("waybill-site")
    received_at = get("waybill-received-at")
    return _new(
        Origin,
        (
            None if content_type is None else _decode(content_type),
            None if source is None else _decode(source),
            None if site is None else _decode(site),
            None if received_at is None else _decode(received_at),
        ),
    )


def values_of(names: Sequence[str]) -> Callable[[Mapping[str, str]], Values]:
    """What gives the values of these fields. Raises KeyError for a field that is not there."""
    return itemgetter(*names) if names else lambda fields: ()


@lru_cache(maxsize=4096)
def event_date(day: int) -> str:
    """YYYY-MM-DD of a day number since 1970-01-01, UTC."""
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")
