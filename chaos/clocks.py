"""Owns the wall clock of a process: libfaketime (optional Debian package) moves it while the process runs.

The monotonic clock stays as it is, as with an NTP step: what waits on it must not notice.
"""

from __future__ import annotations

import os
from pathlib import Path

LIBRARY = "faketime/libfaketimeMT.so.1"
"""For programs with threads; below the loader's folders, where the Debian package puts it."""
FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/local/lib")
HOUR = 3600.0


class NoFaketime(Exception):
    """libfaketime is not on this machine; says how to get it."""


class Clock:
    """The wall clock of every process started with `environment`; it may be moved at any time.

    file: where the offset is kept, made now. Raises NoFaketime.
    """

    def __init__(self, file: Path) -> None:
        self._file = file.absolute()
        self._library = find_library()
        self.move(0)

    def environment(self) -> dict[str, str]:
        """Variables for the process, to be added to its others."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",  # a jump is met by the next call, not ten seconds later
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": str(Path(__file__).parent / "faketime_python"),
            "NO_FAKE_STAT": "1",  # files keep their real times: only the clock is under fire
        }

    def move(self, seconds: float) -> None:
        """The clock now goes that far ahead of (below 0: behind) the real one."""
        scratch = self._file.with_name(f"{self._file.name}.new")
        scratch.write_text(f"{seconds:+f}\n")
        scratch.replace(self._file)  # never read half written


def find_library() -> Path:
    """Where libfaketime is. Raises NoFaketime."""
    for folder in FOLDERS:
        if os.access(found := Path(folder, LIBRARY), os.R_OK):
            return found
    raise NoFaketime("libfaketime is not on this machine: apt-get install libfaketime")
