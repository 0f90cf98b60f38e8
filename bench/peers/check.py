"""`python -m bench.peers.check`: holds what the peers write against the product's own pack, on its own broker.

Readings of the bench, with some repeated, some contradicting, some broken and some of unusual but valid form among
them. Every peer and store must write the payloads that the pack gives, each once, and refuse what the pack refuses;
the pipeline must put every reading into exactly one batch; a Kafka Streams or Quix Streams program that is killed and
started again must do so too. Exit 1 where one does not.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from bench.peers import programs
from bench.peers.expected import expect, messages
from bench.peers.job import PARTITIONS, Job, PeerError, create_topics, make_job, measure
from bench.peers.outputs import Wrong, check_batched, check_validated, read
from bench.peers.programs import Peer
from bench.process import ROOT
from bench.world import SECONDS, broker, fill

RAW = "peers.raw"


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
        measured = programs.run(name, peer, job)
        self._judge(job, measured.report.counts, late=peer == "flink" or job.job == "pipeline")
        print(f"{name}: equal ({measured.rate:,.0f} records/s, {measured.cpu_per_million:.1f} CPU-s per million)")

    def killed(self, name: str, peer: Peer, **more: Any) -> None:
        """A run that is killed half-way and started again with the state that it left. Raises Wrong."""
        job = make_job(self._bootstrap, name, RAW, self._records, **more)
        with tempfile.TemporaryDirectory(prefix="waybill-peer-") as scratch:
            command = programs.command(peer, job, Path(scratch))
            first = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)
            try:
                self._until_half(job, first)
            finally:
                first.kill()
                first.wait()
            done = self._committed(job, RAW)
            through = sum(1 for _ in read(self._bootstrap, job.validated)) if job.job == "pipeline" else 0
            checked = self._checked(job) if job.job == "pipeline" else 0
            rest = replace(job, records=self._records - done, waiting=through - checked)
            measure(name, programs.command(peer, rest, Path(scratch)))
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
    with broker() as (bootstrap, _):
        check = Check(bootstrap, options.records)
        runs: dict[str, tuple[Peer, Callable[[str, Peer], None]]] = {
            "streams-memory": ("streams", check.run),
            "streams-memory-2": ("streams", partial(check.run, threads=2)),
            "streams-rocksdb": ("streams", partial(check.run, store="rocksdb")),
            "streams-killed": ("streams", check.killed),
            "pipeline-memory": ("streams", partial(check.run, job="pipeline", batch=500)),
            "pipeline-rocksdb-2": (
                "streams", partial(check.run, job="pipeline", batch=500, store="rocksdb", threads=2)
            ),
            "pipeline-digests": ("streams", partial(check.run, job="pipeline", bodies=False)),
            "pipeline-killed": ("streams", partial(check.killed, job="pipeline", batch=500)),
            "pipeline-killed-rocksdb": (
                "streams", partial(check.killed, job="pipeline", batch=500, store="rocksdb")
            ),
            "flink": ("flink", check.run),
            "flink-2": ("flink", partial(check.run, threads=2)),
            "quix": ("quix", check.run),
            "quix-killed": ("quix", check.killed),
        }  # fmt: skip
        failed = 0
        for name, (peer, one) in runs.items():
            if options.only in name:
                began = time.monotonic()
                try:
                    one(name, peer)
                    print(f"    {time.monotonic() - began:.1f} s", flush=True)
                except (Wrong, PeerError, RuntimeError) as wrong:
                    failed += 1
                    print(f"{name}: {wrong}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
