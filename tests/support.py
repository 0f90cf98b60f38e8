"""Small helpers any test may import: waiting for a condition, names of one's own."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


def wait_for(condition: Callable[[], T], deadline_seconds: float, message: str) -> T:
    """The first true value of the condition; fails the test with the message when the deadline passes before."""
    deadline = time.monotonic() + deadline_seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {deadline_seconds} s: {message} (last seen: {value!r})")
        time.sleep(0.02)


@dataclass(frozen=True)
class Names:
    """Names for one test: its topics, groups and application ids all begin with `prefix`, which no other test has."""

    prefix: str

    def __call__(self, name: str) -> str:
        return f"{self.prefix}.{name}"


def unique_names() -> Names:
    """Names nobody else has: tests share one broker."""
    return Names(f"t{uuid.uuid4().hex[:10]}")
