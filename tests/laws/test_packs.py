"""The laws of `schemas/pack.py`, held against every pack with arbitrary bytes and with mutated good inputs."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import errors
from schemas.canonical import canonical_json, sha256
from schemas.pack import CANONICAL_TYPE, Gradual, Pack, Record, Refusal, Submission, finish
from schemas.packs import PACKS, editable, load_pack
from tests.packs import cold_chain_inputs as cold
from tests.packs import epcis_inputs as epcis

GOOD: dict[str, list[bytes]] = {
    "cold_chain": [
        cold.READING,
        b"[" + cold.READING + b"," + cold.reading(temperature_c="5e0", unit=None) + b"]",
        cold.READING + b"\n" + cold.reading(temperature_c=None, temperature="41", unit='"FAH"') + b"\n",
        cold.CSV,
        cold.HOBO,
        cold.EXPORT,
        cold.TRANSPORT,
    ],
    "epcis": [
        epcis.bare(epcis.SHIPPING),
        epcis.document(epcis.COMMISSIONING, epcis.PACKING, epcis.SHIPPING),
        epcis.xml(epcis.SHIPPING_2_0, epcis.SHIPPING_2_0),
        epcis.xml(epcis.SHIPPING_1_2, version="1.2", header=epcis.SBDH),
    ],
}
"""Good submissions per pack: what the mutations start from. A new pack must be added here."""

TYPES = st.sampled_from(
    [
        None,
        "application/json",
        "application/x-ndjson",
        "text/csv",
        "text/vnd.berlinger",
        "application/xml",
        CANONICAL_TYPE,
        "image/png",
        "",
    ]
)
SLOW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

packs = pytest.mark.parametrize("name", sorted(PACKS))
profiles = pytest.mark.parametrize("profile", ["strict", "lenient", "schema"])


@packs
def test_every_content_type_that_may_be_stated_is_read_by_the_pack(name: str) -> None:
    pack = load_pack(name, {}, "strict")
    for media_type in pack.media_types:
        assert media_type == media_type.lower().partition(";")[0].strip()
        found = [list(pack.unpack(Submission(good, media_type)).records()) for good in GOOD[name]]
        codes = [{f.code for r in records if isinstance(r, Refusal) for f in r.findings} for records in found]
        assert any("UNKNOWN_CONTENT" not in seen for seen in codes), media_type
    assert "image/png" not in pack.media_types


def mutated(data: bytes, draw: st.DataObject) -> bytes:
    """A good submission with a few bytes cut, repeated, swapped or replaced."""
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, len(data)))
        end = draw.draw(st.integers(at, min(len(data), at + 40)))
        piece = draw.draw(
            st.one_of(
                st.just(b""),
                st.binary(max_size=4),
                st.just(data[at:end] * 2),
                st.sampled_from(
                    [b"NaN", b"null", b"1e400", b"9007199254740993", b"\0", b"\\u0000", b"\\ud800", b'"', b"[", b"{}"]
                ),
                st.sampled_from(
                    [b"\n", b"\r\n", b",", b"\t", b"--.-", b":", b"--:--", b"+02:00", b"\xef\xbb\xbf", b"\xff"]
                ),
            )
        )
        data = data[:at] + piece + data[end:]
    return data


def check_laws(pack: Pack, submission: Submission) -> None:
    unpacked = pack.unpack(submission)
    found = list(unpacked.records())
    assert unpacked.count == len(found) >= 1
    again = finish(pack.opening(submission)) if isinstance(pack, Gradual) else pack.unpack(submission)
    assert list(again.records()) == found, "unpacking is a function of the submission alone"
    value, *stated = submission
    twice = pack.singles([value] * 2, [(submission.content_type, submission.source, submission.site)] * 2)
    short = twice.records(pack.fields)
    assert not short or (found * 2 == short and not pack.heavy(submission)), "the short cut leads to the same"
    assert any(stated) or pack.singles([value] * 2).records(pack.fields) == short
    middle = len(found) // 2
    assert list(pack.unpack(submission).records(middle)) == found[middle:]
    for outcome in found:
        if isinstance(outcome, Record):
            check_record(pack, outcome, submission)
        else:
            check_refusal(pack, outcome, submission)


def check_record(pack: Pack, record: Record, submission: Submission) -> None:
    assert record.digest == sha256(record.payload)
    assert canonical_json(json.loads(record.payload)) == record.payload, "the payload is canonical JSON"
    assert set(record.fields) == pack.fields
    assert all(isinstance(text, str) and text and "\x1f" not in text for text in record.fields.values())
    verdict = errors.judge(record.warnings)
    assert verdict is None or not verdict.refused
    stated = [(submission.source, submission.site)]
    if not pack.settings.get("profiles"):  # whoever judges by the feed has to be told it
        stated.append((None, None))
    for source, site in stated:
        (back,) = pack.unpack(Submission(record.payload, CANONICAL_TYPE, source, site)).records()
        assert isinstance(back, Record), back
        assert (back.digest, back.fields, back.event_time) == (record.digest, record.fields, record.event_time)
    pack.summarize([record.payload])


def check_refusal(pack: Pack, refusal: Refusal, submission: Submission) -> None:
    verdict = errors.judge(refusal.findings)
    assert verdict is not None
    assert verdict.refused
    for finding in refusal.findings:
        json.dumps(finding).encode()  # codes are registered, words can be written
    _, _, source, site = submission
    (back,) = pack.unpack(Submission(refusal.original, refusal.content_type, source, site)).records()
    assert isinstance(back, Refusal), back
    assert [finding.code for finding in back.findings] == [finding.code for finding in refusal.findings]


@packs
def test_every_pack_has_good_inputs_that_it_accepts(name: str) -> None:
    pack = load_pack(name, {}, "strict")
    for data in GOOD[name]:
        found = list(pack.unpack(Submission(data)).records())
        assert all(isinstance(outcome, Record) for outcome in found), found
        check_laws(pack, Submission(data))


@packs
def test_what_a_person_gets_to_correct_is_the_record(name: str) -> None:
    pack = load_pack(name, {}, "strict")
    records = [found for data in GOOD[name] for found in pack.unpack(Submission(data)).records()]
    written = [(one, editable(name, one.payload, "raw/0/0/0")) for one in records if isinstance(one, Record)]
    again = [(one, list(pack.unpack(Submission(text)).records())) for one, text in written if text is not None]
    assert len(again) > 3
    for one, (back,) in again:
        assert isinstance(back, Record), back
        assert back.digest == one.digest


@packs
@profiles
def test_laws_hold_for_nothing_at_all(name: str, profile: str) -> None:
    pack = load_pack(name, {}, profile)
    for value in (None, b"", b" \n", b"\xef\xbb\xbf", b"null", b"[]", b"{}", b"\0"):
        for content_type in (None, "application/json", "text/csv", CANONICAL_TYPE):
            check_laws(pack, Submission(value, content_type))


@packs
@profiles
@SLOW
@given(value=st.binary(max_size=200), content_type=TYPES)
def test_laws_hold_for_arbitrary_bytes(name: str, profile: str, value: bytes, content_type: str | None) -> None:
    check_laws(load_pack(name, {}, profile), Submission(value, content_type))


@packs
@profiles
@SLOW
@given(draw=st.data())
def test_laws_hold_for_mutated_good_inputs(name: str, profile: str, draw: st.DataObject) -> None:
    data = mutated(draw.draw(st.sampled_from(GOOD[name])), draw)
    check_laws(load_pack(name, {}, profile), Submission(data, draw.draw(TYPES), "a/b/file.csv", "site-1"))


FEEDS = [{"match": "acme/*", "profile": "lenient"}, {"match": "plant-?", "profile": "schema"}]


@settings(SLOW, max_examples=60)
@given(draw=st.data(), source=st.sampled_from(["acme/1", "b", None]), site=st.sampled_from(["plant-7", None]))
def test_laws_hold_where_each_feed_has_a_profile_of_its_own(
    draw: st.DataObject, source: str | None, site: str | None
) -> None:
    data = mutated(draw.draw(st.sampled_from(GOOD["epcis"])), draw)
    check_laws(load_pack("epcis", {"profiles": FEEDS}, "strict"), Submission(data, draw.draw(TYPES), source, site))


@packs
@SLOW
@given(draw=st.data())
def test_laws_hold_for_mutated_canonical_records(name: str, draw: st.DataObject) -> None:
    pack = load_pack(name, {}, "strict")
    records = [found for data in GOOD[name] for found in pack.unpack(Submission(data)).records()]
    chosen = draw.draw(st.sampled_from(records))
    assert isinstance(chosen, Record)
    check_laws(pack, Submission(mutated(chosen.payload, draw), CANONICAL_TYPE))
