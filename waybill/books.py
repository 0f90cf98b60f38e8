"""Owns the books of a pipeline: which record was received, what answer it got, and whether the sum holds (law 1).

Pure: messages are handed in by topic, decoded. They must have been cut so that no answer is without its record:
committed offsets and the delivery table first, then the ends of `dead-letter` and `sent`, of `batched`, `validated`,
`raw` in that order, and be entered as dead letters, acks, validated, batches, raw. A record costs one dict entry.

With a window the books are those of the records that the broker took in within it. Every topic is read all the same: a
record's answer counts wherever it lies. What has no known time is left out of no window.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from schemas.canonical import RawPosition, record_id
from waybill.moments import Window

SEEN, UNPACKED = 1, 2
"""Bits of an entry: the record was received; its position was unpacked (a replayed record has two positions, and is
received once)."""
ACK, DEAD, DUPLICATE = 1, 2, 3
"""Kinds of answers; 0 is none. A record's entry is life << 4 | kind << 2 | bits."""
INDEX_BITS = 24
"""Records of one submission are fewer than 2^24: a submission has at most 256 MiB."""
WORDS = {ACK: "acknowledged", DEAD: "dead-lettered", DUPLICATE: "called a duplicate"}

Source = tuple[str, int, int]
"""Raw topic, incarnation, partition."""
Place = tuple[Source, int]
"""A record: its source, and offset << INDEX_BITS | index."""


class Named(NamedTuple):
    """A record and what there is to say about it."""

    id: str
    what: str


@dataclass(slots=True)
class Tally:
    """The books at one moment. `problems` are broken laws, each with the record's id."""

    pipeline: str
    received: int = 0
    acknowledged: int = 0
    dead: int = 0
    duplicate: int = 0
    in_flight: int = 0
    outside: int = 0
    """Records left out because the broker took them in outside the window."""
    flying: list[Named] = field(default_factory=list)
    problems: list[Named] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """No record is lost, none has two answers, none was never received."""
        return not self.problems and self.received == (self.acknowledged + self.dead + self.duplicate + self.in_flight)

    def __str__(self) -> str:
        return (
            f"conservation: received={self.received} acknowledged={self.acknowledged} dead={self.dead} "
            f"duplicate={self.duplicate} in-flight={self.in_flight}"
        )


def total(tallies: Iterable[Tally]) -> Tally:
    """The sum of the books of several pipelines, without names."""
    found = Tally("")
    for one in tallies:
        for count in ("received", "acknowledged", "dead", "duplicate", "in_flight", "outside"):
            setattr(found, count, getattr(found, count) + getattr(one, count))
    return found


def together(pipeline: str, tallies: Iterable[Tally]) -> Tally:
    """The books of a pipeline from those of its lanes."""
    lanes = list(tallies)
    found = replace(total(lanes), pipeline=pipeline)
    found.flying = [one for lane in lanes for one in lane.flying]
    found.problems = [one for lane in lanes for one in lane.problems]
    if not all(lane.holds for lane in lanes) and not found.problems:
        broken = ", ".join(lane.pipeline for lane in lanes if not lane.holds)
        found.problems.append(Named(broken, "the sum does not hold"))
    return found


class Half(NamedTuple):
    """A half of a split batch (DI4)."""

    batch_id: bytes
    first: int
    """Index of its first record in the frozen batch."""
    count: int  # type: ignore[assignment]  # the field hides tuple.count, as in the delivery row


class Progress(NamedTuple):
    """How far the stages had come before anything was read; offsets by partition, None where nothing is committed."""

    validate: Mapping[int, int | None]
    batch: Mapping[int, int | None]
    batch_processed: Mapping[int, int]
    """`processed_through` of the batch stage's heads."""
    dispatch: Mapping[int, int | None]
    settled: Mapping[bytes, str]
    """Batch id -> state in the delivery table."""
    halves: Mapping[bytes, Sequence[Half]] = {}
    """Split batch -> its halves that have a row there."""


