"""Every peer by its name: how it is built, started and run."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from bench.peers import java
from bench.peers.job import Job, PeerMeasurement, measure
from bench.peers.quix import environment

Peer = Literal["streams", "flink", "quix"]
VERSIONS = {
    "Kafka Streams": ("pom.xml", r"<kafka\.version>(.*)</"),
    "Flink": ("pom.xml", r"<flink\.version>(.*)</"),
    "OpenEPCIS": ("pom.xml", r"<openepcis\.version>(.*)</"),
    "Quix Streams": ("quix/requirements.in", r"quixstreams==(\S+)"),
    "epcis-event-hash-generator": ("epcis_hash/requirements.in", r"epcis-event-hash-generator==(\S+)"),
    "Benthos": ("benthos/go.mod", r"redpanda-data/benthos/v4 v(\S+)"),
}
"""Where each peer's version stands, which is the one that is built."""


def versions() -> dict[str, str]:
    """By peer, also those of deliveries and event hashes."""
    found = {name: re.search(what, (java.PEERS / file).read_text("utf-8")) for name, (file, what) in VERSIONS.items()}
    return {name: one[1] for name, one in found.items() if one}


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
