"""Owns the framing of Kafka's protocol, as far as a proxy must know it: where a message begins, ends, and what it is.

A request is int32 size, int16 api key, int16 api version, int32 correlation id, …; an answer is int32 size, int32
correlation id, …. All big-endian; the size does not count itself. Nothing behind these heads is ever read.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple

SIZE: Final = 4
MOST: Final = 256 * 1024 * 1024
"""Above this it is no Kafka frame: the broker's own limit is 128 MiB."""


class Api(IntEnum):
    """The requests that a fault can be aimed at, by api key."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


class NotKafka(Exception):
    """Bytes that are no frame."""


class Head(NamedTuple):
    """What a request says of itself."""

    api: int
    version: int
    correlation: int


class Frames:
    """Cuts what comes on one connection, in one direction, into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def cut(self, data: bytes) -> list[bytes]:
        """The frames that are whole now, their sizes included. Raises NotKafka for a size that no frame has."""
        rest, found, at = self._rest, [], 0
        rest += data
        while len(rest) - at >= SIZE:
            (size,) = struct.unpack_from(">i", rest, at)
            if not SIZE <= size <= MOST:
                raise NotKafka(f"a frame of {size} bytes")
            end = at + SIZE + size
            if len(rest) < end:
                break
            found.append(bytes(rest[at:end]))
            at = end
        del rest[:at]
        return found


def request_head(frame: bytes) -> Head:
    """The head of a request frame. Raises NotKafka where it is too short."""
    if len(frame) < SIZE + 8:
        raise NotKafka(f"a request of {len(frame)} bytes")
    return Head(*struct.unpack_from(">hhi", frame, SIZE))


def correlation(answer: bytes) -> int:
    """The correlation id of an answer frame."""
    return int(struct.unpack_from(">i", answer, SIZE)[0])


def name(api: int) -> str:
    """How an api key is called in counts and reports: `END_TXN`, or `API_60` for one not listed here."""
    try:
        return Api(api).name
    except ValueError:
        return f"API_{api}"
