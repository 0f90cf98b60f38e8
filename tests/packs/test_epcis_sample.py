"""The shipped sample through the shipped pipeline in memory: every answer is the one its manifest foretells, and what
the partner receives are documents of the standard."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest

from bench.epcis.histories import pipeline
from schemas.messages import position_of
from schemas.pack import Record
from schemas.packs.epcis.sample import Syntax, histories, manifest, one_document, sample
from streams.driver import AcceptingPartner, TopologyDriver
from tests.packs.epcis_inputs import outcomes
from tests.packs.epcis_schemas import json_judge
from topology.load import load_pipeline

MESSAGES = 300


@pytest.fixture(scope="module")
def ran() -> TopologyDriver:
    driver = TopologyDriver(load_pipeline("epcis"), partners={"epcis-lake": AcceptingPartner()})
    for key, value in sample(MESSAGES):
        driver.publish(key, value)
    driver.finish()
    return driver


def received(driver: TopologyDriver) -> list[bytes]:
    """The documents that the partner has."""
    return list(driver.partners["epcis-lake"].effects.values())


def test_the_sample_gets_the_answers_of_its_manifest(ran: TopologyDriver) -> None:
    expected = manifest(MESSAGES)
    assert {"bad", "broken", "declaration", "duplicate", "good", "late"} == set(expected.kinds)
    answers = Counter(ack["outcome"] for ack in ran.read("sent"))
    assert answers == {"delivered": expected.acknowledged, "duplicate": expected.duplicate}
    assert len(ran.read("dead-letter")) == expected.dead


def test_the_partner_has_every_event_once_in_documents_of_one_receiver(ran: TopologyDriver) -> None:
    documents = [outcomes(body) for body in received(ran)]
    records = [one for document in documents for one in document]
    assert all(isinstance(one, Record) for one in records)
    delivered = {ack["digest"] for ack in ran.read("sent") if ack["outcome"] == "delivered"}
    assert {one.digest for one in records if isinstance(one, Record)} == delivered
    assert len(records) == len(delivered) == manifest(MESSAGES).acknowledged
    attempts = ran.partners["epcis-lake"].attempts
    assert {envelope.content_type for envelope in attempts} == {"application/ld+json"}
    assert all(envelope.path.startswith("epcis/year=2024/month=0") for envelope in attempts)
    assert all(envelope.path.endswith(f"/batch_{envelope.idempotency_key}.jsonld") for envelope in attempts)
    for document in documents:
        assert len({one.fields["receiver"] for one in document if isinstance(one, Record)}) == 1


def test_a_repeat_in_another_syntax_is_answered_with_the_id_of_the_first(ran: TopologyDriver) -> None:
    events = {position_of(message): message for message in ran.read("validated") if "raw_topic" in message}
    syntaxes = {
        message.offset + 1000 * message.partition: (message.value or b"")[:1] for message in ran.messages("raw")
    }
    across = 0
    for ack in (ack for ack in ran.read("sent") if ack["outcome"] == "duplicate"):
        repeat, first = position_of(ack), position_of(ack["duplicate_of"])
        assert events[repeat]["key"] == events[first]["key"]
        assert (first.offset, first.index) < (repeat.offset, repeat.index)
        across += len({syntaxes[one.offset + 1000 * one.partition] for one in (first, repeat)}) > 1
    assert across


def test_an_error_declaration_is_delivered_beside_the_event_it_is_about(ran: TopologyDriver) -> None:
    events: list[dict[str, Any]] = [
        event for body in received(ran) for event in orjson.loads(body)["epcisBody"]["eventList"]
    ]
    declared = [event for event in events if "errorDeclaration" in event]
    assert len(declared) == manifest(MESSAGES).kinds["declaration"]
    for event in declared:
        assert {name: part for name, part in event.items() if name != "errorDeclaration"} in events


@pytest.mark.cases
def test_every_document_validates_against_the_official_schema(ran: TopologyDriver, cases: Path) -> None:
    judge = json_judge(cases)
    assert len(received(ran)) > 3
    assert [judge(body) for body in received(ran)] == [[]] * len(received(ran))


def test_equal_arguments_give_equal_bytes() -> None:
    assert list(sample(40, 7)) == list(sample(40, 7))
    assert list(sample(40, 7)) != list(sample(40, 8))


@pytest.mark.parametrize("syntax", get_args(Syntax))
def test_histories_are_good_by_every_rule_also_those_of_state(syntax: Syntax) -> None:
    driver = TopologyDriver(pipeline(items=True))
    for value in islice(histories(syntax), 24):
        driver.publish("maker", value)
    driver.finish()
    assert driver.read("dead-letter") == []
    steps = {orjson.loads(record["payload"])["event"]["bizStep"] for record in driver.read("validated")}
    assert steps == {"commissioning", "packing", "shipping", "receiving", "decommissioning"}


@pytest.mark.parametrize("syntax", get_args(Syntax))
def test_one_document_is_as_large_as_asked_for_and_good(syntax: Syntax) -> None:
    value = b"".join(one_document(syntax, 20_000))
    assert 20_000 <= len(value) < 30_000
    found = outcomes(value)
    assert len(found) > 5
    assert all(isinstance(one, Record) for one in found)
