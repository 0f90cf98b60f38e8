"""The official EPCIS schemas as judges. They lie with the public cases and are no part of the project."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema_rs
from lxml import etree

Judge = Callable[[bytes], list[str]]
"""What a schema finds wrong with a document; empty: it is valid."""


def json_judge(cases: Path) -> Judge:
    """The JSON schema of EPCIS 2.0, formats asserted: without that it takes most invalid documents."""
    schema = json.loads((cases / "epcis/gs1_epcis/EPCIS-JSON-Schema.json").read_bytes())
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)

    def judge(document: bytes) -> list[str]:
        found = validator.iter_errors(json.loads(document))
        return [f"{'/'.join(map(str, error.instance_path))}: {error.message[:200]}" for error in found]

    return judge


def xml_judge(cases: Path, name: str = "XSD/EPCglobal-epcis-2_0.xsd") -> Judge:
    """The XSD of EPCIS 2.0, or another of GS1's."""
    schema = etree.XMLSchema(etree.parse(cases / "epcis/gs1_epcis" / name))

    def judge(document: bytes) -> list[str]:
        schema.validate(etree.fromstring(document))
        return [f"{error.path}: {error.message[:200]}" for error in schema.error_log]

    return judge
