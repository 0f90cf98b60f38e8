"""Owns when folders are synced for several writers at once, so that one sync serves all who wait for it.

Syncing a file costs its file system about as much as writing it, and the folders above are the same for most files.
A sync covers a name only if it begins after the name was made; so who comes while one is under way waits for the next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True, eq=False)
class _Round:
    places: set[Path] = field(default_factory=set)
    done: bool = False
    error: BaseException | None = None


class Rounds:
    """Thread-safe. `sync` makes one folder durable, or raises."""

    def __init__(self, sync: Callable[[Path], None]) -> None:
        self._sync = sync
        self._changed = threading.Condition()
        self._running = False
        self._next = _Round()

    def sync(self, places: Iterable[Path]) -> None:
        """Returns when each of these folders was synced since the call. Raises what `sync` raised in that round,
        whosever folder it was about: nobody is told of a success that may be none."""
        with self._changed:
            mine = self._next
            mine.places.update(places)
            while not mine.done and self._running:
                self._changed.wait()
            if not mine.done:  # the first to wake leads the round of all who wait
                self._running, self._next = True, _Round()
        if not mine.done:
            self._lead(mine)
        if mine.error is not None:
            raise mine.error

    def _lead(self, mine: _Round) -> None:
        try:
            for place in sorted(mine.places, reverse=True):
                self._sync(place)
        except BaseException as error:  # noqa: BLE001  (raised by each who waits)
            mine.error = error
        finally:
            with self._changed:
                mine.done, self._running = True, False
                self._changed.notify_all()
