"""Avro framing of every wire message: single-object encoding (C3 01, CRC-64-AVRO fingerprint), or the Confluent
wire format where a deployment names a schema registry. The fingerprint tells the kind of a message, so several
kinds may share a topic."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Any, Protocol

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

MARKER = b"\xc3\x01"
NAMES = (
    "validated", "release", "retain", "replay", "cap", "batched", "batched_again", "sent", "sent_batch", "dead_letter",
    "review", "idempotency", "window", "item", "waiting", "legacy",
    "head", "delivery", "partner_state", "control",
)  # fmt: skip
"""Every kind of message, with its schema in `schemas/wire/`. The audit block's schema belongs to `audit`."""
OLDER = {
    "validated-1": "validated", "head-1": "head", "head-2": "head", "head-3": "head", "delivery-1": "delivery",
    "delivery-2": "delivery", "delivery-3": "delivery", "partner_state-1": "partner_state", "waiting-1": "waiting",
}  # fmt: skip
"""Schemas that a kind had before: its messages are still read, and what they lack takes its default."""


class WireError(ValueError):
    """Bytes that are no message of a known schema, or a message that does not fit its schema."""


class Codec(Protocol):
    """Turns messages (dicts that fit a schema of `NAMES`) into bytes and back."""

    def header(self, name: str) -> bytes | None:
        """What every message of this kind begins with, before its Avro bytes; None: it is not written in Avro, and
        only this codec can read and write it."""
        ...

    def encode(self, name: str, message: Mapping[str, Any]) -> bytes:
        """Raises WireError if the message does not fit schema `name`."""
        ...

    def decode(self, data: bytes) -> tuple[str, dict[str, Any]]:
        """The schema's name and the message. Raises WireError."""
        ...


@cache
def schema_text(name: str) -> str:
    """The .avsc file of a wire schema, as text."""
    return files("schemas.wire").joinpath(f"{name}.avsc").read_text("utf-8")


@cache
def parsed_schema(name: str) -> Any:
    """The schema, parsed for fastavro (in a name table of its own)."""
    return fastavro.parse_schema(json.loads(schema_text(name)), named_schemas={})


def schema_fingerprint(name: str) -> bytes:
    """CRC-64-AVRO of the canonical form, 8 bytes, little-endian as the specification has it."""
    return single_object_fingerprint(json.loads(schema_text(name)))


def single_object_fingerprint(schema: Any) -> bytes:
    """CRC-64-AVRO fingerprint of any schema, 8 bytes, little-endian."""
    # fastavro renders the Rabin fingerprint most significant byte last, which is the order the header wants.
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


def written(name: str, header: bytes, schema: Any, message: Mapping[str, Any]) -> bytes:
    """`header` and the Avro bytes behind it; `schema` is parsed. Raises WireError for what does not fit."""
    out = BytesIO()
    out.write(header)
    try:
        fastavro.schemaless_writer(out, schema, message)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise WireError(f"message does not fit schema {name}: {error}") from error
    return out.getvalue()


class SingleObjectCodec:
    """Avro single-object encoding; needs nothing but the shipped schemas."""

    def __init__(self) -> None:
        self._writers = {name: (MARKER + schema_fingerprint(name), parsed_schema(name)) for name in NAMES}
        self._readers = {header: (name, schema, None) for name, (header, schema) in self._writers.items()}
        for old, name in OLDER.items():
            self._readers[MARKER + schema_fingerprint(old)] = name, parsed_schema(old), parsed_schema(name)

    def header(self, name: str) -> bytes:
        """The ten bytes every message of this kind begins with."""
        return self._writers[name][0]

    def encode(self, name: str, message: Mapping[str, Any]) -> bytes:
        return written(name, *self._writers[name], message)

    def decode(self, data: bytes) -> tuple[str, dict[str, Any]]:
        try:
            name, schema, as_now = self._readers[data[:10]]
        except KeyError:
            raise WireError(f"unknown message header {data[:10].hex()}: not written by this version") from None
        source = BytesIO(data)
        source.seek(10)
        try:
            message: dict[str, Any] = fastavro.schemaless_reader(source, schema, as_now)
        except (ValueError, EOFError, IndexError, KeyError, UnicodeDecodeError, OverflowError) as error:
            raise WireError(f"{name} message is cut off or damaged: {error}") from error
        if source.tell() != len(data):
            raise WireError(f"{name} message has {len(data) - source.tell()} bytes behind its end")
        return name, message
