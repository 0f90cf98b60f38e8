"""Peers that compute CBV event hashes: the public generator in Python, in an environment of its own, and OpenEPCIS's in
Java, built by Maven."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from bench.peers import java
from bench.peers.virtual import python_of

Peer = Literal["python", "openepcis"]
PEERS: tuple[Peer, ...] = ("python", "openepcis")
HOME = Path(__file__).resolve().parent
LOCK = HOME / "requirements.lock"
"""Of `requirements.in`, with hashes, for every Python that the product runs on."""
TARGET = HOME.parent / "target" / "epcis_hash"


def build(peer: Peer) -> None:
    """Builds a peer that was not built yet. Raises PeerError where it cannot be had."""
    if peer == "python":
        python_of(TARGET, LOCK, "the event hash generator")
    else:
        java.build("openepcis")


def command(peer: Peer, job: Mapping[str, Any], scratch: Path) -> list[str]:
    """The command line of a peer. Job: `documents` (a file, one JSON-LD document a line), `records` (events in them),
    `hashes` (file to write). Raises PeerError."""
    if peer == "python":
        python = python_of(TARGET, LOCK, "the event hash generator")
        return [str(python), "-m", "bench.peers.epcis_hash.program", json.dumps(job)]
    return java.start("openepcis", job, scratch)
