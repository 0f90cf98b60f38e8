"""Makes the body of a batch: canonical JSON out of the frozen batch alone, byte-stable, without a clock (law 3, T6).

A retry must reproduce the recorded digest (DI3), so an old version of the form stays renderable as long as batches
of it may be unsettled: a change of form is a new version number, never an edit of an old one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from schemas.canonical import RawPosition, canonical_json, canonical_json_fast, record_id
from schemas.pack import Pack

RENDER_VERSION = 1
"""The form that new batches get; recorded in the `delivery` table with the first write-ahead."""
CONTENT_TYPE = "application/json"


def render(
    batched: Mapping[str, Any], validated: Sequence[Mapping[str, Any]], pack: Pack, version: int = RENDER_VERSION
) -> bytes:
    """The body of a batch.

    `batched`: the decoded batched.avsc message. `validated`: its members, decoded, in order. The result is
    canonical JSON (RFC 8785) with `batch_digest, date, group, partner, pipeline, record_count, records, summary,
    version`; each record has `digest, event_time` (ms since epoch), `id, key, position, record` (the payload as it
    was validated) and `warnings`. Raises ValueError for a version this software does not know, or when the members
    are not those the batch counts.
    """
    if version != 1:
        raise ValueError(f"render version {version} is unknown; this software writes version {RENDER_VERSION}")
    if len(validated) != batched["count"]:
        raise ValueError(f"batch {batched['batch_id'].hex()} counts {batched['count']} records, {len(validated)} given")
    # The parts stand in the order of their names, which is what makes the whole canonical.
    head = canonical_json(
        {
            "batch_digest": batched["batch_id"].hex(),
            "date": batched["date"],
            "group": batched["group"],
            "partner": batched["partner"],
            "pipeline": batched["pipeline"],
            "record_count": batched["count"],
        }
    )
    summary = _canonical(dict(pack.summarize([member["payload"] for member in validated])))
    records = b",".join(map(_record, validated))
    return b'%b,"records":[%b],"summary":%b,"version":1}' % (head[:-1], records, summary)


def _record(member: Mapping[str, Any]) -> bytes:
    """One record. The payload is canonical already and is embedded as it is: 3 µs instead of 60."""
    position = RawPosition(
        member["raw_topic"],
        member["raw_incarnation"],
        member["raw_partition"],
        member["raw_offset"],
        member["raw_index"],
    )
    head = orjson.dumps(
        {
            "digest": member["digest"].hex(),
            "event_time": member["event_time"],
            "id": record_id(position),
            "key": member["key"],
            "position": {
                "incarnation": position.incarnation,
                "index": position.index,
                "offset": position.offset,
                "partition": position.partition,
                "topic": position.topic,
            },
        }
    )
    warnings = b"[]"
    if member["warnings"]:
        warnings = orjson.dumps(
            [{"code": w["code"], "message": w["message"], "path": w["path"]} for w in member["warnings"]]
        )
    return b'%b,"record":%b,"warnings":%b}' % (head[:-1], member["payload"], warnings)


def _canonical(value: dict[str, Any]) -> bytes:
    """RFC 8785 bytes; by the fast way where all text is ASCII, since only other names are ordered differently."""
    fast = canonical_json_fast(value)
    return fast if fast.isascii() else canonical_json(value)
