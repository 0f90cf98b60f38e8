"""Percentiles are waits that were measured, readings are matched by digest, nothing is shown without its peer."""

from __future__ import annotations

import random

import pytest

from bench.latency import digests_in
from bench.waits import HALF, OURS, SAME_JOB, SLOW, STREAMS, Waits, percentile, ratios, shown, summary, table, waits_of
from schemas.codec import SingleObjectCodec
from tests.schemas.samples import example


def test_a_percentile_is_the_least_wait_that_so_many_do_not_exceed() -> None:
    waits = [float(number) for number in range(1, 1_001)]
    random.Random(1).shuffle(waits)
    assert [percentile(waits, share) for share in (0.5, 0.99, 0.999, 1)] == [500, 990, 999, 1_000]
    assert percentile([7.0], 0.999) == 7.0
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2.0
    # Of fewer than a thousand the longest stands for p99.9; it is never put higher than that.
    assert percentile([1.0] * 99 + [5.0], 0.999) == 5.0
    for nothing in ([], [1.0]):
        with pytest.raises(ValueError, match="percentile"):
            percentile(nothing, 0.5 if not nothing else 0)


def test_a_wait_is_from_publishing_to_arrival_of_the_same_reading() -> None:
    published = {b"a": 10_000_000, b"b": 20_000_000}
    arrived = {b"b": 25_000_000, b"a": 40_000_000, b"before": 1}
    assert waits_of(published, arrived) == [(10_000_000, 30.0), (20_000_000, 5.0)]
    with pytest.raises(KeyError):
        waits_of(published, {b"a": 40_000_000})


def test_a_summary_says_how_long_the_longest_waited_and_when() -> None:
    waits = [(number * 10**9, 1.0) for number in range(100)] + [(7 * 10**9 + 1, 900.0)]
    found = summary(OURS, SLOW, 999.7, "validated", waits, [0.0] * 100 + [3.0])
    assert (found.pace, found.p50, found.p99, found.p999, found.longest) == (1_000, 1.0, 1.0, 900.0, 900.0)
    assert (found.longest_at, found.late) == (7.0, 0.0)


def test_every_record_in_a_message_is_found_by_its_digest_and_none_in_one_that_steers() -> None:
    codec = SingleObjectCodec()
    one, other = (codec.encode("validated", example("validated") | {"digest": bytes([n]) * 32}) for n in (1, 2))
    batch = codec.encode("batched", example("batched") | {"count": 2, "records": [one, other]})
    sent = codec.encode("sent", example("sent") | {"digest": b"3" * 32})
    release = codec.encode("release", example("release"))
    found = [list(digests_in(codec, message)) for message in (one, batch, sent, release)]
    assert found == [[b"\1" * 32], [b"\1" * 32, b"\2" * 32], [b"3" * 32], []]


def waits(contender: str, load: str, topic: str, p99: float) -> Waits:
    return Waits(contender, load, 1_000, topic, 1.0, p99, p99, p99, 0.0, 0.0)


MINE = [
    waits(OURS, SLOW, "validated", 15.0),
    waits(OURS, HALF, "validated", 60.0),
    waits(SAME_JOB, SLOW, "validated", 10.0),
    waits(SAME_JOB, HALF, "validated", 40.0),
    waits(OURS, "75 %", "validated", 50.0),
    waits(OURS, HALF, "sent", 99.0),
]


def test_the_ratio_is_the_peers_p99_over_that_of_the_same_job_and_the_worse_load_counts() -> None:
    theirs = [waits(STREAMS, SLOW, "validated", 110.0), waits(STREAMS, HALF, "validated", 120.0)]
    assert ratios(MINE + theirs) == {
        "latency/kafka-streams": 3.0,
        "latency/kafka-streams-1000": 11.0,
        "latency/kafka-streams-half": 3.0,
    }
    assert ratios(MINE) == {}


def test_where_a_peer_should_be_and_is_not_nothing_is_shown() -> None:
    assert shown(MINE) == MINE[4:]
    theirs = [waits(STREAMS, HALF, "validated", 120.0)]
    assert shown(MINE + theirs) == [MINE[1], *MINE[3:], *theirs]
    assert "Kafka Streams | 1.0 | 120.0" in table(MINE + theirs)
    assert "1,000/s" not in table(MINE + theirs)
