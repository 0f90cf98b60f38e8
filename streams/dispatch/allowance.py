"""Owns what one partner allows the lanes of a pipeline together, within a process: attempts at a time, their rate, and
the pauses it asks for. The higher lane goes first (ING-17). A pipeline without lanes has it to itself.

Thread-safe. The time is passed in, ms, of one clock for all lanes. A lane asks and begins on one thread with the others
(a worker's frame works all chunks), or two could take what is left once.
"""

from __future__ import annotations

import threading

from streams.delivery.bucket import Bucket
from streams.dispatch.attempts import PartnerTerms
from streams.lanes import Arbiter
from topology.model import Lane

ASKED = 1_000
"""Milliseconds for which a lane that was told to wait comes before lower ones. It asks again far sooner; one that does
not is being rebuilt, and holds up nobody."""


class Allowance:
    """One partner's."""

    def __init__(self, terms: PartnerTerms) -> None:
        self._connections, self._bucket = terms.connections, Bucket(terms.rate)
        self._lock = threading.Lock()
        self._open: dict[Lane, int] = {}
        self._asked: dict[Lane, int] = {}
        self._not_before = 0
        self._arbiter = Arbiter()

    def enter(self, lane: Lane) -> None:
        """A lane begins with nothing open: it is new, or its worker was."""
        with self._lock:
            self._open[lane] = 0

    def free(self, lane: Lane, now: int) -> bool:
        """Whether a lane that has something to send may do so now. False: it is to ask again, or to `rest`."""
        with self._lock:
            self._asked[lane] = now
            if now < self._not_before or sum(self._open.values()) >= self._connections or not self._bucket.ready(now):
                return False
            return self._arbiter.next([one for one, at in self._asked.items() if now - at <= ASKED]) == lane

    def rest(self, lane: Lane) -> None:
        """A lane has nothing to send."""
        with self._lock:
            self._asked.pop(lane, None)

    def begin(self, lane: Lane) -> None:
        """An attempt goes out that `free` allowed."""
        with self._lock:
            self._asked.pop(lane, None)
            self._arbiter.took(lane)
            self._open[lane] += 1
            self._bucket.take()

    def end(self, lane: Lane) -> None:
        """An attempt is over, or forgotten."""
        with self._lock:
            self._open[lane] -= 1

    def put_off(self, until: int) -> None:
        """The partner is to be left alone until then."""
        with self._lock:
            self._not_before = max(self._not_before, until)


class Allowances:
    """Those of every partner of a pipeline. Thread-safe."""

    def __init__(self) -> None:
        self._of: dict[str, Allowance] = {}
        self._lock = threading.Lock()

    def enter(self, lane: Lane, partner: str, terms: PartnerTerms) -> Allowance:
        """A partner's, for a lane that begins with it."""
        with self._lock:
            found = self._of.setdefault(partner, Allowance(terms))
        found.enter(lane)
        return found
