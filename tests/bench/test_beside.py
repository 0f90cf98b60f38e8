"""Beside whom the product's jobs are measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from bench.contenders import Mismatch, Turn
from bench.peers import beside, programs
from bench.peers.job import Job, PeerMeasurement, PeerReport
from bench.peers.programs import Peer
from bench.process import Measurement, Report
from schemas.canonical import sha256

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


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[[set[Peer], list[bytes]], list[str]]:
    """Names of what was measured without some peers, the others having written these payloads."""

    def contenders(without: set[Peer], written: list[bytes]) -> list[str]:
        def run(name: str, peer: Peer, job: Job) -> PeerMeasurement:
            return PeerMeasurement(name, PeerReport(2, 1.0, 1.0), 1.0, 1.0)

        def make_job(bootstrap: str, name: str, raw: str, records: int, **more: Any) -> Job:
            return Job(bootstrap, name, raw, f"{name}.validated", f"{name}.dead", records, **more)

        monkeypatch.setattr(programs, "run", run)
        monkeypatch.setattr(beside, "make_job", make_job)
        monkeypatch.setattr(beside, "_digests", lambda bootstrap, topic: {sha256(one) for one in PAYLOADS})
        monkeypatch.setattr(beside, "read", lambda bootstrap, topic: iter([(b"key", value) for value in written]))
        return [one.name for one in beside.contenders(cast(Turn, Fake()), without)]

    return contenders


def test_what_would_stand_alone_is_not_run(play: Callable[[set[Peer], list[bytes]], list[str]]) -> None:
    assert play({"streams", "flink"}, PAYLOADS) == ["job-validate-rocksdb", "quix-validate"]
    assert "quix-validate" not in play({"quix"}, PAYLOADS)
    assert play(set(), PAYLOADS)[:3] == ["job-validate", "job-validate-rocksdb", "job-pipeline"]


@pytest.mark.parametrize("written", [PAYLOADS[:1], [*PAYLOADS, b"two"], [b"one", b"other"]])
def test_a_peer_that_writes_something_else_ends_the_run(
    play: Callable[[set[Peer], list[bytes]], list[str]], written: list[bytes]
) -> None:
    with pytest.raises(Mismatch, match="quix-validate"):
        play({"streams", "flink"}, written)
