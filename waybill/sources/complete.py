"""Which files of a listing are whole. Pure: the listing and the clock are handed in."""

from __future__ import annotations

from collections.abc import Iterable, Set
from fnmatch import fnmatchcase
from typing import NamedTuple

from topology.source import FileSource

UNFINISHED = (".part", ".tmp", ".filepart")


class Entry(NamedTuple):
    """A regular file as it was listed."""

    name: str
    size: int
    changed: int
    """Its time of change, in whatever unit the folder keeps."""


class Completeness:
    """Remembers since when each file has been as it is."""

    def __init__(self, source: FileSource) -> None:
        self._source = source
        self._seen: dict[str, tuple[Entry, float]] = {}

    def ours(self, name: str) -> bool:
        """Whether a name is one of this source's, whole or not."""
        source = self._source
        if name.startswith(".") or name.endswith(UNFINISHED):
            return False
        if source.complete == "marker" and name.endswith(source.marker):
            return False
        return fnmatchcase(name, source.pattern)

    def whole(self, entries: Iterable[Entry], now: float) -> list[Entry]:
        """Those that are whole at `now` (seconds), by time of change, then name."""
        listed = {entry.name: entry for entry in entries}
        mine = [entry for entry in listed.values() if self.ours(entry.name)]
        match self._source.complete:
            case "renamed":
                found = mine
            case "marker":
                found = [
                    entry for entry in mine if self._is_marked(entry, listed.get(entry.name + self._source.marker))
                ]
            case "settled":
                seen = {
                    entry.name: before
                    if (before := self._seen.get(entry.name)) is not None and before[0] == entry
                    else (entry, now)
                    for entry in mine
                }
                self._seen = seen
                found = [entry for entry, since in seen.values() if now - since >= self._source.settle]
        return sorted(found, key=lambda entry: (entry.changed, entry.name))

    def _is_marked(self, entry: Entry, marker: Entry | None) -> bool:
        """A marker that is left where it lies speaks of no file that changed after it."""
        return marker is not None and (self._source.after == "move" or marker.changed >= entry.changed)

    @property
    def settling(self) -> Set[str]:
        """Names of the files that were seen and may become whole by waiting."""
        return self._seen.keys()
