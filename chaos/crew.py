"""The workers of one round: real processes, each in a slot, started again when they die, as a supervisor would.

What is done to them on purpose and what they did by themselves is written down with its time.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from chaos.fork_server import Forked, fork_server
from chaos.waiting import wait_for

BACK_OFF = 0.3
"""Seconds between a death and the next start."""
LOOK_SECONDS = 0.05
EVENT = re.compile(rb'"event": "([^"]*)"')
UP = "frame started"
"""The first event that a worker logs: it has its signal handlers and has reached the brokers by then."""
READY = "ready"
STOP_SECONDS = 60.0
"""For a worker that was told to stop: its drain, and the ends of everything it waits for."""


@dataclass
class Slot:
    """One worker and its successors."""

    number: int
    wanted: bool = True
    """Whether a dead one is to be replaced."""
    process: Forked | None = None
    failpoint: str = ""
    """For the next start only."""
    meets: str = ""
    """That of the running process."""
    starts: int = 0
    not_before: float = 0.0
    log: Path = Path()
    """Of the running process."""
    heard: set[str] = field(default_factory=set)
    """Events that it is known to have logged."""
    read: int = 0
    """How much of its log is known, bytes."""
    ended_by: str = ""
    """What was done to the running process that may end it; see `Exit.by`."""

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None

    def said(self, event: str) -> bool:
        """Whether the running process has logged this event."""
        if event in self.heard:
            return True
        with self.log.open("rb") as log:  # only what is new: this is asked twenty times a second
            log.seek(self.read)
            lines = log.read().rpartition(b"\n")[0]
        self.read += len(lines)
        self.heard.update(found.decode() for found in EVENT.findall(lines))
        return event in self.heard


class Exit(NamedTuple):
    """How a worker ended."""

    slot: int
    code: int | None
    """None: it had to be killed because a bounded run did not end."""
    by: str
    """`kill`, `failpoint`, `stop` (SIGTERM) or `early stop` (SIGTERM before it could have a handler); empty: nobody."""
    up: bool
    """Whether it had come so far that it hears signals and has reached the brokers."""


@dataclass
class Crew:
    """Use as a context manager: no worker outlives it.

    module: what is run as `waybill`. arguments: without slot; environment: on top of this process's. logs: a file for
    each start.
    """

    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    logs: Path
    history: list[dict[str, Any]] = field(default_factory=list)
    exits: list[Exit] = field(default_factory=list)
    _met: set[str] = field(default_factory=set)
    """Failpoints at which a worker has died."""
    _slots: dict[int, Slot] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _closed: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Crew:
        self._thread = threading.Thread(target=self._tend, name="crew", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        for slot in self._slots.values():
            if slot.process is not None:
                slot.process.kill()
                slot.process.wait()

    # ---- what the nemesis does -------------------------------------------------------------------

    @property
    def slots(self) -> list[int]:
        """Slots that are to be filled."""
        return [slot.number for slot in self._slots.values() if slot.wanted]

    def add(self, number: int) -> None:
        """A worker in a new slot, or again in an old one."""
        with self._lock:
            slot = self._slots.setdefault(number, Slot(number))
            slot.wanted = True

    def kill(self, number: int, failpoint: str = "") -> bool:
        """kill -9; its successor gets the failpoint. Returns whether there was a process to kill."""
        with self._lock:
            slot = self._slots[number]
            slot.failpoint = failpoint
            self._met.discard(failpoint)
            if slot.process is None or not slot.alive:
                return False
            self._note("killed", slot)
            slot.meets, slot.ended_by = "", "kill"
            slot.process.send_signal(signal.SIGCONT)
            slot.process.kill()
            return True

    def remove(self, number: int) -> None:
        """SIGTERM, and nobody takes its place. Returns when it has ended."""
        with self._lock:
            slot = self._slots[number]
            slot.wanted = False
        self._stop(slot)

    def restart(self, number: int) -> None:
        """SIGTERM; another takes its place. Returns when it has ended."""
        self._stop(self._slots[number])

    def freeze(self, number: int) -> None:
        """SIGSTOP: alive, and hears nothing."""
        self._signal(number, signal.SIGSTOP, "frozen")

    def thaw(self, number: int) -> None:
        """SIGCONT."""
        self._signal(number, signal.SIGCONT, "thawed")

    def stop(self) -> None:
        """Stops all of them, in turn; returns when the last has ended."""
        with self._lock:
            for slot in self._slots.values():
                slot.wanted = False
        for slot in self._slots.values():
            self._stop(slot)

    def run_once(self, number: int, options: Sequence[str], seconds: float) -> int | None:
        """A worker of its own that ends by itself: its exit code, or None where it did not end in time."""
        before = len(list(self.logs.glob(f"worker-{number}-*.log")))
        slot = Slot(number, wanted=False, starts=before)  # with a log of its own
        self._start(slot, options)
        process = slot.process
        assert process is not None
        code: int | None = None
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.exits.append(Exit(number, code, "", slot.said(UP)))
        return code

    def met(self, failpoint: str) -> bool:
        """Whether a worker has died at it since it was set."""
        return failpoint in self._met

    @property
    def ready(self) -> list[int]:
        """Slots whose worker has restored its tables and turns its loops."""
        return self._heard(READY)

    def wait_ready(self, numbers: Collection[int] | None, seconds: float) -> bool:
        """Waits until all of these slots (None: all that are to be filled) are ready; False where that takes longer.

        A worker that has never had a partition does not say that it is ready: not for more workers than partitions.
        """
        return self._wait(READY, numbers, seconds)

    def wait_up(self, numbers: Collection[int] | None, seconds: float) -> bool:
        """Waits until all of these have started their stages and hear signals; False where that takes longer."""
        return self._wait(UP, numbers, seconds)

    def _heard(self, event: str) -> list[int]:
        with self._lock:
            return [slot.number for slot in self._slots.values() if slot.wanted and slot.alive and slot.said(event)]

    def _wait(self, event: str, numbers: Collection[int] | None, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not set(self.slots if numbers is None else numbers) <= set(self._heard(event)):
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOOK_SECONDS)
        return True

    def logged(self, text: str) -> int:
        """How often all workers' logs have this text."""
        return sum(path.read_bytes().count(text.encode()) for path in self.logs.glob("worker-*.log"))

    def disarm(self) -> None:
        """No worker that is yet to start gets a failpoint any more."""
        with self._lock:
            for slot in self._slots.values():
                slot.failpoint = ""

    @property
    def restarts(self) -> dict[int, int]:
        """How often a slot was started again."""
        return {slot.number: max(0, slot.starts - 1) for slot in self._slots.values()}

    # ---- tending ---------------------------------------------------------------------------------

    def _tend(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            with self._lock:
                for slot in list(self._slots.values()):
                    self._look_at(slot)

    def _look_at(self, slot: Slot) -> None:
        if slot.process is not None and slot.process.poll() is not None:
            code = slot.process.returncode
            self._note("ended", slot, code=code)
            if slot.meets and code == -signal.SIGKILL:
                self._met.add(slot.meets)
                slot.ended_by = "failpoint"
            self.exits.append(Exit(slot.number, code, slot.ended_by, slot.said(UP)))
            slot.process, slot.not_before, slot.meets = None, time.monotonic() + BACK_OFF, ""
        if slot.process is None and slot.wanted and time.monotonic() >= slot.not_before:
            self._start(slot)

    def _start(self, slot: Slot, options: Sequence[str] = ()) -> None:
        slot.starts += 1
        path = slot.log = self.logs / f"worker-{slot.number}-{slot.starts}.log"
        environment = {**os.environ, **self.environment, "WAYBILL_FAILPOINT": slot.failpoint}
        # supervised: it stops when this process is gone, however it ended
        arguments = [*self.arguments, "--supervised", "--slot", str(slot.number), *options]
        slot.process = fork_server().start(self.module, arguments, environment, path)
        self._note("started", slot, failpoint=slot.failpoint)
        slot.failpoint, slot.meets, slot.ended_by = "", slot.failpoint, ""
        slot.heard.clear()
        slot.read = 0

    def _stop(self, slot: Slot) -> None:
        process = slot.process
        if process is None or process.poll() is not None:
            return
        self._note("stopped", slot)
        if not slot.ended_by:  # else it is about to die of a kill
            slot.ended_by = "stop" if slot.said(UP) else "early stop"
        process.send_signal(signal.SIGCONT)
        process.terminate()
        wait_for(lambda: process.poll() is not None, STOP_SECONDS, f"worker {slot.number} ends after SIGTERM")
        with self._lock:
            if slot.process is process:
                self._look_at(slot)

    def _signal(self, number: int, what: signal.Signals, word: str) -> None:
        with self._lock:
            slot = self._slots[number]
            if slot.process is not None and slot.process.poll() is None:
                self._note(word, slot)
                slot.process.send_signal(what)

    def _note(self, what: str, slot: Slot, **more: Any) -> None:
        pid = slot.process.pid if slot.process is not None else None
        self.history.append({"at": time.time(), "what": what, "slot": slot.number, "pid": pid, **more})
