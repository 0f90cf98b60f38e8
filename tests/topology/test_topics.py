"""Every topic gets the settings the laws need, and a cluster that breaks one is told which."""

from __future__ import annotations

import pytest

from topology.model import EVENT_TOPICS, TABLES, Pipeline
from topology.topics import TABLE_SEGMENT, TopicSpec, TopicState, check_cluster, topic_specs


def by_short(pipeline: Pipeline) -> dict[str, TopicSpec]:
    return {spec.short: spec for spec in topic_specs(pipeline)}


def cluster(pipeline: Pipeline) -> dict[str, TopicState]:
    return {spec.name: TopicState(spec.partitions, dict(spec.config)) for spec in topic_specs(pipeline)}


def changed(pipeline: Pipeline, short: str, **settings: str) -> list[tuple[str, str]]:
    """(topic, setting) of the problems found once a topic has other settings."""
    actual = cluster(pipeline)
    name = by_short(pipeline)[short].name
    config = {**actual[name].config, **{key.replace("_", "."): value for key, value in settings.items()}}
    actual[name] = actual[name]._replace(config=config)
    return [(problem.topic, problem.setting) for problem in check_cluster(topic_specs(pipeline), actual)]


def test_every_topic_of_the_design_is_there(demo: Pipeline) -> None:
    specs = by_short(demo)
    assert list(specs) == ["raw", *EVENT_TOPICS, *TABLES, "control"]
    assert specs["raw"].name == "demo.raw"
    assert specs["dead-letter"].name == "waybill.demo.dead-letter"
    assert {spec.partitions for short, spec in specs.items() if short != "control"} == {4}
    assert (specs["control"].name, specs["control"].partitions) == ("waybill.control", 1)
    assert {spec.replication for spec in specs.values()} == {1}


def test_raw_has_the_brokers_time_and_its_own_retention(demo: Pipeline) -> None:
    raw = by_short(demo)["raw"].config
    assert raw["message.timestamp.type"] == "LogAppendTime"
    assert raw["cleanup.policy"] == "delete"
    assert raw["retention.ms"] == "-1"
    assert raw["max.message.bytes"] == str(32 * 2**20 + 64 * 1024)
    topic = demo.raw.model_copy(update={"timestamps": "create", "retention": 3600.5})
    raw = by_short(demo.model_copy(update={"raw": topic}))["raw"].config
    assert raw["message.timestamp.type"] == "CreateTime"
    assert raw["retention.ms"] == "3600500"


def test_nothing_of_the_pipelines_own_expires(demo: Pipeline) -> None:
    for short in EVENT_TOPICS:
        config = by_short(demo)[short].config
        assert (config["retention.ms"], config["retention.bytes"]) == ("-1", "-1")


def test_c1_a_worker_whose_clock_is_wrong_may_still_write(demo: Pipeline) -> None:
    """A broker refuses CreateTime stamps that lie more than an hour ahead."""
    for spec in topic_specs(demo)[1:]:
        assert spec.config["message.timestamp.type"] == "LogAppendTime"


def test_a_largest_submission_fits_wherever_it_ends(demo: Pipeline) -> None:
    large = demo.model_copy(update={"raw": demo.raw.model_copy(update={"max_message_bytes": 100 * 2**20})})
    for short in ("validated", "batched", "dead-letter"):
        assert int(by_short(large)[short].config["max.message.bytes"]) > 100 * 2**20
        assert int(by_short(demo)[short].config["max.message.bytes"]) > demo.batching.max_bytes


def test_tables_are_compacted_in_small_segments_that_take_their_largest_message(demo: Pipeline) -> None:
    for short in (*TABLES, "control"):
        config = by_short(demo)[short].config
        assert config["cleanup.policy"] == "compact"
        assert int(config["segment.bytes"]) == TABLE_SEGMENT
        assert int(config["max.message.bytes"]) < TABLE_SEGMENT
        assert int(config["delete.retention.ms"]) >= 86_400_000


def test_a_cluster_as_specified_has_no_problem(demo: Pipeline) -> None:
    assert check_cluster(topic_specs(demo), cluster(demo)) == []


@pytest.mark.parametrize(
    ("short", "setting", "value"),
    [
        ("raw", "message_timestamp_type", "CreateTime"),
        ("raw", "cleanup_policy", "compact"),
        ("raw", "cleanup_policy", "compact,delete"),
        ("raw", "max_message_bytes", "1048588"),
        *((short, "retention_ms", "604800000") for short in ("validated", "batched", "audit")),
        *((short, "retention_bytes", "1000000") for short in ("validated", "batched", "audit")),
        *((short, "cleanup_policy", "compact") for short in EVENT_TOPICS),
        ("dead-letter", "max_message_bytes", "1048588"),
        *((short, "cleanup_policy", "delete") for short in (*TABLES, "control")),
        ("idempotency", "cleanup_policy", "compact,delete"),
        ("heads", "delete_retention_ms", "1000"),
    ],
)
def test_a_setting_that_breaks_a_law_is_named(demo: Pipeline, short: str, setting: str, value: str) -> None:
    expected = [(by_short(demo)[short].name, setting.replace("_", "."))]
    assert changed(demo, short, **{setting: value}) == expected


def test_what_breaks_no_law_is_left_to_the_operator(demo: Pipeline) -> None:
    assert changed(demo, "raw", retention_ms="604800000", max_message_bytes="99999999") == []
    assert changed(demo, "sent", retention_ms="604800000") == []
    create = demo.model_copy(update={"raw": demo.raw.model_copy(update={"timestamps": "create"})})
    assert changed(create, "raw", message_timestamp_type="LogAppendTime") == []


def test_unequal_partition_counts_and_missing_topics_are_named(demo: Pipeline) -> None:
    actual = cluster(demo)
    actual["waybill.demo.heads"] = actual["waybill.demo.heads"]._replace(partitions=3)
    del actual["waybill.demo.sent"]
    lines = [str(problem) for problem in check_cluster(topic_specs(demo), actual)]
    assert lines[0].startswith("waybill.demo.sent: topic is missing, must be there: `waybill up` creates")
    assert lines[1].startswith("waybill.demo.heads: partitions is 3, must be 4: stages and tables")
    assert len(lines) == 2


def test_a_setting_the_cluster_does_not_tell_is_a_problem(demo: Pipeline) -> None:
    actual = cluster(demo)
    actual["waybill.demo.audit"] = TopicState(4, {"cleanup.policy": "delete"})
    found = [problem.setting for problem in check_cluster(topic_specs(demo), actual)]
    assert found == ["max.message.bytes", "retention.ms", "retention.bytes"]
