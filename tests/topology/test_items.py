"""State rules ask for a layout in which all records about a thing are in one partition: anything else is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packs.test_epcis_items_whole import STATEFUL, pipeline
from topology.describe import describe, describe_mermaid
from topology.load import TopologyError, load_pipeline
from topology.model import Pipeline
from topology.topics import topic_specs

from .conftest import Write


def said(path: Path) -> str:
    with pytest.raises(TopologyError) as caught:
        load_pipeline(str(path))
    return str(caught.value)


WHOLE = ("items: {domain: issuer}", "items: {}")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([("partition_by: [issuer]", "partition_by: [sender]")], "partition_by: must be [issuer], the domain of items"),
        ([("partition_by: [issuer]", "partition_by: [issuer, sender]")], "partition_by: must be [issuer]"),
        ([("partitions: 4", "partitions: 4\nlanes: [high, standard]")], "lanes: must be one with items"),
        ([WHOLE], "partitions: must be 1 with items of no domain"),
        ([("domain: issuer", "domain: day")], "items.domain: items of pack epcis have no history by 'day'"),
        ([("domain: issuer", "domain: isuer")], "did you mean"),
        ([("profile: strict", "profile: schema")], "profile: must be strict or lenient with items"),
        ([("on_conflict: conflict", "on_conflict: supersede\nordering_by: event_time")], "on_conflict: must be `con"),
        ([("domain: issuer", "domain: issuer, wait: -1")], "wait"),
        ([("domain: issuer", "domain: issuer, wait: 8e9")], "items.wait: must be less than keep"),
        (
            [
                ("domain: issuer", "domain: issuer, wait: 5"),
                ("partitions: 4", "partitions: 1\ndeterministic: true"),
            ],
            "items.wait: must be 0 with deterministic",
        ),
    ],
)
def test_what_does_not_keep_a_thing_in_one_partition_is_refused(
    tmp_path: Path, changes: list[tuple[str, str]], words: str
) -> None:
    assert words in said(pipeline(tmp_path, *changes))


@pytest.mark.parametrize(
    ("changes", "domain", "wait"),
    [
        ([], "issuer", 0),
        ([("partitions: 4", "partitions: 1")], None, 0),
        ([("partitions: 4", "partitions: ${ONE:-1}")], None, 0),
        ([("partitions: 4", "partitions: ${ONE:-1}"), ("[issuer]", "[event_hash]")], None, 0),
        ([("partitions: 4", "partitions: 4\nitems: {wait: 600}")], "issuer", 600),
        ([("partitions: 4", "partitions: 1\nitems: {domain: issuer}")], "issuer", 0),
    ],
)
def test_a_profile_turns_state_rules_on(
    tmp_path: Path, changes: list[tuple[str, str]], domain: str | None, wait: float
) -> None:
    found = load_pipeline(str(pipeline(tmp_path, *STATEFUL, *changes)))
    assert found.items is not None
    assert (found.items.domain, found.items.wait) == (domain, wait)
    assert "items" in found.tables
    assert Pipeline.model_validate(found.model_dump()) == found, "said whole it is the same"


@pytest.mark.parametrize("fields", ["[event_hash]", "[issuer, sender]"])
def test_the_profile_is_refused_where_the_layout_does_not_fit(tmp_path: Path, fields: str) -> None:
    words = said(pipeline(tmp_path, *STATEFUL, ("partition_by: [issuer]", f"partition_by: {fields}")))
    assert "partition_by: must be [issuer] or [sender] with profile stateful, or `partitions` 1" in words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("partitions: 4", "partitions: 4\nitems: true"), "items: should be a valid dictionary"),
        (("partition_by: [issuer]", "partition_by: [[issuer]]"), "partition_by[0]: should be a valid string"),
        (("partition_by: [issuer]", "partition_by: [5]"), "partition_by[0]: should be a valid string"),
    ],
)
def test_a_value_of_another_type_is_told_with_the_profile_too(
    tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    mistakes = said(pipeline(tmp_path, *STATEFUL, change))
    assert words in mistakes
    assert "epcis.yaml:1:" not in mistakes, "nothing is wrong with what the file does not say"


def test_the_profile_is_refused_by_a_pack_without_state_rules(write: Write) -> None:
    words = said(write(("pack: fake", "pack: cold_chain\nprofile: stateful"), ("options: {limit: 7}\n", "")))
    assert "profile: profile 'stateful' is unknown; allowed: strict, lenient, schema" in words


def test_one_partition_is_one_domain(tmp_path: Path) -> None:
    assert load_pipeline(str(pipeline(tmp_path, WHOLE, ("partitions: 4", "partitions: 1")))).items is not None


def test_a_pack_without_state_rules_is_told(write: Write) -> None:
    assert "pack cold_chain has no state rules" in said(
        write(("pack: fake", "pack: cold_chain\nitems: {domain: sensor_id}"), ("options: {limit: 7}\n", ""))
    )


def test_the_table_is_a_topic_where_it_is_needed(tmp_path: Path) -> None:
    with_rules = load_pipeline(str(pipeline(tmp_path)))
    without = with_rules.model_copy(update={"items": None})
    assert {"items", "waiting"} <= {spec.short for spec in topic_specs(with_rules)}
    assert not {"items", "waiting"} & {spec.short for spec in topic_specs(without)}
    for text in (describe(with_rules), describe_mermaid(with_rules)):
        assert "waybill.epcis.items" in text
    assert "each issuer has a history of its own" in describe(with_rules)
    assert "items" not in describe_mermaid(without)
