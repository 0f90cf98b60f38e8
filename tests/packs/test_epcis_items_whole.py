"""State rules through a whole pipeline in memory: documents in, answers out, with workers that die on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from schemas.canonical import RawPosition
from schemas.messages import position_of
from streams.delivery.protocol import Envelope, Outcome, OutcomeKind
from streams.driver import AcceptingPartner, TopologyDriver
from streams.validate.authorised import TradingPartner, TradingPartners
from tests.packs.epcis_dscsa_inputs import BUYER, ITEMS, MAKER, NOTICE
from tests.packs.epcis_dscsa_inputs import CASE as SHIPPED
from tests.packs.epcis_inputs import COMMISSIONING, changed, document
from tests.packs.test_epcis_goods import alone
from tests.packs.test_epcis_state import CASE, PALLET, A, B, C, declared, gone, made, packed, seen
from topology.load import load_pipeline, topology_folder
from waybill.demo import books_in_memory
from waybill.derive import Versions


def pipeline(folder: Path, *changes: tuple[str, str]) -> Path:
    """The shipped pipeline with state rules by company, and other changes."""
    text = (topology_folder() / "epcis.yaml").read_text()
    for old, new in (
        ("partition_by: [event_hash]", "partition_by: [issuer]\nitems: {domain: issuer}"),
        ("idempotency: [event_hash, declaration, sender]", "idempotency: [event_hash, declaration, sender, issuer]"),
        *changes,
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "partners.yaml").write_text((topology_folder().parent / "partners.yaml").read_text())
    path = folder / "epcis.yaml"
    path.write_text(text)
    return path


STATEFUL = (("items: {domain: issuer}\n", ""), ("profile: strict", "profile: stateful"))
"""The same, by profile."""
AUTUMN = 1_790_000_000_000
"""A clock behind all events here, ms."""
THEIRS = "urn:epc:id:sgtin:061414.0012345.1"
FIRST = made(A, B, CASE, PALLET)
TOLD: list[tuple[dict[str, Any], str]] = [
    (seen(A), "ITEM_NOT_COMMISSIONED"),
    (FIRST, ""),
    (packed(CASE, A), ""),
    (packed(PALLET, A), "ITEM_IN_OTHER_PARENT"),
    (packed(PALLET, CASE), ""),
    (made(A), "ITEM_COMMISSIONED_TWICE"),
    (made(THEIRS), ""),
    (seen(A, THEIRS), "ITEMS_IN_SEVERAL_DOMAINS"),
    (FIRST, "duplicate"),
    (gone(PALLET), ""),
    (seen(A), "ITEM_DECOMMISSIONED"),
    (seen(B, THEIRS.replace("0614141", "061414")), "ITEMS_IN_SEVERAL_DOMAINS"),
    (seen(B), ""),
    (late := made(C), ""),
    (declared(late), ""),
    (seen(C), "ITEM_NOT_COMMISSIONED"),
]


@pytest.mark.parametrize(("dies", "changes"), [(False, STATEFUL), (True, ())])
def test_every_event_is_answered_as_the_state_rules_say(
    tmp_path: Path, dies: bool, changes: tuple[tuple[str, str], ...]
) -> None:
    driver = TopologyDriver(load_pipeline(str(pipeline(tmp_path, *changes))), start=AUTUMN)
    for number, (event, _) in enumerate(TOLD):
        driver.publish("publisher", document(event))
        if dies and number % 3 == 2:
            driver.run()
            for stage in ("batch", "validate"):
                driver.kill(stage)
                driver.start(stage)
    driver.finish()
    answers = {m["raw_offset"]: "duplicate" if m["outcome"] == "duplicate" else "" for m in driver.read("sent")}
    letters = driver.read("dead-letter")
    assert {m["stage"] for m in letters} == {"batch"}
    answers |= {m["raw_offset"]: m["findings"][0]["code"] for m in letters}
    assert [answers[offset] for offset in range(len(TOLD))] == [expected for _, expected in TOLD]
    assert len(answers) == len(driver.read("sent")) + len(letters)
    books = books_in_memory(driver)
    assert (books.received, books.in_flight, books.problems) == (len(TOLD), 0, [])
    raw = f"epcis.raw/{letters[0]['raw_partition']}"
    words = {m["findings"][0]["code"]: m["findings"][0]["message"] for m in letters}
    assert words["ITEM_COMMISSIONED_TWICE"] == f"sgtin:00300010123455:1 is commissioned already by {raw}/1/0"
    assert words["ITEM_IN_OTHER_PARENT"].endswith(f" by {raw}/2/0")


EARLY = [seen(A), packed(CASE, A), packed(PALLET, CASE), FIRST, gone(PALLET), seen(C)]


@pytest.mark.parametrize("dies", [False, True])
def test_what_comes_before_its_commissioning_waits_for_it_and_what_follows_behind_it(
    tmp_path: Path, dies: bool
) -> None:
    wait = ("items: {domain: issuer}", "items: {domain: issuer, wait: 600}")
    driver = TopologyDriver(load_pipeline(str(pipeline(tmp_path, wait))), start=AUTUMN)
    for event in EARLY:
        driver.publish("publisher", document(event))
        if dies:
            driver.run()
            for stage in ("batch", "validate"):
                driver.kill(stage)
                driver.start(stage)
    driver.finish()
    books = books_in_memory(driver)
    assert (books.in_flight, books.holds, driver.read("dead-letter")) == (1, True, [])
    assert books.flying[0].what == "waits for what must come before it"
    driver.advance(1199)
    assert driver.read("dead-letter") == []
    driver.advance(1)
    driver.finish()
    (letter,) = driver.read("dead-letter")
    assert letter["findings"][0]["message"].endswith(
        "sgtin:00300010123455:3 was never commissioned; it waited 600 s for that"
    )
    assert sorted(m["raw_offset"] for m in driver.read("sent")) == [0, 1, 2, 3, 4]
    books = books_in_memory(driver)
    assert (books.received, books.in_flight, books.problems) == (len(EARLY), 0, [])


class RefusesOnce(AcceptingPartner):
    """Does not want the first batch."""

    def __call__(self, envelope: Envelope) -> Outcome:
        self.attempts.append(envelope)
        return Outcome(OutcomeKind.REFUSED if len(self.attempts) == 1 else OutcomeKind.DELIVERED, "an answer")


def test_what_the_partner_refused_may_be_told_otherwise(tmp_path: Path) -> None:
    partner = RefusesOnce()
    driver = TopologyDriver(load_pipeline(str(pipeline(tmp_path))), {"epcis-lake": partner}, start=AUTUMN)
    driver.publish("publisher", document(made(A)))
    driver.finish()
    (letter,) = driver.read("dead-letter")
    assert letter["stage"] == "dispatch"
    driver.publish("publisher", document(seen(A)))
    driver.publish("publisher", document(changed(made(A), ilmd=COMMISSIONING["ilmd"] | {"cbvmda:lotNumber": "L2"})))
    driver.publish("publisher", document(seen(A)))
    driver.finish()
    codes = sorted(m["findings"][0]["code"] for m in driver.read("dead-letter"))
    assert codes == ["ITEM_NOT_COMMISSIONED", "PARTNER_REFUSED"]
    assert sorted(m["raw_offset"] for m in driver.read("sent")) == [2, 3]
    assert books_in_memory(driver).holds


def test_a_shipment_is_judged_by_what_earlier_documents_said_of_its_goods(tmp_path: Path) -> None:
    """And goes to its partner with the statement and the master data that came with it."""
    partners, partner = TradingPartners(), AcceptingPartner()
    path = pipeline(tmp_path, ("dscsa: false", "dscsa: true"))
    driver = TopologyDriver(
        load_pipeline(str(path)), {"epcis-lake": partner}, start=AUTUMN, authorised=lambda: partners
    )
    for gln in (MAKER, BUYER):
        partners.learn(TradingPartner(gln, 1, True, "", "", "", "", "ann", "", 0), AUTUMN - 1)
    shipment = alone()
    for value in (document(made(*ITEMS, SHIPPED)), shipment, document(packed(SHIPPED, *ITEMS)), shipment):
        driver.publish("publisher", value)
    driver.finish()
    (letter,) = driver.read("dead-letter")
    assert (letter["stage"], letter["raw_offset"]) == ("batch", 1)
    assert [(one["code"], one["path"]) for one in letter["findings"]] == [("CONTENTS_UNKNOWN", "epcList[0]")]
    assert sorted(m["raw_offset"] for m in driver.read("sent")) == [0, 2, 3]
    assert books_in_memory(driver).holds
    bodies = [json.loads(attempt.body) for attempt in partner.attempts]
    (told,) = [body for body in bodies if "gs1ushc:dscsaTransactionStatement" in body]
    assert told["gs1ushc:dscsaTransactionStatement"]["gs1ushc:legalNotice"] == NOTICE
    assert [one["type"][-8:] for one in told["epcisHeader"]["epcisMasterData"]["vocabularyList"]] == [
        "EPCClass",
        "Location",
    ]


def test_the_versions_follow_from_the_log_also_with_what_state_rules_refused(tmp_path: Path) -> None:
    """`waybill table rebuild idempotency --compare` tells no state rule again: it believes the dead letters."""
    driver = TopologyDriver(load_pipeline(str(pipeline(tmp_path))), start=AUTUMN)
    for event, _ in TOLD:
        driver.publish("publisher", document(event))
    driver.finish()
    refused = frozenset(position_of(m) for m in driver.read("dead-letter") if m["stage"] == "batch")

    def differences(believed: frozenset[RawPosition]) -> int:
        found = 0
        for partition in range(driver.pipeline.partitions):
            derived = Versions(int(driver.pipeline.keep * 1000), supersede=False, refused=believed)
            for message in driver.broker.partitions("validated")[partition]:
                derived.take(message.offset, *driver.codec.decode(message.value or b""))
            found += len(derived.compare(driver.codec.decode(row)[1] for row in table(driver, partition)))
        return found

    assert differences(refused) == 0
    assert differences(frozenset()) == len(refused)


def table(driver: TopologyDriver, partition: int) -> list[bytes]:
    """Rows of `idempotency` as they stand."""
    rows = {m.key: m.value for m in driver.broker.partitions("idempotency")[partition]}
    return [row for row in rows.values() if row is not None]
