"""Hostile input: a coded refusal each, in time and memory in proportion to its size."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from schemas.pack import Divided, Record, Refusal, Submission
from schemas.packs.epcis import plain, xml_text
from tests.packs.epcis_inputs import (
    SHIPPING,
    SHIPPING_1_2,
    SHIPPING_2_0,
    changed,
    codes_of,
    document,
    outcomes,
    pack,
    xml,
)

GOOD_XML, GOOD_JSON = xml(SHIPPING_2_0), document(SHIPPING)
BOMB = b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><a>&b;</a>'


def xml_with(old: str, new: str) -> bytes:
    text = GOOD_XML.decode()
    assert old in text
    return text.replace(old, new, 1).encode()


HOSTILE: list[tuple[str, bytes, list[str]]] = [
    ("bomb", BOMB, ["DTD_FORBIDDEN"]),
    ("bomb in a document", xml_with("<epcis:E", '<!DOCTYPE x [<!ENTITY a "b">]><epcis:E'), ["DTD_FORBIDDEN"]),
    ("external DTD", b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd"><a/>', ["DTD_FORBIDDEN"]),
    ("external entity", b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', ["DTD_FORBIDDEN"]),
    ("public DTD", b'<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0//EN" "x"><html/>', ["DTD_FORBIDDEN"]),
    ("parameter entity", b"<!DOCTYPE a [<!ENTITY % p SYSTEM 'x'> %p;]><a/>", ["DTD_FORBIDDEN"]),
    ("undefined entity", xml_with("OBSERVE", "&x;"), ["MALFORMED_XML"]),
    ("100,000 elements inside each other", b"<a>" * 100_000, ["NESTED_TOO_DEEP"]),
    ("100,000 in an event", xml_with("<action>", "<action>" + "<a>" * 100_000), ["NESTED_TOO_DEEP"]),
    ("100,000 arrays inside each other", b"[" * 100_000, ["NESTED_TOO_DEEP"]),
    ("100,000 objects in an event", document('{"a":' * 100_000 + "1" + "}" * 100_000), ["NESTED_TOO_DEEP"]),
    ("cut off", GOOD_XML[:-40], ["MALFORMED_XML"]),
    ("cut off in an event", GOOD_JSON[:-60], ["MALFORMED_JSON"]),
    ("not UTF-8", GOOD_XML.replace(b"OBSERVE", b"\xff\xfe"), ["NOT_UTF8"]),
    ("not UTF-8 in JSON", GOOD_JSON.replace(b"OBSERVE", b"\xff\xfe"), ["NOT_UTF8"]),
    ("lies about UTF-16", xml_with("UTF-8", "UTF-16"), ["WRONG_ENCODING"]),
    ("lies about a mark", b"\xef\xbb\xbf" + xml_with("UTF-8", "UTF-16"), ["WRONG_ENCODING"]),
    ("unknown encoding", xml_with("UTF-8", "EBCDIC-CP-US"), ["WRONG_ENCODING"]),
    ("a codec that is no encoding", xml_with("UTF-8", "zlib_codec"), ["WRONG_ENCODING"]),
    ("raw control character", xml_with("OBSERVE", "OBS\x01ERVE"), ["MALFORMED_XML"]),
    ("NUL", GOOD_XML.replace(b"OBSERVE", b"OBS\0ERVE"), ["MALFORMED_XML"]),
    ("escaped control character", GOOD_JSON.replace(b"5.5", b"5\\u00015"), ["CONTROL_CHARACTER"]),
    ("lone surrogate", GOOD_JSON.replace(b"5.5", b"\\ud800"), ["LONE_SURROGATE"]),
    ("a namespace that lies", xml_with("urn:epcglobal:epcis:xsd:2", "urn:epcglobal:epcis:xsd:3"), ["UNKNOWN_ROOT"]),
    ("a prefix that lies", xml_with("<epcis:EPCISDocument", '<ex:EPCISDocument xmlns:ex="urn:x"'), ["MALFORMED_XML"]),
    ("two event lists", xml_with("</EventList>", "</EventList><EventList></EventList>"), ["MALFORMED_DOCUMENT"]),
    ("a key twice", GOOD_JSON.replace(b'"type"', b'"type":"EPCISDocument","type"', 1), ["DUPLICATE_JSON_KEY"]),
    ("two bodies", GOOD_JSON[:-1] + b',"epcisBody":{"eventList":[]}}', ["DUPLICATE_JSON_KEY"]),
    ("NaN", document(changed(SHIPPING, **{"ex:x": float("nan")})), ["NOT_A_NUMBER"]),
    ("an endless number", GOOD_JSON.replace(b'"5.5"', b"9" * 100_000), ["UNSAFE_INTEGER"]),
    ("a number without end", xml_with("5.5", "<x>1e999999999</x>"), []),
    ("10,000 namespaces", b"<a " + b" ".join(b'xmlns:n%d="u"' % n for n in range(10_000)) + b"/>", ["TOO_LARGE"]),
    ("brackets that lie", GOOD_JSON.replace(b"]", b"}", 1), ["MALFORMED_JSON"]),
    ("a comma too many", document("").replace(b"[]}", b"[1,,2]}"), ["MALFORMED_JSON"]),
    ("not EPCIS at all", b"\x00\x01\x02", ["UNKNOWN_CONTENT"]),
    ("a PDF", b"%PDF-1.7", ["UNKNOWN_CONTENT"]),
    ("a huge id", document(changed(SHIPPING, eventID="urn:x:" + "a" * 5000)), ["OUT_OF_RANGE"]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "codes"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
@pytest.mark.parametrize("profile", ["strict", "lenient", "schema"])
def test_hostile_input_gets_a_code(value: bytes, codes: list[str], profile: str) -> None:
    found = outcomes(value, by=pack(profile))
    seen = [code for outcome in found if isinstance(outcome, Refusal) for code in codes_of(outcome)]
    assert seen == codes


@pytest.mark.cases
def test_public_hostile_xml_is_refused_without_being_fetched(cases: Path) -> None:
    for path in sorted((cases / "documents/bad_xml").iterdir()):
        for outcome in pack("lenient").unpack(Submission(path.read_bytes(), "application/xml")).records():
            assert isinstance(outcome, Refusal), path.name
            assert codes_of(outcome)[0] in ("DTD_FORBIDDEN", "UNKNOWN_ROOT", "MALFORMED_XML"), path.name


def test_an_event_of_50_000_items() -> None:
    items = "".join(f"<epc>urn:epc:id:sgtin:030001.0012345.{number}</epc>" for number in range(10_000, 60_000))
    value = xml(SHIPPING_2_0, SHIPPING_2_0.replace("</epcList>", items + "</epcList>"))
    first, second = outcomes(value)
    assert isinstance(first, Record)
    assert codes_of(second) == ["TOO_MANY_ITEMS"]
    assert codes_of(outcomes(value, by=pack(max_event_bytes=100_000))[1]) == ["TOO_LARGE"]


def test_an_envelope_far_longer_than_its_events_is_refused_as_a_whole() -> None:
    """Each refused event is kept with its envelope: a small document must not make gigabytes of dead letters."""
    context = {f"p{number}": f"https://example.com/{number}/" for number in range(3000)}
    value = document(*["1"] * 2000, **{"@context": context})
    assert codes_of(outcomes(value)[0]) == ["MALFORMED_DOCUMENT"]


@pytest.mark.parametrize("syntax", ["JSON-LD", "2.0", "1.2"])
def test_memory_is_that_of_one_event_and_not_of_the_document(syntax: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # As if these were large: nothing is read the short way, at once, and XML in many pieces.
    monkeypatch.setattr(plain, "LARGEST", 0)
    monkeypatch.setattr(xml_text, "_CHUNK", 2**10)

    def of(events: int) -> bytes:
        if syntax == "JSON-LD":
            return document(*[SHIPPING] * events)
        return xml(*[SHIPPING_2_0 if syntax == "2.0" else SHIPPING_1_2] * events, version=syntax)

    small, large = of(20), of(100)
    peak(small)  # what is kept ever after
    assert peak(large) - peak(small) < (len(large) - len(small)) // 8  # where events lie, and no more


@pytest.mark.parametrize("syntax", ["JSON-LD", "2.0", "1.2"])
def test_an_event_is_told_apart_without_being_looked_into(syntax: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that breaks its reader has to be: its bytes are a submission that gives this event, or its refusal."""
    monkeypatch.setattr(plain, "LARGEST", 0)
    if syntax == "JSON-LD":
        value = document(SHIPPING, changed(SHIPPING, action="NONE"), SHIPPING)
    else:
        good = SHIPPING_2_0 if syntax == "2.0" else SHIPPING_1_2
        value = xml(good, good.replace("OBSERVE", "NONE"), good, version=syntax)
    unpacked = pack().unpack(Submission(value))
    assert isinstance(unpacked, Divided)
    kinds = []
    for index, outcome in enumerate(unpacked.records()):
        original, content_type, canonical = unpacked.original(index)
        (alone,) = pack().unpack(Submission(original, content_type)).records()
        assert alone == outcome
        assert not canonical
        kinds.append(type(outcome))
    assert kinds == [Record, Refusal, Record]


def peak(value: bytes) -> int:
    """Bytes at most in use while a document is read, its own left out."""
    reader = pack()
    tracemalloc.start()
    try:
        for outcome in reader.unpack(Submission(value)).records():
            assert isinstance(outcome, Record)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
