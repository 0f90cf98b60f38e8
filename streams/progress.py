"""A stage's head on one partition: the content chain, how far it got, and the audit blocks of its transactions.

Written in every chunk transaction (law 2). The chain covers content and position only; clock and worker stand in
the block's observation envelope (T1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from audit.block import TAGS, Chain, Noted, Observation, Span, write_blocks
from audit.chain import Action
from schemas.canonical import GENESIS, RawPosition
from schemas.codec import Codec
from schemas.members import Member
from streams.runtime.log import LogGap
from streams.stage import Output, TableStore, Work
from streams.tables import decode_row
from topology.model import Pipeline

AUDIT_BLOCK_BYTES = 4 * 2**20
"""Blocks are split here, far below the audit topic's message limit (VA4)."""


@dataclass(slots=True)
class Identity:
    """What a worker says about itself in the observation envelope of its blocks."""

    worker: str
    software: str
    schema_version: str


@dataclass(frozen=True, slots=True)
class Begun:
    """What the first chunk of a submission decided for its later ones, whoever works them."""

    recorded_at: int
    """Of all its records (VA5)."""
    count: int
    """Of its records (VA2)."""
    broken: int = 0
    """Records before `next_index` that broke their reader (VA3)."""


@dataclass(slots=True)
class Progress:
    """Mutable while a chunk is worked; dropped and restored from the heads table on any doubt."""

    pipeline: str
    stage: str
    input: str
    """Short name of the stage's input topic."""
    partition: int
    chain: bytes = GENESIS
    counter: int = 0
    processed_through: int = -1
    next_index: int = 0
    stream_time: int = 0
    topology_version: int = 0
    input_topic_id: str = ""
    incarnation: int = 0
    sources: dict[tuple[str, int], tuple[int, int, int]] = field(default_factory=dict)
    """Batch only: (raw topic, partition) -> last (incarnation, offset, index) seen (BA4)."""
    committed: int = -1
    """Input offset committed together with this head; -1: a head written before it was noted."""
    tables: dict[str, str] = field(default_factory=dict)
    """Kafka's topic ids of the stage's other tables, by short name."""
    caps: dict[str, int] = field(default_factory=dict)
    """Batch only: partner -> records, as the last cap message up to `processed_through` says (DI7)."""
    begun: Begun | None = None
    """Validate only, of the submission that `next_index` lies in; None: there is none, or the head was written before
    it was noted."""
    entries: list[Noted] = field(default_factory=list)
    """Of this transaction, in the order of the chain."""

    @property
    def row_key(self) -> bytes:
        """Key of this head in the heads table."""
        return f"{self.stage}/{self.partition}".encode()

    def note(self, action: Action, code: str, position: RawPosition, digest: bytes) -> None:
        """One chain entry: what was done with which record. Order of calls is order in the chain."""
        topic, incarnation, partition, offset, index = position
        self.entries.append((TAGS[action, code, topic, incarnation, partition], offset, index, digest))

    def note_each(self, action: Action, code: str, members: Sequence[Member]) -> None:
        """The same for many records, in their order."""
        sources = {member.source for member in members}
        tags = {source: TAGS[action, code, *source] for source in sources}
        self.entries += [(tags[member.source], member.offset, member.index, member.digest) for member in members]

    def close(
        self,
        work: Work,
        codec: Codec,
        identity: Identity,
        now: int,
        offsets: tuple[int, int] | None,
    ) -> None:
        """Adds the audit blocks and the head row of this transaction to `work`.

        `offsets` are the first and last input offset the chunk covered on this partition, None where it read
        nothing; `work.offsets[partition]` must be set already.
        """
        self.counter += 1
        self.committed = work.offsets[self.partition]
        first, last = offsets or (None, None)
        blocks, self.chain = write_blocks(
            Chain(self.pipeline, self.stage, self.partition),
            self.counter,
            self.chain,
            self.entries,
            Span(self.input, first, last, work.offsets[self.partition]),
            Observation(identity.worker, now, identity.software, self.topology_version, identity.schema_version),
            max_bytes=AUDIT_BLOCK_BYTES,
        )
        self.entries = []
        key = self.row_key
        work.outputs.extend(Output("audit", self.partition, key, block) for block in blocks)
        work.outputs.append(Output("heads", self.partition, key, codec.encode("head", self.row())))

    def row(self) -> dict[str, Any]:
        """The head as a row of the heads table."""
        return {
            "stage": self.stage,
            "partition": self.partition,
            "chain": self.chain,
            "counter": self.counter,
            "processed_through": self.processed_through,
            "next_index": self.next_index,
            "stream_time": self.stream_time,
            "topology_version": self.topology_version,
            "input_topic_id": self.input_topic_id,
            "incarnation": self.incarnation,
            "sources": [
                {
                    "raw_topic": topic,
                    "raw_partition": partition,
                    "raw_incarnation": seen[0],
                    "raw_offset": seen[1],
                    "raw_index": seen[2],
                }
                for (topic, partition), seen in sorted(self.sources.items())
            ],
            "committed": self.committed,
            "tables": [{"table": table, "topic_id": topic_id} for table, topic_id in sorted(self.tables.items())],
            "caps": [{"partner": partner, "records": records} for partner, records in sorted(self.caps.items())],
            "begun": None if self.begun is None else asdict(self.begun),
        }

    def restore(self, row: Mapping[str, Any]) -> None:
        """Takes over what a row of the heads table says."""
        for name in (
            "chain", "counter", "processed_through", "next_index", "stream_time", "topology_version",
            "input_topic_id", "incarnation", "committed",
        ):  # fmt: skip
            setattr(self, name, row[name])
        self.sources = {
            (s["raw_topic"], s["raw_partition"]): (s["raw_incarnation"], s["raw_offset"], s["raw_index"])
            for s in row["sources"]
        }
        self.tables = {part["table"]: part["topic_id"] for part in row["tables"]}
        self.caps = {cap["partner"]: cap["records"] for cap in row["caps"]}
        self.begun = None if row["begun"] is None else Begun(**row["begun"])


