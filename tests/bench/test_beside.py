"""Beside whom the product's jobs are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from bench.contenders import Mismatch, Turn
from bench.peers import beside, programs
from bench.peers.job import Job, PeerMeasurement, PeerReport
from bench.peers.programs import Peer
from bench.process import Measurement, Report
from schemas.canonical import sha256
from schemas.codec import SingleObjectCodec
from tests.schemas.samples import example

PAYLOADS = [b"one", b"two"]


class Made:
    """A pipeline's topics."""

    def topic(self, short: str) -> str:
        return short


class Fake:
    """A turn that measures nothing."""

    bootstrap, raw, records, number = "nowhere", "raw", 2, 0

    def pipeline(self, name: str) -> Made:
        return Made()

    def ours(self, name: str, made: Made, due: dict[str, int], **more: object) -> Measurement:
        return Measurement(name, Report(2, 1.0, 1.0), 1.0, 1.0)


Play = Callable[[set[Peer], list[bytes]], list[str]]
OURS = {"_validated": [sha256(one) for one in PAYLOADS], "_batched": [sha256(one) for one in PAYLOADS]}


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """Names of what was measured without some peers, the others having written these payloads."""

    def contenders(without: set[Peer], written: list[bytes]) -> list[str]:
        def run(name: str, peer: Peer, job: Job) -> PeerMeasurement:
            return PeerMeasurement(name, PeerReport(2, 1.0, 1.0), 1.0, 1.0)

        def make_job(bootstrap: str, name: str, raw: str, records: int, **more: Any) -> Job:
            return Job(bootstrap, name, raw, f"{name}.validated", "dead", records, batched=f"{name}.batched", **more)

        def read(bootstrap: str, topic: str) -> Iterator[tuple[bytes, bytes]]:
            values = written
            if topic == "streams-pipeline-0.validated":
                values = [sha256(value) + b" and the rest" for value in written]
            elif topic == "streams-pipeline-0.batched":
                values = [b"\n".join(written)]
            return iter([(b"key", value) for value in values])

        monkeypatch.setattr(programs, "run", run)
        monkeypatch.setattr(beside, "make_job", make_job)
        monkeypatch.setattr(beside, "read", read)
        return [one.name for one in beside.contenders(cast(Turn, Fake()), without)]

    for name, digests in OURS.items():
        monkeypatch.setattr(beside, name, lambda bootstrap, topic, digests=digests: digests)
    return contenders


def test_what_would_stand_alone_is_not_run(play: Play) -> None:
    assert play({"streams", "flink"}, PAYLOADS) == ["job-validate-rocksdb", "quix-validate"]
    assert "quix-validate" not in play({"quix"}, PAYLOADS)
    assert play(set(), PAYLOADS) == [*beside.OURS, *beside.PEERS]


@pytest.mark.parametrize("written", [PAYLOADS[:1], [*PAYLOADS, b"two"], [b"one", b"other"]])
def test_a_peer_that_writes_something_else_ends_the_run(play: Play, written: list[bytes]) -> None:
    with pytest.raises(Mismatch, match="quix-validate"):
        play({"streams", "flink"}, written)


@pytest.mark.parametrize("topic", ["validated", "batched"])
def test_the_peers_pipeline_is_judged_by_its_batches_too(
    play: Play, monkeypatch: pytest.MonkeyPatch, topic: str
) -> None:
    whole = beside._theirs

    def short(bootstrap: str, job: Job) -> dict[str, list[bytes]]:
        found = whole(bootstrap, job)
        return found | {topic: found[topic][1:]} if job.job == "pipeline" else found

    monkeypatch.setattr(beside, "_theirs", short)
    with pytest.raises(Mismatch, match=f"streams-pipeline, {topic}"):
        play({"flink", "quix"}, PAYLOADS)


def test_the_product_is_judged_in_every_job_not_the_first_alone(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "_batched", lambda bootstrap, topic: OURS["_batched"][1:])
    with pytest.raises(Mismatch, match="job-pipeline, batched"):
        play(set(), PAYLOADS)
    found = iter([OURS["_validated"], OURS["_validated"][1:]])
    monkeypatch.setattr(beside, "_validated", lambda bootstrap, topic: next(found))
    with pytest.raises(Mismatch, match="job-validate-rocksdb, validated"):
        play(set(), PAYLOADS)


def test_the_digests_of_our_messages_are_read_whatever_their_form(monkeypatch: pytest.MonkeyPatch) -> None:
    codec, message = SingleObjectCodec(), example("validated")
    plain = codec.encode("validated", message | {"payload": b"{}", "claim": None, "warnings": []})
    batch = codec.encode("batched", example("batched") | {"records": [plain, codec.encode("validated", message)]})
    monkeypatch.setattr(beside, "read", lambda bootstrap, topic: iter([(b"key", plain), (b"key", plain)]))
    assert beside._validated("nowhere", "validated") == [message["digest"]] * 2
    monkeypatch.setattr(beside, "read", lambda bootstrap, topic: iter([(b"key", batch)]))
    assert beside._batched("nowhere", "batched") == [message["digest"]] * 2
