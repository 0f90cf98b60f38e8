"""`waybill exceptions`: the goods of an order against what its pipeline was told, with its topics in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.driver import TopologyDriver
from streams.stage import Message
from streams.validate.authorised import TradingPartner, TradingPartners
from tests.commands.conftest import Cli, Ran
from tests.packs.epcis_dscsa_inputs import BUYER, CASE, GTIN, MAKER, changed_by, events, good
from tests.packs.epcis_inputs import COMMISSIONING, changed, document
from topology.load import load_pipeline, topology_folder

DOCUMENT = json.dumps(good()).encode()
CODES = [f"(01){GTIN}(21)100{serial}(17)281231(10)L1" for serial in (1, 2)]


class World:
    """A pipeline with `dscsa` whose topics the command reads."""

    def __init__(
        self, folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, configured: Callable[[str], str] = str
    ) -> None:
        """configured: of the shipped pipeline's text."""
        shipped = (topology_folder() / "epcis.yaml").read_text()
        (folder / "epcis.yaml").write_text(configured(shipped.replace("dscsa: false", "dscsa: true")))
        (folder / "partners.yaml").write_text((topology_folder().parent / "partners.yaml").read_text())
        self.folder, self._cli = folder, cli
        self.partners = TradingPartners()
        self.driver = TopologyDriver(
            load_pipeline(str(folder / "epcis.yaml")), start=1_772_452_800_000, authorised=lambda: self.partners
        )
        monkeypatch.setenv("WAYBILL_BROKERS", "in-memory:1")
        monkeypatch.setattr("waybill.reader.Reader", lambda cluster: self)
        monkeypatch.setattr("waybill.commands.exceptions.require_topics", lambda *_: {})

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def all(self, topic: str) -> Iterator[Message]:
        yield from self.driver.messages(topic.rpartition(".")[2])

    def authorise(self, *glns: str) -> None:
        for gln in glns:
            row = TradingPartner(gln, 1, True, "", "", "", "", "ann", "", 0)
            self.partners.learn(row, self.driver.broker.now - 1)

    def publish(self, document: bytes) -> None:
        self.driver.publish("k", document)
        self.driver.finish()

    def ask(self, *codes: str, more: tuple[str, ...] = (), po: str = "PO-1") -> Ran:
        file = self.folder / "scans.txt"
        file.write_text("\r\n".join(codes))
        return self._cli("exceptions", self.folder / "epcis.yaml", "--po", po, "--email", "a@example.com", "--scans",
                         file, *more)  # fmt: skip


@pytest.fixture
def world(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, cli, monkeypatch)


def test_goods_that_came_as_told_are_no_exception_and_each_difference_is_one(world: World) -> None:
    world.authorise(MAKER, BUYER)
    world.publish(DOCUMENT)
    ran = world.ask(*CODES)
    told = json.loads(ran.out)
    assert (ran.code, told["exceptions"], told["case_resolved"]) == (0, {}, True)
    assert "2 items in data, 2 scans of goods" in ran.err
    ran = world.ask(CODES[0], f"(01){GTIN}(21)9", more=("--ordered", f"{GTIN}=3"))
    told = json.loads(ran.out)
    assert (ran.code, sorted(told["exceptions"])) == (1, ["missing_product", "missing_product_data", "underages"])
    assert told["exceptions"]["missing_product"][0]["file_id"].startswith("epcis.raw/")
    assert json.loads(world.ask(*CODES, po="PO-2").out)["exceptions"].keys() == {"missing_product_data"}


def test_a_refused_shipment_is_told_until_it_was_taken(world: World) -> None:
    world.authorise(MAKER)
    world.publish(DOCUMENT)
    told = json.loads(world.ask(*CODES).out)
    assert told["exceptions"]["master_data_errors"]["gln_errors"][0]["invalid_gln"] == BUYER
    assert told["other_errors"][0].startswith("PARTNER_NOT_LISTED receiver: ")
    world.authorise(BUYER)
    world.driver.advance(60_000)
    (letter,) = world.driver.read("dead-letter")
    world.driver.publish("k", letter["original"], {"content-type": letter["content_type"]})
    world.driver.finish()
    assert json.loads(world.ask(*CODES).out)["exceptions"] == {}


def _with_state(text: str) -> str:
    return text.replace("partition_by: [event_hash]", "partition_by: [issuer]\nitems: {domain: issuer}").replace(
        "idempotency: [event_hash, declaration, sender]", "idempotency: [event_hash, declaration, sender, issuer]"
    )


def test_a_shipment_that_state_rules_refused_is_no_data(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its case was commissioned, and nobody packed it."""
    world = World(tmp_path, cli, monkeypatch, _with_state)
    world.authorise(MAKER, BUYER)
    world.publish(document(changed(COMMISSIONING, epcList=[CASE])))
    world.publish(changed_by(lambda made: events(made).__delitem__(slice(0, 2))))
    told = json.loads(world.ask().out)
    assert told["other_errors"][0].startswith("CONTENTS_UNKNOWN epcList[0]: ")
    ran = world.ask(*CODES)
    assert "0 items in data" in ran.err


def test_a_shipment_that_was_declared_an_error_ships_nothing(world: World) -> None:
    world.authorise(MAKER, BUYER)
    world.publish(DOCUMENT)
    declared = {"declarationTime": "2026-03-02T12:00:00Z", "reason": "did_not_occur"}
    world.publish(changed_by(lambda made: events(made)[2].update(errorDeclaration=declared)))
    ran = world.ask(*CODES)
    assert "0 items in data" in ran.err
    assert json.loads(ran.out)["exceptions"].keys() == {"missing_product_data"}


@pytest.mark.parametrize(
    ("codes", "more", "why"),
    [
        (["(01)00300010123455(21)1", "hello"], (), "scans.txt:2: 'hello' "),
        ([], ("--ordered", "1=2"), "GTIN of 14 digits"),
        ([], ("--case", "7"), "is no UUID"),
    ],
)
def test_what_cannot_be_asked_says_why(world: World, codes: list[str], more: tuple[str, ...], why: str) -> None:
    ran = world.ask(*codes, more=more)
    assert (ran.code, why in ran.err) == (2, True), ran.err
