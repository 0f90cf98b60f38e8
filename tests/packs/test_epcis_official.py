"""The option `official_schemas`: GS1's own files say the last word on a document, and only on what lies in it."""

from __future__ import annotations

import csv
import json
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.pack import Pack, Record, Refusal, Submission
from tests.laws.test_packs import check_laws
from tests.packs.epcis_inputs import (
    PACKING,
    SBDH,
    SHIPPING,
    SHIPPING_1_2,
    SHIPPING_2_0,
    bare,
    changed,
    codes_of,
    document,
    only,
    outcomes,
    pack,
    xml,
)
from topology.load import TopologyError, load_pipeline

pytestmark = pytest.mark.cases

SPACED_1_2 = SHIPPING_1_2.replace("<eventTime>", "<eventTime> ")
"""Fine by XML Schema, which collapses white space, and by our rules; not by libxml2."""
TEMPERED = SHIPPING_2_0.replace("<ex:temperature>", '<ex:temperature xmlns:xsi="{xsi}" xsi:type="ex:none">').format(
    xsi="http://www.w3.org/2001/XMLSchema-instance"
)
"""A field of one's own of a type that nobody knows."""


EX = 'xmlns:ex="https://ns.example.com/epcis/"'


@pytest.fixture(scope="module")
def folder(cases: Path) -> Path:
    return cases / "epcis/gs1_epcis"


def judged(folder: Path, profile: str = "strict", **options: Any) -> Pack:
    return pack(profile, official_schemas={"folder": str(folder), **options})


@pytest.fixture
def stricter(folder: Path, tmp_path: Path) -> Path:
    """A folder whose JSON schema asks for an eventID and longer identifiers of documents, which our rules do not."""
    for path in [folder / "EPCIS-JSON-Schema.json", *folder.rglob("*.xsd")]:
        (tmp_path / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, tmp_path / path.relative_to(folder))
    file = tmp_path / "EPCIS-JSON-Schema.json"
    schema = json.loads(file.read_bytes())
    schema["definitions"]["Event"]["required"].append("eventID")
    schema["definitions"]["epcisDocument"]["properties"]["instanceIdentifier"]["minLength"] = 5
    file.write_text(json.dumps(schema))
    return tmp_path


def test_the_pass_says_of_every_public_document_what_the_official_schemas_say(cases: Path, folder: Path) -> None:
    by, without = judged(folder, "schema"), pack("schema")
    differ, looked_at = {}, 0
    with (cases / "epcis/EXPECTED.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["schema_verdict"] != "not_a_document"]
    for row in rows:
        value = (cases / row["file"]).read_bytes()
        plain = {code for one in outcomes(value, by=without) for code in codes_of(one)}
        if plain & {"EMPTY_SUBMISSION", "UNKNOWN_ROOT", "DUPLICATE_JSON_KEY"}:
            continue  # refused before anybody looks into it
        looked_at += 1
        said = {code for one in outcomes(value, by=by) for code in codes_of(one)}
        if ("OFFICIAL_SCHEMA" in said) != (row["schema_verdict"] == "invalid"):
            differ[row["file"]] = row["first_error"]
    assert not differ
    assert looked_at > 160


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (xml(SHIPPING_2_0, TEMPERED, SHIPPING_2_0, header=SBDH), "ex:temperature"),
        (xml(SHIPPING_1_2, SPACED_1_2, SHIPPING_1_2, version="1.2"), "eventTime"),
    ],
)
def test_an_event_is_refused_alone(folder: Path, data: bytes, path: str) -> None:
    assert all(isinstance(one, Record) for one in outcomes(data))
    first, broken, last = outcomes(data, by=judged(folder))
    assert isinstance(first, Record)
    assert isinstance(last, Record)
    assert isinstance(broken, Refusal)
    assert {(finding.code, finding.path) for finding in broken.findings} == {("OFFICIAL_SCHEMA", path)}
    # What is kept of it is refused for the same reason.
    assert codes_of(only(broken.original, by=judged(folder))) == codes_of(broken)


