"""The Kafka log on a real broker: transactions, fencing, assignment, positions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streams.runtime import failpoints, restore
from streams.runtime.kafka import KafkaLog
from streams.runtime.log import Abortable, Fatal, Fetched, Indeterminate, LogGap, StaleMember, TooLarge
from streams.stage import Message
from tests.runtime.world import DEADLINE, World, fetched, joined, out, started
from tests.support import freeze, wait_for
from waybill.broker import Broker

pytestmark = pytest.mark.kafka
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm(None)


@contextmanager
def worker(world: World, slot: int, failpoint: str = "", times: str = "short") -> Iterator[subprocess.Popen[str]]:
    """A worker process that has read one message and waits for a line before it commits."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.runtime.zombie", world.bootstrap, world.pipeline.application, str(slot), times],
        cwd=ROOT,
        env={**os.environ, failpoints.VARIABLE: failpoint},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        try:
            assert process.stdout.readline() == "read 1\n"
            yield process
        finally:
            process.kill()
            process.wait(timeout=DEADLINE)


def answer(process: subprocess.Popen[str]) -> str:
    """Lets the worker commit, and says how it went."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


# ---- the round -------------------------------------------------------------------------------------


def test_round_trip(world: World, log: KafkaLog) -> None:
    world.publish("validated", [b"one", b"two"], headers=[("h", b"v")])
    world.publish("validated", [b"three", None], partition=1)
    started(log)
    messages, token = fetched(log, 4)
    assert sorted((m.partition, m.offset, m.key, m.value, m.headers) for m in messages) == [
        (0, 0, b"0", b"one", (("h", b"v"),)),
        (0, 1, b"1", b"two", (("h", b"v"),)),
        (1, 0, b"0", b"three", ()),
        (1, 1, b"1", None, ()),
    ]
    assert all(m.timestamp > 1_600_000_000_000 for m in messages)
    assert log.committed(0) is None
    outputs = [out(b"A")._replace(headers=(("x", b"y"),)), out(None, "windows", b"row"), out(b"B", partition=1)]
    log.transact(outputs, {0: 2, 1: 1}, token)
    assert (log.committed(0), log.committed(1)) == (2, 1)
    assert world.read("sent") == [b"A"]
    assert world.read("sent", 1) == [b"B"]
    assert world.read("windows") == [None]
    assert log.read("sent", 0, 0) == Message(0, 0, log.read("sent", 0, 0).timestamp, b"k", b"A", (("x", b"y"),))  # type: ignore[union-attr]
    assert log.bounds(0) == (0, 2)


def test_a_chunk_ends_at_its_records_or_bytes(world: World, log: KafkaLog) -> None:
    world.publish("validated", [b"x" * 1000] * 10_000)
    started(log)
    fetched(log, 1)
    assert len(fetched(log, 10)[0]) == 10
    some = log.fetch(9_000, 100_000, 60.0, DEADLINE).messages
    assert 100 <= len(some) < 9_000
    rest = fetched(log, 10_000 - 11 - len(some), 2**30)[0]
    assert rest[-1].offset == 9_999


def test_an_aborted_transaction_is_invisible_and_done_again(world: World, log: KafkaLog) -> None:
    world.publish("validated", [b"one"])
    started(log)
    messages, token = fetched(log, 1)
    failpoints.arm("batch:before-commit=error")
    with pytest.raises(failpoints.FailpointError):
        log.transact([out(b"A")], {0: 1}, token)
    assert log.recover(Abortable("a fault in the worker")) == {0, 1}
    assert world.read("sent") == []
    assert log.committed(0) is None
    assert log.fetch(10, 2**20, 0.0, 0.5).messages == [], "nothing is read before seek"
    log.seek(0, 0)
    log.seek(1, 0)
    again, token = fetched(log, 1)
    assert again == messages
    log.transact([out(b"A")], {0: 1}, token)
    assert world.read("sent") == [b"A"]


def test_a_transaction_without_offsets_is_refused(log: KafkaLog) -> None:
    token = started(log).token
    with pytest.raises(ValueError, match="without offsets"):
        log.transact([out(b"A")], {}, token)


@pytest.mark.parametrize(("topic", "size"), [("windows", 9 * 2**20), ("sent", 40 * 2**20)])
def test_the_output_that_is_too_large_is_named_and_the_log_goes_on(
    world: World, log: KafkaLog, topic: str, size: int
) -> None:
    token = started(log).token
    big = out(os.urandom(size), topic)
    with pytest.raises(TooLarge) as caught:
        log.transact([out(b"A"), big, *[out(os.urandom(1000), topic) for _ in range(3000)]], {0: 0}, token)
    assert caught.value.output is big
    assert world.read("sent") == []
    log.recover(caught.value)
    log.transact([out(b"A")], {0: 0}, token)
    assert world.read("sent") == [b"A"]


# ---- fencing ---------------------------------------------------------------------------------------


def test_a_stale_generation_is_refused_and_rejoins(world: World, log: KafkaLog) -> None:
    world.publish("validated", [b"one"])
    started(log)
    _, old = fetched(log, 1)
    other = world.log(slot=1)
    waiting = threading.Thread(target=joined, args=(other, 1))
    waiting.start()
    joined(log, 1)
    waiting.join(DEADLINE)
    with pytest.raises(StaleMember) as stale:
        log.transact([out(b"A")], {0: 1}, old)
    assert world.read("sent") == []
    assert log.committed(0) is None
    assert log.recover(stale.value) == frozenset()
    other.close()
    token = started(log).token
    log.transact([out(b"B")], {0: 1}, token)
    assert world.read("sent") == [b"B"]


def test_a_worker_stopped_beyond_its_session_is_refused(world: World) -> None:
    """A zombie: it has read, is stopped, loses its partitions, and goes on as if nothing had happened."""
    world.publish("validated", [b"one"])
    with worker(world, 0) as zombie:
        freeze(zombie.pid)
        heir = world.log(slot=1)
        started(heir)
        _, token = fetched(heir, 1)
        heir.transact([out(b"heir")], {0: 1}, token)
        zombie.send_signal(signal.SIGCONT)
        assert answer(zombie) == "StaleMember"
    assert world.read("sent") == [b"heir"]
    assert heir.committed(0) == 1


@pytest.mark.parametrize(
    "token",
    [
        None,
        b"",
        b"CGMDv2:",
        b"CGMDv2:\xff\xff\xff\xffgroup\0\0",
        b"CGMDv3:\x01\0\0\0group\0member\0",
        "CGMDv2:\x01\0\0\0",
    ],
)
def test_group_metadata_of_another_form_is_never_sent(world: World, log: KafkaLog, token: Any) -> None:
    started(log)
    with pytest.raises(StaleMember):
        log.transact([out(b"A")], {0: 0}, token)
    assert world.read("sent", isolation="read_uncommitted") == []


def test_the_form_of_group_metadata_is_pinned(world: World, log: KafkaLog) -> None:
    token = started(log).token
    group = world.pipeline.group_id("batch").encode()
    assert token.startswith(b"CGMDv2:" + (1).to_bytes(4, "little") + group + b"\0")


def test_tx2_the_older_owner_of_an_id_is_fenced(world: World, log: KafkaLog) -> None:
    token = started(log).token
    world.log(slot=0)
    with pytest.raises(Fatal):
        log.transact([out(b"A")], {0: 0}, token)
    assert world.read("sent") == []


def test_tx2_a_restarted_worker_clears_its_open_transaction_at_once(world: World) -> None:
    """Killed right before the commit: left alone, its transaction would hold the offsets for 50 s."""
    world.publish("validated", [b"one"])
    with worker(world, 0, "batch:before-commit", "long") as killed:
        assert answer(killed) == ""
        assert killed.wait(timeout=DEADLINE) == -signal.SIGKILL
    again = world.log(slot=0)
    assert again.committed(0) is None
    assert world.read("sent") == []


def test_tx2_every_topic_has_the_pipelines_partitions(world: World) -> None:
    more = world.pipeline.model_copy(update={"partitions": 3})
    log = KafkaLog(world.bootstrap, more, "batch", 0)
    world.logs.append(log)
    with pytest.raises(Fatal, match=r"needs 3 partitions, but .* has 2"):
        joined(log)


def test_indeterminate_commit_agrees_afterwards(
    world: World, log: KafkaLog, kafka_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker stands still during the commit: offsets and outputs must tell the same story after recovery."""
    world.publish("validated", [b"one"])
    started(log)
    _, token = fetched(log, 1)
    pid = kafka_broker.status().pid
    assert pid is not None

    def hit(name: str) -> None:
        if name == "batch:before-commit":
            freeze(pid)

    try:
        with monkeypatch.context() as patched:
            patched.setattr(failpoints, "hit", hit)
            with pytest.raises(Indeterminate) as unknown:
                log.transact([out(b"A")], {0: 1}, token)
    finally:
        os.kill(pid, signal.SIGCONT)
    log.recover(unknown.value)
    assert (world.read("sent"), log.committed(0)) in [([b"A"], 1), ([], None)]
    assert world.read("sent") == world.read("sent"), "no transaction is open"


