"""The pack of a pipeline, configured as the pipeline's file says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from schemas.pack import Pack
from schemas.packs import load_pack
from topology.model import Pipeline


def pack_builder(pipeline: Pipeline) -> Callable[[], Pack]:
    """What makes a pipeline's pack, here or in another process."""
    return partial(load_pack, pipeline.pack, pipeline.options, pipeline.profile, state=pipeline.items is not None)
