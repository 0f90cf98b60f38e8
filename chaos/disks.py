"""Owns what can happen to a disk: a small one that fills up or turns read-only, and files that are torn or flipped."""

from __future__ import annotations

import os
import random
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

MOUNT_SECONDS: Final = 10.0
"""mount and umount of a tmpfs take milliseconds; longer means that the machine hangs."""
HELD: Final = re.compile(r"CURRENT|MANIFEST-\d+|\d+\.(sst|log)")
"""The files of a RocksDB folder that hold its rows, or say which files do."""


class NoDisk(Exception):
    """This machine does not let us mount; says why."""


class Disk:
    """A small disk. Everything on it is gone when its context ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        """Where it is mounted."""

    def fill(self) -> None:
        """Takes all the room that is left: the next write fails with ENOSPC."""
        with (self.path / "ballast").open("ab", buffering=0) as ballast:
            for size in (64 * 1024, 1):  # tmpfs gives room by the page: the second round finds the last one
                try:
                    while ballast.write(bytes(size)):
                        pass
                except OSError as full:
                    if full.strerror != os.strerror(28):
                        raise

    def free(self) -> None:
        """Gives the room back."""
        (self.path / "ballast").unlink(missing_ok=True)

    def read_only(self) -> None:
        """Every write fails with EROFS. Raises NoDisk while a file on it is open for writing."""
        _run("mount", "-o", "remount,ro", str(self.path))

    def writable(self) -> None:
        """Takes writes again."""
        _run("mount", "-o", "remount,rw", str(self.path))


@contextmanager
def small_disk(size: int) -> Iterator[Disk]:
    """A tmpfs of so many bytes. Raises NoDisk where the machine does not allow it (it takes root)."""
    path = Path(tempfile.mkdtemp(prefix="small-disk-"))
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "small-disk", str(path))
        try:
            yield Disk(path)
        finally:
            _run("umount", "--lazy", str(path))  # lazy: a process that was killed a moment ago may still hold a file
    finally:
        path.rmdir()


def flip(folder: Path, rng: random.Random) -> Path:
    """Flips one bit somewhere in a RocksDB folder that nobody has open; returns the file."""
    file = _victim(folder, rng)
    data = bytearray(file.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)
    return file


def tear(folder: Path, rng: random.Random) -> Path:
    """Cuts the tail off one file of a RocksDB folder that nobody has open; returns the file."""
    file = _victim(folder, rng)
    os.truncate(file, rng.randrange(file.stat().st_size))
    return file


def _victim(folder: Path, rng: random.Random) -> Path:
    files = sorted(f for f in folder.rglob("*") if HELD.fullmatch(f.name) and f.stat().st_size)
    if not files:
        raise FileNotFoundError(f"no RocksDB files under {folder}")
    return rng.choice(files)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MOUNT_SECONDS, check=False)
    except FileNotFoundError as missing:
        raise NoDisk(f"{command[0]} is not on this machine") from missing
    if done.returncode != 0:
        raise NoDisk(f"{' '.join(command)}: {done.stderr.strip()}")
