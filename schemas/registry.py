"""The codec of a pipeline; for one with a schema registry it is the Confluent wire format: a zero byte, the registry's
id of a schema (4 bytes, big-endian), then the Avro body.

Every wire schema is registered when the codec is made, so a registry that is away or refuses a schema stops the
program at its start and not in the middle of a chunk. Afterwards the registry is asked only for ids it has not told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from schemas.codec import (
    MARKER,
    NAMES,
    OLDER,
    Codec,
    SingleObjectCodec,
    WireError,
    schema_fingerprint,
    schema_text,
    single_object_fingerprint,
)

MAGIC = b"\0"
SUBJECTS = "waybill.wire."
"""One subject per kind of message, not per topic: several kinds share a topic."""


def codec_for(registry: str | None) -> Codec:
    """The codec of a pipeline: its `registry:` setting, else Avro single-object encoding."""
    return SingleObjectCodec() if registry is None else RegistryCodec(registry)


class RegistryCodec:
    """Codec for deployments with a schema registry; `mock://NAME` is a registry inside the process.

    Raises SchemaRegistryError where the registry fails: that is a client's fault, never a record's.
    """

    def __init__(self, url: str, prefix: str = SUBJECTS) -> None:
        # here, because these imports are a quarter of a worker's start, and few have a registry
        from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

        self._client = SchemaRegistryClient.new_client({"url": url})
        self._inner = SingleObjectCodec()
        self._fingerprints = {schema_fingerprint(name) for name in (*NAMES, *OLDER)}
        self._ids: dict[str, int] = {}
        self._known: dict[int, bytes] = {}
        """Schema id -> fingerprint of the schema it stands for."""
        for name in NAMES:
            number = self._client.register_schema(prefix + name, Schema(schema_text(name), "AVRO"))
            self._ids[name] = number
            self._known[number] = schema_fingerprint(name)

    def header(self, name: str) -> bytes:
        """The five bytes every message of this kind begins with."""
        return MAGIC + self._ids[name].to_bytes(4, "big")

    def encode(self, name: str, message: Mapping[str, Any]) -> bytes:
        return self.header(name) + self._inner.encode(name, message)[len(self._inner.header(name)) :]

    def decode(self, data: bytes) -> tuple[str, dict[str, Any]]:
        if len(data) < 5 or data[:1] != MAGIC:
            raise WireError(f"begins with {data[:5].hex() or 'nothing'}, not with 00 and a schema id of 4 bytes")
        return self._inner.decode(MARKER + self._fingerprint(int.from_bytes(data[1:5], "big")) + data[5:])

    def _fingerprint(self, number: int) -> bytes:
        """The schema an id stands for; another subject may hold our schema under another id."""
        if number not in self._known:
            from confluent_kafka.schema_registry import SchemaRegistryError

            try:
                text = self._client.get_schema(number).schema_str
            except SchemaRegistryError as error:
                if error.http_status_code != 404:
                    raise
                raise WireError(f"schema id {number} is not in the registry") from error
            fingerprint = single_object_fingerprint(json.loads(text))
            if fingerprint not in self._fingerprints:
                raise WireError(f"schema id {number} is none that this version reads")
            self._known[number] = fingerprint
        return self._known[number]
