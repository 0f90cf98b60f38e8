"""Contenders that run in the product's environment. Job: `kind` (of KINDS), `documents` (file, one a line), `records`
(events in them), `hashes` (file for the event hashes), `schema` (file, of the roofs alone).

    ours        unpack, every rule of the strict profile, canonical payload, digest, event hash
    hash        from a JSON-LD document to its event hashes, nothing judged: what the peers do
    roof-json   jsonschema-rs alone: parse and validate, formats asserted
    roof-xml    lxml alone: parse and validate by the XSD
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
from lxml import etree

from bench.epcis.documents import shipped
from bench.process import Meter, tell
from schemas.pack import Record, Submission
from schemas.packs.epcis.event_hash import event_hash
from schemas.packs.epcis.json_event import STANDARD, prefixes, to_event

Read = Callable[[bytes], Iterator[str]]
"""The event hashes of a document's events; of a roof, nothing."""


def _ours(job: Mapping[str, Any]) -> Read:
    pack = shipped()

    def read(document: bytes) -> Iterator[str]:
        for record in pack.unpack(Submission(document)).records():
            assert isinstance(record, Record), record
            yield record.fields["event_hash"]

    return read


def _hash(job: Mapping[str, Any]) -> Read:
    def read(document: bytes) -> Iterator[str]:
        whole = orjson.loads(document)
        names = prefixes(whole["@context"], STANDARD)
        return (event_hash(to_event(event, names)) for event in whole["epcisBody"]["eventList"])

    return read


def _roof_json(job: Mapping[str, Any]) -> Read:
    schema = json.loads(Path(job["schema"]).read_bytes())
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)

    def read(document: bytes) -> Iterator[str]:
        assert validator.is_valid(orjson.loads(document)), document
        return iter(())

    return read


def _roof_xml(job: Mapping[str, Any]) -> Read:
    """By the version that the document's namespace says, as the product judges."""
    schemas = {mark: etree.XMLSchema(etree.parse(path)) for mark, path in job["schema"].items()}

    def read(document: bytes) -> Iterator[str]:
        root = etree.fromstring(document)
        schema = schemas[root.nsmap["epcis"][-1]]
        assert schema.validate(root), (document, schema.error_log)
        return iter(())

    return read


KINDS: Mapping[str, Callable[[Mapping[str, Any]], Read]] = {
    "ours": _ours,
    "hash": _hash,
    "roof-json": _roof_json,
    "roof-xml": _roof_xml,
}


def main() -> None:
    """Reads every document once, and reports."""
    job = json.loads(sys.argv[1])
    documents = Path(job["documents"]).read_bytes().split(b"\n")
    read = KINDS[job["kind"]](job)
    meter = Meter()
    meter.fetched(time.perf_counter())
    hashes = [found for document in documents for found in read(document)]
    meter.committed()
    report = meter.report(job["records"])
    Path(job["hashes"]).write_text("\n".join(hashes))
    tell(report)


if __name__ == "__main__":
    main()
