"""What a finished history left behind, read once from the topics: answers, batches, rows, audit entries."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.block import read_block
from schemas.canonical import RawPosition
from schemas.codec import WireError
from schemas.messages import position_of
from streams.dispatch.agent import PARTNER_KEY
from tests.simulation.pack import payload_of

if TYPE_CHECKING:
    from tests.simulation.world import World


class Answer(NamedTuple):
    """One final answer of one life of a record."""

    kind: str
    """delivered, duplicate or dead."""
    stage: str
    message: dict[str, Any]


class Batch(NamedTuple):
    """A frozen batch on `batched`, or a part of one."""

    place: tuple[int, int, int]
    """Partition, offset, and of a part its first record."""
    message: dict[str, Any]
    members: list[dict[str, Any]]

    @property
    def raws(self) -> list[RawPosition]:
        return [position_of(member) for member in self.members]


class Facts:
    """What a history left behind."""

    def __init__(self, w: World) -> None:
        self.w = w
        self.answers: dict[RawPosition, list[Answer]] = defaultdict(list)
        self.batches: dict[str, Batch] = {}
        self.rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
        """Rows of `delivery` of each batch, in order; with each, how often the batch had been forgotten before it."""
        self.gone: set[str] = set()
        """Batches whose row is tombstoned, which is only done to settled ones."""
        self.tombstones: Counter[str] = Counter()
        self.condemned: set[tuple[str, int, int]] = set()
        """Messages of our own topics that a stage gave up on: topic, partition, offset."""
        self._read_batches()
        for partition, messages in enumerate(w.broker.partitions("delivery")):
            for message in messages:
                if (message.key or b"").startswith(PARTNER_KEY):
                    continue
                if message.value is None:
                    self.gone.add((message.key or b"").hex())
                    self.tombstones[(message.key or b"").hex()] += 1
                else:
                    row = w.decode(message.value)[1]
                    self.gone.discard(row["batch_id"].hex())
                    name = row["batch_id"].hex()
                    where = {"partition": partition, "offset": message.offset, "at": message.timestamp}
                    self.rows[name].append(row | where | {"forgotten": self.tombstones[name]})
        self.split = {name for name, rows in self.rows.items() if any(row["state"] == "split" for row in rows)}
        self.parts = dict(self._parts())
        self.units = self.batches | self.parts
        """Whatever may be delivered under an id of its own."""
        for value in (m.value for m in w.broker.all("sent")):
            self._ack(*w.decode(value or b""))
        for message in w.broker.all("dead-letter"):
            self._dead(w.decode(message.value or b"")[1] | {"at": message.timestamp})
        self.effects = Counter(effect.key for effect in w.partners.effects)
        self.replays: dict[str, list[str]] = defaultdict(list)
        """Further lives of each batch that dispatch noted."""
        self.entries: dict[tuple[str, int], list[tuple[str, str, RawPosition]]] = defaultdict(list)
        """Action, code and position of what each stage noted on each partition, in order."""
        for message in w.broker.all("audit"):
            block = read_block(message.value or b"")
            for entry in block.entries:
                noted = entry.action, entry.code, RawPosition(*entry[2:7])
                self.entries[block.chain.stage, message.partition].append(noted)
                if entry.action == "REPLAY" and block.chain.stage == "dispatch":
                    self.replays[entry.digest.hex()].append(entry.code)

    def _read_batches(self) -> None:
        w = self.w
        for message in w.broker.all("batched"):
            name, value = w.decode(message.value or b"")
            if name != "batched":
                continue
            batch_id = value["batch_id"].hex()
            if batch_id in self.batches:
                w.broken(f"law 3: batch {batch_id[:8]} was cut twice")
            members = [w.decode(data)[1] for data in value["records"]]
            self.batches[batch_id] = Batch((message.partition, message.offset, 0), value, members)

    def _parts(self) -> Iterator[tuple[str, Batch]]:
        """What split batches went on in (DI4): each cut in the middle, both halves written with the split."""
        by_place = {batch.place: batch for batch in self.batches.values()}
        for name, rows in self.rows.items():
            first, parent = rows[0]["first"], rows[0]["parent"]
            if parent is None:
                continue
            whole = by_place[rows[0]["batched_partition"], rows[0]["batched_offset"], 0]
            members = whole.members[first : first + rows[0]["count"]]
            yield name, Batch((*whole.place[:2], first), whole.message, members)
            splits = [row for row in self.rows[parent.hex()] if row["state"] == "split"]
            if not splits or splits[0]["offset"] >= rows[0]["offset"]:
                self.w.broken(f"DI4: half {name[:8]} was written before its parent was split")
            middle = splits[0]["first"] + splits[0]["count"] // 2
            end = splits[0]["first"] + splits[0]["count"]
            if (first, first + len(members)) not in ((splits[0]["first"], middle), (middle, end)):
                self.w.broken(f"DI4: {name[:8]} is no half of {parent.hex()[:8]}")

    def _ack(self, name: str, ack: dict[str, Any]) -> None:
        if name == "sent":
            self.answers[position_of(ack)].append(Answer(ack["outcome"], "", ack))
            return
        for record in ack["records"]:
            self.answers[position_of(record)].append(Answer("delivered", "", ack | record))

    def _dead(self, letter: dict[str, Any]) -> None:
        position = position_of(letter)
        answer = Answer("dead", letter["stage"], letter)
        if position.topic == self.w.pipeline.raw_topic:
            self.answers[position].append(answer)
            return
        short = position.topic.rpartition(".")[2]
        self.condemned.add((short, position.partition, position.offset))
        for inner in self._inside(letter["original"]):
            self.answers[inner].append(answer)

    def _inside(self, original: bytes) -> list[RawPosition]:
        """The records in a message of our own that a stage gave up on."""
        try:
            name, value = self.w.decode(original)
        except WireError:
            return []
        if name == "validated":
            return [position_of(value)]
        return [position_of(self.w.decode(data)[1]) for data in value.get("records", [])] if name == "batched" else []

    def lives(self, raw: RawPosition) -> int:
        """Lives of a record that dispatch has begun, by what it noted: a row may come and go in one transaction."""
        return 1 + sum(len(self.replays[name]) for name in self.units_of[raw])

    @cached_property
    def units_of(self) -> dict[RawPosition, list[str]]:
        """The batch of each record, and the parts of it that held the record."""
        found: dict[RawPosition, list[str]] = defaultdict(list)
        for name, unit in self.units.items():
            for raw in unit.raws:
                found[raw].append(name)
        return found

    def payload(self, position: RawPosition) -> bytes:
        """The canonical form of a good record, from what was published."""
        return payload_of(self.w.published[position.partition, position.offset].lines[position.index])
