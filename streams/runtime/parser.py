"""Owns the process in which a worker reads heavy or hostile submissions (VA3): starts it, bounds it, replaces it.

A try that breaks its limits, or the process, is Failed: what is done then is the business of `slices`. It says which
limit, and neither times nor process ids: redone, it is the same.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import NamedTuple

from schemas.pack import Pack, Submission, Unpacked
from streams.runtime import parser_child
from streams.runtime.log import Abortable, Fatal
from streams.runtime.slices import Answer, Failed, Sliced, never
from topology.sections import PARSER_START_SECONDS, Parsing

FRAME_BYTES = 4096
"""Of an answer around its records."""
REAP_SECONDS = 5.0
"""For the system to end a process that was killed, or that has closed its pipe."""
UNREADABLE = "gave an answer that cannot be read"


class _Child(NamedTuple):
    process: subprocess.Popen[bytes]
    pipe: Connection
    opened: dict[int, None]
    """Numbers of the submissions that it was given, and may still have open; the newest last."""


class ParserProcess:
    """One process at most, started when it is first needed. Used by one thread; `close` may come from another."""

    def __init__(self, build: Callable[[], Pack], limits: Parsing) -> None:
        """`build` makes the pack, here and in the process; it must be picklable."""
        self._build, self._limits, self._pack = build, limits, build()
        self._child: _Child | None = None
        self._closed = False
        self._number = 0

    def unpack(
        self, submission: Submission, start: int = 0, broken: int = 0, enough: Callable[[], bool] = never, /
    ) -> Unpacked:
        """What `Pack.unpack` gives, or one refusal; its records from `start` on are wanted, and of those before it so
        many have broken their reader. Where it takes long to open and that is `enough` for now, it is a `Sliced` that
        is `opening`. Raises Abortable where no process can be started: that is no fault of the submission. It takes no
        longer than two processes may, and so does each step of its opening and each of its records."""
        if not self._pack.heavy(submission):
            return self._pack.unpack(submission)
        self._number += 1
        return Sliced(partial(self._try, self._number), submission, broken, enough).open(start)

    def close(self) -> None:
        """Ends the process; whoever waits for its answer gets Fatal."""
        self._closed = True
        self._retire()

    def _try(self, number: int, submission: Submission, start: int, most: int, judged: bool, found: Answer) -> None:
        """See `slices.Ask`; after Failed the next try begins in a fresh process."""
        child = self._child or self._start()
        ask, until = parser_child.Ask(number, start, most, judged, None), time.monotonic() + self._limits.seconds
        try:
            self._send(child, ask, submission)
            while not found.done:
                self._hear(child, ask, submission, until, found)
            if not found.opening and start + max(1, len(found.items)) == found.count:
                child.opened.pop(number, None)  # read through, it is closed
        except Failed:
            self._retire()
            raise
        except (EOFError, OSError):
            why = self._cause(child.process)
            self._retire()
            raise Failed(why) from None

    def _send(self, child: _Child, ask: parser_child.Ask, submission: Submission) -> None:
        """What opens it comes with the first that is asked of it."""
        value, content_type, source, site = submission
        opens = ask.number not in child.opened
        if opens:
            child.opened[ask.number] = None
            if len(child.opened) > parser_child.MOST_OPEN:
                del child.opened[next(iter(child.opened))]
            ask = ask._replace(stated=(content_type, source, site, None if value is None else len(value)))
        child.pipe.send_bytes(pickle.dumps(tuple(ask)))
        if opens and value is not None:
            child.pipe.send_bytes(value)  # by itself, so that nobody copies it

    def _hear(self, child: _Child, ask: parser_child.Ask, submission: Submission, until: float, found: Answer) -> None:
        """Takes one message of its answer."""
        left = until - time.monotonic()
        if left <= 0 or not child.pipe.poll(left):
            raise Failed(self._too_long)
        most = max(self._limits.output, len(submission.value or b"")) + FRAME_BYTES
        kind, value = self._understood(child.pipe.recv_bytes(most), ask, found)
        if kind == parser_child.GONE:
            child.opened.pop(ask.number, None)
            self._send(child, ask, submission)
        elif kind == parser_child.TOO_MUCH:
            raise Failed(f"gave more than {self._limits.output} bytes of records")
        elif kind == parser_child.RAISED:
            raise Failed(f"raised {value}")

    def _understood(self, data: bytes, ask: parser_child.Ask, found: Answer) -> tuple[str, object]:
        try:
            kind, value = found.take(data)
            if kind == parser_child.READ and not 0 < len(found.items) <= ask.most:
                raise ValueError(f"{len(found.items)} records where 1 to {ask.most} were asked for")
            found.done = kind in (parser_child.READ, parser_child.OPENING)
            found.done |= kind == parser_child.BYTES and not ask.judged
        except Exception:  # noqa: BLE001 - the process may have been taken over by what it read
            raise Failed(UNREADABLE) from None
        return kind, value

    # ---- the process -----------------------------------------------------------------------------

    def _start(self) -> _Child:
        if self._closed:
            raise Fatal("the parser process was closed while it was needed")
        try:
            child = self._child = _spawn()
        except OSError as error:
            raise Abortable(f"the parser process cannot be started: {error}") from error
        process, ours, _ = child
        limits = self._limits
        try:
            ours.send_bytes(pickle.dumps((self._build, limits.seconds, limits.memory, limits.output)))
            if not ours.poll(PARSER_START_SECONDS):
                raise Abortable(f"the parser process was not ready within {PARSER_START_SECONDS:g} s")
            ours.recv_bytes()
        except (EOFError, OSError) as error:
            why = self._cause(process)
            self._retire()
            raise Abortable(f"the parser process {why} before it was ready") from error
        except Abortable:
            self._retire()
            raise
        return child

    def _retire(self) -> None:
        """Ends the process, whatever it does, and forgets it."""
        child, self._child = self._child, None
        if child is not None:
            child.process.kill()
            child.process.wait(REAP_SECONDS)
            child.pipe.close()

    @property
    def _too_long(self) -> str:
        return f"ran longer than {self._limits.seconds:g} s"

    def _cause(self, process: subprocess.Popen[bytes]) -> str:
        """Why a process has gone away."""
        try:
            code = process.wait(REAP_SECONDS)
        except subprocess.TimeoutExpired:
            return "stopped answering"
        if code == parser_child.OUT_OF_MEMORY:
            return f"needed more than {self._limits.memory} bytes of memory"
        if -code in (signal.SIGALRM, signal.SIGXCPU):
            return self._too_long
        return f"crashed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"


def _spawn() -> _Child:
    """Raises OSError."""
    ours, theirs = Pipe()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", parser_child.__name__, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,  # a Ctrl-C at the terminal is for the worker, which stops it in its turn
        )
    return _Child(process, ours, {})
