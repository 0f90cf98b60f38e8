"""What is served: a pipeline, the topics of its lanes, and how far each is behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from topology.model import Pipeline
from waybill.gateway import capture
from waybill.gateway.backlog import Backlog


class LaneRoute(NamedTuple):
    """Where submissions of one lane go."""

    topic: str
    backlog: Backlog


class Route(NamedTuple):
    """A pipeline that is served."""

    pipeline: Pipeline
    media_types: frozenset[str]
    lanes: Mapping[str, LaneRoute]
    """By name; a pipeline without lanes has `standard` alone."""

    def backlog(self) -> int | None:
        """Submissions that wait in all lanes; None where it has not been known for a while."""
        waiting = [lane.backlog.now() for lane in self.lanes.values()]
        return None if None in waiting else sum(filter(None, waiting))

    @property
    def captures(self) -> bool:
        """Whether it has the capture interface of EPCIS."""
        return self.pipeline.pack == capture.PACK
