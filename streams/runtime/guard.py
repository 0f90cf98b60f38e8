"""Ends a process that cannot end itself: a thread of its own, because a hanging record stands in the frame's loop."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

LOOK_SECONDS = 1.0

Standing = Callable[[], tuple[int, str, float] | None]
"""Exit code, why, and for how many seconds already; None while all is well."""


def end_process(code: int, why: str) -> None:
    """Ends it at once: nothing that is open commits, and whoever comes next rebuilds."""
    sys.stderr.write(f"waybill worker: {why}; ending with exit code {code}\n")
    sys.stderr.flush()
    os._exit(code)


class Guard(threading.Thread):
    """Looks once a second; ends the process where something has stood for longer than `patience` seconds."""

    def __init__(
        self, standing: Standing, patience: float, end: Callable[[int, str], None] = end_process,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:  # fmt: skip
        super().__init__(name="guard", daemon=True)
        self._standing, self._patience, self._end = standing, patience, end
        self._look_seconds = look_seconds
        self._off = threading.Event()

    def stop(self) -> None:
        """No more looking."""
        self._off.set()

    def run(self) -> None:
        while not self._off.wait(self._look_seconds):
            found = self._standing()
            if found is not None and found[2] > self._patience:
                return self._end(found[0], found[1])
        return None
