"""What every source is made of, and what it offers to the command that runs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds after a failure, doubled while failures follow."""
PEOPLE_PAUSE = 60.0
"""Seconds after an answer that a person must look at: our credentials, our URL, our parameters."""


def back_off(failures: int) -> float:
    """Seconds to wait after so many failures in a row (from 1)."""
    return min(FIRST_PAUSE * 2.0 ** min(failures - 1, 16), LONGEST_PAUSE)


class Rows(Protocol):
    """See `ledger.Ledger`."""

    def open(self) -> dict[bytes, bytes]:
        """The rows as they stand, after every doubt is resolved."""
        ...

    def publish(
        self, value: bytes | None, key: bytes, headers: Sequence[tuple[str, bytes]], rows: Mapping[bytes, bytes | None]
    ) -> str | None:
        """A submission (None: none) and rows, together or not at all; its position, if the broker says it."""
        ...


class Published(NamedTuple):
    """A submission that the broker has."""

    name: str
    """Of the file or place it is from."""
    size: int
    digest: str
    position: str | None


class Running(Protocol):
    """A source in its process."""

    def start(self) -> None:
        """Reads what is published; also after a Doubt. Raises Fault."""
        ...

    def turn(self, now: float) -> Iterator[Published]:
        """Publishes what there is at `now` (seconds). Raises Doubt, after which `start` must be called, and Fault."""
        ...

    @property
    def pause(self) -> float:
        """Seconds until the next turn."""
        ...

    @property
    def waiting(self) -> bool:
        """Whether there is something that waiting may bring."""
        ...
