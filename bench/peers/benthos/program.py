"""Builds the Benthos peer."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from bench.peers.job import PeerError

HOME = Path(__file__).resolve().parent
SOURCES = ("go.mod", "go.sum", "main.go")
"""`go.sum` has the hash of every module."""
TARGET = HOME.parent / "target" / "benthos"
BUILD_SECONDS = 900.0
"""For Go, which fetches and compiles some 200 modules the first time: longer means that the module proxy hangs."""


def build(folder: Path = TARGET) -> Path:
    """The program; built first unless this very source was built there before. Raises PeerError."""
    program, stamp, wanted = folder / "benthos", folder / "built", _digest()
    if not (program.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted):
        go = shutil.which("go")
        if go is None:
            raise PeerError("Benthos is built with Go, and no `go` is on the PATH: install Go 1.25 or newer")
        folder.mkdir(parents=True, exist_ok=True)
        stamp.unlink(missing_ok=True)
        _run([go, "build", "-mod=readonly", "-o", str(program), "."])
        stamp.write_text(wanted, encoding="utf-8")
    return program


def _digest() -> str:
    return hashlib.sha256(b"\0".join((HOME / name).read_bytes() for name in SOURCES)).hexdigest()


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as failed:
        raise PeerError(f"Benthos could not be built: {failed}") from failed
    if done.returncode:
        said = "\n".join(done.stderr.strip().splitlines()[-15:])
        raise PeerError(f"Benthos could not be built; Go said:\n{said}")
