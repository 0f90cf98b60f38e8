"""Owns when a lane's chunk may be worked: the lanes of one pipeline in one process share the loop that works them.

One chunk is worked at a time, and the arbiter says whose is next; while a higher lane has work, lower ones take smaller
chunks, so that it never waits for a long one (ING-17). Nobody waits for ever: see PATIENCE. Partners are not shared out
here but by `streams/dispatch/allowance.py`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from streams.lanes import Arbiter
from topology.model import LANES, Lane

PATIENCE = 10.0
"""Seconds after which a chunk is worked without its turn: twice what a chunk may take, far below what makes a thread
count as stuck (STALL_SECONDS), and a membership as dead (max.poll.interval.ms)."""
RECENT = 2.0
"""Seconds for which a lane counts as having work after its last chunk."""
CUT = 1 / 8
"""Of a full chunk, for a lane while a higher one has work."""


class Turns(Protocol):
    """What a runner asks before it works a chunk."""

    def share(self) -> float:
        """How much of a full chunk to take, up to 1."""
        ...

    def turn(self) -> AbstractContextManager[None]:
        """Waits for the turn; held while the chunk is worked."""
        ...

    def hurry(self) -> bool:
        """Whether others may let something through at any moment, so that looking is better than waiting."""
        ...


class NoTurns:
    """Of a runner that shares with nobody; and of dispatch, which lanes hold up at the partner only: `outdone`."""

    def __init__(self, outdone: Callable[[], bool] = lambda: False) -> None:
        self.hurry = outdone

    def share(self) -> float:
        """All of a chunk."""
        return 1.0

    def turn(self) -> AbstractContextManager[None]:
        """At once."""
        return nullcontext()


class Desk:
    """Where the lanes of one pipeline meet. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, patience: float = PATIENCE) -> None:
        """`clock`: seconds."""
        self._clock, self._patience = clock, patience
        self._changed = threading.Condition()
        self._arbiter = Arbiter()
        self._waiting: Counter[Lane] = Counter()
        self._working = 0
        self._worked: dict[Lane, float] = {}

    @contextmanager
    def turn(self, lane: Lane) -> Iterator[None]:
        """See Turns."""
        with self._changed:
            self._waiting[lane] += 1
            self._worked[lane] = self._clock()
            self._changed.wait_for(lambda: self._is_next(lane), self._patience)
            self._waiting[lane] -= 1
            self._arbiter.took(lane)
            self._working += 1
        try:
            yield
        finally:
            with self._changed:
                self._working -= 1
                self._worked[lane] = self._clock()
                self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """How many wait for a turn."""
        with self._changed:
            return self._waiting.total()

    def _is_next(self, lane: Lane) -> bool:
        return not self._working and self._arbiter.next([one for one, many in self._waiting.items() if many]) == lane

    def share(self, lane: Lane) -> float:
        """See Turns."""
        now = self._clock()
        with self._changed:
            higher = [self._worked[one] for one in LANES[: LANES.index(lane)] if one in self._worked]
            return CUT if any(now - at <= RECENT for at in higher) else 1.0


class LaneTurns:
    """One lane's side of the desk."""

    def __init__(self, desk: Desk, lane: Lane) -> None:
        self._desk, self._lane = desk, lane

    def share(self) -> float:
        """See Turns."""
        return self._desk.share(self._lane)

    def turn(self) -> AbstractContextManager[None]:
        """See Turns."""
        return self._desk.turn(self._lane)

    def hurry(self) -> bool:
        """Never: it waits in `turn`."""
        return False
