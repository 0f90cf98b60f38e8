"""Keeps worker processes running: restarts with back-off, stops where a restart would only do harm."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

from streams.runtime.worker import EXIT_FATAL, EXIT_GAP

EXIT_USAGE = 2
"""A worker that cannot be started like this: nothing a restart would mend."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a restart: doubled each time, so that a broken cluster is not hammered."""
CALM_SECONDS = 300.0
"""A worker that ran this long has recovered: the next pause is the first one again. A second fatal end within it
means two owners of one slot, or something a restart does not mend (error table of the design)."""


class Slot:
    """One worker process and its history."""

    def __init__(self, number: int, command: Sequence[str]) -> None:
        self.number, self.command = number, list(command)
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.pause = FIRST_PAUSE
        self.due = 0.0
        self.fatal_at: float | None = None

    def start(self) -> None:
        """Starts the process in a group of its own, so that Ctrl-C reaches the supervisor alone."""
        # Its stdin is never written to: it closes with this process, however that ends, and tells the worker so.
        self.process = subprocess.Popen(self.command, start_new_session=True, stdin=subprocess.PIPE)
        self.started = time.monotonic()


class Supervisor:
    """Runs commands until a signal, or until one ends in a way that a restart cannot help."""

    def __init__(
        self, commands: Sequence[Sequence[str]], say: Callable[[str], None], tend: Callable[[], None] = lambda: None
    ) -> None:
        """`tend` is called between looks at the workers: what they stand on is looked after there."""
        self._tend = tend
        self._slots = [Slot(number, command) for number, command in enumerate(commands)]
        self._say = say
        self._stop = threading.Event()
        self._code = 0

    def run(self, stop_seconds: float) -> int:
        """Blocks until SIGTERM or SIGINT, or for good reason earlier; returns the exit code."""
        previous = {n: signal.signal(n, lambda *_: self._stop.set()) for n in (signal.SIGTERM, signal.SIGINT)}
        try:
            for slot in self._slots:
                slot.start()
            while not self._stop.wait(0.2):
                self._tend()
                for slot in self._slots:
                    self._look_after(slot)
            return max(self._code, self._end(stop_seconds))
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _look_after(self, slot: Slot) -> None:
        now = time.monotonic()
        if slot.process is None:
            if now >= slot.due:
                slot.start()
            return
        code = slot.process.poll()
        if code is None:
            return
        slot.process = None
        if code == EXIT_USAGE:
            self._code = code  # it has said why in one line
            self._stop.set()
            return
        if code == EXIT_GAP or (code == EXIT_FATAL and slot.fatal_at and now - slot.fatal_at < CALM_SECONDS):
            why = "records could be skipped" if code == EXIT_GAP else "it was fenced or failed for good twice"
            self._say(f"worker {slot.number} ended with {code}: {why}; not restarted, see its last log lines")
            self._code = code
            self._stop.set()
            return
        if code == EXIT_FATAL:
            slot.fatal_at = now
        slot.pause = FIRST_PAUSE if now - slot.started > CALM_SECONDS else min(slot.pause * 2, LONGEST_PAUSE)
        slot.due = now + slot.pause
        self._say(f"worker {slot.number} ended with {code}; starting it again in {slot.pause:g} s")

    def _end(self, seconds: float) -> int:
        """Asks every worker to drain; ends by force what does not, and says so."""
        running = [slot for slot in self._slots if slot.process is not None]
        for slot in running:
            if slot.process is not None:
                slot.process.terminate()
        deadline = time.monotonic() + seconds
        worst = 0
        for slot in running:
            if slot.process is None:
                continue
            try:
                worst = max(worst, abs(slot.process.wait(max(0.1, deadline - time.monotonic()))))
            except subprocess.TimeoutExpired:
                self._say(f"worker {slot.number} did not stop within {seconds:g} s; killed, nothing is lost by that")
                slot.process.kill()
                slot.process.wait()
                worst = max(worst, 1)
        return worst