# ---- assignment and positions ----------------------------------------------------------------------


def test_a_rebalance_while_filling_discards_the_half_filled_chunk(
    world: World, log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish("validated", [b"one", b"two"])
    started(log)
    half_filled = threading.Event()
    convert = restore.convert

    def converted(raw: list[Any]) -> list[Message]:
        half_filled.set()
        return convert(raw)

    def join() -> None:
        half_filled.wait(DEADLINE)
        joined(world.log(slot=1), 1)

    monkeypatch.setattr(restore, "convert", converted)
    other = threading.Thread(target=join)
    other.start()
    first = log.fetch(1_000_000, 2**30, DEADLINE, DEADLINE)
    assert half_filled.is_set()
    assert first.messages == []
    assert first.revoked == {0, 1}
    assigned = first.assigned or joined(log, 1).assigned
    other.join(DEADLINE)
    for partition in assigned:
        log.seek(partition, 0)
    if 0 in assigned:
        assert [m.value for m in fetched(log, 2)[0]] == [b"one", b"two"]


def test_seek_goes_back_and_on_without_disturbing_others(world: World, log: KafkaLog) -> None:
    for partition in (0, 1):
        world.publish("validated", [b"%d" % n for n in range(5)], partition)
    started(log, {1: 3})
    assert sorted(m[:2] for m in fetched(log, 7)[0]) == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 3), (1, 4)]
    log.seek(0, 3)
    assert [m[:2] for m in fetched(log, 2)[0]] == [(0, 3), (0, 4)]
    log.seek(0, 4)
    log.seek(1, 4)
    assert sorted(m[:2] for m in fetched(log, 2)[0]) == [(0, 4), (1, 4)]
    assert log.fetch(10, 2**20, 0.0, 0.3).messages == []


