"""The frozen models behind a pipeline's YAML. Every field says what it is, in which unit, and why it exists.

Three words that must not be mixed: `product` is a set of temperature limits (an option of the cold-chain pack),
`batching` says when a batch is full, `profile` says how strict validation is.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from schemas.settings import Number, Settings, Whole
from schemas.wording import RulesBroken
from topology.bucket import Encryption, check_bucket
from topology.partner import HttpPartner, Partner

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]


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
        None, gt=0, description="seconds of wall clock after which an idle window closes; default 2 x linger"
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
        description="to open one submission and read a record, and again for each other record that is waited for; by "
        "the clock and of processor time",
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


Profile = Literal["strict", "lenient", "schema", "stateful"]
STATEFUL: Profile = "stateful"
"""What packs take as `strict`, with state rules: `items` need not be named then."""
Lane = Literal["high", "standard", "low"]
LANES: tuple[Lane, ...] = get_args(Lane)
"""The highest first."""
STANDARD: Lane = "standard"
"""The lane of what names none; it bears the pipeline's own names."""
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


class Pipeline(Settings):
    """One flow from raw to sent, described by one YAML file."""

    pipeline: Name = Field(description="name of the flow; the topics' names begin with it")
    version: Whole = Field(1, ge=1, description="topology version, raised by every change")
    application: Name = Field("waybill", description="prefix of every topic but raw, and of the consumer groups")
    region: Name | None = Field(None, description="prefix of every topic, for data that must stay in a region")
    pack: str = Field(description="rules of the domain, by the name of an installed pack")
    profile: Profile = Field(
        "strict",
        description="how strict validation is; what each means stands in the pack's page. `stateful`, where the pack "
        "has state rules: `strict` with `items`, whose domain is the field of `partition_by`, or none with one "
        "partition, unless `items` says otherwise",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="the pack's own settings")
    raw: Topic = Field(default_factory=Topic)
    lanes: list[Lane] = Field(
        default=[STANDARD],
        min_length=1,
        description="priority lanes, in any order, `standard` among them; each has topics, tables and order of its "
        "own, and a higher one goes first without starving the lower",
    )
    partitions: Whole = Field(4, ge=1, le=1024, description="partitions of every topic of the pipeline")
    replication: Whole = Field(1, ge=1, le=9, description="replication factor of the topics")
    partition_by: list[str] = Field(min_length=1, description="fields that choose the partition of `validated`")
    idempotency: list[str] = Field(min_length=1, description="fields that make the idempotency key")
    group_by: list[str] = Field(default_factory=list, description="fields that make a group; none: one group")
    on_conflict: Literal["conflict", "supersede"] = Field(
        "conflict", description="same key, other content: refuse it, or let it replace the older version"
    )
    ordering_by: str | None = Field(None, description="field that orders versions of a key under supersede")
    keep: Number = Field(7 * 86_400.0, gt=0, description="seconds of stream time in which a repeated record is known")
    event_ahead: Number | None = Field(
        None,
        ge=0,
        description="seconds that an event may lie after the time at which its submission was taken in (that of its "
        "message on raw); beyond it the record is refused with `EVENT_IN_FUTURE`; none: as far as it likes",
    )
    items: ItemHistory | None = Field(
        None, description="state rules; none: each record is judged by itself, unless `profile` is `stateful`"
    )
    batching: Batching = Field(default_factory=Batching)
    chunk: Chunking = Field(default_factory=Chunking)
    parser: Parsing = Field(default_factory=Parsing)
    partner: Name | PartnerRule = Field(description="where batches go")
    retry: Retry = Field(default_factory=Retry)
    claims: ClaimStore = Field(default_factory=ClaimStore)
    ordering: Literal["group", "none"] = Field(
        "group", description="whether a batch that waits for its partner holds back the later ones of its group"
    )
    max_unsettled: Whole = Field(
        20_000,
        ge=1,
        description="batches without a final answer that a worker holds, about 2 KB each, in equal shares for its "
        "partitions; a partition whose share is full is not read on",
    )
    acks: Literal["record", "batch"] = Field(
        "record", description="on `sent`: a message per delivered record, or one per batch that lists its records"
    )
    deterministic: bool = Field(False, description="law 6: batches depend on content and recorded time alone")
    store: Literal["memory", "rocksdb"] = Field("memory", description="local store of the compacted tables")
    registry: str | None = Field(None, description="URL of a schema registry; none: Avro single-object encoding")
    partners: dict[str, Partner] = Field(default_factory=dict, description="filled in from partners.yaml")

    @model_validator(mode="before")
    @classmethod
    def _presets(cls, data: Any) -> Any:
        """`batching: telemetry-run` is short for that preset; `batching: {base: telemetry-run, linger: 5}` edits it."""
        if isinstance(data, dict) and "batching" in data:
            batching = data["batching"]
            at: tuple[str, ...] = ("batching",)
            if isinstance(batching, dict) and "base" in batching:
                at, base = (*at, "base"), batching["base"]
                changes = {key: value for key, value in batching.items() if key != "base"}
            elif isinstance(batching, str):
                base, changes = batching, {}
            else:
                return data
            if not isinstance(base, str) or base not in BATCHING_PRESETS:
                raise RulesBroken([(at, f"{base!r} is no preset; allowed: {', '.join(BATCHING_PRESETS)}")])
            data = {**data, "batching": {**BATCHING_PRESETS[base].model_dump(), **changes}}
        return data

    @model_validator(mode="before")
    @classmethod
    def _stateful(cls, data: Any) -> Any:
        """`profile: stateful` says `items`, too."""
        return {**data, "items": items_of(data)} if isinstance(data, dict) and data.get("profile") == STATEFUL else data

    @model_validator(mode="after")
    def _rules(self) -> Pipeline:
        """Rules between fields; each names the law or rule it keeps."""
        wrong: list[tuple[tuple[str | int, ...], str]] = []
        if stray := [f for f in self.partition_by if f not in self.idempotency]:
            wrong.append((("partition_by",), f"{stray} must be among idempotency {self.idempotency}"))
        if self.on_conflict == "supersede":
            if stray := [f for f in self.group_by if f not in self.idempotency]:
                wrong.append((("group_by",), f"{stray} must be among idempotency with on_conflict: supersede"))
            if self.ordering != "group":
                wrong.append((("ordering",), "must be `group` with on_conflict: supersede"))
            if self.ordering_by is None:
                wrong.append((("ordering_by",), "required with on_conflict: supersede"))
        wrong += self._item_rules()
        if isinstance(self.partner, PartnerRule) and self.partner.by not in self.group_by:
            what = f"{self.partner.by!r} must be among group_by, so that a batch has one partner"
            wrong.append((("partner", "by"), what))
        if self.deterministic:
            if self.raw.timestamps != "log-append":
                wrong.append((("raw", "timestamps"), "deterministic needs log-append (law 6)"))
            if self.batching.max_reread is None:
                wrong.append((("batching", "max_reread"), "required with deterministic (law 6)"))
            if self.partitions != 1:
                wrong.append((("partitions",), "deterministic needs 1 (law 6)"))
        if self.keep <= 2 * self.batching.linger:
            what = f"must be more than twice batching.linger ({self.batching.linger:g} s), or open windows could expire"
            wrong.append((("keep",), what))
        longest_chunk = self.chunk.seconds + 2 * (self.parser.seconds + PARSER_START_SECONDS)
        if longest_chunk > HAND_OVER_SECONDS:
            what = (
                f"with twice parser.seconds ({self.parser.seconds:g} s) must be at most "
                f"{HAND_OVER_SECONDS - 2 * PARSER_START_SECONDS:g} s, or a slow parser would end the worker"
            )
            wrong.append((("chunk", "seconds"), what))
        for name, partner in self.partners.items():
            if partner.body == "record" and self.batching.max_records != 1:
                what = f"must be 1: partner {name} takes one record at a time (`body: record`)"
                wrong.append((("batching", "max_records"), what))
            if isinstance(partner, HttpPartner) and partner.adaptive is not None:
                least, most = partner.adaptive.min_records, self._most_records(partner)
                if least > most:
                    what = f"a batch for partner {name} has {most} records at most; its adaptive.min_records is {least}"
                    wrong.append((("batching", "max_records"), f"{what}: lower it to {most} or less"))
        if STANDARD not in self.lanes or len(set(self.lanes)) < len(self.lanes):
            wrong.append((("lanes",), f"must name each lane once and hold `{STANDARD}`, the lane of what names none"))
        own = [self.topic(short) for short in ANY_NAMES]
        if self.raw_topic in [*own, CONTROL_TOPIC]:
            wrong.append(
                (("raw", "topic"), f"{self.raw_topic!r} is written by the pipeline itself; it would read its own")
            )
        longest = max([*own, self.raw_topic], key=len)
        if len(self.lanes) > 1:
            longest += f".{max(self.lanes, key=len)}"  # see topology/lanes.py
        if len(longest) > 249:
            wrong.append((("pipeline",), f"topic {longest} has {len(longest)} characters; Kafka allows 249"))
        if wrong:
            raise RulesBroken(wrong)
        return self

    def _item_rules(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """All records about a thing must be in one partition, in one order (ADR 22)."""
        if self.items is None:
            return
        if self.on_conflict != "conflict":
            yield ("on_conflict",), "must be `conflict` with items: what a replaced version did cannot be taken back"
        if self.profile == "schema":
            yield ("profile",), "must be strict or lenient with items: `schema` asks for no more than the schemas do"
        if len(self.lanes) > 1:
            yield ("lanes",), "must be one with items: each lane has an order and tables of its own"
        if self.items.wait and self.deterministic:
            yield (
                ("items", "wait"),
                "must be 0 with deterministic: where a record comes back is chance (law 6)",
            )
        if self.items.wait >= self.keep:
            yield ("items", "wait"), f"must be less than keep ({self.keep:g} s): a record must not outwait its repeats"
        domain = self.items.domain
        if domain is None and self.partitions != 1:
            yield ("partitions",), "must be 1 with items of no domain: a thing's records lie in one partition"
        if domain is not None and self.partition_by != [domain]:
            yield ("partition_by",), f"must be [{domain}], the domain of items: a thing's records lie in one partition"

    # Names. One place, so that no two parts of the program spell a topic differently.

    def _regional(self, name: str) -> str:
        return f"{self.region}.{name}" if self.region else name

    @property
    def raw_topic(self) -> str:
        """The input topic: publishers know it, so it carries no application."""
        return self.raw.topic or self._regional(f"{self.pipeline}.raw")

    def topic(self, short: str) -> str:
        """Full name of a topic of this pipeline, from its short name (`validated`, `dead-letter`, ...)."""
        if short == "raw":
            return self.raw_topic
        if short not in ANY_NAMES:
            raise KeyError(f"{short!r} is no topic of a pipeline; there are raw, {', '.join(ANY_NAMES)}")
        return self._regional(f"{self.application}.{self.pipeline}.{short}")

    @property
    def tables(self) -> tuple[str, ...]:
        """Short names of its tables."""
        return TABLES if self.items is None else ANY_TABLE

    def source_topic(self, source: str) -> str:
        """The table of a source: what it has published. One for each, so that the open transaction of one hides no row
        of another's."""
        return self._regional(f"{self.application}.{self.pipeline}.source.{source}")

    def group_id(self, stage: str) -> str:
        """Consumer group of a stage (TX2)."""
        return self._regional(f"{self.application}.{self.pipeline}.{stage}")

    def transactional_id(self, stage: str, slot: int, thread: int = 0) -> str:
        """Stable over restarts, so that a restarted worker clears its predecessor's open transaction (TX2)."""
        return f"{self.group_id(stage)}.{slot}.{thread}"

    # Decisions made once, in validate (VA1).

    def group_of(self, fields: Mapping[str, str]) -> str:
        """The group of a record: its group_by values joined by `|`; `all` where there are none.

        A `|` or `\\` within a value gets a `\\` before it: no two lists of values make one group, or a batch could hold
        records of two partners.
        """
        return "|".join(fields[name].replace("\\", "\\\\").replace("|", "\\|") for name in self.group_by) or "all"

    def partner_of(self, fields: Mapping[str, str]) -> str:
        """The partner of a record."""
        if isinstance(self.partner, str):
            return self.partner
        return self.partner.map.get(fields[self.partner.by], self.partner.default)

    # How many records a batch may have: the batch stage cuts by it, and dispatch decides caps within it.

    def _most_records(self, partner: HttpPartner) -> int:
        most = self.batching.max_records
        return most if partner.max_records is None else min(most, partner.max_records)

    def cap_for(self, partner: str, told: int | None) -> int:
        """Records in a batch for a partner, where the last cap message said `told` (None: there was none). It is
        within the partner's bounds whatever was told, and without `adaptive` nothing told counts."""
        found = self.partners.get(partner)
        if not isinstance(found, HttpPartner) or found.adaptive is None:
            return self.batching.max_records
        most = self._most_records(found)
        return most if told is None else min(most, max(found.adaptive.min_records, told))

    @property
    def partner_names(self) -> list[str]:
        """Every partner this pipeline may send to, sorted."""
        if isinstance(self.partner, str):
            return [self.partner]
        return sorted({*self.partner.map.values(), self.partner.default})


def items_of(data: Mapping[str, Any]) -> Any:
    """What a pipeline's file says of `items`, with what its profile says in its place; None: no state rules."""
    items = data.get("items")
    if data.get("profile") != STATEFUL or not isinstance(items, dict | None):
        return items
    by = data.get("partition_by")
    several = data.get("partitions", Pipeline.model_fields["partitions"].default) != 1
    domain = by[0] if several and isinstance(by, list) and len(by) == 1 else None
    return {"domain": domain} | (items or {})


EVENT_TOPICS = ("validated", "batched", "sent", "dead-letter", "review", "parked", "audit")
TABLES = ("idempotency", "windows", "heads", "delivery")
"""Of every pipeline."""
ANY_TABLE = (*TABLES, "items", "waiting")
"""Those of pipelines with state rules, too."""
SHORT_NAMES = EVENT_TOPICS + TABLES
ANY_NAMES = EVENT_TOPICS + ANY_TABLE
CONTROL_TOPIC = "waybill.control"


def partition_for(key: str, partitions: int) -> int:
    """The partition of a key: CRC-32 of its UTF-8 bytes modulo the count, as librdkafka's `consistent` does."""
    return partition_of(key.encode(), partitions)


def partition_of(key: bytes, partitions: int) -> int:
    """The same of a key's bytes."""
    return zlib.crc32(key) % partitions


def is_name(text: str) -> bool:
    """Whether a text may name a pipeline or partner."""
    return re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", text) is not None
