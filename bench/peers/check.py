"""`python -m bench.peers.check`: holds what the Java peers write against the product's own pack, on its own broker.

Readings of the bench, with some repeated, some contradicting, some broken and some of unusual but valid form among
them. Every peer and store must write the payloads that the pack gives, each once, and refuse what the pack refuses;
the pipeline must put every reading into exactly one batch; a Kafka Streams program that is killed and started again
must do so too. Exit 1 where one does not.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, TopicPartition

from bench.peers import java
from bench.peers.java import PARTITIONS, Job, Peer, PeerError, create_topics, make_job
from bench.world import SECONDS, fill, readings
from schemas.pack import Record, Submission
from schemas.packs import load_pack
from schemas.packs.cold_chain.judge import Rules
from schemas.packs.cold_chain.options import NO_SOURCE, Options
from schemas.packs.cold_chain.reading import read_fast
from schemas.packs.cold_chain.sample import sample
from topology.load import load_pipeline
from waybill.broker import Broker

RAW = "peers.raw"
NOT_PLAIN = "NOT_PLAIN"
"""What a peer says of a reading that the pack takes only the thorough way."""
ODD = [
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:00:00Z","temperature_c":5}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:01:00Z","temperature_c":-0.0}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:02:00Z","temperature_c":-0}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:03:00Z","temperature_c":1e1}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:04:00Z","temperature_c":1.50}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:05:00Z","temperature_c":1E-7}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:06:00Z","temperature_c":4.3000000000000001}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:07:00Z","temperature_c":0.30000000000000004}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:08:00Z","temperature_c":5e-324}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:09:00Z","temperature_c":1.7976931348623157e308}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:10:00Z","temperature_c":1e999}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:11:00Z","temperature_c":Infinity}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:12:00.250Z","temperature_c":5.0,"product":"refrigerator"}',
    b'{"product":"refrigerator","temperature_c":8,"timestamp_utc":"2024-02-29T23:59:59Z","sensor_id":"ODD-0001"}',
    b'{"product":"vapour","temperature_c":-196,"timestamp_utc":"2024-02-29T23:59:59.999Z","sensor_id":"ODD-0001"}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:13:00Z","temperature_c":5,"compliance_state":"excursion"}',
    b'{"sensor_id":"COOL","timestamp_utc":"2026-03-02T00:14:00Z","temperature_c":5,"product":"cool","zone_id":"A-1"}',
    b' {"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:15:00Z","temperature_c":5}',
    b'{ "sensor_id" : "ODD-0001" ,\n"timestamp_utc":"2026-03-02T00:16:00Z", "temperature_c" : 5 }\n',
    '{"sensor_id":"KÜHL-日本","timestamp_utc":"2026-03-02T00:17:00Z","temperature_c":5}'.encode(),
    b'{"sensor_id":"K\\u00dchl\\ud83d\\ude00","timestamp_utc":"2026-03-02T00:18:00Z","temperature_c":5}',
    b'{"sensor_id":"K\\u00dc\\u200bhl","timestamp_utc":"2026-03-02T00:19:00Z","temperature_c":5}',
    b'{"sensor_id":"back\\\\slash","timestamp_utc":"2026-03-02T00:20:00Z","temperature_c":5}',
    b'{"sensor_id":"qu\\"ote","timestamp_utc":"2026-03-02T00:21:00Z","temperature_c":5}',
    b'{"sensor_id":"ab","timestamp_utc":"2026-03-02T00:22:00Z","temperature_c":5}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-02-29T00:23:00Z","temperature_c":5}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T24:00:00Z","temperature_c":5}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02 00:24:00Z","temperature_c":5}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:25:00.123456Z","temperature_c":5}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:26:00+00:00","temperature_c":5}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"1969-12-31T23:59:59Z","temperature_c":5}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"yesterday","temperature_c":5}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:27:00Z","temperature":41,"unit":"F"}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:28:00Z","temperature_c":5,"zone_id":null}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:29:00Z","temperature_c":5,"zone_id":""}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:30:00Z","temperature_c":true}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:31:00Z","temperature_c":[5]}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:32:00Z","temperature_c":5,"product":"nectar"}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:33:00Z","temperature_c":5}x',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:34:00Z","temperature_c":05}',
    b"{}",
    b"",
    b"hello",
]


class Wrong(Exception):
    """A peer that did not do what the product does."""


class Message(NamedTuple):
    """A message as read back."""

    partition: int
    key: bytes | None
    value: bytes
    headers: dict[str, bytes]


@dataclass
class Expected:
    """What must come out."""

    digests: set[bytes] = field(default_factory=set)
    groups: dict[bytes, str] = field(default_factory=dict)
    """product|date by digest."""
    either: dict[bytes, bytes] = field(default_factory=dict)
    """Values by digest that the pack takes the thorough way only: a peer gives the same payload or refuses them."""
    refused: Counter[bytes] = field(default_factory=Counter)
    """Values on the dead-letter topic, contradicting ones apart."""
    codes: dict[bytes, set[str]] = field(default_factory=dict)
    duplicates: int = 0
    contradicting: Counter[bytes] = field(default_factory=Counter)
    contradicting_payloads: Counter[bytes] = field(default_factory=Counter)


# ---- what goes in, and what must come out -----------------------------------------------------------


def messages(count: int, seed: int = 1) -> list[tuple[str, bytes]]:
    """`count` good readings, and among them some repeated, contradicting, broken and odd ones."""
    chance = random.Random(seed)
    made = load_pipeline("cold-chain")
    pack = load_pack(made.pack, made.options, made.profile)
    broken = [
        (key, value)
        for key, value in sample(max(2_000, count // 5))
        if not isinstance(next(iter(pack.unpack(Submission(value)).records())), Record)
    ]
    odd = [(f"odd-{number}", value) for number, value in enumerate(ODD)]
    odd += [(key, value[: chance.randrange(len(value))]) for key, value in readings(200)]
    extra = iter([*broken, *odd])
    found: list[tuple[str, bytes]] = []
    for key, value in readings(count):
        found.append((key, value))
        roll = chance.random()
        if roll < 0.02:
            found.append((key, value))
        elif roll < 0.03:
            found.append((key, value.replace(b'"temperature_c":', b'"temperature_c":1', 1)))
        elif roll < 0.05:
            again = found[chance.randrange(len(found))]
            found.append(again)
        elif roll < 0.08 and (one := next(extra, None)) is not None:
            found.append(one)
    return found + list(extra)


def expect(given: Iterable[tuple[str, bytes]]) -> Expected:
    """The product's answers, duplicates dropped; of what it takes the thorough way, those of a refusal."""
    made = load_pipeline("cold-chain")
    pack = load_pack(made.pack, made.options, made.profile)
    rules = Rules(Options.model_validate(made.options), made.profile)
    known: dict[tuple[str, int], bytes] = {}
    found = Expected()
    for _, value in given:
        record = read_fast(value, rules, NO_SOURCE) if value[:1] == b"{" else None
        if record is None:
            item = next(iter(pack.unpack(Submission(value)).records()))
            if isinstance(item, Record):
                found.either[item.digest] = value
            else:
                found.refused[value] += 1
                found.codes[value] = {one.code for one in item.findings}
            continue
        identity = record.fields["sensor_id"], record.event_time
        digest = known.setdefault(identity, record.digest)
        if identity not in known or digest is record.digest:
            found.digests.add(digest)
            found.groups[digest] = f"{record.fields['product']}|{record.fields['day']}"
        elif digest == record.digest:
            found.duplicates += 1
        else:
            found.contradicting[value] += 1
            found.contradicting_payloads[record.payload] += 1
    return found


