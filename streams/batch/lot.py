"""One partition of `validated` in the batch stage: which versions guard their keys, which windows are open, and what
the chunk at hand changes of both.

Rules BA1 to BA9 and DI6 of the design are named where they act; `tests/streams/test_batch_rules.py` shows what breaks
without each. Pure: no Kafka, no clock.
"""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from audit.chain import Action
from schemas.avro import long, longs
from schemas.canonical import RawPosition, version_row_key
from schemas.codec import Codec, WireError
from schemas.errors import CONFLICTING_VERSION, STALE_VERSION, UNPROCESSABLE, Finding
from schemas.messages import position_of, position_part
from schemas.validated import Front, front_of
from streams.batch.caps import Caps
from streams.batch.frozen import frozen, line_key
from streams.batch.identity import RETAINED, Version, VersionStore
from streams.batch.items import Case, Items
from streams.batch.strand import strands
from streams.batch.versions import Versions
from streams.batch.window import Line, Window, Windows
from streams.deadletter import DeadLetters
from streams.progress import Identity, Progress
from streams.stage import Message, Output, Work
from topology.model import Pipeline, partition_for

_offset, _value = itemgetter(1), itemgetter(4)

NEVER = (-1, -1, -1)
"""Below every raw position."""
ACK_FIELDS = (
    "raw_topic", "raw_incarnation", "raw_partition", "raw_offset", "raw_index", "count", "key", "digest", "warnings",
    "topology_version", "recorded_at", "event_time", "passport",
)  # fmt: skip
"""What an ack repeats from the Validated message."""


class Terms(NamedTuple):
    """What every lot of a stage shares."""

    pipeline: Pipeline
    codec: Codec
    identity: Identity
    dead_letters: DeadLetters
    fronts: Callable[[Iterable[bytes | None]], Iterator[Front | None]]
    """What batch needs of Validated messages, without reading all of them; None: ask the codec what it is."""
    row_header: bytes
    """Of a row in `idempotency`, where `fronts` finds anything."""

    @property
    def linger(self) -> int:
        """Stream time that a window stays open, ms."""
        return int(self.pipeline.batching.linger * 1000)


