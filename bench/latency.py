"""How long a reading takes from publisher to `validated`, `batched` and `sent`, and to Kafka Streams' `validated`.

A deployed worker with all three stages is given a backlog first: that makes it and the broker warm, and shows its top
rate. Then readings come at an even pace: 1,000 a second, and shares of that top rate. Kafka Streams does the job
`validate` with its default commit interval after the same backlog, at 1,000 a second and at half of our top rate; so
does a worker of ours with the stages of that job, validate and batch with windows that do not fill. A reader of
committed messages looks at the clock when it has a message in hand, and knows it by the digest of its payload. Same
machine, same clock.
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from confluent_kafka import Consumer, TopicPartition

from bench.deployed import WorkerProcess, deploy, http_partner, wait_for
from bench.pacing import Reading, publish
from bench.peers import programs
from bench.peers.job import PARTITIONS, Job, create_topics, make_job
from bench.process import ROOT
from bench.waits import HALF, OURS, SAME_JOB, SLOW, STREAMS, Waits, summary, waits_of
from bench.world import NEVER, fill
from schemas.codec import SingleObjectCodec
from schemas.pack import Record, Submission
from schemas.packs import load_pack
from topology.load import load_pipeline

PACE = 1_000
"""Records a second of the slow load."""
SHARES = {"25 %": 0.25, HALF: 0.5, "75 %": 0.75}
"""Of the top rate."""
WARM_UP = 2.0
"""Seconds at the beginning of each load that are not counted."""
BACKLOG = 50_000
COMMIT_MS = 100
"""commit.interval.ms of Kafka Streams with exactly-once when nobody sets it."""
TOPICS = ("validated", "batched", "sent")
SETTINGS: dict[str, Any] = {"batching": {"max_records": 2_000, "linger": 1, "idle": 1}, "partner": "lake"}
"""What waits in a window for more waits a second at most."""
JOB_STAGES = "validate,batch"
JOB_SETTINGS: dict[str, Any] = {"batching": NEVER.model_dump(exclude_none=True)}
"""The job of Kafka Streams drops duplicates and batches nothing."""
SECONDS = 180.0
"""Until everything that was published has arrived: longer means that it hangs."""


class Arrival(NamedTuple):
    """A message, and when it was in hand, ns since epoch."""

    topic: str
    value: bytes
    digest: bytes | None
    """In its header, where it has one."""
    at: int


class Arrivals(threading.Thread):
    """Reads committed messages of topics from their beginning on, and notes when."""

    def __init__(self, bootstrap: str, topics: Sequence[str], partitions: int) -> None:
        super().__init__(name="arrivals", daemon=True)
        settings = {
            "bootstrap.servers": bootstrap,
            "group.id": "bench.latency",
            "log_level": 3,
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 500,  # a broker answers at once when something has committed
            "fetch.queue.backoff.ms": 1,
        }
        self._consumer: Any = Consumer(settings)
        places = [TopicPartition(topic, partition, 0) for topic in topics for partition in range(partitions)]
        self._consumer.assign(places)
        self._found: deque[Arrival] = deque()
        self._counts = dict.fromkeys(topics, 0)
        self._ending = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ending.set()
        self.join()
        self._consumer.close()

    def run(self) -> None:
        consumer = self._consumer
        while not self._ending.is_set():
            first = consumer.poll(0.05)
            if first is None:
                continue
            messages = [first, *consumer.consume(10_000, 0)]
            now = time.time_ns()
            for message in messages:
                if message.error() is None:
                    topic = message.topic()
                    self._found.append(Arrival(topic, message.value(), _digest(message.headers()), now))
                    self._counts[topic] += 1

    def wait(self, topic: str, count: int) -> None:
        """Until a topic has so many messages. Raises RuntimeError."""
        wait_for(lambda: self._counts[topic] >= count, SECONDS, f"{topic} has {count:,} messages")

    def take(self) -> list[Arrival]:
        """What has arrived since the last time."""
        return [self._found.popleft() for _ in range(len(self._found))]


def _digest(headers: list[tuple[str, bytes]] | None) -> bytes | None:
    return dict(headers).get("digest") if headers else None


class Supply:
    """Readings that were not published yet, each with the digest of its payload."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        self._rest = iter(readings)
        made = load_pipeline("cold-chain")
        self._pack = load_pack(made.pack, made.options, made.profile)

    def take(self, count: int) -> tuple[list[Reading], list[bytes]]:
        """The next ones; fewer when there are no more."""
        taken = list(islice(self._rest, count))
        items = (next(iter(self._pack.unpack(Submission(value)).records())) for _, value in taken)
        return taken, [item.digest for item in items if isinstance(item, Record)]