# ---- what came out ----------------------------------------------------------------------------------


def read(bootstrap: str, topic: str) -> Iterator[Message]:
    """Committed messages with their headers, each partition in its order."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "peers.reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.queue.backoff.ms": 10,
        }
    )
    deadline = time.monotonic() + SECONDS
    left = PARTITIONS
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
        while left:
            if time.monotonic() > deadline:
                raise Wrong(f"{topic} could not be read in {SECONDS:g} s")
            for message in consumer.consume(5_000, 0.1):
                error: Any = message.error()
                if error is None:
                    headers = {name: bytes(value) for name, value in message.headers() or []}
                    yield Message(message.partition(), message.key(), message.value() or b"", headers)
                elif error.code() == KafkaError._PARTITION_EOF:
                    left -= 1
                else:
                    raise Wrong(f"{topic}: {error.str()}")
    finally:
        consumer.close()


def check_validated(bootstrap: str, job: Job, expected: Expected, contradicting: Counter[bytes]) -> None:
    """Raises Wrong."""
    seen: list[bytes] = []
    for message in read(bootstrap, job.validated):
        digest = sha256(message.value).digest()
        if message.headers.get("digest") != digest:
            raise Wrong(f"a digest that is not its payload's: {message}")
        seen.append(digest)
    _same_digests("validated", seen, expected)
    check_dead(bootstrap, job, expected, contradicting)


def _same_digests(where: str, seen: list[bytes], expected: Expected) -> None:
    got = set(seen)
    if len(got) != len(seen) or got - expected.either.keys() != expected.digests:
        raise Wrong(
            f"{where}: {len(seen)} payloads, {len(got)} different, {len(got - expected.digests)} not expected, "
            f"{len(expected.digests - got)} of {len(expected.digests)} missing"
        )


def check_dead(bootstrap: str, job: Job, expected: Expected, contradicting: Counter[bytes]) -> None:
    """Raises Wrong."""
    refused: Counter[bytes] = Counter()
    conflicts: Counter[bytes] = Counter()
    for message in read(bootstrap, job.dead_letter):
        code = message.headers["code"].decode()
        if code == "CONFLICT":
            conflicts[message.value] += 1
            continue
        if message.value in expected.either.values() and code == NOT_PLAIN:
            continue
        refused[message.value] += 1
        wanted = expected.codes.get(message.value)
        # Of what is no JSON object the pack may say more than that it is malformed, and of nested findings too.
        if wanted is None or (code not in wanted and message.value[:1] == b"{"):
            raise Wrong(f"refused with {code}, the pack says {wanted}: {message.value!r:.200}")
    if refused != expected.refused:
        raise Wrong(
            f"{refused.total()} refused, expected {expected.refused.total()}: {_differ(refused, expected.refused)}"
        )
    if conflicts != contradicting:
        raise Wrong(
            f"{conflicts.total()} contradicting, expected {contradicting.total()}: {_differ(conflicts, contradicting)}"
        )


def _differ(one: Counter[bytes], other: Counter[bytes]) -> str:
    return f"{[*(one - other)][:3]} against {[*(other - one)][:3]}"


def check_batched(bootstrap: str, job: Job, expected: Expected, contradicting: Counter[bytes]) -> None:
    """Raises Wrong."""
    seen: list[bytes] = []
    short: set[tuple[bytes, bytes | None]] = set()
    for message in read(bootstrap, job.batched):
        if job.bodies:
            members = [sha256(line).digest() for line in message.value.splitlines()]
        else:
            members = [message.value[at : at + 32] for at in range(0, len(message.value), 32)]
        if message.headers["digest"] != sha256(b"".join(members)).digest():
            raise Wrong("a batch whose digest is not that of its members")
        if int.from_bytes(message.headers["count"], "big") != len(members) or len(members) > job.batch:
            raise Wrong(f"a batch of {len(members)}")
        known = [expected.groups[digest] for digest in members if digest not in expected.either]
        if known and set(known) != {(message.key or b"").decode()}:
            raise Wrong(f"a batch of {message.key!r} with members of another group")
        place = message.headers["partition"], message.key
        if place in short:
            raise Wrong(f"a batch after one that was not full: {place}")
        if len(members) < job.batch:
            short.add(place)
        seen += members
    _same_digests("batched", seen, expected)
    check_dead(bootstrap, job, expected, contradicting)


# ---- the runs ---------------------------------------------------------------------------------------


class Check:
    """The runs, over one broker and one filled topic."""

    def __init__(self, bootstrap: str, records: int) -> None:
        self._bootstrap = bootstrap
        given = messages(records)
        self._records = len(given)
        self._expected = expect(given)
        create_topics(bootstrap, [RAW])
        fill(bootstrap, RAW, given, PARTITIONS)
        wanted = self._expected
        print(
            f"{len(given)} messages: {len(wanted.digests)} valid, {wanted.duplicates} repeated, "
            f"{wanted.contradicting.total()} contradicting, {wanted.refused.total()} refused"
        )

    def run(self, name: str, peer: Peer, **more: Any) -> None:
        """One run to its end, and a look at everything it wrote. Raises Wrong."""
        job = make_job(self._bootstrap, name, RAW, self._records, **more)
        measured = java.run(name, peer, job)
        self._judge(job, measured.report.counts, late=peer == "flink" or job.job == "pipeline")
        print(f"{name}: equal ({measured.rate:,.0f} records/s, {measured.cpu_per_million:.1f} CPU-s per million)")

    def killed(self, name: str, **more: Any) -> None:
        """A Kafka Streams run that is killed half-way and started again with the state that it left. Raises Wrong."""
        job = make_job(self._bootstrap, name, RAW, self._records, **more)
        with tempfile.TemporaryDirectory(prefix="waybill-peer-") as scratch:
            first = subprocess.Popen(java.command("streams", job, Path(scratch)), stdout=subprocess.DEVNULL)
            try:
                self._until_half(job, first)
            finally:
                first.kill()
                first.wait()
            done = self._committed(job, RAW)
            through = sum(1 for _ in read(self._bootstrap, job.validated)) if job.job == "pipeline" else 0
            checked = self._checked(job) if job.job == "pipeline" else 0
            rest = replace(job, records=self._records - done, waiting=through - checked)
            java.measure(name, java.command("streams", rest, Path(scratch)))
        self._judge(job, None, late=job.job == "pipeline")
        print(f"{name}: killed after {done} of {self._records}, equal")

    def _judge(self, job: Job, counts: dict[str, int] | None, late: bool) -> None:
        """`late`: duplicates are dropped behind a hop, so that a contradicting reading is known by its payload."""
        wanted = self._expected
        contradicting = wanted.contradicting_payloads if late else wanted.contradicting
        check = check_batched if job.job == "pipeline" else check_validated
        check(self._bootstrap, job, wanted, contradicting)
        due = {
            "refused": wanted.refused.total(),
            "duplicates": wanted.duplicates,
            "conflicts": wanted.contradicting.total(),
        }
        if counts is not None and any(
            not number <= counts[name] <= number + (len(wanted.either) if name == "refused" else 0)
            for name, number in due.items()
        ):
            raise Wrong(f"counted {counts}, expected {due}")

    def _until_half(self, job: Job, running: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + SECONDS
        while self._committed(job, RAW) < self._records // 3:
            if time.monotonic() > deadline or running.poll() is not None:
                raise Wrong(f"{job.application} ended or hangs before it could be killed")
            time.sleep(0.02)

    def _committed(self, job: Job, topic: str) -> int:
        return sum(max(0, offset) for offset in self._offsets(job, topic))

    def _checked(self, job: Job) -> int:
        """Messages of `validated` below the committed offsets (offsets count the ends of transactions too)."""
        offsets = self._offsets(job, job.validated)
        consumer = Consumer(
            {"bootstrap.servers": self._bootstrap, "group.id": "peers.counter", "enable.partition.eof": True}
        )
        found = 0
        try:
            for partition, offset in enumerate(offsets):
                consumer.assign([TopicPartition(job.validated, partition, 0)])
                reading = offset > 0
                while reading:
                    for message in consumer.consume(5_000, 0.1):
                        if message.error() is not None or (message.offset() or 0) >= offset:
                            reading = False
                            break
                        found += 1
        finally:
            consumer.close()
        return found

    def _offsets(self, job: Job, topic: str) -> list[int]:
        consumer = Consumer({"bootstrap.servers": self._bootstrap, "group.id": job.application})
        try:
            asked = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
            return [one.offset for one in consumer.committed(asked, 60)]
        finally:
            consumer.close()


def main() -> None:
    """Exit 0: all equal."""
    given = argparse.ArgumentParser(prog="python -m bench.peers.check", description=__doc__)
    given.add_argument("--records", type=int, default=50_000, help="good readings (default: %(default)s)")
    given.add_argument("--only", default="", help="only runs whose name holds this")
    options = given.parse_args()
    try:
        java.build("streams")
        java.build("flink")
    except PeerError as missing:
        sys.exit(str(missing))
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # a broker must not stay behind
    with tempfile.TemporaryDirectory(prefix="waybill-peers-") as scratch:
        broker = Broker(Path(scratch) / "broker")
        try:
            check = Check(broker.start(), options.records)
            runs: dict[str, Callable[[str], None]] = {
                "streams-memory": lambda name: check.run(name, "streams"),
                "streams-memory-2": lambda name: check.run(name, "streams", threads=2),
                "streams-rocksdb": lambda name: check.run(name, "streams", store="rocksdb"),
                "streams-killed": lambda name: check.killed(name),
                "pipeline-memory": lambda name: check.run(name, "streams", job="pipeline", batch=500),
                "pipeline-rocksdb-2": lambda name: check.run(
                    name, "streams", job="pipeline", batch=500, store="rocksdb", threads=2
                ),
                "pipeline-digests": lambda name: check.run(name, "streams", job="pipeline", bodies=False),
                "pipeline-killed": lambda name: check.killed(name, job="pipeline", batch=500),
                "pipeline-killed-rocksdb": lambda name: check.killed(name, job="pipeline", batch=500, store="rocksdb"),
                "flink": lambda name: check.run(name, "flink"),
                "flink-2": lambda name: check.run(name, "flink", threads=2),
            }
            failed = 0
            for name, one in runs.items():
                if options.only in name:
                    began = time.monotonic()
                    try:
                        one(name)
                        print(f"    {time.monotonic() - began:.1f} s", flush=True)
                    except (Wrong, RuntimeError) as wrong:
                        failed += 1
                        print(f"{name}: {wrong}")
        finally:
            broker.stop()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
