"""The versions of one partition of `validated` as the chunk at hand sees them: the table, and what the chunk changes of
it (BA2). Pure: no Kafka, no clock.

The table holds committed rows only; what a chunk admits, rewrites or removes lies in `pending` until it has committed.
"""

from __future__ import annotations

from schemas.codec import Codec, WireError
from streams.batch.identity import RETAINED, Version, VersionStore, decode_version, encode_version
from streams.batch.window import Line, Windows
from streams.progress import Progress
from streams.stage import Output, Work
from streams.tables import unreadable
from topology.model import Pipeline

_new = tuple.__new__  # a named tuple's own constructor costs three times as much

TIDY_PER_CHUNK = 5_000
"""Expired versions tombstoned per chunk at most: tidying must not make a chunk long."""


class Versions:
    """Which versions guard their keys. `progress` has the stream time by which they age."""

    def __init__(self, pipeline: Pipeline, codec: Codec, progress: Progress, store: VersionStore) -> None:
        self.store = store
        self._pipeline, self._codec, self._progress = pipeline, codec, progress
        self._partition = progress.partition
        self.keep = int(pipeline.keep * 1000)
        """Stream time in which a repeat is known, ms."""
        self.pending: dict[str, list[Version] | bytes] = {}
        """Keys changed in this chunk, with all their versions as they will be after the commit; the row alone where
        that is one version of a new key, which is seldom looked at again."""
        self._tidied = 0

    def find(self, key: str) -> list[Version]:
        """All versions of a key, oldest first, this chunk's changes included."""
        changed = self.pending.get(key)
        if isinstance(changed, list):
            return changed
        if changed is not None:
            return [decode_version(self._codec, changed)]
        try:
            return [decode_version(self._codec, row) for row in self.store.find(key)]
        except WireError as error:  # no fault of the record that asks
            raise unreadable(self._pipeline, "idempotency", self._partition, key.encode(), error) from error

    def alive(self, version: Version) -> bool:
        """Whether a version still guards its key: decided here, by stream time; tombstones only tidy up (BA9)."""
        return self._progress.stream_time - version.admitted_at <= self.keep

    def newest(self, key: str) -> Version | None:
        """The newest that has not aged; one that is retained may outlive a newer one (BA2, BA9)."""
        for version in reversed(self.find(key)):
            if self.alive(version):
                return version
        return None

    def put(self, work: Work, version: Version) -> None:
        """Admits a version, or rewrites one (another age)."""
        left = [v for v in self.find(version.key) if v.offset != version.offset]
        self.pending[version.key] = sorted([*left, version], key=lambda v: v.offset) if left else [version]
        self._row(work, version.row_key, encode_version(self._codec, version))

    def remove(self, work: Work, version: Version) -> None:
        """Takes a version away: released, or aged."""
        self.pending[version.key] = [v for v in self.find(version.key) if v.offset != version.offset]
        self._row(work, version.row_key, None)

    def _row(self, work: Work, key: bytes, value: bytes | None) -> None:
        work.outputs.append(_new(Output, ("idempotency", self._partition, key, value, ())))

    def tidy(self, work: Work, windows: Windows) -> None:
        """Tombstones versions that are past their age, oldest first."""
        for key in self.store.oldest():
            if self._tidied >= TIDY_PER_CHUNK:
                return
            first = next((v for v in self.find(key) if v.admitted_at != RETAINED), None)
            if first is not None:
                if self.alive(first) or windows.holds(Line(first.group, first.date), first.offset):
                    return
                self.remove(work, first)
            self._tidied += 1

    def committed(self) -> None:
        """The table has what was written (step 6)."""
        self.store.forget_oldest(self._tidied)
        self.pending, self._tidied = {}, 0
