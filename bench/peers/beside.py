"""The jobs of the peers, done by the product and by each of them over one raw topic.

What they write must be the same, or there is nothing to compare; `bench.peers.check` looks deeper, with bad, repeated
and unusual readings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from bench.contenders import Mismatch, Turn
from bench.peers import programs
from bench.peers.job import PeerError, PeerMeasurement, make_job
from bench.peers.programs import Peer
from bench.process import Measurement
from bench.world import read
from schemas.canonical import sha256
from schemas.codec import SingleObjectCodec

OURS: dict[str, tuple[dict[str, Any], set[Peer]]] = {
    "job-validate": ({"windows": False}, {"streams", "flink"}),
    "job-validate-rocksdb": ({"windows": False, "store": "rocksdb"}, {"streams", "quix"}),
    "job-pipeline": ({}, {"streams"}),
}
"""The product's validate and batch, and beside whom. For the job `validate` no window fills: what is left of batch is
the judging of duplicates, and its table."""
# Flink writes its whole heap state at every checkpoint, so a second between them is what one would choose.
PEERS: dict[str, tuple[Peer, dict[str, Any]]] = {
    "streams-validate": ("streams", {}),
    "streams-validate-2-threads": ("streams", {"threads": 2}),
    "streams-validate-rocksdb": ("streams", {"store": "rocksdb"}),
    "flink-validate": ("flink", {"commit_ms": 1_000}),
    "quix-validate": ("quix", {}),
    "streams-pipeline": ("streams", {"job": "pipeline"}),
}


def missing() -> dict[Peer, str]:
    """Builds every peer that was not built yet; those that cannot be had, and why."""
    found: dict[Peer, str] = {}
    for peer in dict.fromkeys(peer for peer, _ in PEERS.values()):
        try:
            programs.build(peer)
        except PeerError as wrong:
            found[peer] = str(wrong)
    return found


def contenders(turn: Turn, without: Collection[Peer]) -> Iterator[Measurement]:
    """Each once, the product first; without: peers that cannot be had. Raises Mismatch."""
    digests: set[bytes] = set()
    for name, (more, peers) in OURS.items():
        if peers <= set(without):
            continue  # a figure without its peer means nothing
        made = turn.pipeline(name)
        yield turn.ours(name, made, {"validate": turn.records, "batch": turn.records}, **more)
        digests = digests or _digests(turn.bootstrap, made.topic("validated"))
    for name, (peer, more) in PEERS.items():
        if peer in without:
            continue
        job = make_job(turn.bootstrap, f"{name}-{turn.number}", turn.raw, turn.records, **more)
        measured = programs.run(name, peer, job)
        _compare(measured, digests, [value or b"" for _, value in read(turn.bootstrap, job.validated)], job.job)
        yield measured


def _digests(bootstrap: str, validated: str) -> set[bytes]:
    codec = SingleObjectCodec()
    return {codec.decode(value or b"")[1]["digest"] for _, value in read(bootstrap, validated)}


def _compare(measured: PeerMeasurement, digests: set[bytes], theirs: list[bytes], job: str) -> None:
    """On `validated`, the job `validate` writes payloads, and `pipeline` frames around them."""
    same = len(theirs) == len(digests) and (job == "pipeline" or {sha256(value) for value in theirs} == digests)
    if not same:
        raise Mismatch(f"{measured.name} wrote {len(theirs)} payloads, which are not the product's {len(digests)}")
