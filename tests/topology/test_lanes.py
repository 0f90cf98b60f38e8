"""Lanes are pipelines of their own whose names nothing else has; without lanes nothing is named otherwise."""

from __future__ import annotations

import pytest

from topology.describe import describe, describe_mermaid
from topology.lanes import each_lane, lane_named, lanes_of
from topology.load import TopologyError, load_all, load_pipeline
from topology.model import LANES, SHORT_NAMES, Pipeline
from topology.topics import topic_specs

from .conftest import Write

THREE = ("partitions: 4", "partitions: 4\nlanes: [low, standard, high]")


def laned(write: Write, *changes: tuple[str, str]) -> Pipeline:
    return load_pipeline(str(write(THREE, *changes)))


def test_the_highest_comes_first_and_standard_bears_the_declared_names(write: Write, demo: Pipeline) -> None:
    lanes = lanes_of(laned(write))
    assert list(lanes) == list(LANES)
    assert [lane.raw_topic for lane in lanes.values()] == ["demo.high.raw", "demo.raw", "demo.low.raw"]
    for name in map(demo.topic, ("raw", *SHORT_NAMES)):
        assert name in [lanes["standard"].topic(short) for short in ("raw", *SHORT_NAMES)]
    assert lanes["standard"].model_copy(update={"lanes": demo.lanes}) == demo


def test_nothing_that_keeps_records_apart_is_shared_by_two_lanes(write: Write) -> None:
    names = [
        name
        for lane in each_lane([laned(write, ("pack: fake", "pack: fake\nraw: {topic: mine}\nregion: eu"))])
        for name in [*map(lane.topic, ("raw", *SHORT_NAMES)), lane.group_id("batch"), lane.transactional_id("batch", 0)]
    ]
    assert len(set(names)) == len(names)
    assert {"mine.high", "mine", "eu.waybill.demo.low.validated"} <= set(names)


def test_a_lane_has_no_lanes(write: Write) -> None:
    high = lane_named(laned(write), "high")
    assert list(lanes_of(high).values()) == [high]


def test_a_pipeline_without_lanes_is_its_only_one(demo: Pipeline) -> None:
    assert lanes_of(demo) == {"standard": demo}
    with pytest.raises(ValueError, match=r"demo has no lane 'high'; allowed: standard"):
        lane_named(demo, "high")


def test_the_topics_of_every_lane_are_asked_for(write: Write) -> None:
    specs = topic_specs(laned(write))
    assert [spec.name for spec in specs if spec.short == "raw"] == ["demo.raw", "demo.high.raw", "demo.low.raw"]
    assert len({spec.name for spec in specs}) == len(specs) == 3 * (len(SHORT_NAMES) + 1) + 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("[high, low]", "must name each lane once and hold `standard`"),
        ("[high, high, standard]", "must name each lane once and hold `standard`"),
        ("[higher, standard]", "did you mean `high`?; allowed: high, standard, low"),
        ("[]", "should have at least 1 item"),
    ],
)
def test_lanes_that_mean_nothing_are_refused(write: Write, given: str, said: str) -> None:
    with pytest.raises(TopologyError, match=r"demo.yaml:3: lanes") as caught:
        load_pipeline(str(write(("partitions: 4", f"lanes: {given}"))))
    assert said in str(caught.value)


def test_another_pipeline_may_not_bear_the_name_of_a_lane(write: Write) -> None:
    folder = write(THREE).parent
    write(("pipeline: demo", "pipeline: demo.high"), name="other")
    with pytest.raises(TopologyError, match=r"writes the same topics as .*demo\.yaml"):
        load_all(folder)


def test_a_drawing_shows_every_lane(write: Write) -> None:
    pipeline = laned(write)
    graph = describe_mermaid(pipeline)
    for lane in each_lane([pipeline]):
        assert lane.raw_topic in describe(pipeline)
        assert f'"{lane.topic("delivery")}"' in graph
    assert graph.count("subgraph") == 3
    assert graph.count('(("lake"))') == 1
