"""What every peer is told, and what it reports.

The jobs (JSON, the program's one argument) have these fields:

    job            validate | pipeline (Kafka Streams alone)
    bootstrap, application, raw, validated, dead_letter, batched     where; topics must exist
    records        messages on `raw` that are still to be read; the program ends when all are answered and committed
    waiting        pipeline: messages on `validated` that an earlier run left
    commit_ms      commit.interval.ms, or the interval of checkpoints
    threads        num.stream.threads, or the parallelism (Quix Streams: always one)
    store          memory | rocksdb (Kafka Streams; Flink keeps a heap, Quix Streams RocksDB)
    linger_ms      of the producer
    batch, bodies  pipeline: readings in a batch; whether it holds their payloads or only their digests
    limits, default_product, options, state    filled in by whoever starts the program
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bench import process
from bench.process import Measurement, Report
from bench.world import cluster
from topology.load import load_pipeline
from topology.topics import topic_specs

PARTITIONS = 4
"""Of every topic of the peers, as of the product's."""


class PeerError(Exception):
    """A peer cannot be built or run; the message says what is missing, or what its builder said."""


@dataclass
class PeerReport(Report):
    """A report with its second half apart: what came after half of the records, when a JVM was warm."""

    warm_records: int = 0
    warm_seconds: float = 0.0
    warm_cpu: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    """What the program counted: refused, duplicates, conflicts, batches."""


@dataclass
class PeerMeasurement(Measurement):
    """A measurement whose report may have a warm half."""

    report: PeerReport

    @property
    def warm_rate(self) -> float:
        """Records per second of the second half."""
        return self.report.warm_records / self.report.warm_seconds if self.report.warm_seconds else math.nan

    @property
    def warm_cpu_per_million(self) -> float:
        """Processor seconds per million records of the second half."""
        return self.report.warm_cpu / self.report.warm_records * 1e6 if self.report.warm_records else math.nan


@dataclass
class Job:
    """What a peer is to do; the fields are described above."""

    bootstrap: str
    application: str
    raw: str
    validated: str
    dead_letter: str
    records: int
    job: Literal["validate", "pipeline"] = "validate"
    batched: str = ""
    waiting: int = 0
    commit_ms: int = 250
    threads: int = 1
    store: Literal["memory", "rocksdb"] = "memory"
    linger_ms: int = 100
    batch: int = 2_000
    bodies: bool = True


def make_job(bootstrap: str, name: str, raw: str, records: int, **more: Any) -> Job:
    """A job with topics of its own, which are created."""
    job = Job(bootstrap, name, raw, f"{name}.validated", f"{name}.dead", records, batched=f"{name}.batched", **more)
    create_topics(bootstrap, [job.validated, job.dead_letter, job.batched])
    return job


def create_topics(bootstrap: str, names: list[str]) -> None:
    """Topics with the settings of the product's event topics."""
    spec = next(spec for spec in topic_specs(load_pipeline("cold-chain")) if spec.short == "validated")
    cluster(bootstrap).create([spec._replace(name=name, partitions=PARTITIONS, replication=1) for name in names])


def measure(name: str, command: Sequence[str]) -> PeerMeasurement:
    """Runs a command that ends with a report as its last line. Raises RuntimeError with what it said."""
    ended = process.last_line(name, command)
    return PeerMeasurement(name, PeerReport(**ended.said), ended.cpu, ended.peak_mib, ended.broker_cpu)
