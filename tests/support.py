"""Small helpers any test may import: waiting for a condition, names of one's own."""

import multiprocessing
import os
import signal
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from confluent_kafka.admin import AdminClient, NewTopic

T = TypeVar("T")


def wait_for(condition: Callable[[], T], deadline_seconds: float, message: str) -> T:
    """The first true value of the condition; fails the test with the message when the deadline passes before."""
    started = time.monotonic()
    while True:
        looked = time.monotonic()
        value = condition()
        if value:
            return value
        now = time.monotonic()
        if now >= started + deadline_seconds:
            raise AssertionError(f"not within {deadline_seconds} s: {message} (last seen: {value!r})")
        # rarer the longer it takes, and a look that costs much is not taken all the time
        time.sleep(max(0.02, min(0.1, (now - started) / 20), min(0.5, now - looked)))


def processes() -> ProcessPoolExecutor:
    """Processes that share nothing with this one, their hash seed neither; half of the cores, beside other files."""
    return ProcessPoolExecutor(max(1, (os.cpu_count() or 1) // 2), multiprocessing.get_context("spawn"))


def freeze(pid: int) -> None:
    """Stops a process and returns when each of its threads stands still: the signal alone may take a moment."""
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: all(_stopped(task) for task in Path(f"/proc/{pid}/task").iterdir()), 20, f"{pid} stands still")


def _stopped(task: Path) -> bool:
    return task.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "T"


@dataclass(frozen=True)
class Names:
    """Names for one test: its topics, groups and application ids all begin with `prefix`, which no other test has."""

    prefix: str

    def __call__(self, name: str) -> str:
        return f"{self.prefix}.{name}"


def unique_names() -> Names:
    """Names nobody else has: tests share one broker."""
    return Names(f"t{uuid.uuid4().hex[:10]}")


def make_topic(bootstrap: str, name: str, partitions: int = 1, config: dict[str, str] | None = None) -> None:
    """Make a topic (one replica) and wait until the broker knows it."""
    admin = AdminClient({"bootstrap.servers": bootstrap})  # kept until the answer is there: it dies with its client
    admin.create_topics([NewTopic(name, partitions, 1, config=config or {})])[name].result(20)
    wait_for(lambda: name in admin.list_topics(timeout=10).topics, 20, f"topic {name} appears")
