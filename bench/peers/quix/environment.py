"""Makes the environment of the Quix Streams peer, and the command that runs the peer in it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.peers.job import Job, PeerError
from topology.load import load_pipeline

HOME = Path(__file__).resolve().parent
LOCK = HOME / "requirements.lock"
"""Of `requirements.in`, with hashes, for every Python that the product runs on."""
VERSION = (HOME / "requirements.in").read_text(encoding="utf-8").split()[0]
"""As a requirement."""
TARGET = HOME.parent / "target" / "quix"
BUILD_SECONDS = 600.0
"""For pip, which fetches some 60 MB the first time: longer means that the index hangs."""


def build(folder: Path = TARGET) -> Path:
    """The environment's Python; makes the environment first unless it is there, of this lock file and this Python.

    Raises PeerError where it cannot be made.
    """
    python, stamp, wanted = folder / "bin" / "python", folder / "built", _digest()
    if not (python.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)])
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        _run([*pip, "--only-binary", ":all:", "-r", str(LOCK)])
        stamp.write_text(wanted, encoding="utf-8")
    return python


def _digest() -> str:
    return hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as failed:
        raise PeerError(f"no environment for Quix Streams: {failed}") from failed
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
        raise PeerError(f"no environment for Quix Streams: {said[0]}")


def command(job: Job, scratch: Path) -> list[str]:
    """The command line of the peer, which keeps its state in `scratch`; to be run in the repository's folder."""
    made = load_pipeline("cold-chain")
    rules: dict[str, Any] = {"pack": made.pack, "options": dict(made.options), "profile": made.profile}
    given = {**asdict(job), **rules, "state": str(scratch / "state")}
    return [str(build()), "-m", "bench.peers.quix.program", json.dumps(given)]
