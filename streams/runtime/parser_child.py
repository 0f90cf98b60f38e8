"""What runs inside a parser process (VA3): one pack, one submission at a time, under limits the kernel keeps.

It trusts nothing of what it reads, and its parent trusts nothing of what it says: answers are plain tuples
(`plain_answer`), which the parent reads without making anything but built-in values. It ends when its parent's end of
the pipe is closed, and soon after its time limit in any case, so it does not outlive a worker that was killed.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import sys
from collections.abc import Callable
from math import ceil
from multiprocessing.connection import Connection
from typing import Any

from schemas.pack import Pack, Record, Refusal, Submission, Unpacked

OUT_OF_MEMORY = 77
"""Exit code: the submission needed more memory than it may have."""
ALARM_GRACE = 1.0
"""Seconds after which the kernel ends a process whose parent has not: the parent's clock comes first."""

READ, RAISED, TOO_MUCH = "read", "raised", "too much"
"""Kinds of answers."""


def main(descriptor: int) -> None:
    """Serves the parent at the other end of a pipe until that is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a stop is the worker's business: it still wants its answer
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe = Connection(descriptor)
    try:
        build, seconds, memory, output = pickle.loads(pipe.recv_bytes())
        pack = build()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        pipe.send_bytes(b"ready")
        serve(pipe, pack, seconds, output)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


def serve(pipe: Connection, pack: Pack, seconds: float, output: int) -> None:
    """Answers submissions. Raises EOFError when the parent is gone, MemoryError where the limit is met."""
    while True:
        submission = Submission(*pickle.loads(pipe.recv_bytes()))
        _limit(seconds)
        pipe.send_bytes(answer(pack.unpack, submission, output))
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit(seconds: float) -> None:
    """From now on the kernel ends this process (SIGALRM, SIGXCPU) when it takes longer."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (ceil(used.ru_utime + used.ru_stime + seconds + ALARM_GRACE), most))
    signal.setitimer(signal.ITIMER_REAL, seconds + ALARM_GRACE)


def answer(unpack: Callable[[Submission], Unpacked], submission: Submission, output: int) -> bytes:
    """What came of a submission, at most `output` bytes of it. Raises MemoryError."""
    try:
        data = pickle.dumps((READ, plain(unpack(submission))))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - no pack may raise; one that does has crashed on this input
        return pickle.dumps((RAISED, type(error).__name__))
    return data if len(data) <= output else pickle.dumps((TOO_MUCH, output))


def plain(unpacked: Unpacked) -> tuple[Any, ...]:
    """A submission read to its end as built-in values: content type, count, notes, and every record or refusal."""
    return unpacked.content_type, unpacked.count, dict(unpacked.notes), [_item(item) for item in unpacked.records()]


def _item(item: Record | Refusal) -> tuple[bool, list[tuple[str, ...]], tuple[Any, ...]]:
    """Whether it is a record, its findings, and the rest of it."""
    if isinstance(item, Record):
        return (
            True,
            [tuple(found) for found in item.warnings],
            tuple(item._replace(fields=dict(item.fields), warnings=())),
        )
    return False, [tuple(found) for found in item.findings], tuple(item._replace(findings=()))


if __name__ == "__main__":
    main(int(sys.argv[1]))