class Contender:
    """One that is fed at a pace, and whose topics are read."""

    def __init__(
        self, name: str, bootstrap: str, folder: Path, raw: str, topics: dict[str, str], arrivals: Arrivals
    ) -> None:
        """topics: their names by what they are called in the results, the last written to last."""
        self._name, self._bootstrap, self._raw = name, bootstrap, raw
        self._file = folder / "load.json"
        self._topics, self._last = {full: short for short, full in topics.items()}, list(topics.values())[-1]
        self._arrivals, self._fed = arrivals, 0

    def top(self, supply: Supply) -> float:
        """Records a second while there is a backlog, until nine tenths of it have got through."""
        readings, digests = supply.take(BACKLOG)
        fill(self._bootstrap, self._raw, readings, PARTITIONS)
        arrived = self._through(digests)
        first = min(arrived[topic][digest] for topic in arrived for digest in digests)
        through = sorted(arrived[self._topics[self._last]][digest] for digest in digests)
        done = len(through) * 9 // 10
        return done / (through[done - 1] - first) * 1e9

    def load(self, supply: Supply, name: str, pace: float, seconds: float) -> Iterator[Waits]:
        """Waits by topic."""
        readings, digests = supply.take(int(pace * (seconds + WARM_UP)))
        told = publish(self._bootstrap, self._raw, PARTITIONS, readings, pace, self._file)
        arrived = self._through(digests)
        skip = int(pace * WARM_UP)
        published = dict(zip(digests[skip:], told.at[skip:], strict=True))
        for topic, found in arrived.items():
            yield summary(self._name, name, pace, topic, waits_of(published, found), told.late[skip:])

    def beside(self, supply: Supply, seconds: float, half: float) -> Iterator[Waits]:
        """Warmed by the backlog, at the loads at which a peer is measured. half: records a second."""
        self.top(supply)
        yield from self.load(supply, SLOW, PACE, seconds)
        yield from self.load(supply, HALF, half, seconds)

    def _through(self, digests: list[bytes]) -> dict[str, dict[bytes, int]]:
        """Waits until all these are through; when each was first in hand, by topic and digest."""
        self._fed += len(digests)
        self._arrivals.wait(self._last, self._fed)  # nothing is decoded while anything is on its way
        found: dict[str, dict[bytes, int]] = {short: {} for short in self._topics.values()}
        codec = SingleObjectCodec()

        def complete() -> bool:
            for arrival in self._arrivals.take():
                times = found[self._topics[arrival.topic]]
                for digest in (arrival.digest,) if arrival.digest else digests_in(codec, arrival.value):
                    times.setdefault(digest, arrival.at)
            return all(times.keys() >= set(digests) for times in found.values())

        wait_for(complete, SECONDS, f"all {len(digests):,} readings are in {', '.join(found)}")
        return found


def digests_in(codec: SingleObjectCodec, value: bytes) -> Iterator[bytes]:
    """The digests of all records in a message of ours; none in one that only steers."""
    kind, message = codec.decode(value)
    if kind == "batched":
        for member in message["records"]:
            yield from digests_in(codec, member)
    elif kind in ("validated", "sent"):
        yield message["digest"]


def measure(bootstrap: str, folder: Path, readings: Sequence[Reading], seconds: float, streams: bool) -> list[Waits]:
    """seconds: counted of each load. streams: whether Kafka Streams can be had."""
    found, half, seconds = _ours(bootstrap, folder, readings, seconds)
    if streams:
        found += _same_job(bootstrap, folder, readings, seconds, half)
        found += _streams(bootstrap, folder, readings, seconds, half)
    return found


def _ours(
    bootstrap: str, folder: Path, readings: Sequence[Reading], seconds: float
) -> tuple[list[Waits], float, float]:
    """What was found, half of the top rate, and the seconds for which there were readings enough."""
    store = {"kind": "object-store", "url": (folder / "lake-latency").as_uri(), "prefix": "coldchain"}
    (folder / "lake-latency").mkdir()
    settings = {**SETTINGS, "raw": {"topic": "bench.raw.paced"}}
    file, made = deploy(bootstrap, folder, "bench-latency", settings, {"lake": store})
    topics = {short: made.topic(short) for short in TOPICS}
    supply = Supply(readings)
    with (
        WorkerProcess(file, bootstrap) as worker,
        Arrivals(bootstrap, list(topics.values()), made.partitions) as arrivals,
    ):
        worker.ready()
        contender = Contender(OURS, bootstrap, folder, made.raw_topic, topics, arrivals)
        top = contender.top(supply)
        paces = {SLOW: float(PACE), **{name: share * top for name, share in SHARES.items()}}
        seconds = min(seconds, (len(readings) - BACKLOG) / sum(paces.values()) - WARM_UP)
        found = [one for name, pace in paces.items() for one in contender.load(supply, name, pace, seconds)]
    return found, paces[HALF], seconds


def _same_job(
    bootstrap: str, folder: Path, readings: Sequence[Reading], seconds: float, half: float
) -> Iterator[Waits]:
    settings = {**JOB_SETTINGS, "raw": {"topic": "bench.raw.paced.job"}, "partner": "clinic"}
    partners = {"clinic": http_partner(9)}  # nothing is sent
    file, made = deploy(bootstrap, folder, "bench-latency-job", settings, partners)
    supply, topics = Supply(readings), {"validated": made.topic("validated")}
    with (
        WorkerProcess(file, bootstrap, JOB_STAGES) as worker,
        Arrivals(bootstrap, list(topics.values()), made.partitions) as arrivals,
    ):
        worker.ready()
        contender = Contender(SAME_JOB, bootstrap, folder, made.raw_topic, topics, arrivals)
        yield from contender.beside(supply, seconds, half)


def _streams(bootstrap: str, folder: Path, readings: Sequence[Reading], seconds: float, half: float) -> Iterator[Waits]:
    raw, supply = "bench.raw.paced.streams", Supply(readings)
    create_topics(bootstrap, [raw])
    # It is killed before it has read as many as that.
    job = make_job(bootstrap, "bench-latency-streams", raw, 2**31 - 1, commit_ms=COMMIT_MS, linger_ms=5)
    with _running(job), Arrivals(bootstrap, [job.validated], PARTITIONS) as arrivals:
        contender = Contender(STREAMS, bootstrap, folder, raw, {"validated": job.validated}, arrivals)
        yield from contender.beside(supply, seconds, half)


@contextmanager
def _running(job: Job) -> Iterator[None]:
    """Kafka Streams at work; it is killed at the end."""
    with tempfile.TemporaryDirectory(prefix="waybill-peer-") as scratch, Path(scratch, "said").open("wb") as said:
        process = subprocess.Popen(programs.command("streams", job, Path(scratch)), cwd=ROOT, stdout=said, stderr=said)
        try:
            yield
        finally:
            process.kill()
            process.wait()
