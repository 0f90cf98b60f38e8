"""Builds the Java peers and runs them, each as a process that measures itself as every contender does.

The jobs (JSON, the program's one argument) have these fields:

    job            validate | pipeline (Flink: validate alone)
    bootstrap, application, raw, validated, dead_letter, batched     where; topics must exist
    records        messages on `raw` that are still to be read; the program ends when all are answered and committed
    waiting        pipeline: messages on `validated` that an earlier run left
    commit_ms      commit.interval.ms, or the interval of checkpoints
    threads        num.stream.threads, or the parallelism
    store          memory | rocksdb (Kafka Streams)
    linger_ms      of the producer
    batch, bodies  pipeline: readings in a batch; whether it holds their payloads or only their digests
    limits, default_product, state    filled in here
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench import process
from bench.process import Measurement, Report
from bench.world import cluster
from schemas.packs.cold_chain.judge import Rules
from schemas.packs.cold_chain.options import Options
from topology.load import load_pipeline
from topology.topics import topic_specs
from waybill.kafka_jars import BrokerUnavailable, find_java

PEERS = Path(__file__).resolve().parent
PARTITIONS = 4
"""Of every topic of the peers, as of the product's."""
TARGET = PEERS / "target"
BUILD_SECONDS = 900.0
Peer = Literal["streams", "flink"]
HEAP = "2g"
JVM = {
    "streams": ["-XX:+UseParallelGC", f"-Xms{HEAP}", f"-Xmx{HEAP}"],
    "flink": [
        "-XX:+UseParallelGC", f"-Xms{HEAP}", f"-Xmx{HEAP}",
        "--add-opens=java.base/java.util=ALL-UNNAMED", "--add-opens=java.base/java.lang=ALL-UNNAMED",
    ],
}  # fmt: skip


class PeerError(Exception):
    """The Java peers cannot be built or run; the message says what is missing, or what Maven said."""


@dataclass
class JavaReport(Report):
    """A report with its second half apart: what came after half of the records, when the JVM was warm."""

    warm_records: int = 0
    warm_seconds: float = 0.0
    warm_cpu: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    """What the program counted: refused, duplicates, conflicts, batches."""


@dataclass
class JavaMeasurement(Measurement):
    """A measurement whose report has a warm half."""

    report: JavaReport

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


# ---- building --------------------------------------------------------------------------------------


def build(peer: Peer, folder: Path = TARGET) -> str:
    """The classpath of a peer, built into `folder` first unless this very source was built there before.

    Maven works offline where its own repository has all that is needed. Raises PeerError.
    """
    java_path()
    stamp, wanted = folder / f"{peer}.built", _source_digest()
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted):
        folder.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        _maven(peer, folder)
        stamp.write_text(wanted, encoding="utf-8")
    jars = [*(folder / peer).glob("*.jar"), *(folder / peer / "libs").glob("*.jar")]
    return os.pathsep.join(map(str, sorted(jars)))


def java_path() -> str:
    """Path of a Java that can run the peers. Raises PeerError."""
    try:
        return find_java()
    except BrokerUnavailable as missing:
        raise PeerError(str(missing).replace("the local Kafka broker needs", "the Java peers need")) from None


def _maven(peer: Peer, folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise PeerError("the Java peers are built with Maven, and no `mvn` is on the PATH: install Maven (Debian: apt-get install maven)")  # noqa: E501  # fmt: skip
    shutil.rmtree(folder / peer, ignore_errors=True)  # no jar of an older version stays behind
    command = [
        maven, "-B", "-q", "-f", str(PEERS / "pom.xml"), "-pl", peer, "-am", f"-Dpeers.build={folder.absolute()}",
        "package",
    ]  # fmt: skip
    said = ""
    for more in (["-o"], []):
        try:
            done = subprocess.run(
                command + more, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS, cwd=PEERS
            )
        except subprocess.TimeoutExpired as slow:
            raise PeerError(f"Maven did not build {peer} within {BUILD_SECONDS:g} s: check the network") from slow
        if done.returncode == 0:
            return
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
    raise PeerError(f"Maven could not build {peer}; it said:\n{said}")


def _source_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(_sources()):
        digest.update(f"{path.relative_to(PEERS)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for part in ("common", "streams", "flink"):
        yield PEERS / part / "pom.xml"
        yield from (PEERS / part / "src").rglob("*.java")
    yield PEERS / "pom.xml"


# ---- running ---------------------------------------------------------------------------------------


def run(name: str, peer: Peer, job: Job, jvm: Sequence[str] = ()) -> JavaMeasurement:
    """Runs a peer to its end, in a state folder of its own. Raises PeerError, or RuntimeError with what it said."""
    with tempfile.TemporaryDirectory(prefix="waybill-peer-") as scratch:
        return measure(name, command(peer, job, Path(scratch), jvm))


def command(peer: Peer, job: Job, scratch: Path, jvm: Sequence[str] = ()) -> list[str]:
    """The command line of a peer; it keeps its state in `scratch`, with the native libraries that it unpacks."""
    (scratch / "tmp").mkdir(exist_ok=True)
    given = {**asdict(job), **limits(), "state": str(scratch / "state")}
    options = [*JVM[peer], *jvm, f"-Djava.io.tmpdir={scratch / 'tmp'}"]
    return [java_path(), *options, "-cp", build(peer), f"waybill.peers.{peer}.Main", json.dumps(given)]


def limits() -> dict[str, Any]:
    """The products and limits of the shipped pipeline, as the pack compares with them."""
    options = Options.model_validate(load_pipeline("cold-chain").options)
    found = {
        name: [_finite(one.low), _finite(one.high), one.bound_low, one.bound_high, one.judged]
        for name, one in Rules(options, "strict").limits.items()
    }
    return {"limits": found, "default_product": options.default_product}


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def measure(name: str, command: Sequence[str]) -> JavaMeasurement:
    """Runs a command that ends with a report as its last line. Raises RuntimeError with what it said."""
    said, cpu, peak = process.last_line(name, command)
    return JavaMeasurement(name, JavaReport(**said), cpu, peak)
