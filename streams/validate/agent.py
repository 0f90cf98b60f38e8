"""The validate stage: raw submissions become validated records or dead letters. No state but its head.

Key, group, partner, date, digest, times and position are decided here once and never again (VA1).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256 as _sha256
from itertools import accumulate, groupby, islice, repeat
from operator import attrgetter, itemgetter
from typing import Any

from audit.block import TAGS, Tag
from schemas.avro import long
from schemas.canonical import RawPosition, idempotency_key, sha256
from schemas.codec import Codec
from schemas.errors import UNPROCESSABLE, Finding
from schemas.kept import Kept
from schemas.pack import Pack, Record, Refusal, Submission, refuse_whole
from schemas.state import StateRules
from schemas.validated import claim_payload, encode_first, encode_validated, shared_front, shared_rest
from streams.batch.items import FACTS
from streams.claims import NO_CLAIMS
from streams.deadletter import Claim, DeadLetters
from streams.progress import Begun, Identity, Progress, take_over
from streams.stage import Chunk, Header, Message, Output, TableStore, Work
from streams.tables import MemoryRows
from streams.validate.ahead import Ahead
from streams.validate.authorised import TradingPartners
from streams.validate.fitting import Fitting
from streams.validate.headers import NO_HEADERS, read_headers, refuse_header
from streams.validate.limits import Limits
from streams.validate.spanning import Spanning, Unpack, broken
from streams.validate.turns import Turns
from topology.model import Pipeline, partition_for
from topology.topics import LEAST_INLINE

DAY = 86_400_000
"""Milliseconds."""
_STAMPS = Kept(long, 4096)
"""Times on the wire: neighbours share theirs."""
_partition = attrgetter("partition")
_new = tuple.__new__  # a named tuple's own constructor costs three times as much

Values = str | tuple[str, ...]
"""Of the fields that a setting names: the text of one, else a tuple of them."""


class ValidateStage:
    """See streams.stage.Stage."""

    name = "validate"
    input = "raw"
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
        unpack: Unpack | None = None,
        claim: Claim = NO_CLAIMS.put,
        inline: int = LEAST_INLINE,
        authorised: Callable[[], TradingPartners] = TradingPartners,
        rules: StateRules | None = None,
    ) -> None:
        """`unpack` reads submissions in the pack's place: a worker has heavy ones read in another process (VA3).
        `claim` keeps the payload of a message that would have more than `inline` bytes (VA4). `authorised` gives the
        list of trading partners with every row there is (VAL-17); by default it is empty. `rules` say what the state
        rules of batch will need of a record (VA1)."""
        self._rules = rules
        self.pipeline, self._codec, self._pack, self._identity = pipeline, codec, pack, identity
        self._dead_letters = dead_letters
        self._claim, self._inline = claim, inline
        self._limits = Limits(pipeline, clock)
        self._progress: dict[int, Progress] = {}
        self._turns = Turns()
        self._schema_version, self._raw_topic = pack.version, pipeline.raw_topic
        unpack = unpack or (lambda submission, *_: pack.unpack(submission))
        self._spanning = Spanning(self._raw_topic, unpack, pack.heavy, clock)
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
        self._ahead = Ahead(pipeline.event_ahead)
        self._authorised, self._listed = authorised, TradingPartners()
        self._fitting = Fitting(pipeline, pack.name)
        self.input_topic_id = ""
        self.table_topic_ids: Mapping[str, str] = {}

    @property
    def room(self) -> Mapping[int, int] | None:
        return self._spanning.room

    def store(self, table: str, partition: int) -> TableStore:
        return MemoryRows()

    def restore(self, partition: int, stores: Mapping[str, TableStore], committed: int | None, now: int) -> int:
        progress = take_over(self, partition, stores["heads"], self._codec, committed)
        self._progress[partition] = progress
        return progress.processed_through + 1

    def forget(self, partition: int) -> None:
        self._progress.pop(partition, None)
        self._turns.forget(partition)
        self._spanning.forget(partition)

    def process(self, chunk: Chunk) -> Work:
        work, limits = Work(), self._limits
        limits.start()
        if self._pack.parties and chunk.messages:
            self._listed = self._authorised()
        covered: dict[int, tuple[int, int]] = {}
        runs = [(partition, list(messages)) for partition, messages in groupby(chunk.messages, _partition)]
        for partition, run in self._turns.sort(runs, self._spanning.spans):
            if partition in work.resume:
                continue
            self._turns.came(partition, limits.full)
            progress, at = self._progress[partition], 0
            while at < len(run) and not limits.full and run[at].offset <= progress.processed_through:
                at += 1  # read again after a rebuild: its effects are committed
            first = begun = at
            while at < len(run) and not limits.full:
                count, other = self._plain(work, progress, run, at, chunk)
                at = begun = at + count
                if other and self._spanning.waits(run[at]):
                    break
                if other:
                    ended = self._submission(work, progress, run[at], chunk)
                    if ended is None:
                        work.opening.add(partition)
                        break
                    begun = at + 1
                    at += ended
            if at < len(run):
                work.resume[partition] = run[at].offset
                self._spanning.queue(run[at])  # also where the chunk is full before it
            if begun > first:
                covered[partition] = covered.get(partition, (run[first].offset,))[0], run[begun - 1].offset
        for partition, offsets in covered.items():
            progress = self._progress[partition]
            work.offsets[partition] = progress.processed_through + 1
            progress.close(work, self._codec, self._identity, chunk.observed_at, offsets)
        return work

    def _plain(self, work: Work, progress: Progress, run: Sequence[Message], at: int, chunk: Chunk) -> tuple[int, bool]:
        """Works the messages of one partition from place `at` on that hold one plain record each, up to the first that
        does not, and no more than there is room for. How many, and whether such another is next.

        What `_submission` and `_record` do for the others, column by column: a step of the interpreter for each record
        is a per cent of the stage's time. Both ways are held equal by a property test.
        """
        room, room_bytes = self._limits.room()
        block = run[at : at + room]
        _, offsets, times, _, values, headers = zip(*block, strict=True)
        end = len(block)
        if chunk.condemned:
            end = next((n for n, m in enumerate(block) if (m.partition, m.offset) in chunk.condemned), end)
        if progress.next_index or not end or self._fitting or self._pack.parties or self._rules is not None:
            return 0, True
        version, schema_version = self.pipeline.version, self._schema_version
        rests: Iterable[bytes] = repeat(shared_rest(None, 1, None, None, schema_version, version))
        if any(headers):
            origins = list(map(read_headers, headers[:end]))
            end = next((n for n, origin in enumerate(origins) if origin.too_long), end)
            records = self._pack.singles(values[:end], [origin[:3] for origin in origins[:end]])
            rests = [
                shared_rest(when, 1, source, site, schema_version, version) for _, source, site, when, _ in origins
            ]
        else:
            records = self._pack.singles(values[:end])
        field, event_times, payloads, digests, warnings = records
        if self._clamped:
            times = tuple(min(recorded_at, chunk.now + self._max_ahead) for recorded_at in times)
        end = self._ahead.first(event_times, times)
        if not end:
            return 0, True
        event_times, offsets, values = event_times[:end], offsets[:end], values[:end]
        incarnation, partition, ordering_by = progress.incarnation, progress.partition, self.pipeline.ordering_by
        days = (event_time // DAY for event_time in event_times)
        places = zip(_columns(field, self.pipeline.group_by), days, repeat(incarnation), repeat(partition))
        keys: Iterable[Any] = _columns(field, self.pipeline.idempotency)
        messages = encode_first(
            map(self._fronts.__getitem__, places),
            keys if len(self.pipeline.idempotency) == 1 else map(idempotency_key, keys),
            digests,
            field(ordering_by) if ordering_by else None,
            map(_STAMPS.__getitem__, times),
            offsets,
            event_times,
            [_sha256(value or b"").digest() for value in values],
            rests,
            warnings,
            payloads,
        )
        sizes = list(map(len, messages))
        if sum(sizes) >= room_bytes:
            cut = next(n for n, total in enumerate(accumulate(sizes), 1) if total >= room_bytes)
            del messages[cut:], sizes[cut:]
        count = len(messages)
        if max(sizes) > self._inline:
            messages = [self._inlined(message, payload) for message, payload in zip(messages, payloads)]  # noqa: B905
        targets = map(self._targets.__getitem__, _columns(field, self.pipeline.partition_by))
        work.outputs += [
            _new(Output, ("validated", target, key, message, ()))
            for message, (target, key) in zip(messages, targets)  # noqa: B905 - no more than there are messages
        ]
        where = self._raw_topic, incarnation, partition
        tags: Iterable[Tag] = repeat(TAGS["VALIDATE", "", *where])
        if any(warnings):
            tags = [TAGS["VALIDATE", found[0].code if found else "", *where] for found in warnings]
        progress.entries += islice(zip(tags, offsets, repeat(0), digests), count)
        progress.processed_through = offsets[count - 1]
        progress.stream_time, progress.topology_version = max(progress.stream_time, *times[:count]), version
        full = self._limits.took(sum(sizes), count)
        return count, not full and count < len(block)

    def _submission(self, work: Work, progress: Progress, message: Message, chunk: Chunk) -> bool | None:
        """Produces the records of one submission from `next_index` on; False where the chunk is full before its end,
        None where it is full before the submission is open."""
        partition, offset, recorded_at, _, value, headers = message
        content_type, source, site, received_at, too_long = read_headers(headers) if headers else NO_HEADERS
        condemned = chunk.condemned.get((partition, offset))
        submission = Submission(value, content_type, source, site)
        refusal = None
        if condemned is not None:
            refusal = _unprocessable(submission, condemned)
        elif too_long is not None:
            refusal = refuse_header(submission, too_long)
        unpacked = self._spanning.unpacked(progress, message, submission, refusal, self._limits.look)
        if unpacked is None:
            return None
        if progress.begun is not None:
            recorded_at = progress.begun.recorded_at  # bounded once (VA5), whatever the clock says by now
        elif self._clamped:
            # In the middle of one whose head is of an older version, its first chunk's time is the best bound there is.
            latest = progress.stream_time if progress.next_index else chunk.now + self._max_ahead
            recorded_at = min(recorded_at, latest)
        progress.stream_time = max(progress.stream_time, recorded_at)
        if not progress.next_index:
            progress.topology_version = self.pipeline.version  # one that spans chunks keeps what it began with (VA1)
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
        for found in unpacked.records(index):
            item = self._ahead.judge(found, recorded_at)
            item = self._listed.judge(item, recorded_at, self._pack.parties)
            item = self._fitting.judge(item)
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
            if self._limits.took(size) or self._limits.look():  # the next record may have to be waited for
                break
        if index > count or (index < count and not self._limits.full):
            raise ValueError(f"pack {self._pack.name} gave {index} records of a submission it counts {count} in")
        ended = index == count
        if ended:
            progress.next_index, progress.begun = 0, None
            progress.processed_through = offset
            self._spanning.end(partition)
        else:
            progress.next_index, progress.begun = index, Begun(recorded_at, count, broken(unpacked))
            self._spanning.keep(partition, offset, submission, unpacked)
        return ended

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
        front = self._fronts[self._group_of(fields), event_time // DAY, incarnation, partition]
        key = self._key_of(fields)
        ordering_by = self.pipeline.ordering_by
        message = encode_validated(
            front,
            key if isinstance(key, str) else idempotency_key(key),
            digest,
            fields[ordering_by] if ordering_by else None,
            long(recorded_at),
            offset,
            index,
            event_time,
            submission_digest,
            rest,
            warnings,
            payload,
        )
        headers: tuple[Header, ...] = ()
        if self._rules is not None and (facts := self._rules.facts(record)) is not None:
            headers = ((FACTS, facts),)
        size = len(message) + sum(len(value) for _, value in headers)
        if size > self._inline:
            message = claim_payload(message, payload, self._claim(payload))
        target, target_key = self._targets[self._partition_of(fields)]
        work.outputs.append(_new(Output, ("validated", target, target_key, message, headers)))
        position = _new(RawPosition, (self._raw_topic, incarnation, partition, offset, index))
        progress.note("VALIDATE", warnings[0].code if warnings else "", position, digest)
        return size

    def _inlined(self, message: bytes, payload: bytes) -> bytes:
        """The message as it goes out: without its payload where it is too long (VA4)."""
        return message if len(message) <= self._inline else claim_payload(message, payload, self._claim(payload))

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


def _columns(field: Callable[[str], Sequence[str]], names: Sequence[str]) -> Iterable[Values]:
    """What `values_of` gives of many records: the same for each, without end, where no field is named."""
    if len(names) == 1:
        return field(names[0])
    return zip(*map(field, names), strict=True) if names else repeat(())


def values_of(names: Sequence[str]) -> Callable[[Mapping[str, str]], Values]:
    """What gives the values of these fields. Raises KeyError for a field that is not there."""
    return itemgetter(*names) if names else lambda fields: ()


@lru_cache(maxsize=4096)
def event_date(day: int) -> str:
    """YYYY-MM-DD of a day number since 1970-01-01, UTC."""
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")
