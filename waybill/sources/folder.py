"""Owns one local folder: what lies in it, the bytes of a file, and moving a file to where it belongs afterwards."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from waybill.sources.complete import Entry


class LocalFolder:
    """See `drop.Folder`. Every method raises OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def list(self) -> list[Entry]:
        """See `drop.Folder`."""
        found = []
        with os.scandir(self._path) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # taken away while we look
                    if entry.is_file(follow_symlinks=False):
                        info = entry.stat(follow_symlinks=False)
                        found.append(Entry(_text(entry.name), info.st_size, info.st_mtime_ns))
        return found

    def read(self, name: str, limit: int) -> tuple[bytes, Entry]:
        """See `drop.Folder`."""
        with (self._path / _name(name)).open("rb") as file:
            value = file.read(limit + 1)
            info = os.fstat(file.fileno())
        return value, Entry(name, info.st_size, info.st_mtime_ns)

    def move(self, entry: Entry, where: str, mark: str) -> None:
        """See `drop.Folder`."""
        folder, source = self._path / where, self._path / _name(entry.name)
        folder.mkdir(exist_ok=True)
        target = folder / _name(entry.name)
        if target.exists():
            target = folder / _name(f"{entry.name}.{mark}")
        info = source.lstat()
        if (info.st_size, info.st_mtime_ns) != (entry.size, entry.changed):
            return
        os.rename(source, target)
        for changed in (folder, self._path):  # or a power cut could bring the file back after its row is gone
            handle = os.open(changed, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def remove(self, name: str) -> None:
        """See `drop.Folder`."""
        with suppress(FileNotFoundError):
            os.unlink(self._path / _name(name))


def _text(name: str) -> str:
    """A file name as text that is always UTF-8, and back."""
    return os.fsencode(name).decode("utf-8", "surrogateescape")


def _name(name: str) -> str:
    return os.fsdecode(name.encode("utf-8", "surrogateescape"))
