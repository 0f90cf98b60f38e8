"""Owns which records a dead letter answers that names none: one of batch or dispatch that keeps a whole message of our
own topics because working it alone failed (UNPROCESSABLE). It is the final answer of every record in that message.

Pure but for reading a message again where it stands: it lies in the claim store in place of the dead letter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from schemas.codec import WireError
from schemas.messages import position_of

if TYPE_CHECKING:
    from schemas.codec import Codec
    from topology.model import Pipeline
    from waybill.reader import Reader

OWN = ("validated", "batched")
"""Topics whose messages a stage of ours may fail to work."""
_OF_RECORD = (
    "raw_topic", "raw_incarnation", "raw_partition", "raw_offset", "raw_index", "count", "key", "digest",
    "submission_digest", "recorded_at", "source", "site", "topology_version", "passport",
)  # fmt: skip


def topic_of(letter: Mapping[str, Any], pipeline: Pipeline) -> str | None:
    """The short name of our own topic whose message the dead letter keeps; None: it is about one record."""
    name = letter["raw_topic"]
    return next((short for short in OWN if name == pipeline.topic(short) != pipeline.raw_topic), None)


def is_elsewhere(answer: Mapping[str, Any]) -> bool:
    """Whether an answer is a dead letter whose original lies in the claim store."""
    return "original" in answer and answer["original"] is None


def each(letter: Mapping[str, Any], pipeline: Pipeline, codec: Codec, reader: Reader) -> Iterator[dict[str, Any]]:
    """The dead letter as one of each record that it answers. None for a message that cannot be read: whose it was
    nobody can tell; and none for one that holds no records, or those of a batch that has its answer. Reads with
    `reader` what the dead letter does not hold itself."""
    short = topic_of(letter, pipeline)
    if short is None:
        yield dict(letter)
        return
    for record in _records(_kept(letter, pipeline.topic(short), reader), codec):
        yield {**letter, **{name: record[name] for name in _OF_RECORD}}


def _kept(letter: Mapping[str, Any], topic: str, reader: Reader) -> bytes:
    if letter["original"] is not None:
        return bytes(letter["original"])
    found = reader.at(topic, position_of(letter))
    return b"" if found is None else found.value or b""


def _records(value: bytes, codec: Codec) -> list[dict[str, Any]]:
    """Of a message of `validated` or `batched`."""
    try:
        name, message = codec.decode(value)
        members = [codec.decode(data)[1] for data in message["records"]] if name == "batched" else []
    except WireError:
        return []
    return [message] if name == "validated" else members
