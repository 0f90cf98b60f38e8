"""Makes the environment of the Quix Streams peer, and the command that runs the peer in it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.peers.job import Job
from bench.peers.virtual import python_of
from topology.load import load_pipeline

HOME = Path(__file__).resolve().parent
LOCK = HOME / "requirements.lock"
"""Of `requirements.in`, with hashes, for every Python that the product runs on."""
TARGET = HOME.parent / "target" / "quix"


def build(folder: Path = TARGET) -> Path:
    """The environment's Python; made first unless it is there. Raises PeerError where it cannot be made."""
    return python_of(folder, LOCK, "Quix Streams")


def command(job: Job, scratch: Path) -> list[str]:
    """The command line of the peer, which keeps its state in `scratch`; to be run in the repository's folder."""
    made = load_pipeline("cold-chain")
    rules: dict[str, Any] = {"pack": made.pack, "options": dict(made.options), "profile": made.profile}
    given = {**asdict(job), **rules, "state": str(scratch / "state")}
    return [str(build()), "-m", "bench.peers.quix.program", json.dumps(given)]
