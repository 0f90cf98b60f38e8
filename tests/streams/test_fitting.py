"""What a partner's form cannot say is found in validate, where its partner is decided: no frozen batch fails for it."""

from __future__ import annotations

from streams.driver import TopologyDriver
from tests.packs import epcis_inputs as inputs
from tests.packs.epcis_inputs import changed, document
from topology.load import load_pipeline
from topology.model import Pipeline

SENSED = [{"sensorReport": [{"type": "Temperature", "value": 4.5, "uom": "CEL"}]}]
ASSOCIATION = changed(inputs.PACKING, type="AssociationEvent")


def taking(body: str) -> Pipeline:
    """The shipped pipeline with partners that take batches in a form."""
    made = load_pipeline("epcis")
    partners = {name: partner.model_copy(update={"body": body}) for name, partner in made.partners.items()}
    return made.model_copy(update={"partners": partners})


def worked(body: str) -> TopologyDriver:
    driver = TopologyDriver(taking(body), start=1_772_500_000_000)
    sensed = changed(inputs.SHIPPING, sensorElementList=SENSED)
    driver.publish("k", document(inputs.COMMISSIONING, ASSOCIATION, sensed))
    driver.finish()
    return driver


def test_a_partner_of_1_2_gets_what_that_can_say_and_the_rest_is_answered() -> None:
    driver = worked("epcis-xml-1.2")
    (letter,) = driver.read("dead-letter")
    assert (letter["raw_index"], letter["findings"][0]["code"]) == (1, "NOT_IN_1_2")
    first, third = sorted(driver.read("validated"), key=lambda record: record["raw_index"])
    assert first["warnings"] == []
    assert [(one["code"], one["path"]) for one in third["warnings"]] == [("DROPPED_IN_1_2", "sensorElementList")]
    assert [ack["outcome"] for ack in driver.read("sent")] == ["delivered", "delivered"]


def test_a_partner_of_2_0_gets_everything() -> None:
    driver = worked("epcis-xml")
    assert driver.read("dead-letter") == []
    assert [ack["outcome"] for ack in driver.read("sent")] == ["delivered"] * 3
