"""Which topics a pipeline needs, with which settings, and whether a cluster's topics keep the laws.

Pure: what the cluster has is handed in. Sources: DESIGN "Topics", VA4, VA5, TX2, TX4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from topology.lanes import lanes_of
from topology.model import ANY_TABLE, CONTROL_TOPIC, EVENT_TOPICS, STANDARD, Pipeline

MIB = 2**20
LEAST_INLINE = 32 * MIB
"""Bytes of a record that travel inside messages in any pipeline; full batches are below it."""
ENVELOPE = 64 * 1024
"""Room for keys, headers and framing around a submission."""
TABLE_SEGMENT = 16 * MIB
"""Small, so that compaction keeps up: it never touches the open segment."""
TABLE_MESSAGE = 8 * MIB
"""Below TABLE_SEGMENT: a broker refuses what does not fit into a segment."""
DAY_MS = 86_400_000

NEVER_EXPIRES = ("validated", "batched", "audit")
"""Trimmed by DeleteRecords alone: a backfill carries old timestamps and a partner may be down for long."""


class TopicSpec(NamedTuple):
    """A topic as it should be."""

    short: str
    """`raw`, `validated`, …, `control`"""
    name: str
    partitions: int
    replication: int
    config: dict[str, str]


class TopicState(NamedTuple):
    """A topic as the cluster has it: partitions, and its settings in force (defaults included)."""

    partitions: int
    config: Mapping[str, str]


class Problem(NamedTuple):
    """A difference that breaks a law."""

    topic: str
    setting: str
    expected: str
    actual: str
    why: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.setting} is {self.actual}, must be {self.expected}: {self.why}"


def message_limit(pipeline: Pipeline) -> int:
    """max.message.bytes of every event topic: a full batch, or the largest submission, and its envelope (VA4)."""
    return inline_limit(pipeline) + MIB


def inline_limit(pipeline: Pipeline) -> int:
    """Bytes of a record that travel inside messages; a larger one goes by claim check (VA4). The rest of
    `message_limit` is for what stands around it in a batch or a dead letter."""
    return max(LEAST_INLINE, pipeline.raw.max_message_bytes)


def topic_specs(pipeline: Pipeline) -> list[TopicSpec]:
    """Every topic of a pipeline, raw first; where it has lanes those of `standard` first; the control topic last."""
    copies = pipeline.replication
    # The broker's time: it refuses stamps of a worker whose clock is an hour ahead.
    common = {"message.timestamp.type": "LogAppendTime", "min.insync.replicas": str(max(1, copies - 1))}
    kept = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
    table = {
        "cleanup.policy": "compact",
        "segment.bytes": str(TABLE_SEGMENT),
        "min.cleanable.dirty.ratio": "0.1",
        "delete.retention.ms": str(DAY_MS),
        "max.message.bytes": str(TABLE_MESSAGE),
    }
    raw = {
        "message.timestamp.type": "LogAppendTime" if pipeline.raw.timestamps == "log-append" else "CreateTime",
        "max.message.bytes": str(pipeline.raw.max_message_bytes + ENVELOPE),
        "retention.ms": "-1" if pipeline.raw.retention is None else str(round(pipeline.raw.retention * 1000)),
    }

    def spec(short: str, name: str, partitions: int, config: dict[str, str]) -> TopicSpec:
        return TopicSpec(short, name, partitions, copies, dict(sorted({**common, **config}.items())))

    event = {**kept, "max.message.bytes": str(message_limit(pipeline))}
    specs = []
    for _, lane in sorted(lanes_of(pipeline).items(), key=lambda item: item[0] != STANDARD):
        specs += [
            spec("raw", lane.raw_topic, pipeline.partitions, {**kept, **raw}),
            *(spec(short, lane.topic(short), pipeline.partitions, event) for short in EVENT_TOPICS),
            *(spec(short, lane.topic(short), pipeline.partitions, table) for short in lane.tables),
        ]
    return [*specs, spec("control", CONTROL_TOPIC, 1, table)]


def source_spec(pipeline: Pipeline, source: str) -> TopicSpec:
    """The table of a source."""
    [control] = [spec for spec in topic_specs(pipeline) if spec.short == "control"]
    return control._replace(name=pipeline.source_topic(source))


Rule = tuple[str, Callable[[str, str], bool], str]


def _equal(actual: str, expected: str) -> bool:
    return actual == expected


def _at_least(actual: str, expected: str) -> bool:
    return int(actual) >= int(expected)


RAW_RULES: list[Rule] = [
    ("cleanup.policy", _equal, "compaction would drop submissions before they have an answer (law 1)"),
    ("max.message.bytes", _at_least, "a submission within the pipeline's limit would be refused"),
]
BROKER_TIME: Rule = ("message.timestamp.type", _equal, "recorded time must be the broker's")
EVENT_RULES: list[Rule] = [
    ("cleanup.policy", _equal, "compaction would drop answers and records (law 1)"),
    ("max.message.bytes", _at_least, "a dead letter or a batch would not fit"),
]
LASTING_RULES: list[Rule] = [
    ("retention.ms", _equal, "records still needed would be deleted by age (law 1)"),
    ("retention.bytes", _equal, "records still needed would be deleted by size (law 1)"),
]
TABLE_RULES: list[Rule] = [
    ("cleanup.policy", _equal, "rows still needed would be deleted, or none ever"),
    ("delete.retention.ms", _at_least, "a store that was away would miss tombstones"),
]


def _rules(spec: TopicSpec) -> list[Rule]:
    if spec.short == "raw":
        broker_time = spec.config["message.timestamp.type"] == "LogAppendTime"
        return RAW_RULES + ([BROKER_TIME] if broker_time else [])
    if spec.short in ANY_TABLE or spec.short == "control":
        return TABLE_RULES
    return EVENT_RULES + (LASTING_RULES if spec.short in NEVER_EXPIRES else [])


def check_cluster(specs: Iterable[TopicSpec], actual: Mapping[str, TopicState]) -> list[Problem]:
    """What in a cluster breaks a law, in the order of `specs`. Differences that break none are not named.

    A setting that is missing from `actual` is a problem too: nothing is assumed.
    """
    problems = []
    for spec in specs:
        state = actual.get(spec.name)
        if state is None:
            problems.append(Problem(spec.name, "topic", "there", "missing", "`waybill up` creates its topics"))
            continue
        if state.partitions != spec.partitions:
            why = "stages and tables are joined by partition number; declare that count, or use new topics"
            problems.append(Problem(spec.name, "partitions", str(spec.partitions), str(state.partitions), why))
        for setting, holds, why in _rules(spec):
            expected, value = spec.config[setting], state.config.get(setting)
            if value is None or not holds(value, expected):
                least = "at least " if holds is _at_least else ""
                problems.append(Problem(spec.name, setting, least + expected, value or "not known", why))
    return problems
