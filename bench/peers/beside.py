"""The jobs of the Java peers, done by the product and by each of them over one raw topic.

What they write must be the same, or there is nothing to compare; `bench.peers.check` looks deeper, with bad, repeated
and unusual readings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.contenders import Mismatch, Turn
from bench.peers import java
from bench.peers.java import JavaMeasurement, Peer
from bench.process import Measurement
from bench.world import read
from schemas.canonical import sha256
from schemas.codec import SingleObjectCodec

OURS: dict[str, dict[str, Any]] = {
    "job-validate": {"windows": False},
    "job-validate-rocksdb": {"windows": False, "store": "rocksdb"},
    "job-pipeline": {},
}
"""The product's validate and batch. For the job `validate` no window fills: what is left of batch is the judging of
duplicates, and its table."""
# Flink writes its whole heap state at every checkpoint, so a second between them is what one would choose.
PEERS: dict[str, tuple[Peer, dict[str, Any]]] = {
    "streams-validate": ("streams", {}),
    "streams-validate-2-threads": ("streams", {"threads": 2}),
    "streams-validate-rocksdb": ("streams", {"store": "rocksdb"}),
    "flink-validate": ("flink", {"commit_ms": 1_000}),
    "streams-pipeline": ("streams", {"job": "pipeline"}),
}


def build() -> None:
    """Builds every peer that was not built yet. Raises PeerError where Java or Maven are missing."""
    for peer in sorted({peer for peer, _ in PEERS.values()}):
        java.build(peer)


def contenders(turn: Turn) -> Iterator[Measurement]:
    """Each once, the product first. Raises Mismatch."""
    made = {name: turn.pipeline(name) for name in OURS}
    for name, more in OURS.items():
        yield turn.ours(name, made[name], {"validate": turn.records, "batch": turn.records}, **more)
    codec, written = SingleObjectCodec(), made["job-validate"].topic("validated")
    digests = {codec.decode(value or b"")[1]["digest"] for _, value in read(turn.bootstrap, written)}
    for name, (peer, more) in PEERS.items():
        job = java.make_job(turn.bootstrap, f"{name}-{turn.number}", turn.raw, turn.records, **more)
        measured = java.run(name, peer, job)
        _compare(measured, digests, [value or b"" for _, value in read(turn.bootstrap, job.validated)], job.job)
        yield measured


def _compare(measured: JavaMeasurement, digests: set[bytes], theirs: list[bytes], job: str) -> None:
    """On `validated`, the job `validate` writes payloads, and `pipeline` frames around them."""
    same = len(theirs) == len(digests) and (job == "pipeline" or {sha256(value) for value in theirs} == digests)
    if not same:
        raise Mismatch(f"{measured.name} wrote {len(theirs)} payloads, which are not the product's {len(digests)}")
