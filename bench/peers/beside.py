"""The jobs of the peers, done by the product and by each of them over one raw topic.

What they write must be the same, or there is nothing to compare; `bench.peers.check` looks deeper, with bad, repeated
and unusual readings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import tee
from typing import Any

from bench.contenders import Mismatch, Turn
from bench.peers import programs
from bench.peers.job import Job, PeerError, make_job
from bench.peers.programs import Peer
from bench.process import Measurement
from bench.world import read
from schemas.canonical import sha256
from schemas.codec import SingleObjectCodec
from schemas.validated import read_fronts

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


DIGEST = 32
"""Bytes."""


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
        measured = turn.ours(name, made, {"validate": turn.records, "batch": turn.records}, **more)
        found = _validated(turn.bootstrap, made.topic("validated"))
        digests = digests or set(found)
        _same(f"{name}, validated", found, digests, turn.records)
        if more.get("windows", True):
            _same(f"{name}, batched", _batched(turn.bootstrap, made.topic("batched")), digests, turn.records)
        yield measured
    for name, (peer, more) in PEERS.items():
        if peer in without:
            continue
        job = make_job(turn.bootstrap, f"{name}-{turn.number}", turn.raw, turn.records, **more)
        ran = programs.run(name, peer, job)
        for topic, found in _theirs(turn.bootstrap, job).items():
            _same(f"{name}, {topic}", found, digests, turn.records)
        yield ran


def _validated(bootstrap: str, topic: str) -> list[bytes]:
    return list(_digests(value for _, value in read(bootstrap, topic)))


def _batched(bootstrap: str, topic: str) -> list[bytes]:
    """Of every member of every batch of ours."""
    codec, found = SingleObjectCodec(), list[bytes]()
    for _, value in read(bootstrap, topic):
        kind, message = codec.decode(value or b"")
        if kind == "batched":
            found += _digests(message["records"])
    return found


def _digests(validated: Iterable[bytes | None]) -> Iterator[bytes]:
    """Of messages of ours; decoding each whole would take longer than some contenders run."""
    codec = SingleObjectCodec()
    values, again = tee(validated)
    for front, value in zip(read_fronts(codec.header("validated"), values), again, strict=True):
        yield codec.decode(value or b"")[1]["digest"] if front is None else front.digest


def _theirs(bootstrap: str, job: Job) -> dict[str, list[bytes]]:
    """Digests of what a peer wrote, by topic: payloads, or frames that begin with the digest and batches of lines."""
    if job.job == "validate":
        return {"validated": [sha256(value or b"") for _, value in read(bootstrap, job.validated)]}
    lines = [line for _, value in read(bootstrap, job.batched) for line in (value or b"").splitlines()]
    frames = [(value or b"")[:DIGEST] for _, value in read(bootstrap, job.validated)]
    return {"validated": frames, "batched": [sha256(line) for line in lines]}


def _same(what: str, found: list[bytes], digests: set[bytes], records: int) -> None:
    """Raises Mismatch."""
    if len(found) != records or set(found) != digests:
        raise Mismatch(
            f"{what}: {len(found)} payloads, {len(set(found))} different, of {records} that are the product's"
        )