class Lot:
    """One partition: its head, versions, windows, and the work of the chunk at hand."""

    def __init__(self, terms: Terms, progress: Progress, store: VersionStore, items: Items | None = None) -> None:
        """items: what is known of things, where the pipeline has state rules."""
        self.terms, self.progress, self.items = terms, progress, items
        self.versions = Versions(terms.pipeline, terms.codec, progress, store)
        self.partition = progress.partition
        self.windows = Windows(terms.pipeline.pipeline, self.partition)
        self._strands = strands()
        self.caps = Caps(terms.pipeline, progress.caps)
        self.position = progress.processed_through + 1
        """Next offset to be read."""
        self.observed_at = 0
        """Wall clock of the chunk at hand, ms."""
        self.changed = False
        """Something was written in this chunk that no record asked for: a window was sealed, a wait is over."""
        self.sequence = 0
        """Records read, to measure `max_reread` by records and not by offsets (law 6)."""
        self.bytes_read = 0
        """Bytes of their messages."""

    @property
    def rebuilding(self) -> bool:
        """Windows are still being filled from what was read before: nothing may be cut by clock, memory or stop,
        or records that are yet to come back would be passed over."""
        return self.position <= self.progress.processed_through

    # ---- messages --------------------------------------------------------------------------------

    def take_all(
        self,
        work: Work,
        messages: Sequence[Message],
        now: int,
        condemned: Mapping[tuple[int, int], str],
        room: float,
        relieve: Callable[[], float],
    ) -> None:
        """Works messages of this partition, in order of offset. relieve: called after each with which the windows hold
        more than `room` bytes; says how much room there is then.

        A record of a key that nothing is known of is worked in the loop, like all the others would be by `take`: this
        is what nearly every record is, and thirty calls for each were two thirds of the stage's time. Both ways are
        held equal by a property test.
        """
        progress, windows, versions, known = self.progress, self.windows, self.versions, self._strands
        sources, note, write, new = progress.sources, progress.entries.append, work.outputs.append, tuple.__new__
        pending, find = versions.pending, versions.store.find
        row_header, partition = self.terms.row_header, self.partition
        batching = self.terms.pipeline.batching
        most_bytes, bounded = batching.max_bytes, batching.max_reread is not None
        stream_time, admitted_at = -1, b""
        one_by_one = bool(condemned) or self.items is not None
        places = longs(list(map(_offset, messages)))
        for message, front, place in zip(messages, self.terms.fronts(map(_value, messages)), places, strict=True):
            offset = message.offset
            if offset < self.position:
                continue
            if (
                front is None
                or offset <= progress.processed_through
                or front[1] in pending  # its key
                or one_by_one
                or find(front[1])
            ):
                if self.items is not None and self.items.full:
                    work.resume.setdefault(partition, offset)  # a partition may come in several runs
                    return
                self.take(work, message, front, now, condemned.get((partition, offset)))
            else:
                shared, key, digest, _, recorded_at, raw_offset, index, _, key_field, position, ordering = front
                data = message.value or b""
                size = len(data)
                self.position = offset + 1
                self.sequence += 1
                self.bytes_read += size
                if recorded_at > progress.stream_time:
                    progress.stream_time = recorded_at
                    self._linger(work)
                if stream_time != progress.stream_time:
                    stream_time = progress.stream_time
                    admitted_at = long(stream_time)
                if bounded:
                    self._reread_bound(work)
                line, partner, source, incarnation, admitted, member, row_source, row_line = known[shared]
                seen = (incarnation, raw_offset, index)
                if sources.get(source, NEVER) < seen:
                    sources[source] = seen
                    row = pending[key] = b"".join(
                        (row_header, key_field, place, row_source, position, digest, admitted_at, row_line, ordering)
                    )
                    write(new(Output, ("idempotency", partition, version_row_key(key, offset).encode(), row, ())))
                    note((admitted, raw_offset, index, digest))
                    window = windows.get(line)
                    if window is not None and window.size + window.claimed + size > most_bytes:
                        self._seal(work, window, "bytes")
                        window = None
                    if window is None:
                        before = self.bytes_read - size
                        window = windows.open(
                            line, partner, offset, recorded_at, stream_time, now, self.sequence, before,
                            self.caps.most(partner),
                        )  # fmt: skip
                    windows.put(window, offset, member % (hexlify(digest), raw_offset, index), data, recorded_at)
                    if len(window.records) >= window.most:
                        self._seal(work, window, self.caps.reason(window.most))
                progress.processed_through = offset
            if windows.size > room:
                room = relieve()

    def take(self, work: Work, message: Message, front: Front | None, now: int, condemned: str | None) -> None:
        """Works one message of `validated`, or only rebuilds its window if its effects are committed (BA4)."""
        self.position = message.offset + 1
        name: str = "condemned"
        value: dict[str, Any] = {}
        if condemned is not None:
            front = None
        elif front is None:
            try:
                name, value = self.terms.codec.decode(message.value or b"")
            except WireError as error:  # this message's fault for sure: nothing needs to be redone to find it
                condemned = f"unreadable: {error}"
            if name == "validated":
                front = front_of(value)
        again = message.offset <= self.progress.processed_through
        if front is not None:
            self.sequence += 1
            self.bytes_read += len(message.value or b"")
            if again:
                self._rebuild(message, front, now)
            else:
                self._record(work, message, front, now)
        elif not again:
            if name == "release":
                self._release(work, value)
            elif name == "retain":
                self._retain(work, value)
            elif name == "replay":
                self._replay(work, value)
            elif name == "cap":
                self._cap(work, value)
            else:
                self._condemned(work, message, condemned or f"a {name} message has no business in `validated`")
        if not again:
            self.progress.processed_through = message.offset

    def _rebuild(self, message: Message, record: Front, now: int) -> None:
        """Puts an admitted record that is not in a batch yet back into its window, and writes nothing."""
        line = self._strands[record.shared].line
        if message.offset <= self.windows.sealed_through.get(line, -1):
            return
        version = next((v for v in self.versions.find(record.key) if v.offset == message.offset), None)
        if version is not None:
            self._add(message, record, line, version.admitted_at, now)

    def _record(self, work: Work, message: Message, record: Front, now: int) -> None:
        progress = self.progress
        shared, key, digest, ordering, recorded_at, raw_offset, index, claimed, *_ = record
        strand = self._strands[shared]
        if recorded_at > progress.stream_time:
            progress.stream_time = recorded_at
            self._linger(work)
            if self.items is not None:
                self.items.over(work)
        self._reread_bound(work)
        seen = (strand.incarnation, raw_offset, index)
        line, raw = strand.line, record.raw
        returned = None if self.items is None else self.items.returned(work, message, raw)
        if returned is None:
            if progress.sources.get(strand.source, NEVER) >= seen:
                return None  # validate wrote it twice: the first one counts (BA4)
            progress.sources[strand.source] = seen
        newest = self.versions.newest(key)
        action: Action = "ADMIT"
        if newest is not None:
            if newest.digest == digest:
                return self._duplicate(work, self._whole(message), raw, newest)
            finding = self._conflict(ordering, newest)
            if finding is not None:
                return self._dead(work, self._whole(message), raw, newest, finding)
            action = "SUPERSEDE"
            if newest.date != line.date or newest.group != line.group:
                # A partner must not get the old value after the new one (BA6).
                older = self.windows.get(Line(newest.group, newest.date))
                if older is not None and self.windows.holds(older.line, newest.offset):
                    self._seal(work, older, "supersede")
        if self.items is not None:
            findings = self.items.judge(work, Case(message, raw, digest, now, returned))
            if findings is None:
                return None  # it waits (ADR 22)
            if findings:
                return self._refused(work, self._whole(message), raw, findings)
        version = Version(key, message.offset, raw, digest, progress.stream_time, line.group, line.date, ordering)
        self.versions.put(work, version)
        progress.note(action, "", raw, digest)
        if self.items is not None:
            self.items.passed(work)
        self._bytes_bound(work, line, len(message.value or b"") + claimed)
        window = self._add(message, record, line, progress.stream_time, now)
        if len(window.records) >= window.most:
            self._seal(work, window, self.caps.reason(window.most))
        return None

    def _whole(self, message: Message) -> dict[str, Any]:
        """Everything a Validated message says. Raises WireError where its front could be read and the rest cannot."""
        return self.terms.codec.decode(message.value or b"")[1]

    def _conflict(self, ordering: str | None, newest: Version) -> Finding | None:
        """Why another content of an admitted key may not pass; None where it supersedes (BA2)."""
        of = f"admitted as {newest.raw.topic}/{newest.raw.partition}/{newest.raw.offset}/{newest.raw.index}"
        if self.terms.pipeline.on_conflict == "conflict":
            return Finding(CONFLICTING_VERSION, "", f"the same key was {of} with other content")
        mine, theirs = ordering, newest.ordering
        if mine is None or theirs is None or mine <= theirs:
            return Finding(STALE_VERSION, "", f"ordering value {mine!r} is not above {theirs!r}, {of}")
        return None

    def _duplicate(self, work: Work, record: Mapping[str, Any], raw: RawPosition, newest: Version) -> None:
        ack = {name: record[name] for name in ACK_FIELDS}
        ack |= {
            "outcome": "duplicate",
            "duplicate_of": position_part(newest.raw),
            "batch_id": None,
            "partner": None,
            "answer": None,
        }
        key: str = record["key"]
        target = partition_for(key, self.terms.pipeline.partitions)
        work.outputs.append(Output("sent", target, key.encode(), self.terms.codec.encode("sent", ack)))
        self.progress.note("DUPLICATE", "", raw, record["digest"])

    def _dead(self, work: Work, record: Mapping[str, Any], raw: RawPosition, newest: Version, finding: Finding) -> None:
        work.outputs.append(
            self.terms.dead_letters.valid(
                "batch", record, [finding], conflicts_with=position_part(newest.raw), partner=record["partner"]
            )
        )
        self.progress.note("CONFLICT", finding.code, raw, record["digest"])

    def _refused(self, work: Work, record: Mapping[str, Any], raw: RawPosition, findings: Sequence[Finding]) -> None:
        """A record that may not follow those before it about the same things. Its key stays free."""
        work.outputs.append(self.terms.dead_letters.valid("batch", record, findings, partner=record["partner"]))
        self.progress.note("REJECT", findings[0].code, raw, record["digest"])

    def _condemned(self, work: Work, message: Message, error: str) -> None:
        """A message of our own topic that cannot be worked: kept whole, so that nothing is lost (VA4)."""
        output, raw, digest = self.terms.dead_letters.unreadable(
            "batch", self.terms.pipeline.topic("validated"), message, Finding(UNPROCESSABLE, "", error)
        )
        work.outputs.append(output)
        self.progress.note("REJECT", UNPROCESSABLE, raw, digest)
        if self.items is not None:
            self.items.abandoned(work, message)

    # ---- caps, releases, retains, replays ------------------------------------------------------------

    def _cap(self, work: Work, cap: Mapping[str, Any]) -> None:
        """Batches for a partner have so many records from here on (DI7). A window that holds as many is sealed as it
        is, even with more.

        The head keeps it. So whoever reads again up to `processed_through` needs no cap before it: what was sealed by
        those lies below `sealed_through`, and the windows that are still open are not full by the last of them."""
        most = self.caps.learn(cap["partner"], cap["records"])
        for window in [window for window in self.windows if window.partner == cap["partner"]]:
            window.most = most
            if len(window.records) >= most:
                self._seal(work, window, self.caps.reason(window.most))

    def _release(self, work: Work, release: Mapping[str, Any]) -> None:
        """A record died with a known outcome: its version, and no other, stops guarding the key (BA8)."""
        raw = position_of(release)
        # Noted even where the version has aged away meanwhile: when that is tidied up is no content (law 6).
        self.progress.note("RELEASE", "", raw, release["digest"])
        if self.items is not None:
            self.items.released(work, self.position - 1, raw)
        for version in self.versions.find(release["key"]):
            if version.raw == raw:
                self.versions.remove(work, version)
                return

    def _retain(self, work: Work, retain: Mapping[str, Any]) -> None:
        """The versions of an unsettled batch do not age; once it is settled they age from now (BA9)."""
        admitted_at = RETAINED if retain["begin"] else self.progress.stream_time
        for kept in retain["keys"]:
            raw = position_of(kept)
            self.progress.note("RETAIN", "begin" if retain["begin"] else "end", raw, kept["digest"])
            for version in self.versions.find(kept["key"]):
                if version.raw == raw and self.versions.alive(version):
                    self.versions.put(work, version._replace(admitted_at=admitted_at))

    def _replay(self, work: Work, replay: Mapping[str, Any]) -> None:
        """A dead batch asks to be delivered again: every key is admitted again, or the whole is refused (DI6)."""
        progress, members = self.progress, replay["records"]
        own = {position_of(member) for member in members}
        aged = progress.stream_time - replay["first_recorded_at"] > self.versions.keep
        newer = any(
            newest is not None and newest.raw not in own
            for newest in (self.versions.newest(member["key"]) for member in members)
        )
        code = "aged" if aged else "newer-version" if newer else ""
        for member in members:
            raw = position_of(member)
            progress.note("REPLAY", code, raw, member["digest"])
            if not code and self.items is not None:
                self.items.lives_again(work, self.position - 1, raw)
            if not code:
                self.versions.put(
                    work,
                    Version(
                        member["key"],
                        member["offset"],
                        raw,
                        member["digest"],
                        progress.stream_time,
                        replay["group"],
                        replay["date"],
                        member["ordering"],
                    ),
                )
        if not code:
            names = ("batch_id", "batched_partition", "batched_offset", "life", "partner", "group", "date", "passport")
            again = self.terms.codec.encode("batched_again", {name: replay[name] for name in names})
            work.outputs.append(Output("batched", replay["batched_partition"], replay["partner"].encode(), again))

    # ---- windows ---------------------------------------------------------------------------------

    def _add(self, message: Message, record: Front, line: Line, opened_at: int, now: int) -> Window:
        return self.windows.add(
            line, record.shared.partner, message.offset, record.raw, record.digest, message.value or b"",
            record.recorded_at, opened_at, now, self.sequence, self.bytes_read - len(message.value or b""),
            self.caps.most(record.shared.partner), record.claimed,
        )  # fmt: skip

    def _linger(self, work: Work) -> None:
        """Seals what is due, in order of first offset, before the record at hand is admitted (BA5)."""
        linger = self.terms.linger
        while (oldest := self.windows.oldest()) and self.progress.stream_time - oldest.opened_at >= linger:
            self._seal(work, oldest, "linger")

    def _reread_bound(self, work: Work) -> None:
        """Seals what is too far behind the record at hand, in records or bytes: that far a restart reads again."""
        batching = self.terms.pipeline.batching
        if batching.max_reread is None:
            return
        while (oldest := self.windows.oldest()) and (
            self.sequence - oldest.first_sequence >= batching.max_reread
            or self.bytes_read - oldest.first_byte > batching.max_reread_bytes
        ):
            self._seal(work, oldest, "reread")

    def _bytes_bound(self, work: Work, line: Line, size: int) -> None:
        """A window never grows past `max_bytes`: the record that would not fit opens the next one (T15)."""
        window = self.windows.get(line)
        if window and window.size + window.claimed + size > self.terms.pipeline.batching.max_bytes:
            self._seal(work, window, "bytes")

    def _seal(self, work: Work, window: Window, reason: str) -> None:
        sealed = self.windows.seal(window, reason)
        terms = self.terms
        work.outputs += frozen(terms.pipeline, terms.codec, self.partition, sealed, self.observed_at)
        self.changed = True

    def seal_oldest(self, work: Work, reason: str) -> None:
        """Seals the oldest open window."""
        oldest = self.windows.oldest()
        if oldest is not None:
            self._seal(work, oldest, reason)

    def settle_waits(self, work: Work, now: int) -> None:
        """Ends the waits that are over by the clock (ADR 22)."""
        if self.items is not None and not self.rebuilding and self.items.settle(work, now):
            self.changed = True

    def waits_due(self, now: int) -> bool:
        """Whether `settle_waits` has something to do."""
        return self.items is not None and not self.rebuilding and self.items.due(now)

    def close(self, work: Work, offsets: tuple[int, int] | None) -> None:
        """End of the chunk: the committed offset, rows that are no longer needed, audit and head."""
        self.versions.tidy(work, self.windows)
        committed = self.windows.committed_offset(self.progress.processed_through + 1)
        for line in self.windows.sealed_below(committed):
            del self.windows.sealed_through[line]
            work.outputs.append(Output("windows", self.partition, line_key(self.partition, line), None))
        work.offsets[self.partition] = committed
        self.progress.topology_version = self.terms.pipeline.version
        self.progress.close(work, self.terms.codec, self.terms.identity, self.observed_at, offsets)

    def committed(self) -> None:
        """The store has what was written (step 6)."""
        self.versions.committed()
        if self.items is not None:
            self.items.committed()
        self.changed = False
