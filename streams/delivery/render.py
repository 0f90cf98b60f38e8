"""Makes the body of a batch out of the frozen batch alone, byte-stable, without a clock (law 3, T6).

A retry must reproduce the recorded digest (DI3), so an old version of the form stays renderable as long as batches
of it may be unsettled: a change of form is a new version number, never an edit of an old one.
"""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import fastavro
import orjson

from schemas.canonical import RawPosition, canonical_json, canonical_json_fast, record_id
from schemas.kept import Kept
from schemas.members import Member, Source, warnings_of
from schemas.pack import Pack
from schemas.packs import documents
from schemas.validated import NO_WARNINGS
from topology.partner import DOCUMENT_FORMS, BodyForm

FORMS: Mapping[BodyForm, int] = {
    "batch": 1, "json-array": 2, "json-lines": 3, "avro": 4, "record": 5, "epcis-json": 9, "epcis-xml": 10,
    "epcis-xml-1.2": 11,
}  # fmt: skip
"""The version that new batches of a form get; recorded in the `delivery` table with the first write-ahead."""
CONTENT_TYPES = {
    1: "application/json",
    2: "application/json",
    3: "application/x-ndjson",
    4: "application/vnd.apache.avro+binary",
    5: "application/json",
    6: "application/ld+json",
    7: "application/xml",
    8: "application/xml",
    9: "application/ld+json",
    10: "application/xml",
    11: "application/xml",
}
"""By version."""
SUFFIXES = {
    1: ".json", 2: ".json", 3: ".jsonl", 4: ".avro", 5: ".json", 6: ".jsonld", 7: ".xml", 8: ".xml", 9: ".jsonld",
    10: ".xml", 11: ".xml",
}  # fmt: skip
"""Of an object's name, by version."""
_DOCUMENTS: Mapping[int, str] = {
    6: "epcis-json/events",
    7: "epcis-xml/events",
    8: "epcis-xml-1.2/events",
    **{FORMS[form]: form for form in DOCUMENT_FORMS},
}
"""What a pack calls the document of a version."""


def render(batched: Mapping[str, Any], members: Sequence[Member], pack: Pack, version: int = FORMS["batch"]) -> bytes:
    """The body of a batch in the form that a version stands for: those of FORMS.

    `batched`: the decoded batched.avsc message. `members`: of it, in order; the payload of each is canonical JSON.
    Raises ValueError for a version this software does not know, when the members are not those the batch counts, or for
    a batch of several records in the form of one; KeyError for a document that is not the pack's.
    """
    if len(members) != batched["count"]:
        raise ValueError(f"batch {batched['batch_id'].hex()} counts {batched['count']} records, {len(members)} given")
    payloads = [member.payload for member in members]
    match version:
        case 1:
            return _batch(batched, members, pack.summarize(payloads))
        case 2:
            return b"[%b]" % b",".join(payloads)
        case 3:
            return b"".join(payload + b"\n" for payload in payloads)
        case 4:
            return _avro(batched, members)
        case 5:
            if len(payloads) != 1:
                raise ValueError(f"`body: record` holds one record, the batch {len(payloads)}")
            return payloads[0]
        case number if number in _DOCUMENTS:
            return documents(pack.name)[_DOCUMENTS[number]](payloads, batched["batch_id"].hex())
        case _:
            raise ValueError(f"render version {version} is unknown; this software knows {sorted(CONTENT_TYPES)}")


RECORD: Any = fastavro.parse_schema(
    {
        "type": "record",
        "name": "Record",
        "namespace": "waybill.partner",
        "fields": [
            {"name": "id", "type": "string", "doc": "raw position: topic/partition/offset/index"},
            {"name": "key", "type": "string", "doc": "idempotency key"},
            {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "digest", "type": {"type": "fixed", "name": "Digest", "size": 32}, "doc": "SHA-256 of the record"},
            {"name": "record", "type": "bytes", "doc": "canonical JSON (RFC 8785), as it was validated"},
        ],
    }
)
"""Schema of the Avro form. A change of it is a new version."""


def _avro(batched: Mapping[str, Any], members: Sequence[Member]) -> bytes:
    """An object container file, uncompressed; its sync marker comes from the batch id, where others take chance."""
    out = BytesIO()
    rows = (
        {
            "id": record_id(member.raw),
            "key": member.key,
            "event_time": member.event_time,
            "digest": member.digest,
            "record": member.payload,
        }
        for member in members
    )
    fastavro.writer(out, RECORD, rows, sync_marker=batched["batch_id"][:16])
    return out.getvalue()


def _batch(batched: Mapping[str, Any], members: Sequence[Member], summary: Mapping[str, Any]) -> bytes:
    """Canonical JSON (RFC 8785) with `batch_digest, date, group, partner, pipeline, record_count, records, summary,
    version`; each record has `digest, event_time` (ms since epoch), `id, key, position, record` (the payload as it
    was validated) and `warnings`."""
    head = _canonical(
        {
            "batch_digest": batched["batch_id"].hex(),
            "date": batched["date"],
            "group": batched["group"],
            "partner": batched["partner"],
            "pipeline": batched["pipeline"],
            "record_count": batched["count"],
        }
    )
    records, facts = b",".join(_records(members)), _canonical(dict(summary))
    return b'%b,"records":[%b],"summary":%b,"version":1}' % (head[:-1], records, facts)


def _form(source: Source) -> bytes:
    """What the records of one source have in common, with room for the rest."""
    topic, incarnation, partition = source
    start = record_id(RawPosition(topic, incarnation, partition, 0, 0)).removesuffix("0/0")
    id_, name = (orjson.dumps(text).replace(b"%", b"%%") for text in (start, topic))
    return (
        b'{"digest":"%%b","event_time":%%d,"id":%b%%d/%%d","key":%%b,"position":{"incarnation":%d,"index":%%d,'
        b'"offset":%%d,"partition":%d,"topic":%b},"record":%%b,"warnings":%%b}'
    ) % (id_[:-1], incarnation, partition, name)


_forms: Kept[Source, bytes] = Kept(_form, 8192)


def _records(members: Sequence[Member]) -> list[bytes]:
    """Each record. The payload is canonical already and is embedded as it is."""
    dumps, forms = orjson.dumps, _forms
    return [
        forms[source]
        % (
            hexlify(digest), event_time, offset, index, dumps(key), index, offset, payload,
            b"[]" if warnings == NO_WARNINGS else _warnings(member),
        )
        for member in members
        for source, offset, index, key, digest, event_time, payload, _, _, _, warnings, _, _ in (member,)
    ]  # fmt: skip


def _warnings(member: Member) -> bytes:
    found = warnings_of(member)
    return orjson.dumps([{"code": w["code"], "message": w["message"], "path": w["path"]} for w in found])


def _canonical(value: dict[str, Any]) -> bytes:
    """RFC 8785 bytes; by the fast way where all text is ASCII, since only other names are ordered differently."""
    fast = canonical_json_fast(value)
    return fast if fast.isascii() else canonical_json(value)
