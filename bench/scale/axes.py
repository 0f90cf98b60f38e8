"""Which points are measured, and what may not grow faster than linearly in each axis. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

RECORDS = 50_000
"""Readings of a point, where the axis does not say otherwise."""
BASE = {"processes": 1, "partitions": 4, "bytes": 150, "groups": 7, "store": "memory", "records": RECORDS}
"""The point from which every axis starts; 7 groups: the products of the sample."""
MEMORY, ROCKSDB = "memory", "rocksdb"


class Point(NamedTuple):
    """One measurement."""

    axis: str
    x: int
    store: str = MEMORY
    records: int = RECORDS


@dataclass(frozen=True)
class Axis:
    """What is varied, alone."""

    name: str
    unit: str
    points: tuple[Point, ...]
    figures: dict[str, str]
    """What is looked at: name in the lines -> words and unit."""
    note: str = ""
    kept: dict[str, int] = field(default_factory=dict)
    """Where this axis differs from the base point."""

    @property
    def stores(self) -> list[str]:
        """In their order, each once."""
        return list(dict.fromkeys(point.store for point in self.points))


LOAD = {
    "seconds": "from the first reading published to the last answer, s",
    "cpu": "processor time of all workers, s",
    "peak_mib": "most memory of a worker, MiB",
}
AXES = {
    axis.name: axis
    for axis in (
        Axis("processes", "worker processes", tuple(Point("processes", n) for n in (1, 2, 4)), LOAD),
        Axis("partitions", "partitions of every topic", tuple(Point("partitions", n) for n in (4, 16, 64)), LOAD),
        Axis(
            "bytes",
            "bytes of a record",
            tuple(Point("bytes", n) for n in (150, 1_000, 10_000)),
            LOAD,
            "The text of a field is made longer, different in each record.",
        ),
        Axis(
            "groups",
            "groups",
            tuple(Point("groups", n, records=100_000) for n in (10, 1_000, 100_000)),
            LOAD,
            "A group is a sensor here. With 100,000 of them every record is a batch, an object in the lake, and a row "
            "of the delivery table of its own.",
            {"records": 100_000},
        ),
        Axis(
            "keys",
            "keys in the table",
            tuple(Point("keys", n, store, n) for store in (MEMORY, ROCKSDB) for n in (10**5, 10**6, 10**7)),
            {
                "seconds": "to fill the table through validate and batch, s",
                "cpu": "processor time of that, s",
                "peak_mib": "most memory while filling, MiB",
                "restore_seconds": "from the frame's start until ready again, s",
                "restore_peak_mib": "most memory after a restart, MiB",
                "rebuild_seconds": "the same with the local store deleted, s",
            },
            "Each record brings a key of its own. Stages validate and batch.",
        ),
        Axis(
            "pipelines",
            "idle pipelines on one worker",
            tuple(Point("pipelines", n, records=0) for n in (1, 10, 50)),
            {
                "percent": "of a core",
                "switches": "voluntary context switches a second",
                "rss_mib": "memory, MiB",
                "ready_seconds": "from start until ready, s",
            },
            "Their topics are empty; all three stages of each run.",
            {"records": 0},
        ),
    )
}


def planned(names: Iterable[str], limit: int | None) -> list[Point]:
    """The points of these axes, in their order. limit: none with a larger x."""
    return [point for name in names for point in AXES[name].points if limit is None or point.x <= limit]