class Books:
    """Takes in a pipeline's messages and draws the balance."""

    def __init__(
        self, pipeline: str, raw: str, validated: str, batched: str, progress: Progress, window: Window | None = None
    ) -> None:
        """The names of the pipeline's topics, and how far its stages were. window: None for every record."""
        self._name, self._raw, self._validated, self._batched = pipeline, raw, validated, batched
        self._progress, self._window = progress, window
        self._outside: set[tuple[Source, int]] = set()
        """Submissions outside the window, by their offsets."""
        self._records: dict[Source, dict[int, int]] = {}
        self._left: dict[Source, dict[int, int]] = {}
        """Per submission (offset), how many of its records have not been seen."""
        self._waiting: dict[Place, tuple[int, int]] = {}
        """Records without an answer: their partition and last offset in `validated`."""
        self._held: dict[Place, str] = {}
        """Those that wait for what must come before them (ADR 22)."""
        self._condemned: set[tuple[str, int, int]] = set()
        """Messages of our own topics that could not be worked: their dead letters name their place there."""
        self._duplicates: list[tuple[Place, Place | None]] = []
        self._again: list[tuple[bytes, Place]] = []
        """Batch acks of records that were dead before: only a replay explains them."""
        self._replays: list[tuple[int, int, Mapping[str, Any]]] = []
        self._lives: dict[bytes, int] = {}
        self._batch_of: dict[Place, tuple[bytes, int, int, int]] = {}
        """Batch id, its partition and offset in `batched`, and the place in it."""
        self._problems: list[tuple[Place | None, Named]] = []
        """Each with its record, if it is known."""
        self._pending_raw = 0
        self._raw_outside = 0
        self._raw_flying: list[Named] = []
        self._raw_missing = 0

    def unreadable(self, position: str, error: str) -> None:
        """A message of a topic of ours that cannot be decoded: whose answer it is cannot be told."""
        self._problems.append((None, Named(position, f"cannot be read: {error}")))

    # ---- answers ---------------------------------------------------------------------------------

    def dead_letter(self, message: Mapping[str, Any]) -> None:
        """A message of `dead-letter`."""
        place, life = _place(message)
        if message["raw_topic"] in (self._validated, self._batched) and message["raw_topic"] != self._raw:
            self._condemned.add((message["raw_topic"], message["raw_partition"], message["raw_offset"]))
            return
        self._note(message)
        self._answer(place, DEAD, life)
        if message["stage"] == "validate":
            self._count(place, message)

    def sent(self, name: str, message: Mapping[str, Any]) -> None:
        """A message of `sent`: an ack of a record, or of a batch."""
        if name == "sent":
            self._note(message)
            place, life = _place(message)
            if message["outcome"] == "duplicate":
                named = message["duplicate_of"]
                self._duplicates.append((place, None if named is None else _own(named)))
            self._answer(place, DUPLICATE if message["outcome"] == "duplicate" else ACK, life)
            return
        for record in message["records"]:
            place = _own(record)
            entry = self._records.get(place[0], {}).get(place[1], 0)
            if entry >> 2 & 3 == DEAD:
                self._again.append((message["batch_id"], place))
                self._answer(place, ACK, (entry >> 4) + 1)
            else:
                self._answer(place, ACK, 0)

    def _answer(self, place: Place, kind: int, life: int) -> None:
        records = self._records.setdefault(place[0], {})
        entry = records.get(place[1], 0)
        before = entry >> 2 & 3
        if before and entry >> 4 == life:
            self._problem(place, f"has two answers: {WORDS[before]} and {WORDS[kind]}")
        elif before and entry >> 4 > life:
            return
        records[place[1]] = life << 4 | kind << 2 | entry & (SEEN | UNPACKED)

    def waits(self, record: Mapping[str, Any]) -> None:
        """A row of the table `waiting`, by its Validated message. The table must have been read before the answers."""
        self._held[_place(record)[0]] = "waits for what must come before it"

    # ---- records ---------------------------------------------------------------------------------

    def validated(self, partition: int, offset: int, name: str, message: Mapping[str, Any]) -> None:
        """A message of `validated`."""
        condemned = (self._validated, partition, offset) in self._condemned
        if name == "replay":
            self._replays.append((partition, offset, message))
        if name != "validated":
            if condemned:
                where = f"{self._validated}/{partition}/{offset}"
                self._problems.append((None, Named(where, f"this {name} was not worked")))
            return
        self._note(message)
        place, life = _place(message)
        if condemned:
            self._answer(place, DEAD, life)
        self._count(place, message)
        if not self._records[place[0]][place[1]] >> 2 & 3:
            self._waiting[place] = partition, offset

    def _count(self, place: Place, message: Mapping[str, Any]) -> None:
        """A record is received once, however often it was written or lives; each of its positions is unpacked once."""
        records = self._records.setdefault(place[0], {})
        records[place[1]] = records.get(place[1], 0) | SEEN
        own = _own(message)
        unpacked = self._records.setdefault(own[0], {})
        entry = unpacked.get(own[1], 0)
        if not entry & UNPACKED:
            unpacked[own[1]] = entry | UNPACKED
            left = self._left.setdefault(own[0], {})
            offset = own[1] >> INDEX_BITS
            left[offset] = left.get(offset, message["count"]) - 1

    @property
    def needs_batches(self) -> bool:
        """Whether anything is open that only `batched` can explain."""
        return bool(self._waiting or self._replays or any(topic == self._batched for topic, _, _ in self._condemned))

    def batched(self, partition: int, offset: int, batch_id: bytes, members: Iterable[Mapping[str, Any]]) -> None:
        """A frozen batch and its members' Validated messages."""
        condemned = (self._batched, partition, offset) in self._condemned
        for number, member in enumerate(members):
            place, life = _place(member)
            if condemned:
                self._answer(place, DEAD, life)
                self._waiting.pop(place, None)
            elif place in self._waiting:
                self._batch_of[place] = (batch_id, partition, offset, number)

    def batched_again(self, message: Mapping[str, Any]) -> None:
        """A dead batch that was admitted to another life."""
        attempt: int = message["passport"]["attempt"]
        self._lives[message["batch_id"]] = max(self._lives.get(message["batch_id"], 0), attempt)

    def raw(self, partition: int, offset: int, taken_in: int) -> None:
        """A submission, with the broker's time in ms since epoch."""
        sources = [s for s in self._left if s[0] == self._raw and s[2] == partition]
        source = max(sources, default=(self._raw, 0, partition))
        left = self._left.get(source, {}).get(offset)
        if left == 0:
            return
        name = record_id(RawPosition(source[0], source[1], partition, offset, 0)).rpartition("/")[0]
        committed = self._progress.validate.get(partition)
        missing = 1 if left is None else left
        if left is None and self._window is not None and not self._window.holds(taken_in):
            self._outside.add((source, offset))
        if (source, offset) in self._outside:
            self._raw_outside += missing
            return
        if committed is None or offset >= committed:
            self._pending_raw += missing
            self._raw_flying.append(Named(name, "not validated yet" if left is None else f"{left} not validated yet"))
        else:
            self._raw_missing += missing
            what = "was read by validate, and no record of it is there" if left is None else f"{left} records missing"
            self._problems.append((None, Named(name, what)))

    # ---- the window ------------------------------------------------------------------------------

    def _note(self, message: Mapping[str, Any]) -> None:
        """When the submission was taken in that a message is from."""
        if self._window is not None and not self._window.holds(message["recorded_at"]):
            source, key = _own(message)
            self._outside.add((source, key >> INDEX_BITS))

    def _left_out(self, place: Place) -> bool:
        return (place[0], place[1] >> INDEX_BITS) in self._outside

    # ---- the balance -----------------------------------------------------------------------------

    def balance(self, complete: bool) -> Tally:
        """Draws the balance. `complete`: nothing of `validated` was trimmed, so every answer must have its record."""
        tally = Tally(self._name, outside=self._raw_outside)
        flying = self._flying_again()
        for place in self._waiting:
            where = self._where(place)
            if where is None:
                continue
            flying[place] = where
        flying = {place: where for place, where in flying.items() if not self._left_out(place)}
        totals = {0: 0, ACK: 0, DEAD: 0, DUPLICATE: 0}
        for source, records in self._records.items():
            for key, entry in records.items():
                if entry == UNPACKED:
                    continue  # another life of a record that is counted under its first position
                if self._left_out((source, key)):
                    tally.outside += 1
                    continue
                if not entry & SEEN and complete:
                    self._problem((source, key), f"was {WORDS[entry >> 2 & 3]}, and was never received")
                else:
                    tally.received += 1
                totals[entry >> 2 & 3] += 1
        for place in flying:
            kind = self._records[place[0]][place[1]] >> 2 & 3
            totals[kind] -= 1
        for place, of in self._duplicates:
            if of is None or (complete and not self._records.get(of[0], {}).get(of[1], 0) & SEEN):
                self._problem(place, "is called a duplicate, but not of a record that was received")
        for batch_id, place in self._again:
            if batch_id not in {message["batch_id"] for _, _, message in self._replays}:
                self._problem(place, "has two answers: dead-lettered and acknowledged")
        tally.received += self._pending_raw + self._raw_missing
        tally.acknowledged, tally.dead, tally.duplicate = totals[ACK], totals[DEAD], totals[DUPLICATE]
        tally.in_flight = len(flying) + self._pending_raw
        tally.flying = [Named(_id(place), where) for place, where in flying.items()] + self._raw_flying
        tally.problems = [found for place, found in self._problems if place is None or not self._left_out(place)]
        return tally

    def _where(self, place: Place) -> str | None:
        """Where a record without an answer stands; None, and a problem, if it should have one."""
        progress = self._progress
        if place in self._batch_of:
            whole, partition, offset, number = self._batch_of[place]
            batch_id = self._part(whole, number)
            state = progress.settled.get(batch_id)
            committed = progress.dispatch.get(partition)
            passed = state is None and committed is not None and offset < committed
            if state in ("sent", "dead", "split") or passed:
                self._problem(place, f"its batch {batch_id.hex()} is {state or 'settled'}, and it has no answer")
                return None
            return f"in batch {batch_id.hex()}, {state.replace('_', ' ') if state else 'not dispatched yet'}"
        if place in self._held:
            return self._held[place]
        partition, offset = self._waiting[place]
        committed = progress.batch.get(partition)
        if committed is not None and offset < committed:
            self._problem(place, f"was read by batch ({self._validated}/{partition}/{offset}), is in no batch, "
                          "and has no answer")  # fmt: skip
            return None
        processed = progress.batch_processed.get(partition, -1)
        return "in an open window" if offset <= processed else "validated, not batched yet"

    def _part(self, batch_id: bytes, number: int) -> bytes:
        """The part of a split batch that the record lies in which is its `number`th."""
        for half in self._progress.halves.get(batch_id, ()):
            if half.first <= number < half.first + half.count:
                return self._part(half.batch_id, number)
        return batch_id

    def _flying_again(self) -> dict[Place, str]:
        """Records of dead batches whose next life has begun and has no answer."""
        flying: dict[Place, str] = {}
        for partition, offset, replay in self._replays:
            attempt: int = replay["passport"]["attempt"]
            waiting = offset > self._progress.batch_processed.get(partition, -1)
            if not waiting and self._lives.get(replay["batch_id"], -1) < attempt:
                continue  # refused: the dead letter stays the answer
            for member in replay["records"]:
                place = _own(member)
                entry = self._records.get(place[0], {}).get(place[1], 0)
                if entry >> 4 < attempt and entry >> 2 & 3 == DEAD:
                    flying[place] = f"replayed in batch {replay['batch_id'].hex()}"
        return flying

    def _problem(self, place: Place, what: str) -> None:
        self._problems.append((place, Named(_id(place), what)))


def _own(message: Mapping[str, Any]) -> Place:
    """The position a message itself carries."""
    source = message["raw_topic"], message["raw_incarnation"], message["raw_partition"]
    return source, message["raw_offset"] << INDEX_BITS | message["raw_index"]


def _place(message: Mapping[str, Any]) -> tuple[Place, int]:
    """The record a message is about, and which life of it: a replayed record stays the record it was."""
    from schemas.canonical import parse_record_id

    passport = message.get("passport")
    if passport is None:
        return _own(message), 0
    first = parse_record_id(passport["original_position"])
    own = _own(message)
    if first.topic != message["raw_topic"]:
        return own, passport["attempt"]
    place = (first.topic, first.incarnation, first.partition), first.offset << INDEX_BITS | first.index
    # A batch replayed whole keeps its records' positions; its passport names one of them.
    return (own if message.get("batch_id") is not None else place), passport["attempt"]


def _id(place: Place) -> str:
    (topic, incarnation, partition), key = place
    offset, index = divmod(key, 1 << INDEX_BITS)
    return record_id(RawPosition(topic, incarnation, partition, offset, index))
