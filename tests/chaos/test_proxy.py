"""The fault proxy on real Kafka: a lost answer is not a failure, a lost request no success, and clients come back."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any

import pytest
from confluent_kafka import Producer

from chaos.brokers import free_ports
from chaos.kafka_frames import Api, Frames, NotKafka
from chaos.proxy import After, Proxy, Way
from streams.runtime.kafka import KafkaLog
from streams.runtime.log import Abortable, Indeterminate, StaleMember
from tests.runtime.world import DEADLINE, SHORT, World, fetched, out, started
from tests.support import Names, wait_for

pytestmark = pytest.mark.kafka

Outcome = tuple[list[bytes | None], int | None]
DONE: Outcome = ([b"A"], 1)
NOT_DONE: Outcome = ([], None)
FOR_EVER = 1_000_000
"""More than any client tries."""


@pytest.fixture
def proxy(kafka_proxy: Proxy) -> Iterator[Proxy]:
    """The proxy, counting from zero, healed afterwards."""
    kafka_proxy.counts.clear()
    yield kafka_proxy
    kafka_proxy.heal()


@pytest.fixture
def world(kafka: str, proxy: Proxy, names: Names) -> Iterator[World]:
    """Topics of this test; what it publishes and reads itself goes past the proxy."""
    world = World(kafka, names.prefix)
    yield world
    proxy.heal()
    world.close()


def through(world: World, proxy: Proxy, **overrides: str) -> KafkaLog:
    """A log of the product whose every connection leads through the proxy."""
    log = KafkaLog(proxy.bootstrap, world.pipeline, "batch", 0, 0, {**SHORT, **overrides})
    world.logs.append(log)
    return log


def chunk(world: World, log: KafkaLog) -> Any:
    """The token of a chunk of one message, ready to be committed as offset 1."""
    world.publish("validated", [b"one"])
    started(log)
    return fetched(log, 1)[1]


def settled(world: World, log: KafkaLog) -> Outcome:
    """What everybody sees of the transaction: outputs and the committed offset."""
    return world.read("sent"), log.committed(0)


@pytest.mark.parametrize("then", After)
@pytest.mark.parametrize(("way", "expected"), [(Way.ANSWER, DONE), (Way.REQUEST, NOT_DONE)])
def test_b5_an_unanswered_commit_is_indeterminate_and_recovery_sees_what_became_of_it(
    world: World, proxy: Proxy, way: Way, then: After, expected: Any
) -> None:
    log = through(world, proxy)
    token = chunk(world, log)
    proxy.lose(Api.END_TXN, FOR_EVER, way, then)
    with pytest.raises(Indeterminate) as unknown:
        log.transact([out(b"A")], {0: 1}, token)
    assert proxy.counts[f"END_TXN {way.value} lost"] > 0
    log.recover(unknown.value)  # before the way is open again: the old producer would use it
    proxy.heal()
    assert settled(world, log) == expected


@pytest.mark.parametrize("api", [Api.ADD_OFFSETS_TO_TXN, Api.TXN_OFFSET_COMMIT, Api.PRODUCE, Api.END_TXN])
def test_b5_one_answer_lost_on_the_way_is_done_again_or_known(world: World, proxy: Proxy, api: Api) -> None:
    log = through(world, proxy)
    token = chunk(world, log)
    proxy.lose(api)
    try:
        log.transact([out(b"A")], {0: 1}, token)
        expected = [DONE]
    except Abortable as aborted:
        log.recover(aborted)
        expected = [NOT_DONE]
    except Indeterminate as unknown:
        log.recover(unknown)
        expected = [DONE, NOT_DONE]
    assert proxy.counts[f"{api.name} answer lost"] == 1
    assert settled(world, log) in expected


def test_b5_a_commit_whose_answer_is_late_is_indeterminate_and_was_done(world: World, proxy: Proxy) -> None:
    log = through(world, proxy)
    token = chunk(world, log)
    proxy.delay(10, api=Api.END_TXN)
    with pytest.raises(Indeterminate) as unknown:
        log.transact([out(b"A")], {0: 1}, token)
    proxy.heal()
    log.recover(unknown.value)
    assert settled(world, log) == DONE


def test_b5_a_commit_that_comes_after_its_successor_changes_nothing(world: World, proxy: Proxy) -> None:
    """The request itself is late: the successor has ended the transaction long before it arrives."""
    log = through(world, proxy)
    token = chunk(world, log)
    proxy.delay(4, way=Way.REQUEST, api=Api.END_TXN)
    with pytest.raises(Indeterminate) as unknown:
        log.transact([out(b"A")], {0: 1}, token)
    arrived = time.monotonic() + 4
    log.recover(unknown.value)
    assert settled(world, log) == NOT_DONE
    wait_for(lambda: time.monotonic() > arrived, 10, "the late request arrives")
    assert settled(world, log) == NOT_DONE


def test_a_slow_way_works_through(world: World, proxy: Proxy) -> None:
    log = through(world, proxy, **{"session.timeout.ms": "20000", "transaction.timeout.ms": "15000"})
    proxy.delay(0.2, jitter=0.05)
    token = chunk(world, log)
    log.transact([out(b"A")], {0: 1}, token)
    assert settled(world, log) == DONE
    assert proxy.counts["frame delayed"] > 10


@pytest.mark.parametrize("fault", ["cut", "black hole", "requests swallowed", "answers swallowed"])
def test_a_client_comes_back_after_the_way_was_shut(world: World, proxy: Proxy, fault: str) -> None:
    producer = Producer(
        {
            "bootstrap.servers": proxy.bootstrap,
            "enable.idempotence": True,
            "socket.timeout.ms": 1000,
            "log_level": 0,
        }
    )
    produce(world, producer, b"before")
    assert producer.flush(DEADLINE) == 0
    if fault == "cut":
        proxy.cut(FOR_EVER)
    else:
        proxy.black_hole(*{"requests swallowed": [Way.REQUEST], "answers swallowed": [Way.ANSWER]}.get(fault, []))
    produce(world, producer, b"during")
    marks = {"cut": "connection cut", "answers swallowed": "answer swallowed"}
    wait_for(lambda: producer.poll(0) or proxy.counts[marks.get(fault, "request swallowed")], DEADLINE, "it is met")
    assert len(producer) == 1, "nothing was acknowledged"
    proxy.heal()
    assert producer.flush(DEADLINE) == 0
    assert world.read("sent") == [b"before", b"during"], "idempotent: what was swallowed is there once"


def test_a_cut_ends_by_itself(world: World, proxy: Proxy) -> None:
    proxy.cut(0.5)
    producer = Producer({"bootstrap.servers": proxy.bootstrap, "log_level": 0})
    produce(world, producer, b"after")
    assert producer.flush(DEADLINE) == 0
    assert world.read("sent") == [b"after"]


def test_a_member_cut_off_from_the_group_is_refused_afterwards(world: World, proxy: Proxy) -> None:
    """Its heartbeats are lost for longer than its session: another generation has begun, and its commit is refused."""
    log = through(world, proxy)
    token = chunk(world, log)
    proxy.lose(Api.HEARTBEAT, FOR_EVER, Way.REQUEST, After.STALL)
    other = world.log(slot=1)
    started_somewhere = wait_for(lambda: other.fetch(1, 1, 0, 0.1).assigned, DEADLINE, "the other one takes over")
    assert started_somewhere == {0, 1}
    proxy.heal()
    with pytest.raises(StaleMember):
        log.transact([out(b"A")], {0: 1}, token)
    assert world.read("sent") == []


def produce(world: World, producer: Any, value: bytes) -> None:
    producer.produce(world.pipeline.topic("sent"), value, b"k", 0)


@pytest.mark.parametrize("step", [1, 3, 5, 1000])
def test_however_the_bytes_come_the_frames_are_the_same(step: int) -> None:
    sent = [len(body).to_bytes(4, "big") + body for body in (b"four", b"a longer one", b"x" * 300)]
    stream, frames = b"".join(sent) + b"\0\0\0\x09unfi", Frames()
    assert [frame for at in range(0, len(stream), step) for frame in frames.cut(stream[at : at + step])] == sent
    with pytest.raises(NotKafka):
        Frames().cut(b"\xff\xff\xff\xff" + b"no size")


def test_a_proxy_that_is_closed_lets_go_of_whoever_came() -> None:
    port, upstream = free_ports(2)
    with closing(socket.create_server(("127.0.0.1", upstream))), ExitStack() as stack:
        with Proxy(upstream, port):
            clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 60)) for _ in range(20)]
        for client in clients:
            with suppress(ConnectionError):
                assert client.recv(1) == b"", "neither ended nor reset"
