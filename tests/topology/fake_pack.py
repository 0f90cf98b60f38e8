"""A pack with four fields and one option, so that topology tests need no domain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tests.stub_pack import StubPack


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(5, ge=1, description="largest value")


class FakePack(StubPack):
    name = "fake"
    fields = frozenset({"sensor_id", "event_time", "product", "revision"})

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings


def build(*, options: Mapping[str, Any], profile: str) -> FakePack:
    return FakePack({**Options.model_validate(options).model_dump(), "profile": profile})
