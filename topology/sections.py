"""The frozen models of the sections of a pipeline's YAML; the whole, and the rules between them, are in `model.py`.

Every field says what it is, in which unit, and why it exists.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from schemas.settings import Number, Settings, Whole
from schemas.wording import RulesBroken
from topology.bucket import Encryption, check_bucket

_NAME = r"^[a-z0-9][a-z0-9._-]{0,99}$"
Name = Annotated[str, Field(pattern=_NAME)]
"""Of a pipeline, a partner or a topic."""


def is_name(text: str) -> bool:
    """Whether a text may name a pipeline or partner."""
    return re.fullmatch(_NAME, text) is not None


HAND_OVER_SECONDS = 60.0
"""Within which a stage answers for a chunk: longer means that it hangs, and nobody may touch its state. Far below
max.poll.interval.ms (300 s)."""
PARSER_START_SECONDS = 10.0
"""For a new parser process to load its pack, on a busy machine; usually it takes a fraction of a second."""


class Batching(Settings):
    """When a window is sealed (BA5). The named presets are the two profiles of trap T9."""

    max_records: Whole = Field(5000, ge=1, le=100_000, description="records in a batch; cut exactly here")
    max_bytes: Whole = Field(
        8 * 2**20,
        ge=1024,
        le=24 * 2**20,
        description="bytes of the members' messages, and of payloads kept by claim check",
    )
    linger: Number = Field(
        10.0,
        gt=0,
        le=86_400,
        description="seconds of stream time from a window's first record to its sealing",
    )
    idle: Number | None = Field(
        None,
        gt=0,
        description="seconds by the worker's clock from a window's first record to its sealing; default 2 x linger",
    )
    max_open_bytes: Whole = Field(
        256 * 2**20,
        ge=2**20,
        description="bytes held in all open windows of a worker before the oldest is sealed",
    )
    max_reread: Whole | None = Field(
        None,
        ge=1,
        description="records between the oldest open one and the newest; required with deterministic",
    )
    max_reread_bytes: Whole = Field(
        256 * 2**20,
        ge=2**20,
        description="bytes of messages between them; in force with max_reread",
    )


BATCHING_PRESETS = {
    "telemetry-default": Batching(max_records=5000, linger=10.0),
    "telemetry-run": Batching(max_records=2000, linger=15.0),
}


def with_preset(given: Any) -> Any:
    """What `batching` says, a preset that it names taken in: `telemetry-run` is short for that preset, and
    `{base: telemetry-run, linger: 5}` edits it. Raises RulesBroken for a name of none."""
    at: tuple[str, ...] = ("batching",)
    if isinstance(given, dict) and "base" in given:
        at, base = (*at, "base"), given["base"]
        changes = {key: value for key, value in given.items() if key != "base"}
    elif isinstance(given, str):
        base, changes = given, {}
    else:
        return given
    if not isinstance(base, str) or base not in BATCHING_PRESETS:
        raise RulesBroken([(at, f"{base!r} is no preset; allowed: {', '.join(BATCHING_PRESETS)}")])
    return {**BATCHING_PRESETS[base].model_dump(), **changes}


class Chunking(Settings):
    """What a stage takes from Kafka in one go and commits in one transaction."""

    records: Whole = Field(20_000, ge=1, description="messages in a chunk at most")
    bytes: Whole = Field(32 * 2**20, ge=1024, description="message bytes in a chunk at most, checked between slices")
    linger: Number = Field(0.01, ge=0, le=5, description="seconds to wait for more once a first message is there")
    seconds: Number = Field(5.0, gt=0, le=60, description="work on one chunk is cut here; the rest opens the next")


class Parsing(Settings):
    """Limits of the process that reads heavy submissions (VA3). What breaks one twice, the second time in a fresh
    process, is a dead letter: a submission where it is opened, a record where it is read."""

    seconds: Number = Field(
        10.0,
        gt=0,
        le=20,
        description="for each step that is waited for: of opening a submission (most packs open one in a single step) "
        "and reading a record, or reading another record; by the clock and of processor time",
    )
    memory: Whole = Field(
        2**30, ge=2**27, description="bytes of address space of the parser process, its own code included"
    )
    output: Whole = Field(
        64 * 2**20, ge=1024, description="bytes of one record, in the form in which it is handed over"
    )


class Topic(Settings):
    """Settings of the pipeline's input topic."""

    topic: Name | None = Field(None, description="name of the raw topic; default <pipeline>.raw")
    timestamps: Literal["log-append", "create"] = Field(
        "log-append",
        description="whose time counts: the broker's, or with `create` the publisher's, at most `max_ahead` ahead "
        "(message.timestamp.type of raw)",
    )
    max_ahead: Number = Field(60.0, ge=0, description="seconds a create-time stamp may lie ahead of the worker's clock")
    retention: Number | None = Field(None, gt=0, description="seconds raw is kept; none: for ever")
    max_message_bytes: Whole = Field(32 * 2**20, ge=1024, le=256 * 2**20, description="largest submission")


class PartnerRule(Settings):
    """Chooses the partner from one field of the record; fields listed here must be among group_by."""

    by: str = Field(description="the field to look at")
    map: dict[str, Name] = Field(description="value -> partner")
    default: Name = Field(description="partner of every other value")


class ClaimStore(Settings):
    """Where payloads and originals are kept that are too large for a topic (VA4), by content."""

    url: str | None = Field(
        None,
        pattern=r"^[a-z][a-z0-9]*:.+$",
        description="folder or bucket, like that of an object-store partner, that every worker of the pipeline can "
        "reach; none: the folder `claims` in each worker's home",
    )
    options: dict[str, str] = Field(
        default_factory=dict, description="obstore settings; ${ENV} is taken from the environment"
    )
    encryption: Encryption | None = Field(None, description="how S3 encrypts them; none: as the bucket says")
    timeout: Number = Field(15.0, gt=0, le=20, description="seconds for one request")

    @model_validator(mode="after")
    def _of_s3(self) -> ClaimStore:
        check_bucket(self.url, self.options, encryption=self.encryption)
        return self


class ItemHistory(Settings):
    """State rules: a record passes only where the pack's rules let it follow those before it about the same things."""

    domain: str | None = Field(
        None,
        description="field whose values have each a history of their own, and which must be the one in `partition_by`; "
        "none: the whole pipeline has one, and one partition",
    )
    wait: Number = Field(
        0,
        ge=0,
        description="seconds that a record waits for what must come before it, in the time of the records; by the "
        "wall clock after twice as long; 0: it is refused at once",
    )


BackoffPreset = Literal["documents", "inventory", "packets"]


class Retry(Settings):
    """Attempts and waits of deliveries."""

    backoff: BackoffPreset = Field(
        "packets",
        description="waits between attempts: `documents` 2, 4, 8 s, then 10, each up to half a second longer; "
        "`inventory` 2, 4, 8, … s; `packets` at random between 1 s and 2, 4, 8, … up to 30 s",
    )
    attempts: Whole = Field(3, ge=1, le=100, description="attempts with a known failure before a dead letter")
    unknown_attempts: Whole = Field(
        10,
        ge=1,
        le=1000,
        description="further attempts while the outcome is unknown, before dying as outcome_unknown",
    )
    outage: Number = Field(
        7 * 86_400.0,
        gt=0,
        description="seconds for which a batch waits for a partner that is down as a whole without using up attempts; "
        "then they count again",
    )
    seed: Whole | None = Field(None, description="seed of the jitter; none: from the system")
