"""Validated messages read whole and by hand: dispatch needs every one of a batch's, and fastavro takes longer for them
than everything else that happens to a record there.

What is read is what the codec reads (a property test holds both equal). What many records share is read once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from schemas.kept import Kept
from schemas.validated import NO_PASSPORT, known_shared, number

Fields = dict[str, Any]


def _front(data: bytes) -> Fields | None:
    """The first fields of a message, out of the bytes that all records of a window from one raw partition share."""
    shared = known_shared(data)
    if shared is None:
        return None
    group, date, partner, topic, incarnation, partition = shared
    return {
        "group": group, "date": date, "partner": partner,
        "raw_topic": topic, "raw_incarnation": incarnation, "raw_partition": partition,
    }  # fmt: skip


_fronts: Kept[bytes, Fields | None] = Kept(_front, 8192)


def _plain(data: bytes, at: int) -> tuple[int, int]:
    """A number that is not negative, and where it ends. Raises ValueError where it is."""
    found = number(data, at)
    if found[0] < 0:
        raise ValueError("a negative number")
    return found


def _text(data: bytes, at: int) -> tuple[str, int]:
    size, at = _plain(data, at)
    return data[at : at + size].decode(), at + size


def _optional(data: bytes, at: int) -> tuple[str | None, int]:
    """Null or a text. Raises ValueError where there is neither."""
    if data[at] == 0:
        return None, at + 1
    if data[at] != 2:
        raise ValueError("neither null nor text")
    return _text(data, at + 1)


def _rest(data: bytes, at: int) -> tuple[Fields, int]:
    """The fields from `received_at` to an absent passport, and where they end. Raises ValueError."""
    rest: Fields = {}
    rest["received_at"], at = _optional(data, at)
    rest["count"], at = _plain(data, at)
    rest["source"], at = _optional(data, at)
    rest["site"], at = _optional(data, at)
    rest["schema_version"], at = _text(data, at)
    rest["topology_version"], at = _plain(data, at)
    if data[at : at + 1] != NO_PASSPORT:
        raise ValueError("it has a passport")
    rest["passport"] = None
    return rest, at + 1


_times: Kept[bytes, int] = Kept(lambda data: _plain(data, 0)[0], 8192)


def read_members(header: bytes, values: Iterable[bytes]) -> Iterator[Fields | None]:
    """Each Validated message; None where it is none of the common form (long names, a claim, a passport, warnings,
    damage): then the codec reads it, or says what is wrong with it. `header`: the codec's."""
    start = len(header)
    rest: Fields = {}
    rest_field = b"nothing begins with this"
    time_field, recorded_at = b"nor with this", 0
    for data in values:
        member = None
        try:
            if data and not data[-1] and data.startswith(header):  # a claim ends in its size
                at = start + 1 + (data[start] >> 1)
                at += 1 + (data[at] >> 1)
                at += 1 + (data[at] >> 1)
                at += 3 + (data[at] >> 1)
                front = _fronts[data[start:at]]
                size = data[at]
                if size < 128 and not size & 1:  # once per record: no call where a number is nearly always small
                    digest_at = at + 1 + (size >> 1)
                    key = data[at + 1 : digest_at].decode()
                else:
                    key, digest_at = _text(data, at)
                at = digest_at + 32
                if data[at] == 0:
                    ordering = None
                    at += 1
                else:
                    ordering, at = _optional(data, at)
                if data.startswith(time_field, at):
                    at += len(time_field)
                else:
                    recorded_at, end = _plain(data, at)
                    time_field, at = data[at:end], end
                raw_offset, at = _plain(data, at)
                raw_index = data[at]
                if raw_index < 128 and not raw_index & 1:
                    raw_index >>= 1
                    at += 1
                else:
                    raw_index, at = _plain(data, at)
                submission_at = at + 1
                while data[submission_at - 1] > 127:
                    submission_at += 1
                event_time = _times[data[at:submission_at]]
                at = submission_at + 32
                if data.startswith(rest_field, at):
                    at += len(rest_field)
                else:
                    rest, end = _rest(data, at)
                    rest_field, at = data[at:end], end
                size, end = data[at + 1], at + 2
                if size < 128 and not size & 1:
                    size >>= 1
                else:
                    size, end = _plain(data, at + 1)
                if front is not None and data[at] == 0 and end + size + 1 == len(data):  # no warnings, no claim
                    member = {
                        **front,
                        "key": key,
                        "digest": data[digest_at : digest_at + 32],
                        "ordering": ordering,
                        "recorded_at": recorded_at,
                        "raw_offset": raw_offset,
                        "raw_index": raw_index,
                        "event_time": event_time,
                        "submission_digest": data[submission_at : submission_at + 32],
                        **rest,
                        "warnings": [],
                        "payload": data[end : end + size],
                        "claim": None,
                    }
        except (IndexError, ValueError):  # cut off, or no text
            member = None
        yield member