def test_the_files_of_the_folder_decide(folder: Path, stricter: Path) -> None:
    named = changed(SHIPPING, eventID="urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a8")
    data = document(named, SHIPPING, PACKING)
    assert all(isinstance(one, Record) for one in outcomes(data, by=judged(folder)))
    found = outcomes(data, by=judged(stricter))
    assert isinstance(found[0], Record)
    assert [codes_of(one) for one in found[1:]] == [["OFFICIAL_SCHEMA"], ["OFFICIAL_SCHEMA"]]
    (finding,) = found[1].findings if isinstance(found[1], Refusal) else ()
    assert (finding.path, finding.message) == ("", '"eventID" is a required property')
    assert codes_of(only(bare(SHIPPING), by=judged(stricter))) == ["OFFICIAL_SCHEMA"]


def test_an_envelope_refuses_its_document(folder: Path, stricter: Path) -> None:
    short = document(SHIPPING, SHIPPING, instanceIdentifier="4")
    assert codes_of(only(short, by=judged(stricter))) == ["OFFICIAL_SCHEMA"]
    late = xml(SHIPPING_2_0, SHIPPING_2_0).replace(b'creationDate="', b'creationDate=" ')
    assert len(outcomes(late)) == 2
    refusal = only(late, by=judged(folder))
    assert codes_of(refusal) == ["OFFICIAL_SCHEMA"]
    assert isinstance(refusal, Refusal)
    assert refusal.findings[0].path == "/epcis:EPCISDocument"
    assert refusal.original == late


def test_lenient_warns(folder: Path, stricter: Path) -> None:
    (found,) = outcomes(xml(TEMPERED), by=judged(folder, "lenient"))
    assert isinstance(found, Record)
    assert "OFFICIAL_SCHEMA_TOLERATED" in codes_of(found)
    (found,) = outcomes(document(SHIPPING, instanceIdentifier="4"), by=judged(stricter, "lenient"))
    assert isinstance(found, Record)
    assert codes_of(found) == ["OFFICIAL_SCHEMA_TOLERATED"] * 2  # of the envelope and of the event


def test_bare_events_are_looked_at(folder: Path) -> None:
    for good, bad in ((SHIPPING_2_0, TEMPERED), (SHIPPING_1_2, SPACED_1_2)):
        one, other = (
            b"<?xml version='1.0'?>" + event.replace("<ObjectEvent>", f"<ObjectEvent {EX}>").encode()
            for event in (good, bad)
        )
        assert isinstance(only(one, by=judged(folder)), Record)
        assert isinstance(only(other), Record)
        assert set(codes_of(only(other, by=judged(folder)))) == {"OFFICIAL_SCHEMA"}
    assert isinstance(only(bare(SHIPPING), by=judged(folder)), Record)


def test_the_laws_of_packs_hold(folder: Path, stricter: Path) -> None:
    for profile in ("strict", "lenient", "schema"):
        for by in (judged(folder, profile), judged(stricter, profile)):
            for data in (
                xml(SHIPPING_2_0, TEMPERED, "<Nothing/>", header=SBDH),
                xml(SHIPPING_1_2, "<extension/>", version="1.2", header=SBDH),
                document(SHIPPING, '{"type": 1}', "[]"),
                bare(SHIPPING),
            ):
                check_laws(by, Submission(data))


