"""Tables and single messages read from a real broker: up to the right end, and no further than is committed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from streams.batch.identity import MemoryVersions
from streams.runtime.admin import Cluster
from streams.runtime.clients import client_settings
from streams.runtime.kafka import KafkaLog
from streams.runtime.log import Fatal, LogGap
from streams.runtime.restore import SLICE_ROWS, Reader
from streams.runtime.stores import RocksRowStore
from streams.tables import MemoryRows
from tests.runtime.world import DEADLINE, SHORT, World, out, started
from tests.support import Names, wait_for

pytestmark = pytest.mark.kafka


class Spy(MemoryRows):
    """A store that remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[bytes] = []
        self.clears = 0

    def apply(self, rows: Iterable[tuple[bytes, bytes | None]], position: int) -> None:
        rows = list(rows)
        self.given += [key for key, _ in rows]
        super().apply(rows, position)

    def clear(self) -> None:
        self.clears += 1
        super().clear()


class Readers:
    """Readers beside a log, with hooks: what happens while they wait, how patient they are, what time it is."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._opened: list[Reader] = []

    def __call__(
        self,
        waiting: Callable[[], None] = lambda: None,
        patience: float = DEADLINE,
        clock: Callable[[], float] = time.time,
        progressed: Callable[[], None] = lambda: None,
    ) -> Reader:
        settings = client_settings(self._world.bootstrap, self._world.pipeline, "batch", 9, 0, SHORT)
        reader = Reader(settings.reader, Cluster(settings.common), patience, waiting, clock, progressed)
        self._opened.append(reader)
        return reader

    def close(self) -> None:
        for reader in self._opened:
            reader.close()


@pytest.fixture
def readers(world: World) -> Iterable[Readers]:
    readers = Readers(world)
    yield readers
    readers.close()


def once(action: Callable[[], object]) -> Callable[[], None]:
    """The action, the first time only."""
    done: list[bool] = []

    def act() -> None:
        if not done:
            done.append(True)
            action()

    return act


def open_row(world: World, short: str, key: bytes, name: str = "foreign") -> Any:
    """A foreign producer with an uncommitted row in partition 0."""
    producer = world.transactional(name, 60_000)
    producer.begin_transaction()
    producer.produce(world.pipeline.topic(short), b"open", key, 0)
    assert producer.flush(DEADLINE) == 0
    return producer


# ---- TX1 -------------------------------------------------------------------------------------------


def test_a_large_table_tells_of_its_progress(world: World, readers: Readers) -> None:
    """Or a guard from outside would take a long rebuild for a loop that stands still, and end it again and again."""
    world.publish("idempotency", [b"row"] * (2 * SLICE_ROWS))
    turns: list[int] = []
    store = Spy()
    readers(progressed=lambda: turns.append(store.position)).catch_up(
        world.pipeline.topic("idempotency"), 0, store, 86_400
    )
    assert len(turns) > 1
    assert turns == sorted(set(turns)), "each time something more has been applied"
    assert turns[-1] == 2 * SLICE_ROWS


def test_a_reader_that_has_rested_reads_on(world: World, readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage with nothing to do keeps no client for what it reads now and then."""
    world.publish("windows", [b"first", b"second"])
    table, reader = world.pipeline.topic("windows"), readers()
    for offset, value in ((0, b"first"), (0, b"first"), (1, b"second")):
        found = reader.read(table, 0, offset)
        assert found is not None
        assert found.value == value
        reader.rest()
        assert reader._made is not None, "it was used a moment ago"
        with monkeypatch.context() as late:
            late.setattr("streams.runtime.restore.REST_SECONDS", 0)
            reader.rest()
        assert reader._made is None
    store = Spy()
    reader.catch_up(table, 0, store, 3600)
    assert len(store.given) == 2


