"""What dispatch needs of the Validated messages that are a batch's members, read by hand: there is one for each record,
and fastavro takes longer for it than everything else that happens to a record there.

What an ack repeats of a record stays as the bytes that stand in its message; they are the codec's own (a property test
holds both ways of reading equal). What many records share is read once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from schemas.avro import long, text
from schemas.canonical import RawPosition
from schemas.kept import Kept
from schemas.messages import FindingPart, PassportPart
from schemas.validated import NO_PASSPORT, NO_WARNINGS, known_shared, number

_new = tuple.__new__  # once per record: a named tuple's own constructor costs three times as much


class Source(NamedTuple):
    """A partition of `raw` in one life of its topic."""

    topic: str
    incarnation: int
    partition: int


class Member(NamedTuple):
    """A record of a batch. The last five fields are Avro, as an ack has them."""

    source: Source
    offset: int
    index: int  # type: ignore[assignment]  # the field hides tuple.index, as in RawPosition
    key: str
    digest: bytes
    event_time: int
    payload: bytes
    claimed: bool
    """The payload is kept elsewhere."""
    place: bytes
    """From `raw_topic` to `raw_index`, and `count`."""
    named: bytes
    """`key`, `digest`."""
    warnings: bytes
    times: bytes
    """`topology_version`, `recorded_at`, `event_time`."""
    passport: bytes

    @property
    def raw(self) -> RawPosition:
        """Where the record came from."""
        return RawPosition(*self.source, self.offset, self.index)


def member_of(record: Mapping[str, Any]) -> Member:
    """The same of a Validated message that the codec has read."""
    source = Source(record["raw_topic"], record["raw_incarnation"], record["raw_partition"])
    place = source_field(source) + long(record["raw_offset"]) + long(record["raw_index"]) + long(record["count"])
    return Member(
        source,
        record["raw_offset"],
        record["raw_index"],
        record["key"],
        record["digest"],
        record["event_time"],
        record["payload"],
        record["claim"] is not None,
        place,
        text(record["key"]) + record["digest"],
        _warnings(record["warnings"]),
        long(record["topology_version"]) + long(record["recorded_at"]) + long(record["event_time"]),
        passport_field(record["passport"]),
    )


def source_field(source: Source) -> bytes:
    """`raw_topic`, `raw_incarnation`, `raw_partition` of a message."""
    return text(source.topic) + long(source.incarnation) + long(source.partition)


def passport_field(passport: PassportPart | None) -> bytes:
    """The field `passport`."""
    if passport is None:
        return NO_PASSPORT
    reason, approver = text(passport["reason"]), text(passport["approver"])
    return b"\2" + reason + approver + long(passport["attempt"]) + text(passport["original_position"])


def _warnings(found: Sequence[FindingPart]) -> bytes:
    if not found:
        return NO_WARNINGS
    items = b"".join(text(one["code"]) + text(one["path"]) + text(one["message"]) for one in found)
    return long(len(found)) + items + b"\0"


def warnings_of(member: Member) -> list[FindingPart]:
    """The warnings of a record."""
    return [] if member.warnings == NO_WARNINGS else _findings(member.warnings, 0)[0]


def _findings(data: bytes, at: int) -> tuple[list[FindingPart], int]:
    """Warnings in one block, as they are written, and where they end. Raises ValueError for another form."""
    found: list[FindingPart] = []
    count, at = _plain(data, at)
    for _ in range(count):
        code, at = _text(data, at)
        path, at = _text(data, at)
        message, at = _text(data, at)
        found.append({"code": code, "path": path, "message": message})
    if not found or data[at]:
        raise ValueError("warnings of another form")
    return found, at + 1


class _Front(NamedTuple):
    source: Source
    field: bytes


def _front(data: bytes) -> _Front | None:
    """Out of the bytes that all records of a window from one raw partition have in front."""
    shared = known_shared(data)
    if shared is None:
        return None
    source = Source(shared.topic, shared.incarnation, shared.partition)
    return _Front(source, source_field(source))


_fronts: Kept[bytes, _Front | None] = Kept(_front, 8192)


def _plain(data: bytes, at: int) -> tuple[int, int]:
    """A number that is not negative, and where it ends. Raises ValueError where it is, or has more bytes than it needs:
    what is copied must be what the codec would write."""
    value, end = number(data, at)
    if value < 0 or (end > at + 1 and not data[end - 1]):
        raise ValueError("a negative number, or an overlong one")
    return value, end


def _text(data: bytes, at: int) -> tuple[str, int]:
    size, at = _plain(data, at)
    return data[at : at + size].decode(), at + size


def _optional_end(data: bytes, at: int) -> int:
    """Where null or a text ends. Raises ValueError where there is neither."""
    if data[at] == 0:
        return at + 1
    if data[at] != 2:
        raise ValueError("neither null nor text")
    return _text(data, at + 1)[1]


def _rest(data: bytes, at: int) -> tuple[bytes, bytes, int]:
    """The fields `count` and `topology_version`, and where the absent passport behind them ends. Raises ValueError."""
    end = _plain(data, at)[1]
    count = data[at:end]
    at = _text(data, _optional_end(data, _optional_end(data, end)))[1]  # source, site, schema_version
    end = _plain(data, at)[1]
    if data[end : end + 1] != NO_PASSPORT:
        raise ValueError("it has a passport")
    return count, data[at:end], end + 1


_times: Kept[bytes, int] = Kept(lambda data: _plain(data, 0)[0], 8192)


def read_members(header: bytes, values: Iterable[bytes]) -> Iterator[Member | None]:
    """Each Validated message; None where it is none of the common form (long names, a claim, a passport, damage): then
    the codec reads it, or says what is wrong with it. `header`: the codec's."""
    # Once per record: no call where a number is nearly always small, and no walk where bytes were met before. A known
    # front, time or rest is compared as a whole: the sizes lie in it, so that equal bytes end at the same place.
    start = len(header)
    fronts, times = _fronts.get, _times.get
    front_end = start
    time_field = version = count = b""
    rest_field = b"nothing begins with this"
    stamp: bytes | None = None
    for data in values:
        member = None
        try:
            if data and not data[-1] and data.startswith(header):  # a claim ends in its size
                front = fronts(data[start:front_end])
                if front is None:
                    at = start + 1 + (data[start] >> 1)
                    at += 1 + (data[at] >> 1)
                    at += 1 + (data[at] >> 1)
                    front_end = at + 3 + (data[at] >> 1)
                    front = _fronts[data[start:front_end]]
                if front is not None:
                    named_at = front_end
                    size = data[named_at]
                    if size < 128 and not size & 1:
                        at = named_at + 1 + (size >> 1)
                        key = data[named_at + 1 : at].decode()
                    else:
                        key, at = _text(data, named_at)
                    digest = data[at : at + 32]
                    at += 32
                    named = data[named_at:at]
                    at = at + 1 if data[at] == 0 else _optional_end(data, at)  # ordering
                    if time_field and data.startswith(time_field, at):
                        at += len(time_field)
                    else:
                        end = _plain(data, at)[1]
                        time_field, at, stamp = data[at:end], end, None
                    place_at = at
                    one, two, three = data[at], data[at + 1], data[at + 2]
                    # three bytes: from 8,192 to a million; four: to 134 million
                    if one & 129 == 128 and two > 127 and 0 < three < 128:
                        offset, at = (one + (two << 7) + (three << 14) - 16512) >> 1, at + 3
                    elif one & 129 == 128 and two > 127 and three > 127 and 0 < (four := data[at + 3]) < 128:
                        offset, at = (one + (two << 7) + (three << 14) + (four << 21) - 2113664) >> 1, at + 4
                    else:
                        offset, at = _plain(data, at)
                    if (one := data[at]) < 128 and not one & 1:
                        index, at = one >> 1, at + 1
                    else:
                        index, at = _plain(data, at)
                    place = data[place_at:at]
                    event_field = data[at : at + 6]  # six bytes: from 1971 to 2527
                    event_time = times(event_field)
                    if event_time is None:
                        event_field = data[at : _plain(data, at)[1]]
                        event_time = _times[event_field]
                    at += len(event_field) + 32  # and submission_digest
                    at = at + 1 if data[at] == 0 else _optional_end(data, at)  # received_at
                    if data.startswith(rest_field, at):
                        at += len(rest_field)
                    else:
                        count, version, end = _rest(data, at)
                        rest_field, at, stamp = data[at:end], end, None
                    warnings = NO_WARNINGS
                    if data[at] == 0:
                        at += 1
                    else:
                        end = _findings(data, at)[1]
                        warnings, at = data[at:end], end
                    if (one := data[at]) & 129 == 128 and 0 < (two := data[at + 1]) < 128:  # from 64 to 8,191
                        size, at = (one + (two << 7) - 128) >> 1, at + 2
                    else:
                        size, at = _plain(data, at)
                    if at + size + 1 == len(data):
                        if stamp is None:
                            stamp = version + time_field
                        member = _new(
                            Member,
                            (
                                front.source, offset, index, key, digest, event_time, data[at:-1], False,
                                front.field + place + count, named, warnings, stamp + event_field, NO_PASSPORT,
                            ),
                        )  # fmt: skip
        except (IndexError, ValueError):  # cut off, or no text
            member = None
        yield member