def test_nothing_is_fetched(folder: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        there = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        hint = f' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="u:x {there}"'
        event = SHIPPING_2_0.replace("<ObjectEvent>", f"<ObjectEvent{hint}>")
        outcomes(xml(event, SHIPPING_2_0).replace(b" schemaVersion", hint.encode() + b" schemaVersion"),
                 by=judged(folder, "lenient"))  # fmt: skip
        outcomes(document(SHIPPING, **{"@context": [there], "$schema": there}), by=judged(folder, "lenient"))
        dtd = xml(SHIPPING_2_0).replace(b"?>", f'?><!DOCTYPE x SYSTEM "{there}">'.encode())
        assert codes_of(only(dtd, by=judged(folder))) == ["DTD_FORBIDDEN"]
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_what_is_found_is_bounded(folder: Path) -> None:
    """Of ten times as many, told one by one with their paths, each takes as long as all before it."""
    many = '<ex:a xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="n"/>' * 3_000
    event = SHIPPING_2_0.replace("</ObjectEvent>", many + "</ObjectEvent>")
    assert codes_of(only(xml(event), by=judged(folder))) == ["OFFICIAL_SCHEMA"] * 20
    listed = changed(SHIPPING, epcList=[f"x y{number}" for number in range(50)])
    found = only(document(listed), by=judged(folder))
    assert codes_of(found).count("OFFICIAL_SCHEMA") == 1
    large = xml(SHIPPING_2_0, header=SBDH.replace("<VocabularyList/>", "<!--" + "x" * 2000 + "-->"))
    refusal = only(large, by=judged(folder, max_envelope_bytes=1024))
    assert isinstance(refusal, Refusal)
    assert "1024 are held against the official schemas" in refusal.findings[-1].message


def test_settings_and_version_name_the_files(folder: Path, stricter: Path) -> None:
    one, other = judged(folder), judged(stricter)
    shown = one.settings["official_schemas"]
    assert shown["sha256"] != other.settings["official_schemas"]["sha256"]
    assert {"EPCIS-JSON-Schema.json", "XSD/EPCglobal.xsd", "XSL/1.2/XSD/EPCglobal.xsd"} <= set(shown["files"])
    assert one.version == f"epcis/1+official.{shown['sha256'][:12]}"
    assert pack().version == "epcis/1"
    assert judged(folder, sha256=shown["sha256"]).version == one.version


PIPELINE = Path(__file__).resolve().parents[2] / "topology/pipelines/epcis.yaml"


def complaint(tmp_path: Path, folder: Path, **options: Any) -> str:
    """What loading the shipped pipeline with the option says."""
    named = {"official_schemas": {"folder": str(folder), **options}}
    text = PIPELINE.read_text("utf-8").partition("\noptions:")[0]
    file = tmp_path / "epcis.yaml"
    file.write_text(f"{text}\noptions: {json.dumps(named)}\n")
    shutil.copyfile(PIPELINE.parent.parent / "partners.yaml", tmp_path / "partners.yaml")
    with pytest.raises(TopologyError) as raised:
        load_pipeline(str(file))
    (mistake,) = raised.value.mistakes
    assert "official_schemas" in str(mistake)
    return str(mistake)


def test_loading_names_what_is_missing(stricter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path = stricter
    assert "no such folder" in complaint(tmp_path, tmp_path / "nowhere")
    assert "not the one of `sha256`" in complaint(tmp_path, stricter, sha256="0" * 64)
    xsd = stricter / "XSD/Manifest.xsd"
    text = xsd.read_text("utf-8")
    xsd.unlink()
    assert "refers to Manifest.xsd, which is not there" in complaint(tmp_path, stricter)
    xsd.write_text(text.replace('schemaLocation="BasicTypes.xsd"', 'schemaLocation="https://example.com/B.xsd"'))
    assert "refers to https://example.com/B.xsd, which is not in the folder" in complaint(tmp_path, stricter)
    xsd.write_text(text)
    schema = stricter / "EPCIS-JSON-Schema.json"
    whole = schema.read_text("utf-8")
    schema.write_text(whole.replace('"#/definitions/eventList"', '"https://example.com/e.json"'))
    assert "https://example.com/e.json" in complaint(tmp_path, stricter)
    schema.unlink()
    assert "holds no EPCIS-JSON-Schema.json" in complaint(tmp_path, stricter)
    monkeypatch.setitem(sys.modules, "lxml", None)
    assert "pip install 'waybill[official-schemas]'" in complaint(tmp_path, stricter)