class Takes(Protocol):
    """The part of a stage that `take_over` needs."""

    name: str
    input: str
    input_topic_id: str
    table_topic_ids: Mapping[str, str]
    pipeline: Pipeline


def take_over(stage: Takes, partition: int, heads: TableStore, codec: Codec, committed: int | None) -> Progress:
    """The head to go on from, new where the partition was never worked on.

    Raises LogGap (TX3) where going on could skip or repeat records: a head without a committed offset, or with another
    one than it was committed with; a committed offset without a head; an input or a table that is another topic than
    the one the head was written for; a head that cannot be read.
    """
    progress = Progress(stage.pipeline.pipeline, stage.name, stage.input, partition)
    where = f"{stage.name} partition {partition} of {stage.input}"
    key = progress.row_key
    data = dict(heads.items()).get(key)
    if data is None:
        if committed is not None:
            raise LogGap(f"{where}: offset {committed} is committed but there is no head; was the heads table deleted?")
        progress.input_topic_id, progress.tables = stage.input_topic_id, dict(stage.table_topic_ids)
        return progress
    progress.restore(decode_row(codec, stage.pipeline, "heads", partition, key, data))
    _same_topics(stage, progress, where)  # first: with a topic Kafka deletes the offsets that groups have in it
    group = stage.pipeline.group_id(stage.name)
    right = f"set offset {progress.committed} for the group {group}"
    if progress.committed < 0:
        right = f"set the offset for the group {group} that the last audit block names"
    if committed is None:
        raise LogGap(
            f"{where}: the head reached offset {progress.processed_through} but the group has no committed offset; "
            f"was the group deleted, or did its offsets expire? To go on, {right}"
        )
    if progress.committed >= 0 and committed != progress.committed:
        raise LogGap(
            f"{where}: offset {committed} is committed, the head was written with {progress.committed}; did somebody "
            f"move the group? From another offset records are skipped or repeated. To go on, {right}"
        )
    if committed > progress.processed_through + 1:
        raise LogGap(f"{where}: offset {committed} is committed, the head only reached {progress.processed_through}")
    progress.tables = dict(stage.table_topic_ids)
    return progress


def _same_topics(stage: Takes, progress: Progress, where: str) -> None:
    """Raises LogGap unless input and tables are the topics that the head was written for."""
    if progress.input_topic_id != stage.input_topic_id:
        raise LogGap(
            f"{where}: the topic has id {stage.input_topic_id}, the head was written for {progress.input_topic_id}; "
            "was the topic deleted and created again?"
        )
    other = [
        f"{stage.pipeline.topic(table)} has id {topic_id}, the head was written for {progress.tables[table]}"
        for table, topic_id in stage.table_topic_ids.items()
        if progress.tables.get(table, topic_id) != topic_id
    ]
    if other:
        raise LogGap(f"{where}: {'; '.join(other)}: was the table deleted and created again? Its rows are gone")
