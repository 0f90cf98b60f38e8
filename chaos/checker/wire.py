"""Owns reading Avro: the schemas as the repository ships them, and single-object encoding (C3 01, CRC-64-AVRO
fingerprint, body; Apache Avro 1.12 specification). The Confluent wire format is not read."""

from __future__ import annotations

import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

ROOT = Path(__file__).resolve().parents[2]
FILES = [*sorted((ROOT / "schemas" / "wire").glob("*.avsc")), *sorted((ROOT / "audit").glob("*.avsc"))]
MARKER = b"\xc3\x01"


class NotReadable(ValueError):
    """Bytes that are no message of a known schema."""


OLDER = re.compile(r"-\d+$")
"""Ends the file name of a former version of a schema; messages of it are still read, under the schema's name."""


def shipped_schemas() -> dict[str, Any]:
    """Every schema of the repository, former versions too, by the name of its file."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in FILES}


class Reader:
    """Reads messages of the given schemas."""

    def __init__(self, schemas: dict[str, Any]) -> None:
        self._known: dict[bytes, tuple[str, Any]] = {}
        for name, schema in schemas.items():
            # fastavro gives the fingerprint in the order in which it is written
            mark = bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))
            self._known[MARKER + mark] = OLDER.sub("", name), fastavro.parse_schema(schema, named_schemas={})

    def knows(self, data: bytes) -> bool:
        """Whether a message says that it is of one of these schemas."""
        return data[:10] in self._known

    def read(self, data: bytes | None) -> tuple[str, dict[str, Any]]:
        """Name of the schema, and the message. Raises NotReadable."""
        known = self._known.get((data or b"")[:10])
        if data is None or known is None:
            raise NotReadable(f"begins with {data[:10].hex() if data else 'nothing'}, which is no known schema")
        source = BytesIO(data)
        source.seek(10)
        try:
            message: Any = fastavro.schemaless_reader(source, known[1], None)
        except (ValueError, EOFError, IndexError, KeyError, OverflowError, MemoryError) as error:
            raise NotReadable(f"{known[0]}: cut off or damaged: {error or type(error).__name__}") from error
        if source.tell() != len(data):
            raise NotReadable(f"{known[0]}: {len(data) - source.tell()} bytes behind its end")
        return known[0], message
