"""The option `profiles`: one pipeline, and each partner's feed judged by a profile of its own."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from schemas.pack import CANONICAL_TYPE, Pack, Record, Refusal, Submission
from schemas.packs import load_pack
from streams.driver import TopologyDriver
from streams.runtime.parser import ParserProcess
from streams.validate.authorised import TradingPartner, TradingPartners
from tests.laws.test_packs import check_laws
from tests.packs.epcis_dscsa_inputs import BUYER, ITEMS, MAKER, changed_by
from tests.packs.epcis_dscsa_inputs import CASE as SHIPPED
from tests.packs.epcis_inputs import SHIPPING, SHIPPING_1_2, SHIPPING_2_0, bare, changed, codes_of, document, pack, xml
from tests.packs.test_epcis_goods import alone
from tests.packs.test_epcis_items_whole import AUTUMN, STATEFUL, pipeline
from tests.packs.test_epcis_state import A, B, made, packed, seen
from topology.describe import describe
from topology.load import TopologyError, load_pipeline
from topology.sections import Parsing

ACME = "acme/out/7.xml"
FEEDS = [{"match": "acme/*", "profile": "lenient"}, {"match": "plant-7", "profile": "schema"}]
WRONG = {
    "json": document(changed(SHIPPING, bizStep="shiping")),
    "bare json": bare(changed(SHIPPING, bizStep="shiping")),
    "xml 2.0": xml(SHIPPING_2_0.replace("https://ref.gs1.org/cbv/BizStep-shipping", "shiping")),
    "xml 1.2": xml(SHIPPING_1_2.replace("urn:epcglobal:cbv:bizstep:shipping", "shiping"), version="1.2"),
}
"""A step that the CBV does not have (UNKNOWN_TERM°)."""
each_syntax = pytest.mark.parametrize("value", WRONG.values(), ids=WRONG.keys())


def one(by: Pack, value: bytes, source: str | None = None, site: str | None = None, kind: str | None = None) -> str:
    """The outcome of a submission of one record, and its codes."""
    (found,) = by.unpack(Submission(value, kind, source, site)).records()
    return f"{'valid' if isinstance(found, Record) else 'refused'} {' '.join(codes_of(found))}".rstrip()


@each_syntax
def test_what_one_partner_is_refused_for_another_is_warned_of(value: bytes) -> None:
    by = pack(profiles=FEEDS)
    assert one(by, value, ACME) == "valid UNKNOWN_TERM_TOLERATED"
    assert one(by, value, "other/out/7.xml") == "refused UNKNOWN_TERM"
    assert one(by, value) == "refused UNKNOWN_TERM", "the pipeline's own"


@pytest.mark.parametrize(
    ("match", "source", "site"),
    [
        ("acme/*", "acme/7.xml", None),
        ("7.xml", "acme/out/7.xml", None),
        ("7.xml", "C:\\acme\\7.xml", None),
        ("https://acme.example/*", "https://acme.example/epcis/events", None),
        ("acme", None, "acme"),
        ("ac*", "7.xml", "acme"),
    ],
)
def test_a_feed_is_told_by_source_file_name_or_site(match: str, source: str | None, site: str | None) -> None:
    by = pack(profiles=[{"match": match, "profile": "lenient"}])
    assert one(by, WRONG["json"], source, site) == "valid UNKNOWN_TERM_TOLERATED"


@pytest.mark.parametrize(("source", "site"), [(None, None), ("ACME/7.xml", "Acme"), ("x/acme/7.xml", "x/acme")])
def test_a_feed_is_no_other_one(source: str | None, site: str | None) -> None:
    by = pack(profiles=[{"match": "acme*", "profile": "lenient"}])
    assert one(by, WRONG["json"], source, site) == "refused UNKNOWN_TERM"


def test_the_first_that_matches_is_used() -> None:
    strict, lenient = {"match": "acme/new/*", "profile": "strict"}, {"match": "acme/*", "profile": "lenient"}
    assert one(pack(profiles=[strict, lenient]), WRONG["json"], "acme/new/1.json").startswith("refused")
    assert one(pack(profiles=[lenient, strict]), WRONG["json"], "acme/new/1.json").startswith("valid")


def test_a_partner_may_be_held_to_the_schemas_alone() -> None:
    value = document(changed(SHIPPING, bizTransactionList=None))
    assert one(pack(profiles=FEEDS), value, "other.json", "plant-7") == "valid"
    assert one(pack(profiles=FEEDS), value, "other.json", "plant-8") == "refused TRANSACTION_MISSING"


def test_a_partner_may_be_held_to_more_than_the_others() -> None:
    by = pack("lenient", profiles=[{"match": "acme/*", "profile": "strict"}])
    assert one(by, WRONG["json"], ACME) == "refused UNKNOWN_TERM"
    assert one(by, WRONG["json"], "other.json") == "valid UNKNOWN_TERM_TOLERATED"


@each_syntax
def test_what_is_kept_of_a_record_is_judged_alike_under_its_own_headers(value: bytes) -> None:
    by = pack("lenient", profiles=[{"match": "beta/*", "profile": "strict"}])
    (refusal,) = by.unpack(Submission(value, None, "beta/1", "s")).records()
    (record,) = by.unpack(Submission(value, None, "acme/1", "s")).records()
    assert isinstance(refusal, Refusal)
    assert isinstance(record, Record)
    assert one(by, refusal.original, "beta/1", "s", refusal.content_type) == "refused UNKNOWN_TERM"
    assert one(by, record.payload, "acme/1", "s", CANONICAL_TYPE) == "valid UNKNOWN_TERM_TOLERATED"
    assert one(by, record.payload, "beta/1", "s", CANONICAL_TYPE) == "refused UNKNOWN_TERM"
    for source in ("beta/1", "acme/1"):
        check_laws(by, Submission(value, None, source, "s"))


def test_shipments_under_us_law_are_judged_by_their_partners_profile() -> None:
    value = changed_by(lambda made: made.pop("gs1ushc:dscsaTransactionStatement"))
    by = pack(dscsa=True, profiles=[{"match": "acme/*", "profile": "lenient"}])
    for source, code in ((ACME, "STATEMENT_MISSING_TOLERATED"), ("other", "STATEMENT_MISSING")):
        *_, shipment = by.unpack(Submission(value, None, source)).records()
        assert code in codes_of(shipment)


def test_the_parser_process_is_told_source_and_site() -> None:
    parser = ParserProcess(partial(load_pack, "epcis", {"profiles": FEEDS}, "strict"), Parsing())
    try:
        for source, site in ((ACME, None), ("other", None), (None, "plant-7")):
            submission = Submission(WRONG["xml 2.0"], None, source, site)
            found = list(parser.unpack(submission).records())
            assert found == list(pack(profiles=FEEDS).unpack(submission).records())
    finally:
        parser.close()


LENIENT_ACME = ("jurisdictions: []", "jurisdictions: []\n  profiles: [{match: 'acme/*', profile: lenient}]")


def test_state_rules_judge_every_partner_by_the_pipelines_profile(tmp_path: Path) -> None:
    """And a dead letter that is published again under the headers it came with is judged as it was."""
    driver = TopologyDriver(load_pipeline(str(pipeline(tmp_path, *STATEFUL, LENIENT_ACME))), start=AUTUMN)
    driver.publish("k", document(made(A)))
    acme = {"waybill-source": ACME}
    driver.publish("k", document(*(changed(seen(item), bizStep="shiping") for item in (A, B))), acme)
    driver.publish("k", document(changed(seen(A), bizStep="shiping")), {"waybill-source": "other/7.xml"})
    driver.finish()

    def dead() -> list[tuple[str, list[str]]]:
        return [(one["stage"], [found["code"] for found in one["findings"]]) for one in driver.read("dead-letter")]

    assert [ack["outcome"] for ack in driver.read("sent")] == ["delivered"] * 2
    assert [[one["code"] for one in record["warnings"]] for record in driver.read("validated")] == [
        [], ["UNKNOWN_TERM_TOLERATED"], ["UNKNOWN_TERM_TOLERATED"],
    ]  # fmt: skip
    assert sorted(dead()) == [("batch", ["ITEM_NOT_COMMISSIONED"]), ("validate", ["UNKNOWN_TERM"])]
    for letter in driver.read("dead-letter"):
        headers = {"waybill-source": letter["source"], "content-type": letter["content_type"]}
        driver.publish("again", letter["original"], headers)
    driver.finish()
    assert sorted(dead()) == sorted(2 * [("batch", ["ITEM_NOT_COMMISSIONED"]), ("validate", ["UNKNOWN_TERM"])])


@pytest.mark.parametrize(("profile", "codes"), [("strict", ["PRODUCT_DATA_MISSING"]), ("lenient", [])])
def test_what_the_rows_are_asked_of_goods_is_judged_by_the_pipelines_profile(
    tmp_path: Path, profile: str, codes: list[str]
) -> None:
    partners = TradingPartners()
    for gln in (MAKER, BUYER):
        partners.learn(TradingPartner(gln, 1, True, "", "", "", "", "ann", "", 0), AUTUMN - 1)
    changes = LENIENT_ACME, ("dscsa: false", "dscsa: true"), ("profile: strict", f"profile: {profile}")
    made_of = load_pipeline(str(pipeline(tmp_path, *changes)))
    driver = TopologyDriver(made_of, start=AUTUMN, authorised=lambda: partners)
    without_header = alone(lambda told: told.pop("epcisHeader"))
    for value in (document(made(*ITEMS, SHIPPED)), document(packed(SHIPPED, *ITEMS)), without_header):
        driver.publish("k", value, {"waybill-source": ACME})
    driver.finish()
    assert [one["code"] for one in driver.read("validated")[2]["warnings"]] == ["PARTY_DATA_MISSING_TOLERATED"] * 2
    assert [found["code"] for letter in driver.read("dead-letter") for found in letter["findings"]] == codes


SCHEMA_ACME = (LENIENT_ACME[0], LENIENT_ACME[1].replace("lenient", "schema"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([SCHEMA_ACME], "options.profiles[0].profile: must be strict or lenient with items"),
        ([*STATEFUL, SCHEMA_ACME], "options.profiles[0].profile: must be strict or lenient with items"),
        ([SCHEMA_ACME, ("dscsa: false", "dscsa: true")],
         "options.profiles[0].profile: must be strict or lenient with dscsa"),
        ([(LENIENT_ACME[0], LENIENT_ACME[1].replace("lenient", "stateful"))],
         "options.profiles[0].profile: 'stateful' is not known (how strict validation of it is); allowed: strict"),
        ([(LENIENT_ACME[0], LENIENT_ACME[1].replace("acme/*", ""))], "options.profiles[0].match: should have at least"),
        ([(LENIENT_ACME[0], LENIENT_ACME[0] + "\n  profiles: lenient")], "options.profiles: should be a valid"),
        ([(LENIENT_ACME[0], LENIENT_ACME[0] + "\n  profiles: [lenient]")], "options.profiles[0]: should be a valid"),
    ],
)  # fmt: skip
def test_profiles_that_do_not_fit_are_refused_when_the_pipeline_is_loaded(
    tmp_path: Path, changes: list[tuple[str, str]], words: str
) -> None:
    with pytest.raises(TopologyError) as caught:
        load_pipeline(str(pipeline(tmp_path, *changes)))
    assert words in str(caught.value)
    assert str(caught.value).count("options.profiles") == len(caught.value.mistakes)


def test_a_feed_of_the_schemas_alone_goes_where_no_business_rule_is_asked_for(tmp_path: Path) -> None:
    path = pipeline(tmp_path, SCHEMA_ACME)
    path.write_text(path.read_text().replace("\nitems: {domain: issuer}", ""))
    assert "profile strict, or its feed's;" in describe(load_pipeline(str(path)))