@pytest.mark.parametrize("ending", ["commit_transaction", "abort_transaction"])
def test_tx1_a_table_is_read_to_the_high_watermark_past_an_open_transaction(
    world: World, readers: Readers, ending: str
) -> None:
    """The last stable offset would be too short: rows behind it are committed."""
    world.publish("windows", [b"first"])
    foreign = open_row(world, "windows", b"theirs")
    world.publish("windows", [b"v", b"behind"])
    table, store = world.pipeline.topic("windows"), MemoryRows()
    reader = readers(waiting=once(lambda: getattr(foreign, ending)(DEADLINE)))
    reader.catch_up(table, 0, store, 3600)
    rows = {b"0": b"v", b"1": b"behind"}
    assert dict(store.items()) == (rows | {b"theirs": b"open"} if ending == "commit_transaction" else rows)
    assert store.position >= 4, "rows 0 to 3; the marker came after the high watermark was taken"


def test_tx1_an_open_transaction_beyond_all_patience_is_a_loud_stop(world: World, readers: Readers) -> None:
    foreign = open_row(world, "windows", b"theirs")
    try:
        with pytest.raises(Fatal, match="transaction of another producer"):
            readers(patience=0.3).catch_up(world.pipeline.topic("windows"), 0, MemoryRows(), 3600)
        with pytest.raises(Fatal, match="transaction of another producer"):
            readers(patience=0.3).read(world.pipeline.topic("windows"), 0, 0)
    finally:
        foreign.abort_transaction(DEADLINE)


