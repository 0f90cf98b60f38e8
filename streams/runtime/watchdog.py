"""Ends the process when a transaction step overruns (TX7): a client call may ignore its own time-out.

A thread of its own watches, because the overrunning thread cannot. Ending is the only safe answer: nobody knows what
the step has done, and what is not committed is redone by whoever gets the partitions next.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

OVERRUN_EXIT = 86
"""Exit code of a process ended here, unlike that of any shell or signal."""


def _end_process(message: str) -> None:
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
    os._exit(OVERRUN_EXIT)


class Watchdog:
    """One thread watching one step at a time. `overrun` gets the message; it is not expected to return."""

    def __init__(self, name: str, overrun: Callable[[str], None] = _end_process) -> None:
        self._name = name
        self._overrun = overrun
        self._changed = threading.Condition()
        self._step: str | None = None
        self._deadline = 0.0
        self._looks = math.inf
        """When the thread looks by itself; never, while it waits for a step."""
        self._closed = False
        self._thread = threading.Thread(target=self._watch, name=f"watchdog {name}", daemon=True)
        self._thread.start()

    @contextmanager
    def step(self, name: str, seconds: float) -> Iterator[None]:
        """Watches the block: it must end within so many seconds."""
        with self._changed:
            self._step, self._deadline = name, time.monotonic() + seconds
            # A transaction has six steps, and thousands of them end in time for one that does not: a wake-up for each
            # cost as much as all else that is done for a step.
            if self._deadline < self._looks:
                self._looks = self._deadline
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._step = None

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                if self._step is None:
                    self._looks = math.inf
                    self._changed.wait()
                    continue
                left = self._deadline - time.monotonic()
                if left > 0:
                    self._looks = self._deadline
                    self._changed.wait(left)
                    continue
                step, self._step = self._step, None
                self._overrun(f"{self._name}: transaction step {step} overran its deadline; ending the process")

    def close(self) -> None:
        """Ends the thread; idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
