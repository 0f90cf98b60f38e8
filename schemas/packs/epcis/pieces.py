"""A submission of many events: they are read when they are asked for, a few at a time, so memory is that of a few."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from schemas import errors
from schemas.errors import Finding
from schemas.pack import Listed, Record, Refusal, Unpacked
from schemas.packs.epcis.judge import Outcome, answer, few
from schemas.packs.epcis.xml_text import Places

ENVELOPE_SHARE = 64
"""A refused event is kept with the envelope around it, in real documents a few times as long as the event. Beyond this
the document is refused as a whole, or a small one would make gigabytes of dead letters."""

AT_ONCE = 2**15
"""Bytes of events that are read together: a few milliseconds."""
MOST_ODD = 20
"""Times in a row that none was plain, after which no more are tried: the document is not of that kind."""
AROUND = 2**19
"""Bytes of envelopes, one for each event, up to which `too_much_around` has no word to say."""

Judge = Callable[[bytes], Outcome]
"""Judges one event's bytes."""
Read = Callable[[bytes], list[Record | None] | None]
"""Reads a document whose events are plain, several times as fast as one by one. None in place of an event: it is not
plain. None in place of the list: the document is not."""


class Together(NamedTuple):
    """How events are read together."""

    read: Read
    comma: bytes
    """Between events of a list."""


class Pieces:
    """An `Unpacked` over the events of a document."""

    def __init__(
        self,
        content_type: str,
        data: bytes,
        places: Places,
        judge: Judge,
        around: tuple[bytes, bytes],
        made: bool = False,
        largest: int = 2**22,
        together: Together | None = None,
    ) -> None:
        """`around` makes a document of an event's bytes; `made`: the bytes are not the publisher's, but a transcription
        of them; `together`: a shorter way, which gives the same."""
        self.content_type, self.count = content_type, len(places)
        self.notes: Mapping[str, int] = {}
        self._data, self._places, self._judge = data, places, judge
        self._around, self._made, self._largest = around, made, largest
        self._together = together

    def records(self, start: int = 0) -> Iterator[Record | Refusal]:
        """See `schemas.pack.Unpacked`."""
        pieces = self._places.of(self._data, start)
        return map(self._one, pieces) if self._together is None else self._several(pieces, self._together)

    def _several(self, pieces: Iterator[bytes], together: Together) -> Iterator[Record | Refusal]:
        """The first alone, then more and more at once: who asks for one record has no other read with it, which could
        break the reader."""
        most, odd, ahead = 1, 0, next(pieces, None)
        room = max(1, AROUND // sum(map(len, self._around)))
        while ahead is not None and odd < MOST_ODD:
            group, size = [ahead], len(ahead)
            while (ahead := next(pieces, None)) is not None and len(group) < most and size + len(ahead) <= AT_ONCE:
                group.append(ahead)
                size += len(ahead)
            found = self._read(group, together)
            odd, most = (0, min(2 * most, room)) if any(found) else (odd + 1, 1)
            for data, one in zip(group, found, strict=True):
                yield self._one(data) if one is None else one
        yield from map(self._one, () if ahead is None else chain((ahead,), pieces))

    def _read(self, group: list[bytes], together: Together) -> list[Record | None]:
        found = together.read(self._with_envelope(together.comma.join(group)))
        if found is not None and len(found) == len(group):
            return found
        # one that is out of the ordinary leaves the others alone
        return [None] if len(group) == 1 else [self._read([one], together)[0] for one in group]

    def _one(self, data: bytes) -> Record | Refusal:
        if len(data) > self._largest:
            finding = Finding(errors.TOO_LARGE, "", f"an event of {len(data)} bytes; {self._largest} are allowed")
            outcome: Outcome = (finding,)
        else:
            outcome = self._judge(data)
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
