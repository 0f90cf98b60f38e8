"""An event from the future is refused by the time at which Kafka took it in, and passes once it has happened."""

from __future__ import annotations

from streams.driver import TopologyDriver
from tests.packs import epcis_inputs as inputs
from topology.load import load_pipeline

EVENT = 1_772_440_200_000
"""2026-03-02T08:30:00Z, when SHIPPING happened; COMMISSIONING was half an hour before."""


def driver_at(before: int, ahead: float | None) -> TopologyDriver:
    """The shipped pipeline, `before` ms before the event."""
    pipeline = load_pipeline("epcis").model_copy(update={"event_ahead": ahead})
    driver = TopologyDriver(pipeline, start=EVENT - before)
    driver.publish("k", inputs.document(inputs.COMMISSIONING, inputs.SHIPPING))
    driver.run()
    return driver


def test_it_is_refused_beside_its_neighbour_and_passes_once_it_has_happened() -> None:
    driver = driver_at(60_001, 60.0)
    (letter,) = driver.read("dead-letter")
    (found,) = letter["findings"]
    assert (letter["raw_index"], found["code"]) == (1, "EVENT_IN_FUTURE")
    assert "2026-03-02T08:30:00.000Z is 60.001 s after 2026-03-02T08:28:59.999Z" in found["message"]
    assert [record["raw_index"] for record in driver.read("validated")] == [0]
    driver.advance(1)
    driver.publish("k", letter["original"], {"content-type": letter["content_type"]})
    driver.finish()
    assert [ack["outcome"] for ack in driver.read("sent")] == ["delivered", "delivered"]


def test_up_to_the_limit_it_is_taken_and_without_one_always() -> None:
    assert driver_at(60_000, 60.0).read("dead-letter") == []
    assert driver_at(10**12, None).read("dead-letter") == []


def test_the_shipped_pipeline_has_a_limit() -> None:
    assert load_pipeline("epcis").event_ahead == 86_400