def test_seek_to_a_foreign_partition_is_an_error(log: KafkaLog) -> None:
    started(log)
    with pytest.raises(ValueError, match="not assigned"):
        log.seek(7, 0)


def test_keeping_alive_loses_nothing(world: World, log: KafkaLog) -> None:
    """The group's consumer is polled while something else takes long; messages that come then are read again."""
    world.publish("validated", [b"%d" % n for n in range(50)])
    started(log)
    offsets = [m.offset for m in fetched(log, 10)[0]]
    for _ in range(20):
        log._keep_alive()
    offsets += [m.offset for m in fetched(log, 40)[0]]
    assert offsets == list(range(50))


def test_close_leaves_the_group_at_once_and_twice_is_once(world: World) -> None:
    """By itself its session would last 5 minutes, and its open transaction not much less."""
    patient = {"session.timeout.ms": "300000", "transaction.timeout.ms": "250000"}
    log = world.log("batch", 0, **patient)
    started(log)
    failpoints.arm("batch:before-commit=error")
    token = log.fetch(1, 1, 0.0, 0.0).token
    with pytest.raises(failpoints.FailpointError):
        log.transact([out(b"open")], {0: 0}, token)
    log.close()
    log.close()
    assert not [t for t in threading.enumerate() if t.name.startswith(f"watchdog {world.pipeline.application}")]
    world.publish("sent", [b"later"])
    assert world.read("sent") == [b"later"], "its open transaction was ended"
    joined(world.log(slot=1))


class _Leaving:
    """A group's consumer that serves late callbacks while it closes, as the client does now and then: they find that it
    knows of no group any more."""

    def __init__(self, log: KafkaLog) -> None:
        self._log, self._consumer = log, log._consumer
        self.closed = False

    def close(self) -> None:
        self._log._on_assign(self, [])
        self._log._on_revoke(self, [])
        self._log._on_lost(self, [])
        self._consumer.close()
        self.closed = True

    def consumer_group_metadata(self) -> bytes:
        raise RuntimeError("Consumer group metadata not available")

    def assign(self, _: Any) -> None:
        raise RuntimeError("Consumer closed")

    def unassign(self) -> None:
        raise RuntimeError("Consumer closed")


