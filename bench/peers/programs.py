"""Every peer by its name: how it is built, started and run."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from bench.peers import java
from bench.peers.job import Job, PeerMeasurement, measure
from bench.peers.quix import environment

Peer = Literal["streams", "flink", "quix"]


def build(peer: Peer) -> None:
    """Builds a peer that was not built yet. Raises PeerError where it cannot be had."""
    if peer == "quix":
        environment.build()
    else:
        java.build(peer)


def command(peer: Peer, job: Job, scratch: Path, jvm: Sequence[str] = ()) -> list[str]:
    """The command line of a peer, which keeps its state in `scratch`; jvm: options for that. Raises PeerError."""
    return environment.command(job, scratch) if peer == "quix" else java.command(peer, job, scratch, jvm)


def run(name: str, peer: Peer, job: Job, jvm: Sequence[str] = ()) -> PeerMeasurement:
    """Runs a peer to its end, in a state folder of its own. Raises PeerError, or RuntimeError with what it said."""
    with tempfile.TemporaryDirectory(prefix="waybill-peer-") as scratch:
        return measure(name, command(peer, job, Path(scratch), jvm))
