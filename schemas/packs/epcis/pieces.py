"""A submission of many events: each is read when it is asked for, so memory is that of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from schemas import errors
from schemas.errors import Finding
from schemas.pack import Listed, Record, Refusal, Unpacked
from schemas.packs.epcis.judge import Outcome, answer, few
from schemas.packs.epcis.xml_text import Places

ENVELOPE_SHARE = 64
"""A refused event is kept with the envelope around it, in real documents a few times as long as the event. Beyond this
the document is refused as a whole, or a small one would make gigabytes of dead letters."""

Read = Callable[[bytes], Outcome]
"""Judges one event's bytes."""


class Pieces:
    """An `Unpacked` over the events of a document."""

    def __init__(
        self,
        content_type: str,
        data: bytes,
        places: Places,
        read: Read,
        around: tuple[bytes, bytes],
        made: bool = False,
        largest: int = 2**22,
    ) -> None:
        """`read` judges one event's bytes; `around` makes a document of them; `made`: the bytes are not the
        publisher's, but a transcription of them."""
        self.content_type, self.count = content_type, len(places)
        self.notes: Mapping[str, int] = {}
        self._data, self._places, self._read = data, places, read
        self._around, self._made, self._largest = around, made, largest

    def records(self, start: int = 0) -> Iterator[Record | Refusal]:
        """See `schemas.pack.Unpacked`."""
        return map(self._one, self._places.of(self._data, start))

    def _one(self, data: bytes) -> Record | Refusal:
        if len(data) > self._largest:
            finding = Finding(errors.TOO_LARGE, "", f"an event of {len(data)} bytes; {self._largest} are allowed")
            outcome: Outcome = (finding,)
        else:
            outcome = self._read(data)
        return answer(outcome, self._with_envelope(data), self.content_type, self._made)

    def original(self, index: int) -> tuple[bytes, str, bool]:
        """See `schemas.pack.Divided`."""
        return self._with_envelope(next(self._places.of(self._data, index))), self.content_type, self._made

    def _with_envelope(self, data: bytes) -> bytes:
        head, tail = self._around
        return head + data + tail


def too_much_around(around: tuple[bytes, bytes], count: int, size: int) -> bool:
    """Whether keeping each event with its envelope would make far more of a document than it is."""
    return (len(around[0]) + len(around[1])) * count > ENVELOPE_SHARE * max(size, 2**16)


def whole(findings: Sequence[Finding], value: bytes, content_type: str) -> Unpacked:
    """A submission that is refused as it is."""
    return Listed(content_type, [Refusal(few(findings), value, content_type)])
