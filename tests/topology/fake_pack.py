"""A pack with four fields and one option, so that topology tests need no domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.pack import Columns, Origin, Submission, Unpacked


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: int = Field(5, ge=1, description="largest value")


class FakePack:
    name = "fake"
    version = "1"
    fields = frozenset({"sensor_id", "event_time", "product", "revision"})
    parties: tuple[str, ...] = ()
    media_types: frozenset[str] = frozenset()

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings

    def heavy(self, submission: Submission) -> bool:
        return False

    def unpack(self, submission: Submission) -> Unpacked:
        raise NotImplementedError

    def singles(self, values: Sequence[bytes | None], origins: Sequence[Origin] | None = None) -> Columns:
        raise NotImplementedError

    def summarize(self, payloads: Sequence[bytes]) -> Mapping[str, Any]:
        raise NotImplementedError


def build(*, options: Mapping[str, Any], profile: str) -> FakePack:
    return FakePack({**Options.model_validate(options).model_dump(), "profile": profile})
