"""What waits come to: percentiles, and how a peer's compare with ours. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

OURS, STREAMS = "Waybill", "Kafka Streams"
SAME_JOB = "Waybill, the same job"
"""With the stages that do what the peer does; `OURS` has all three."""
SLOW, HALF = "1,000/s", "50 %"
"""The loads at which a peer is measured, too."""
NAMES = {SLOW: "latency/kafka-streams-1000", HALF: "latency/kafka-streams-half"}


@dataclass(frozen=True)
class Waits:
    """From publishing to having it in hand, of one load and one topic."""

    contender: str
    load: str
    """1,000/s, or a share of the top rate."""
    pace: float
    """Records a second."""
    topic: str
    p50: float
    """Milliseconds, as those below."""
    p99: float
    p999: float
    longest: float
    longest_at: float
    """When the one that waited longest was published, seconds from the first that is counted."""
    late: float
    """p99 of how late the generator was, ms."""


def percentile(waits: Sequence[float], share: float) -> float:
    """The least wait that so large a share of them does not exceed (nearest rank): one that was measured.

    share: above 0, at most 1. Raises ValueError where there are none.
    """
    if not waits or not 0 < share <= 1:
        raise ValueError(f"the {share:g} percentile of {len(waits)} waits")
    # The product of floats may lie a hair above a whole number.
    return sorted(waits)[math.ceil(round(share * len(waits), 6)) - 1]


def waits_of(published: dict[bytes, int], arrived: dict[bytes, int]) -> list[tuple[int, float]]:
    """When each was published, ns, and how long it was on its way, ms; both are given in ns by digest."""
    return [(at, (arrived[digest] - at) / 1e6) for digest, at in published.items()]


def summary(
    contender: str, load: str, pace: float, topic: str, waits: Sequence[tuple[int, float]], late: Sequence[float]
) -> Waits:
    """waits: as waits_of gives them."""
    lengths = [length for _, length in waits]
    begun = min(at for at, _ in waits)
    when, longest = max(waits, key=lambda one: one[1])
    p50, p99, p999 = (round(percentile(lengths, share), 1) for share in (0.5, 0.99, 0.999))
    seconds = round((when - begun) / 1e9, 1)
    late_p99 = round(percentile(late, 0.99), 1)
    return Waits(contender, load, round(pace), topic, p50, p99, p999, round(longest, 1), seconds, late_p99)


def ratios(found: Sequence[Waits]) -> dict[str, float]:
    """The peer's p99 over ours for the same job, at each load at which both were measured, and the worse of them."""
    p99 = {(one.contender, one.load): one.p99 for one in found if one.topic == "validated"}
    both = {
        name: p99[STREAMS, load] / p99[SAME_JOB, load]
        for load, name in NAMES.items()
        if {(SAME_JOB, load), (STREAMS, load)} <= p99.keys()
    }
    return {"latency/kafka-streams": min(both.values()), **both} if both else {}


def shown(found: Sequence[Waits]) -> list[Waits]:
    """Without those that have no peer in this run where there should be one."""
    peers = {(one.load, one.topic) for one in found if one.contender == STREAMS}
    return [one for one in found if one.topic != "validated" or one.load not in NAMES or (one.load, one.topic) in peers]


def table(found: Sequence[Waits]) -> str:
    """Markdown, a line for each."""
    lines = [
        "| load | records/s | to | contender | p50 ms | p99 ms | p99.9 ms | longest ms | generator late, p99 ms |",
        "|---|---:|---|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one.load} | {one.pace:,.0f} | {one.topic} | {one.contender} | {one.p50:,.1f} | {one.p99:,.1f} | "
        f"{one.p999:,.1f} | {one.longest:,.1f} (after {one.longest_at:.1f} s) | {one.late:,.1f} |"
        for one in shown(found)
    ]
    return "\n".join(lines)