def test_callbacks_that_come_while_the_group_is_left_do_nothing(world: World) -> None:
    log = world.log()
    joined(log)
    log._consumer = leaving = _Leaving(log)
    assert log.recover(StaleMember("made up")) == frozenset()
    assert leaving.closed
    joined(log)
    log._consumer = leaving = _Leaving(log)
    log.close()
    assert leaving.closed


# ---- TX3: no reset by itself -----------------------------------------------------------------------


def test_tx3_nothing_is_read_before_a_position_is_given(world: World, log: KafkaLog) -> None:
    world.publish("validated", [b"one", b"two"])
    token = joined(log).token
    assert log.fetch(10, 2**20, 0.0, 1.0).messages == []
    log.transact([], {0: 1}, token)
    log.close()
    again = world.log()
    joined(again)
    assert again.committed(0) == 1
    assert again.fetch(10, 2**20, 0.0, 1.0).messages == [], "not even from the committed offset"
    again.seek(0, 0)
    assert [m.offset for m in fetched(again, 2)[0]] == [0, 1]


@pytest.mark.parametrize("offset", [1, 1_000])
def test_tx3_a_position_outside_the_log_is_a_loud_stop(world: World, log: KafkaLog, offset: int) -> None:
    world.publish("validated", [b"one", b"two", b"three"])
    world.cut("validated", 2)
    assert log.bounds(0) == (2, 3)
    started(log, {0: offset})
    with pytest.raises(LogGap, match=r"validated\[0\]: offset"):
        fetched(log, 1)


def test_tx3_another_topic_id_tells_a_recreated_topic(world: World, log: KafkaLog) -> None:
    before = log.topic_id("validated")
    assert before != log.topic_id("batched")
    world.recreate("validated")
    assert log.topic_id("validated") != before


def held_up(log: KafkaLog, *partitions: int) -> Fetched:
    """A fetch with these partitions held up; by default both."""
    return log.fetch(100, 2**20, 0.0, 0.05, frozenset(partitions or (0, 1)))


def test_one_partition_is_held_up_and_the_other_goes_on(world: World, log: KafkaLog) -> None:
    world.publish("validated", [b"x"] * 300)
    world.publish("validated", [b"y"] * 300, partition=1)
    started(log)
    log.seek(1, 0)
    taken = Counter[int]()
    deadline = time.monotonic() + DEADLINE
    while taken[1] < 300 and time.monotonic() < deadline:
        taken.update(message.partition for message in held_up(log, 0).messages)
    assert taken == {1: 300}
    assert len(fetched(log, 300)[0]) == 300, "and nothing of the other is lost"


def test_input_that_is_held_up_comes_when_it_is_wanted_again(world: World, log: KafkaLog) -> None:
    world.publish("validated", [b"x"] * 3000)
    started(log)
    first = fetched(log, 10)[0]
    assert [held_up(log).messages for _ in range(5)] == [[]] * 5
    assert fetched(log, 10)[0][0].offset == first[-1].offset + 1
    held_up(log)
    log.seek(0, 5)
    assert fetched(log, 1)[0][0].offset == 5


def test_a_rest_lasts_until_a_message_comes_or_the_log_is_called(world: World, log: KafkaLog) -> None:
    started(log)
    looks, alive = [False, True], list[None]()
    log.progressed = lambda: alive.append(None)
    log.called = lambda: looks.pop(0)
    assert log.fetch(10, 2**20, 0.0, DEADLINE).messages == []
    assert (looks, len(alive)) == ([], 2)

    def meanwhile() -> bool:
        if len(alive) == 3:
            world.publish("validated", [b"x"])
        return False

    log.called = meanwhile
    assert [message.value for message in log.fetch(10, 2**20, 0.0, DEADLINE).messages] == [b"x"]


def test_input_that_is_held_up_follows_a_rebalance(world: World, log: KafkaLog) -> None:
    """A member that takes nothing stays a member, and what it gets anew is not paused."""
    world.publish("validated", [b"x"] * 50)
    world.publish("validated", [b"y"] * 50, partition=1)
    started(log)
    fetched(log, 10)
    other = world.log(slot=1)

    def one_each() -> bool:
        for member in (log, other):
            for partition in held_up(member).assigned:
                member.seek(partition, 0)
        return len(log._assigned) == len(other._assigned) == 1

    wait_for(one_each, DEADLINE, "each member has one partition")
    other.close()
    assignment = wait_for(lambda: held_up(log).assigned, DEADLINE, "both come back")
    assert assignment == {0, 1}
    log.seek(0, 0)
    log.seek(1, 0)
    assert len(fetched(log, 100)[0]) == 100
