"""Owns the process in which a worker reads heavy or hostile submissions (VA3): starts it, bounds it, replaces it.

A submission that breaks its limits, or the process, is tried once more, alone in a fresh process, and then refused as
a whole with PARSER_FAILED. The refusal says which limit, and neither times nor process ids: redone, it is the same.
"""

from __future__ import annotations

import io
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, NoReturn

import structlog

from schemas.errors import PARSER_FAILED, Finding
from schemas.pack import Listed, Pack, Record, Refusal, Submission, Unpacked, refuse_whole
from streams.runtime import parser_child
from streams.runtime.log import Abortable, Fatal
from topology.model import PARSER_START_SECONDS, Parsing

FRAME_BYTES = 1024
"""Of an answer around its records."""
REAP_SECONDS = 5.0
"""For the system to end a process that was killed, or that has closed its pipe."""

log = structlog.get_logger("waybill")


class _Child(NamedTuple):
    process: subprocess.Popen[bytes]
    pipe: Connection


class _Failed(Exception):
    """The submission was not read; says why, in words that are the same each time."""


class ParserProcess:
    """One process at most, started when it is first needed. Used by one thread; `close` may come from another."""

    def __init__(self, build: Callable[[], Pack], limits: Parsing) -> None:
        """`build` makes the pack, here and in the process; it must be picklable."""
        self._build, self._limits, self._pack = build, limits, build()
        self._child: _Child | None = None
        self._closed = False

    def unpack(self, submission: Submission) -> Unpacked:
        """What `Pack.unpack` gives, or one refusal. Raises Abortable where no process can be started: that is no
        fault of the submission."""
        if not self._pack.heavy(submission):
            return self._pack.unpack(submission)
        try:
            return self._try(submission)
        except _Failed as first:
            log.warning("parser process replaced", why=str(first))
        try:
            return self._try(submission)
        except _Failed as failed:
            finding = Finding(PARSER_FAILED, "", f"the reader {failed}; tried twice")
            refusal = refuse_whole(submission, finding)
            return Listed(refusal.content_type, [refusal])

    def close(self) -> None:
        """Ends the process; whoever waits for its answer gets Fatal."""
        self._closed = True
        self._retire()

    def _try(self, submission: Submission) -> Unpacked:
        """Raises _Failed, after which the next one begins in a fresh process."""
        child = self._child or self._start()
        try:
            child.pipe.send_bytes(pickle.dumps(tuple(submission)))
            if not child.pipe.poll(self._limits.seconds):
                raise _Failed(self._too_long)
            return self._read(child.pipe.recv_bytes(self._limits.output + FRAME_BYTES))
        except _Failed:
            self._retire()
            raise
        except (EOFError, OSError):
            why = self._cause(child.process)
            self._retire()
            raise _Failed(why) from None

    def _read(self, data: bytes) -> Unpacked:
        try:
            kind, value = _Plain(io.BytesIO(data)).load()
            if kind == parser_child.READ:
                return _unpacked(value)
        except Exception:  # noqa: BLE001 - the process may have been taken over by what it read
            raise _Failed("gave an answer that cannot be read") from None
        if kind == parser_child.TOO_MUCH:
            raise _Failed(f"gave more than {self._limits.output} bytes of records")
        raise _Failed(f"raised {value}")

    # ---- the process -----------------------------------------------------------------------------

    def _start(self) -> _Child:
        if self._closed:
            raise Fatal("the parser process was closed while it was needed")
        try:
            child = self._child = _spawn()
        except OSError as error:
            raise Abortable(f"the parser process cannot be started: {error}") from error
        process, ours = child
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
    return _Child(process, ours)


class _Plain(pickle.Unpickler):
    """Reads built-in values and refuses to make anything else."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"{module}.{name} has no business in an answer")


def _unpacked(value: tuple[Any, ...]) -> Unpacked:
    """The reverse of `parser_child.plain`. Raises ValueError where the count is wrong (VA2)."""
    content_type, count, notes, plain = value
    items: list[Record | Refusal] = []
    for valid, findings, body in plain:
        found = tuple(Finding(*one) for one in findings)
        items.append(Record(*body)._replace(warnings=found) if valid else Refusal(*body)._replace(findings=found))
    if len(items) != count:
        raise ValueError(f"{len(items)} records of a submission counted {count}")
    return Listed(content_type, items, notes)