def test_tx1_the_committed_offset_waits_for_a_pending_transaction(
    world: World, log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish("validated", [b"one", b"two", b"three"])
    token = started(log).token
    log.transact([out(b"A")], {0: 1}, token)
    foreign = world.transactional("foreign", 60_000)
    foreign.begin_transaction()
    foreign.send_offsets_to_transaction([TopicPartition(world.pipeline.topic("validated"), 0, 3)], token, DEADLINE)
    monkeypatch.setattr(log, "_keep_alive", once(lambda: foreign.commit_transaction(DEADLINE)))
    assert log.committed(0) == 3


# ---- TX4 -------------------------------------------------------------------------------------------


def test_tx4_a_table_that_ends_in_markers_has_an_end(world: World, log: KafkaLog) -> None:
    token = started(log).token
    log.transact([out(b"1", "windows", b"a"), out(b"2", "windows", b"b")], {0: 0}, token)
    log.transact([out(None, "windows", b"a")], {0: 0}, token)
    foreign = open_row(world, "windows", b"never")
    foreign.abort_transaction(DEADLINE)
    wait_for(lambda: world.high("windows") == 7, DEADLINE, "all markers are written")
    store = MemoryRows()
    log.catch_up("windows", 0, store)
    assert dict(store.items()) == {b"b": b"2"}
    assert store.position == 7, "2 rows, marker, tombstone, marker, aborted row, marker"
    log.catch_up("windows", 1, empty := MemoryRows())
    assert (dict(empty.items()), empty.position) == ({}, 0)


def test_tx4_a_compacted_table_has_an_end_and_its_gaps_no_message(kafka: str, names: Names) -> None:
    config = {"windows": {"segment.ms": "100", "min.cleanable.dirty.ratio": "0.001", "max.compaction.lag.ms": "100"}}
    world = World(kafka, names.prefix, config)
    try:
        producer = world.transactional("writer")
        table = world.pipeline.topic("windows")
        written = 0

        def compacted() -> bool:
            nonlocal written
            producer.begin_transaction()
            producer.produce(table, b"%d" % written, b"same", 0)
            producer.commit_transaction(DEADLINE)
            written += 1
            return len(world.read("windows")) < written // 2

        wait_for(compacted, DEADLINE, "the cleaner has removed rows")
        wait_for(lambda: world.high("windows") == 2 * written, DEADLINE, "the last marker is written")
        log = world.log()
        store = MemoryRows()
        log.catch_up("windows", 0, store)
        assert dict(store.items()) == {b"same": b"%d" % (written - 1)}
        assert store.position == 2 * written
        assert log.read("windows", 0, 0) is None, "compacted away"
        assert log.read("windows", 0, 2 * written - 1) is None, "a marker"
        last = log.read("windows", 0, 2 * written - 2)
        assert last is not None
        assert last.value == b"%d" % (written - 1)
    finally:
        world.close()


def test_tx4_a_store_reads_on_from_its_position(world: World, log: KafkaLog) -> None:
    store = Spy()
    world.publish("windows", [b"a", b"b"])
    log.catch_up("windows", 0, store)
    log.catch_up("windows", 0, store)
    assert store.given == [b"0", b"1"]
    world.publish("windows", [b"c"])
    log.catch_up("windows", 0, store)
    assert store.given == [b"0", b"1", b"0"]
    assert dict(store.items()) == {b"0": b"c", b"1": b"b"}


@pytest.mark.parametrize("lasting", [False, True])
def test_tx4_what_this_log_committed_is_not_read_again(
    world: World, log: KafkaLog, tmp_path: Path, lasting: bool
) -> None:
    """After an abort a table of millions of rows would otherwise be read from its last restore on."""
    store = RocksRowStore(tmp_path / "s") if lasting else MemoryRows()
    token = started(log).token
    log.catch_up("windows", 0, store)
    rows = [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]
    written = [*[out(value, "windows", key) for key, value in rows], out(b"other", "windows", b"a", partition=1)]
    reached = log.transact([written[0], out(b"an ack"), *written[1:]], {0: 0}, token)
    assert reached == {("windows", 0): 3, ("windows", 1): 1}
    log.follow("windows", 0, store, rows, reached["windows", 0])
    world.publish("windows", [b"behind"])
    given: list[bytes] = []
    apply = store.apply

    def spy(rows: Iterable[tuple[bytes, bytes | None]], position: int) -> None:
        rows = list(rows)
        given.extend(key for key, _ in rows)
        apply(rows, position)

    store.apply = spy  # type: ignore[method-assign]
    log.catch_up("windows", 0, store)
    assert given == [b"0"]
    assert dict(store.items()) == {b"0": b"behind", b"a": b"1", b"b": b"2", b"c": b"3"}
    store.close()


def test_tx4_a_store_that_follows_the_commits_does_not_age(world: World, readers: Readers) -> None:
    """A worker that has run for longer than tombstones are kept has missed none of them."""
    now = 1000.0
    table, store = world.pipeline.topic("windows"), Spy()
    world.publish("windows", [b"v"])
    reader = readers(clock=lambda: now)
    reader.catch_up(table, 0, store, 3600)
    now += 3000
    reader.follow(table, 0, store, [], store.position)
    now += 3000
    clears = store.clears
    reader.catch_up(table, 0, store, 3600)
    assert store.clears == clears
    now += 4000
    reader.catch_up(table, 0, store, 3600)
    assert store.clears == clears + 1


def test_tx4_a_lasting_store_reads_on_in_another_process(world: World, log: KafkaLog, tmp_path: Path) -> None:
    world.publish("windows", [b"a", b"b"])
    store = RocksRowStore(tmp_path / "s")
    log.catch_up("windows", 0, store)
    store.apply([(b"local", b"marks that it was kept")], store.position)
    store.close()
    log.close()
    world.publish("windows", [b"c"])
    again = RocksRowStore(tmp_path / "s")
    world.log().catch_up("windows", 0, again)
    assert dict(again.items()) == {b"0": b"c", b"1": b"b", b"local": b"marks that it was kept"}
    again.close()


@pytest.mark.parametrize("lasting", [False, True])
def test_tx4_a_store_of_a_recreated_topic_is_rebuilt(
    world: World, log: KafkaLog, tmp_path: Path, lasting: bool
) -> None:
    store = RocksRowStore(tmp_path / "s") if lasting else MemoryRows()
    world.publish("windows", [b"old"] * 3)
    log.catch_up("windows", 0, store)
    world.recreate("windows")
    world.publish("windows", [b"new"] * 2 + [b"another"])  # the old position lies within the new log
    log.catch_up("windows", 0, store)
    assert dict(store.items()) == {b"0": b"new", b"1": b"new", b"2": b"another"}
    assert store.position == 3
    store.close()


def test_tx4_a_store_older_than_delete_retention_is_rebuilt(world: World, readers: Readers, tmp_path: Path) -> None:
    """Its tombstones may be gone from the topic, so that reading on would keep deleted rows for ever."""
    now = [1_000_000.0]
    reader = readers(clock=lambda: now[0])
    table, store = world.pipeline.topic("windows"), RocksRowStore(tmp_path / "s")
    world.publish("windows", [b"a"])
    reader.catch_up(table, 0, store, 60)
    store.apply([(b"deleted", b"long ago")], store.position)
    now[0] += 59
    reader.catch_up(table, 0, store, 60)
    assert b"deleted" in dict(store.items())
    now[0] += 60
    reader.catch_up(table, 0, store, 60)
    assert dict(store.items()) == {b"0": b"a"}
    store.close()


@pytest.mark.parametrize("lasting", [False, True])
def test_t1_a_table_that_ends_before_what_was_read_is_a_loud_stop(
    world: World, log: KafkaLog, tmp_path: Path, lasting: bool
) -> None:
    """The cluster lost rows: what is left is a part, and the store may hold what nobody else knows."""
    store = RocksRowStore(tmp_path / "s") if lasting else MemoryRows()
    world.publish("windows", [b"a", b"b", b"c"])
    log.catch_up("windows", 0, store)
    store.apply([(b"lost", b"x")], 99)
    with pytest.raises(LogGap, match=r"windows\[0\]: it ends at 3 and was read to 99 before"):
        log.catch_up("windows", 0, store)
    store.close()


def test_t1_a_store_that_was_not_read_from_here_is_rebuilt(world: World, log: KafkaLog) -> None:
    store = MemoryRows()
    store.apply([(b"stray", b"x")], 99)
    world.publish("windows", [b"a"])
    log.catch_up("windows", 0, store)
    assert (dict(store.items()), store.position) == ({b"0": b"a"}, 1)


def test_t1_a_table_whose_beginning_is_gone_is_a_loud_stop(world: World, readers: Readers) -> None:
    """Compaction never moves the log start; whoever did has deleted rows."""
    reader, table, store = readers(), world.pipeline.topic("batched"), MemoryRows()
    world.publish("batched", [b"a", b"b", b"c"])
    reader.catch_up(table, 0, store, 3600)
    world.cut("batched", 2)
    for held in (store, MemoryRows()):
        with pytest.raises(LogGap, match=r"batched\[0\]: it begins at 2: rows of this table were deleted"):
            reader.catch_up(table, 0, held, 3600)


def test_t1_a_row_key_that_says_nothing_is_a_loud_stop(world: World, log: KafkaLog) -> None:
    world.publish("idempotency", [b"a"])  # its key has no offset
    with pytest.raises(LogGap, match=r"idempotency\[0\]: one of the 1 rows before 1 has a key that cannot be read"):
        log.catch_up("idempotency", 0, MemoryVersions())


def test_tx4_bounds_are_the_high_watermark_not_the_last_stable_offset(world: World, log: KafkaLog) -> None:
    world.publish("validated", [b"one"])
    foreign = open_row(world, "validated", b"open")
    world.publish("validated", [b"two"])
    assert log.bounds(0) == (0, 3)
    foreign.abort_transaction(DEADLINE)
    wait_for(lambda: log.bounds(0) == (0, 4), DEADLINE, "the marker is written")


# ---- single messages -------------------------------------------------------------------------------


def test_read_by_position_in_any_order(world: World, log: KafkaLog) -> None:
    world.publish("batched", [b"%d" % n for n in range(20)])
    world.publish("batched", [b"other"], partition=1)
    foreign = open_row(world, "batched", b"never")
    foreign.abort_transaction(DEADLINE)

    def value(offset: int, partition: int = 0) -> bytes | None:
        message = log.read("batched", partition, offset)
        return None if message is None else message.value

    for offset in (3, 4, 4, 19, 0, 7, 6):
        assert value(offset) == b"%d" % offset
    assert value(0, 1) == b"other"
    assert value(5) == b"5"
    assert [value(20), value(21), value(22), value(999)] == [None] * 4, "aborted, marker, end, beyond"
    world.cut("batched", 10)
    assert [value(9), value(10)] == [None, b"10"]


def test_read_waits_for_an_open_transaction_before_it(world: World, readers: Readers) -> None:
    foreign = open_row(world, "batched", b"theirs")
    world.publish("batched", [b"committed behind it"])
    reader = readers(waiting=once(lambda: foreign.abort_transaction(DEADLINE)))
    message = reader.read(world.pipeline.topic("batched"), 0, 1)
    assert message is not None
    assert message.value == b"committed behind it"
