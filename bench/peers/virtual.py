"""Makes the virtual environment of a peer whose packages and the product's exclude each other."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from bench.peers.job import PeerError

BUILD_SECONDS = 600.0
"""For pip, which fetches some 60 MB for the largest: longer means that the index hangs."""


def python_of(folder: Path, lock: Path, who: str) -> Path:
    """The Python of an environment in `folder`; makes it first unless it is there, of this lock file (with hashes) and
    this Python. `who`: for messages. Raises PeerError where it cannot be made."""
    python, stamp = folder / "bin" / "python", folder / "built"
    wanted = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    if not (python.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)], who)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        _run([*pip, "--only-binary", ":all:", "-r", str(lock)], who)
        stamp.write_text(wanted, encoding="utf-8")
    return python


def _run(command: list[str], who: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as failed:
        raise PeerError(f"no environment for {who}: {failed}") from failed
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
        raise PeerError(f"no environment for {who}: {said[0]}")
