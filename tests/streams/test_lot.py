"""Records worked in the loop and records worked one by one come to the same: with a codec that has no header every
message is read in full, and no record takes the short way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.canonical import RawPosition
from schemas.codec import Codec, SingleObjectCodec
from streams.batch.agent import BatchStage
from streams.batch.identity import MemoryVersions
from streams.deadletter import DeadLetters
from streams.progress import Identity
from streams.stage import Chunk, Message, Output
from streams.tables import table_rows
from tests.schemas.samples import example
from topology.model import Pipeline
from topology.sections import Batching

AVRO = SingleObjectCodec()


class InFull:
    """Reads every message in full."""

    def header(self, name: str) -> None:
        """Nothing is read by hand."""

    def encode(self, name: str, message: Mapping[str, Any]) -> bytes:
        return AVRO.encode(name, message)

    def decode(self, data: bytes) -> tuple[str, dict[str, Any]]:
        return AVRO.decode(data)


def record(said: tuple[Any, ...]) -> bytes:
    key, content, group, date, topic, partition, offset, index, at, ordering, claimed, more = said
    usual: dict[str, Any] = {"passport": None, "warnings": [], "source": None, "site": "Zürich", "received_at": None}
    return AVRO.encode(
        "validated",
        example("validated")
        | {name: value for name, value in usual.items() if name not in more}
        | {
            "key": key, "digest": sha256(content.encode()).digest(), "group": group, "date": date, "partner": "p%d",
            "raw_topic": topic, "raw_incarnation": 0, "raw_partition": partition, "raw_offset": offset,
            "raw_index": index, "recorded_at": at * 1000, "ordering": ordering,
            "claim": {"url": "u", "size": 300} if claimed else None,
        },
    )  # fmt: skip


RECORD = st.builds(
    record,
    st.tuples(
        st.sampled_from(["a", "b", "c", "ü\x1fd", "k" * 64]) | st.text(max_size=3),
        st.sampled_from("xy"),
        st.sampled_from(["g", "h", "%s", "g" * 64]),
        st.sampled_from(["d1", "d2"]),
        st.sampled_from(["raw", "%b"]),
        st.sampled_from([0, 1, 64]),
        st.integers(0, 12) | st.sampled_from([8191, 8192, 2**20, 2**40]),
        st.sampled_from([0, 0, 1, 64]),
        st.integers(0, 60),
        st.sampled_from([None, "1", "2"]),
        st.sampled_from([False, False, True]),
        st.sampled_from(["", "", "", "passport", "warnings", "source", "site", "received_at"]),
    ),
)


@st.composite
def logs(draw: st.DrawFn) -> list[bytes | None]:
    """What lies on one partition: records, some again, releases of them, and messages that nobody can read."""
    found: list[bytes | None] = []
    for data in draw(st.lists(RECORD, max_size=25)):
        found.append(data)
        then = draw(st.sampled_from(["", "", "", "", "again", "release", "cut", "strange", "nothing"]))
        if then == "again":
            found.append(data)
        elif then == "release":
            said = AVRO.decode(data)[1]
            raw = {f"raw_{name}": said[f"raw_{name}"] for name in RawPosition._fields}
            found.append(
                AVRO.encode("release", {**raw, "key": said["key"], "batch_id": bytes(32), "digest": bytes(32)})
            )
        elif then == "cut":
            found.append(data[: draw(st.integers(0, len(data)))] + draw(st.sampled_from([b"", b"\0"])))
        elif then == "strange":
            found.append(b"strange")
        elif then == "nothing":
            found.append(None)
    return found


Written = tuple[list[Output], dict[int, int]]


def worked(codec: Codec, pipeline: Pipeline, chunks: Sequence[Sequence[Message]], again: int) -> list[Written]:
    """What each chunk came to; before chunk `again` the stage begins anew from what has committed."""
    stage = BatchStage(pipeline, codec, Identity("w", "0", "1"), DeadLetters(codec, 2), lambda p: MemoryVersions())
    stores = {p: {table: stage.store(table, p) for table in stage.tables} for p in (0, 1)}
    committed: dict[int, int | None] = {0: None, 1: None}
    for p in stores:
        stage.restore(p, stores[p], None, 0)
    found: list[Written] = []
    past: list[Message] = []
    for turn, chunk in enumerate(chunks):
        messages = list(chunk)
        if turn == again:
            starts = {p: stage.restore(p, stores[p], committed[p], turn) for p in stores}
            messages = [m for m in past if m.offset >= starts[m.partition]] + messages
        past += chunk
        work = stage.process(Chunk(messages, turn * 1000))
        found.append((work.outputs, work.offsets))
        for (table, p), rows in table_rows(work.outputs, stage.tables).items():
            stores[p][table].apply(rows, stores[p][table].position + len(rows))
        stage.committed(work, turn)
        committed.update(work.offsets)
    return found


@settings(max_examples=200)
@given(
    said=st.tuples(logs(), logs()),
    takes=st.lists(st.tuples(st.sampled_from([0, 1]), st.integers(1, 9)), max_size=12),
    join=st.integers(1, 4),
    again=st.integers(0, 9),
    policy=st.sampled_from(["supersede", "conflict"]),
    open_bytes=st.sampled_from([10**6, 700]),
    most_bytes=st.sampled_from([10**6, 1500]),
    reread=st.sampled_from([None, 1, 5]),
)
def test_a_record_is_worked_alike_in_the_loop_and_alone(
    said: tuple[list[bytes | None], list[bytes | None]],
    takes: list[tuple[int, int]],
    join: int,
    again: int,
    policy: str,
    open_bytes: int,
    most_bytes: int,
    reread: int | None,
) -> None:
    batching = Batching(max_records=3, linger=10, idle=4, max_reread=reread)
    bounds = {"max_bytes": most_bytes, "max_open_bytes": open_bytes}
    pipeline = Pipeline(
        pipeline="p", pack="none", partitions=2, partition_by=["k"], idempotency=["k"], partner="p", keep=30,
        on_conflict=policy, ordering_by="o", batching=batching,
    ).model_copy(update={"batching": batching.model_copy(update=bounds)})  # fmt: skip
    at = [0, 0]
    runs: list[list[Message]] = []
    for p, count in [*takes, (0, 10**6), (1, 10**6)]:
        run = [Message(p, at[p] + n, 0, b"k", data) for n, data in enumerate(said[p][at[p] : at[p] + count])]
        at[p] += len(run)
        runs.append(run)
    chunks = [[m for run in runs[n : n + join] for m in run] for n in range(0, len(runs), join)]
    assert worked(AVRO, pipeline, chunks, again) == worked(InFull(), pipeline, chunks, again)
