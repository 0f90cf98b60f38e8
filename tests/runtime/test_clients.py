"""Settings on which guarantees and measured speed rest."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import Consumer

from streams.runtime.clients import FIXED, ClientSettings, check_token, client_settings, whole_ms
from streams.runtime.log import StaleMember
from tests.runtime.world import small_pipeline


def settings(**overrides: str) -> ClientSettings:
    named = {name.replace("__", "."): value for name, value in overrides.items()}
    return client_settings("host:1", small_pipeline("app"), "batch", 2, 1, named)


def test_tx2_ids_are_stable_and_time_outs_ordered() -> None:
    made = settings()
    assert made.producer["transactional.id"] == "app.p.batch.2.1"
    assert made.consumer["group.id"] == "app.p.batch"
    assert made.consumer["partition.assignment.strategy"] == "range"
    assert "group.instance.id" not in made.consumer
    assert int(made.producer["transaction.timeout.ms"]) < int(made.consumer["session.timeout.ms"]) == 10_000
    assert int(settings(session__timeout__ms="6000").producer["transaction.timeout.ms"]) < 6000


def test_tx2_a_transaction_may_not_outlive_the_session() -> None:
    with pytest.raises(ValueError, match=r"must be below session\.timeout\.ms"):
        settings(session__timeout__ms="6000", transaction__timeout__ms="6000")


def test_tx3_nothing_is_skipped_or_committed_behind_our_back() -> None:
    made = settings()
    for reading in (made.consumer, made.reader):
        assert reading["auto.offset.reset"] == "error"
        assert reading["isolation.level"] == "read_committed"
        assert reading["enable.auto.commit"] is False
        assert reading["enable.auto.offset.store"] is False


def test_tx5_a_fast_consumer_is_not_starved() -> None:
    """librdkafka's default of 1,000 ms cost four fifths of the speed of a plain loop."""
    made = settings()
    assert (made.consumer["fetch.queue.backoff.ms"], made.reader["fetch.queue.backoff.ms"]) == (10, 10)


def test_tx6_a_transaction_does_not_wait_for_the_markers_of_the_one_before() -> None:
    """With librdkafka's default of 100 ms a transaction of one record took 88 ms, with these 3."""
    made = settings()
    assert (made.producer["retry.backoff.ms"], made.producer["retry.backoff.max.ms"]) == (1, 20)


def test_what_is_written_is_compressed() -> None:
    assert settings().producer["compression.type"] == "lz4"


@pytest.mark.parametrize("name", sorted(FIXED))
def test_no_override_breaks_a_guarantee(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        client_settings("host:1", small_pipeline("app"), "batch", 0, 0, {name: "x"})


def test_overrides_reach_the_clients_they_are_for() -> None:
    made = settings(security__protocol="SSL", linger__ms="9", max__poll__interval__ms="7000")
    assert {c["security.protocol"] for c in (made.common, made.consumer, made.producer, made.reader)} == {"SSL"}
    assert ("linger.ms" in made.consumer, made.producer["linger.ms"]) == (False, "9")
    assert ("max.poll.interval.ms" in made.producer, made.consumer["max.poll.interval.ms"]) == (False, "7000")


@pytest.mark.parametrize("generation", [0, 1, 2**31 - 1])
def test_group_metadata_of_a_member_passes(generation: int) -> None:
    token = b"CGMDv2:" + generation.to_bytes(4, "little") + b"group\0member\0"
    assert check_token(token) is token


@pytest.mark.parametrize("generation", [-1, -(2**31)])
def test_group_metadata_without_a_generation_does_not(generation: int) -> None:
    with pytest.raises(StaleMember, match="not a member"):
        check_token(b"CGMDv2:" + generation.to_bytes(4, "little", signed=True) + b"group\0\0")


def test_the_client_waits_for_what_is_left_of_a_millisecond() -> None:
    consumer = Consumer({"bootstrap.servers": "127.0.0.1:1", "group.id": "nobody", "log_level": 0})
    try:
        began = time.perf_counter()
        consumer.consume(1, whole_ms(0.0005))
        assert time.perf_counter() - began >= 0.0005
    finally:
        consumer.close()


@pytest.mark.parametrize(("wait", "taken"), [(0.0, 0.0), (0.0001, 0.001), (0.0041, 0.005), (0.005, 0.005), (1.0, 1.0)])
def test_a_wait_is_never_cut_short(wait: float, taken: float) -> None:
    assert whole_ms(wait) == taken
