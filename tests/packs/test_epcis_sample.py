"""The shipped sample through the shipped pipeline in memory: every answer is the one its manifest foretells."""

from __future__ import annotations

from collections import Counter

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
    for body in bodies:
        assert len({record["record"]["event"].get("destinationList", [{}])[0].get("destination") for record in
                    body["records"] if record["record"]["event"].get("destinationList")}) <= 1, "one batch, one receiver"  # fmt: skip


def test_equal_arguments_give_equal_bytes() -> None:
    assert list(sample(40, 7)) == list(sample(40, 7))
    assert list(sample(40, 7)) != list(sample(40, 8))
