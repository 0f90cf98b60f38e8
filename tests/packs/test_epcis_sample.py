"""The shipped sample through the shipped pipeline in memory: every answer is the one its manifest foretells."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson

from schemas.packs.epcis.sample import manifest, sample
from streams.driver import AcceptingPartner, TopologyDriver
from topology.load import load_pipeline

MESSAGES = 200


def test_the_sample_gets_the_answers_of_its_manifest() -> None:
    lake = AcceptingPartner()
    driver = TopologyDriver(load_pipeline("epcis"), partners={"lake": lake})
    for key, value in sample(MESSAGES):
        driver.publish(key, value)
    driver.finish()
    expected = manifest(MESSAGES)
    assert {"bad", "broken", "declaration", "duplicate", "good", "late"} == set(expected.kinds)
    outcomes = Counter(ack["outcome"] for ack in driver.read("sent"))
    assert outcomes == {"delivered": expected.acknowledged, "duplicate": expected.duplicate}
    assert len(driver.read("dead-letter")) == expected.dead
    bodies = [orjson.loads(body) for body in lake.effects.values()]
    assert sum(len(body["records"]) for body in bodies) == expected.acknowledged
    receivers = [{_receiver(record["record"]["event"]) for record in body["records"]} for body in bodies]
    assert all(len(found - {None}) <= 1 for found in receivers), "one batch, one receiver"


def _receiver(event: dict[str, Any]) -> str | None:
    destinations = event.get("destinationList")
    return str(destinations[0]["destination"]) if destinations else None


def test_equal_arguments_give_equal_bytes() -> None:
    assert list(sample(40, 7)) == list(sample(40, 7))
    assert list(sample(40, 7)) != list(sample(40, 8))
