"""Owns what the lanes of a pipeline are: pipelines derived from the declared one, equal to it but for their names.

Everything that keeps a record apart by name (topics, groups, transactional ids, tables, heads, chains, local stores) is
apart for each lane, so order, duplicates and books are a lane's own. `standard` bears the declared names: a pipeline
without lanes is that lane alone, and one that gets lanes later keeps what it has (ADR 19). Pure.
"""

from __future__ import annotations

from schemas.wording import did_you_mean
from topology.model import LANES, STANDARD, Lane, Pipeline


def lanes_of(pipeline: Pipeline) -> dict[Lane, Pipeline]:
    """The lanes by name, the highest first; of a pipeline without lanes, and of a lane, itself as `standard`."""
    return {lane: _in_lane(pipeline, lane) for lane in LANES if lane in pipeline.lanes}


def each_lane(pipelines: list[Pipeline]) -> list[Pipeline]:
    """The lanes of several pipelines, each pipeline's together."""
    return [lane for pipeline in pipelines for lane in lanes_of(pipeline).values()]


def lane_named(pipeline: Pipeline, lane: str | None) -> Pipeline:
    """One lane; None: `standard`. Raises ValueError, in words, for one that the pipeline does not declare."""
    lanes = {str(name): one for name, one in lanes_of(pipeline).items()}
    found = lanes.get(lane or STANDARD)
    if found is None:
        raise ValueError(f"pipeline {pipeline.pipeline} has no lane {lane!r}{did_you_mean(lane, lanes)}")
    return found


def _in_lane(pipeline: Pipeline, lane: Lane) -> Pipeline:
    if len(pipeline.lanes) == 1:
        return pipeline
    changes: dict[str, object] = {"lanes": [STANDARD]}
    if lane != STANDARD:
        changes["pipeline"] = f"{pipeline.pipeline}.{lane}"
        if pipeline.raw.topic:
            changes["raw"] = pipeline.raw.model_copy(update={"topic": f"{pipeline.raw.topic}.{lane}"})
    return pipeline.model_copy(update=changes)
