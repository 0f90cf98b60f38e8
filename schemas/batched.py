"""The bytes of a `batched` message. Its records, which are thousands, are put together by hand; the few fields before
them are fastavro's. A property test holds the whole equal to fastavro's bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import fastavro

from schemas.avro import long
from schemas.codec import Codec, schema_text, written

_SCHEMA = json.loads(schema_text("batched"))
_FRONT: Any = fastavro.parse_schema({**_SCHEMA, "fields": _SCHEMA["fields"][:-1]}, named_schemas={})


def encode_batched(codec: Codec, front: Mapping[str, Any], records: Sequence[bytes]) -> bytes:
    """A Batched message: its fields up to `count`, and the members' messages. Raises WireError for what does not fit
    the schema."""
    header = codec.header("batched")
    if header is None:
        return codec.encode("batched", {**front, "records": list(records)})
    pieces = [written("batched", header, _FRONT, front)]
    if records:
        pieces.append(long(len(records)))
        for record in records:
            pieces += (long(len(record)), record)
    pieces.append(b"\0")
    return b"".join(pieces)
