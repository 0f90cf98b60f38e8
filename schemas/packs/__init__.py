"""The domain packs, by the name a pipeline's YAML uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, cast

from pydantic import BaseModel

from schemas.pack import Pack

PACKS: Mapping[str, str] = {"cold_chain": "schemas.packs.cold_chain", "epcis": "schemas.packs.epcis"}


def load_pack(name: str, options: Mapping[str, Any], profile: str) -> Pack:
    """The pack `name`, configured. `options` is the pack's own part of the pipeline file.

    Raises KeyError for an unknown pack and pydantic.ValidationError for wrong options.
    """
    build = cast(Callable[..., Pack], import_module(PACKS[name]).build)
    return build(options=options, profile=profile)


def options_model(name: str) -> type[BaseModel] | None:
    """The model of a pack's options, for messages that say what is allowed; None for a pack that offers none."""
    return cast(type[BaseModel] | None, getattr(import_module(PACKS[name]), "Options", None))
