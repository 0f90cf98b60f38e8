"""Owns the formats whose bytes are promised, implemented anew: batch ids (BA7), chain entries and heads, payloads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

GENESIS = bytes(32)
RAW = ("raw_topic", "raw_incarnation", "raw_partition", "raw_offset", "raw_index")


def ascii_json(value: Any) -> bytes:
    """Sorted keys, no white space, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def batch_id(batched: Mapping[str, Any], members: Iterable[Mapping[str, Any]]) -> bytes:
    """SHA-256 over the manifest of a batch: what it is of, and each member's raw position and digest, in order."""
    manifest = {name: batched[name] for name in ("date", "group", "partition", "pipeline")}
    manifest["records"] = [{"digest": m["digest"].hex(), "raw": [m[name] for name in RAW]} for m in members]
    return sha256(ascii_json(manifest)).digest()


def object_folder(prefix: str, date: str) -> str:
    """Where an object store keeps the batches of a date, YYYY-MM-DD."""
    year, month, day = date.split("-")
    return "/".join(part for part in (*prefix.split("/"), f"year={year}", f"month={month}", f"day={day}") if part)


def next_head(head: bytes, entry: Mapping[str, Any]) -> bytes:
    """The content chain's head after an entry: SHA-256 of the head before it and the entry as JSON."""
    names = ("action", "code", *RAW)
    said = {name: entry[name] for name in names} | {"digest": entry["digest"].hex()}
    return sha256(head + ascii_json(said)).digest()


def payload_digest(payload: Any) -> str:
    """SHA-256, hex, of a payload in its canonical form (RFC 8785). Exact for payloads of text and whole numbers with
    ASCII names, which is what payloads are made of."""
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def unlike(published: Mapping[str, Any], payload: Mapping[str, Any]) -> list[str]:
    """Names of the published fields that a payload does not carry: texts verbatim, numbers as equal doubles."""
    return [name for name, value in published.items() if not _carried(name, value, payload)]


def _carried(name: str, value: Any, payload: Mapping[str, Any]) -> bool:
    if name in ("temperature_c", "temperature"):
        found = payload.get("value" if name == "temperature" else name)
        try:
            return found is not None and float(found) == float(value)
        except (TypeError, ValueError):
            return False
    return name in payload and bool(payload[name] == value)
