"""The EPCIS pack on public documents, against verdicts and hashes that came with them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from schemas.pack import Pack, Record, Refusal, Submission
from tests.packs.epcis_inputs import event_of, outcomes, pack

pytestmark = pytest.mark.cases

DISAGREEMENTS = {
    # Valid for the judge, refused here: a record is an event, and these carry none.
    "Example-CaptureJobRunning.xml": "EMPTY_SUBMISSION",
    "Example-CaptureJobSuccess.xml": "EMPTY_SUBMISSION",
    "Example-CaptureJobWithErrorFile.xml": "EMPTY_SUBMISSION",
    "Example-CaptureJobWithErrors.xml": "EMPTY_SUBMISSION",
    "masterdata_all_possible_fields.xml": "EMPTY_SUBMISSION",
    "SimpleEventQuery.xml": "EMPTY_SUBMISSION",
    # Valid for a judge that reads the last of two equal keys; another reader takes the first.
    "AssociationEvent-h.jsonld": "DUPLICATE_JSON_KEY",
}
ACCEPTED = {
    # Invalid for the judge, because of white space before an xsd:dateTime, which XML Schema says is collapsed.
    "1.2/EPCIS/XML/Capture/Documents/TransformationEvent_all_possible_fields.xml",
}
ADDRESSED_OTHERWISE = "queryDocument.xml"
"""Names its item by a link on another host than its JSON twin does: one identity, spelt in two ways."""


def test_schema_profile_agrees_with_the_official_schemas(cases: Path) -> None:
    judged = pack("schema")
    with (cases / "epcis/EXPECTED.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["schema_verdict"] != "not_a_document"]
    assert len(rows) == 188
    found = {}
    for row in rows:
        refusals = [one for one in read(cases / row["file"], judged) if isinstance(one, Refusal)]
        if (not refusals) != (row["schema_verdict"] == "valid"):
            found[row["file"]] = refusals[0].findings[0].code if refusals else None
    refused = {Path(name).name: code for name, code in found.items() if code}
    accepted = {name for name, code in found.items() if code is None}
    assert refused == DISAGREEMENTS
    assert {name.partition("openepcis/")[2] for name in accepted} == ACCEPTED


def read(path: Path, by: Pack | None = None) -> list[Record | Refusal]:
    return list((by or pack("schema")).unpack(Submission(path.read_bytes())).records())


def hashes(path: Path) -> list[str]:
    """Event hashes of a document in order, whatever a schema says of it."""
    found = []
    for outcome in outcomes(path.read_bytes(), by=pack("lenient", product_data=False)):
        if isinstance(outcome, Record):
            found.append(outcome.fields["event_hash"])
        else:
            # A class among the items refuses the record, not its identity.
            assert [finding.code for finding in outcome.findings] == ["WRONG_KIND_OF_IDENTIFIER"] * 2
            found.append(record_of_schema(path))
    return found


def record_of_schema(path: Path) -> str:
    (outcome,) = outcomes(path.read_bytes(), by=pack("schema"))
    assert isinstance(outcome, Record)
    return outcome.fields["event_hash"]


def test_every_published_event_hash(cases: Path) -> None:
    examples = cases / "epcis/event_hash/examples"
    published = sorted(examples.glob("*.hashes"))
    differ = {}
    count = 0
    for wanted in published:
        lines = wanted.read_text().split()
        documents = [path for path in examples.glob(f"{wanted.stem}.*") if path.suffix in (".xml", ".jsonld")]
        assert documents
        count += len(lines)
        for path in documents:
            if hashes(path) != lines:
                differ[path.name] = hashes(path)
    assert not differ
    assert (len(published), count) == (13, 26)


def test_events_that_are_meant_to_be_equal_hash_equal(cases: Path) -> None:
    folder = cases / "epcis/event_hash/expected_equal"
    for path in sorted(folder.iterdir()):
        found = hashes(path)
        assert len(found) > 1, path.name
        assert len(set(found)) == 1, path.name


def test_one_event_in_five_documents_of_gs1_is_one_event(cases: Path) -> None:
    """GS1's own spellings of one event: order of lists, of elements, digits of times and numbers. The second of the six
    has another eventTimeZoneOffset, which is a part of the hash."""
    found = []
    for path in sorted((cases / "epcis/gs1_epcis/XML/WithEventHashID").glob("event_with_identical_hash_id_*.xml")):
        (outcome,) = read(path)
        assert isinstance(outcome, Record)
        found.append(outcome.fields["event_hash"])
    assert len(found) == 6
    assert len({*found[:1], *found[2:]}) == 1 < len(set(found))


def test_xml_and_json_of_one_event_give_one_canonical_event(cases: Path) -> None:
    """Documents that are published in both syntaxes."""
    folder = cases / "epcis/openepcis/2.0/EPCIS"
    compared = 0
    for path in sorted((folder / "XML").rglob("*.xml")):
        twin = folder / "JSON" / path.relative_to(folder / "XML").with_suffix(".json")
        if not twin.exists() or "Invalid" in twin.parts or path.name == ADDRESSED_OTHERWISE:
            continue
        left, right = ([event_of(one) for one in read(name) if isinstance(one, Record)] for name in (path, twin))
        for one, other in zip(left, right, strict=False):
            assert one == other, path.name
            compared += 1
    assert compared >= 16
