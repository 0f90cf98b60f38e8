"""Trading partners: a record is judged by the rows the log held before it took the record in, and by nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import SingleObjectCodec, WireError
from schemas.pack import CANONICAL_TYPE, Record, Refusal
from streams.driver import TopologyDriver
from streams.validate.authorised import TradingPartner, TradingPartners, decode, encode, key
from tests.packs.epcis_dscsa_inputs import BUYER, MAKER, good
from tests.schemas.samples import example
from topology.load import TopologyError, load_pipeline

CODEC = SingleObjectCodec()
DAY = 86_400_000
NOON = 1_772_452_800_000
"""2026-03-02T12:00:00Z."""


def row(gln: str = MAKER, version: int = 1, **changes: Any) -> TradingPartner:
    made = TradingPartner(gln, version, True, "Example Pharma", "L-1", "", "", "ann", "audited", 5)
    return made._replace(**changes)


def record(sender: str = MAKER, event_time: int = NOON) -> Record:
    return Record({"sender": sender, "receiver": "none"}, event_time, b"{}", b"\0" * 32)


def verdict(partners: TradingPartners, item: Record, recorded_at: int = NOON) -> list[tuple[str, str]]:
    found = partners.judge(item, recorded_at, ("sender", "receiver"))
    if isinstance(found, Record):
        assert found is item
        return []
    assert (found.original, found.content_type, found.canonical) == (item.payload, CANONICAL_TYPE, True)
    return [(finding.code, finding.path) for finding in found.findings]


def listed(*rows: tuple[TradingPartner, int]) -> TradingPartners:
    made = TradingPartners()
    for one, taken_at in rows:
        made.learn(one, taken_at)
    return made


def test_a_party_is_taken_while_it_is_on_the_list() -> None:
    partners = listed((row(), 1000), (row(version=2, authorised=False, reason="licence revoked"), 3000))
    for recorded_at, codes in (
        (999, ["PARTNER_NOT_LISTED"]),
        (1000, ["PARTNER_NOT_LISTED"]),
        (1001, []),
        (3000, []),
        (3001, ["PARTNER_WITHDRAWN"]),
    ):
        assert [code for code, _ in verdict(partners, record(), recorded_at)] == codes, recorded_at
    assert verdict(partners, record(BUYER)) == [("PARTNER_NOT_LISTED", "sender")]
    assert verdict(partners, record("none")) == [], "who names nobody is for the pack's own rules"


HOURS_14, HOURS_12 = 14 * 3_600_000, 12 * 3_600_000
FIRST, LAST = NOON - DAY // 2, NOON + 30 * DAY - DAY // 2
"""2026-03-02 and 2026-04-01, as they begin in UTC."""


@pytest.mark.parametrize(
    ("event_time", "codes"),
    [
        (FIRST - HOURS_14 - 1, ["LICENCE_NOT_VALID"]),
        (FIRST - HOURS_14, []),
        (LAST + DAY + HOURS_12 - 1, []),
        (LAST + DAY + HOURS_12, ["LICENCE_NOT_VALID"]),
    ],
)
def test_an_event_is_held_against_the_days_of_the_licence_anywhere_on_earth(event_time: int, codes: list[str]) -> None:
    partners = listed((row(licensed_from="2026-03-02", licensed_until="2026-04-01"), 0))
    assert [code for code, _ in verdict(partners, record(event_time=event_time))] == codes


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=8), st.integers(0, 20))
def test_what_the_log_took_in_later_changes_no_verdict(rows: list[tuple[int, bool]], recorded_at: int) -> None:
    in_order = sorted(rows, key=lambda one: one[0])
    everything = [(row(version=n, authorised=ok), at) for n, (at, ok) in enumerate(in_order, 1)]
    known = [one for one in everything if one[1] < recorded_at]
    assert verdict(listed(*known), record(), recorded_at) == verdict(listed(*everything), record(), recorded_at)


def test_rows_come_back_as_they_were_written_and_keep_their_places() -> None:
    given_rows = [row(), row(version=2, licensed_from="2026-01-01", licensed_until="2026-12-31"), row(authorised=False)]
    assert [decode(CODEC, encode(CODEC, one)) for one in given_rows] == given_rows
    assert key(row(version=2)).startswith(f"trading-partner/{MAKER}/2/".encode())
    assert key(row(version=2)) != key(row(version=2, actor="bob")), "one of two would be compacted away"
    assert decode(CODEC, CODEC.encode("control", dict(example("control")) | {"kind": "partner"})) is None
    with pytest.raises(WireError):
        decode(CODEC, b"what")


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{}", '{"authorised": "yes"}',
     '{"authorised": true, "name": "", "licence": "", "from": "soon", "until": ""}',
     '{"authorised": true, "name": "", "licence": "", "from": "", "until": "", "more": 1}'],
)  # fmt: skip
def test_a_row_that_says_what_is_not_known_here_authorises_nobody(body: str) -> None:
    message = dict(example("control")) | {"kind": "trading-partner", "subject": MAKER, "body": body}
    read = decode(CODEC, CODEC.encode("control", message))
    assert read is not None
    assert (read.gln, read.authorised) == (MAKER, False)


def test_a_pipeline_refuses_who_is_not_listed_and_takes_the_same_record_in_anew() -> None:
    base = load_pipeline("epcis")
    pipeline = base.model_copy(update={"options": {**base.options, "dscsa": True}})
    partners = listed((row(), 0))
    driver = TopologyDriver(pipeline, start=NOON, authorised=lambda: partners)
    driver.publish("k", json.dumps(good()).encode())
    driver.finish()
    (letter,) = driver.read("dead-letter")
    assert [(one["code"], one["path"]) for one in letter["findings"]] == [
        ("PARTNER_NOT_LISTED", "receiver"),
        ("PARTNER_NOT_LISTED", "new_owner"),
    ]
    assert (letter["route"], letter["raw_index"]) == ("regulatory-affairs", 2)
    partners.learn(row(BUYER), NOON)
    driver.advance(60_000)
    driver.publish("k", letter["original"], {"content-type": letter["content_type"]})
    driver.finish()
    assert [ack["outcome"] for ack in driver.read("sent")] == ["delivered"] * 3


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("raw: {timestamps: create}\noptions: {dscsa: true}\n", "must be log-append"),
        ("profile: schema\noptions: {dscsa: true}\n", "take strict or lenient"),
    ],
)
def test_a_pipeline_in_which_the_list_would_mean_nothing_is_no_pipeline(tmp_path: Path, more: str, why: str) -> None:
    (tmp_path / "partners.yaml").write_text("lake: {kind: object-store, url: 'file:lake'}\n")
    file = tmp_path / "law.yaml"
    file.write_text("pipeline: law\npack: epcis\npartition_by: [sender]\nidempotency: [sender]\npartner: lake\n" + more)
    with pytest.raises(TopologyError, match=why):
        load_pipeline(str(file))


def test_nobody_is_asked_where_the_option_is_off() -> None:
    def never() -> TradingPartners:
        raise AssertionError("asked")

    driver = TopologyDriver(load_pipeline("epcis"), start=NOON, authorised=never)
    driver.publish("k", json.dumps(good()).encode())
    driver.finish()
    assert [ack["outcome"] for ack in driver.read("sent")] == ["delivered"] * 3
    assert isinstance(TradingPartners().judge(record(), NOON, ("sender",)), Refusal)
