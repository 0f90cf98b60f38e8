"""The frozen model behind a pipeline's YAML: its sections together, the rules between them, and the names that follow.

Three words that must not be mixed: `product` is a set of temperature limits (an option of the cold-chain pack),
`batching` says when a batch is full, `profile` says how strict validation is.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError, ValidationInfo, model_validator

from schemas.profiles import STATEFUL, Profile
from schemas.settings import Number, Settings, Whole
from schemas.wording import BrokenRule, RulesBroken
from topology.partner import HttpPartner, Partner
from topology.sections import (
    HAND_OVER_SECONDS,
    PARSER_START_SECONDS,
    Batching,
    Chunking,
    ClaimStore,
    ItemHistory,
    Name,
    Parsing,
    PartnerRule,
    Retry,
    Topic,
    with_preset,
)

_WHOLE: TypeAdapter[int] = TypeAdapter(Whole)
DOUBTED: Final = "doubted"
FEEDS: Final = "profiles"
"""Option of packs that gives partners' feeds profiles of their own."""
Lane = Literal["high", "standard", "low"]
LANES: tuple[Lane, ...] = get_args(Lane)
"""The highest first."""
STANDARD: Lane = "standard"
"""The lane of what names none; it bears the pipeline's own names."""


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
    partition_by: list[str] = Field(
        min_length=1, description="fields that choose the partition of `validated`; each among `idempotency`"
    )
    idempotency: list[str] = Field(min_length=1, description="fields that make the idempotency key")
    group_by: list[str] = Field(
        default_factory=list,
        description="fields that make a group; a batch holds one group and one event date (UTC); none: one group",
    )
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
        if isinstance(data, dict) and "batching" in data:
            return {**data, "batching": with_preset(data["batching"])}
        return data

    @model_validator(mode="before")
    @classmethod
    def _stateful(cls, data: Any) -> Any:
        """`profile: stateful` says `items`, too."""
        return {**data, "items": items_of(data)} if isinstance(data, dict) and data.get("profile") == STATEFUL else data

    @model_validator(mode="after")
    def _rules(self, info: ValidationInfo) -> Pipeline:
        """Rules between fields; each names the law or rule it keeps. Those that read a field in the context's `doubted`
        are left out (see `rules_broken`)."""
        doubted = (info.context or {}).get(DOUBTED, frozenset())
        wrong = [broken for rules, read in READ_BY.items() if not read & doubted for broken in rules(self)]
        if wrong:
            raise RulesBroken(wrong)
        return self

    def _key_rules(self) -> Iterator[BrokenRule]:
        """All versions of a key must be in one partition."""
        if stray := [f for f in self.partition_by if f not in self.idempotency]:
            yield ("partition_by",), f"{stray} must be among idempotency {self.idempotency}"

    def _version_rules(self) -> Iterator[BrokenRule]:
        """Versions that replace each other must be in one group."""
        if self.on_conflict == "supersede":
            if stray := [f for f in self.group_by if f not in self.idempotency]:
                yield ("group_by",), f"{stray} must be among idempotency with on_conflict: supersede"
            if self.ordering != "group":
                yield ("ordering",), "must be `group` with on_conflict: supersede"
            if self.ordering_by is None:
                yield ("ordering_by",), "required with on_conflict: supersede"

    def _item_rules(self) -> Iterator[BrokenRule]:
        """All records about a thing must be in one partition, in one order (ADR 22)."""
        if self.items is None:
            return
        if self.on_conflict != "conflict":
            yield ("on_conflict",), "must be `conflict` with items: what a replaced version did cannot be taken back"
        for where, profile in ((("profile",), self.profile), *_profiles_of_feeds(self.options)):
            if profile == "schema":
                yield where, "must be strict or lenient with items: `schema` asks for no more than the schemas do"
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

    def _batch_rules(self) -> Iterator[BrokenRule]:
        """A batch has one partner; with `deterministic` it depends on content and recorded time alone."""
        if isinstance(self.partner, PartnerRule) and self.partner.by not in self.group_by:
            yield ("partner", "by"), f"{self.partner.by!r} must be among group_by, so that a batch has one partner"
        if self.deterministic:
            if self.raw.timestamps != "log-append":
                yield ("raw", "timestamps"), "deterministic needs log-append (law 6)"
            if self.batching.max_reread is None:
                yield ("batching", "max_reread"), "required with deterministic (law 6)"
            if self.partitions != 1:
                yield ("partitions",), "deterministic needs 1 (law 6)"

    def _time_rules(self) -> Iterator[BrokenRule]:
        """Times that must fit each other."""
        if self.keep <= 2 * self.batching.linger:
            what = f"must be more than twice batching.linger ({self.batching.linger:g} s), or open windows could expire"
            yield ("keep",), what
        longest_chunk = self.chunk.seconds + 2 * (self.parser.seconds + PARSER_START_SECONDS)
        if longest_chunk > HAND_OVER_SECONDS:
            what = (
                f"with twice parser.seconds ({self.parser.seconds:g} s) must be at most "
                f"{HAND_OVER_SECONDS - 2 * PARSER_START_SECONDS:g} s, or a slow parser would end the worker"
            )
            yield ("chunk", "seconds"), what

    def _partner_rules(self) -> Iterator[BrokenRule]:
        """Batches must have sizes that their partners take."""
        for name, partner in self.partners.items():
            if partner.body == "record" and self.batching.max_records != 1:
                what = f"must be 1: partner {name} takes one record at a time (`body: record`)"
                yield ("batching", "max_records"), what
            if isinstance(partner, HttpPartner) and partner.adaptive is not None:
                least, most = partner.adaptive.min_records, self._most_records(partner)
                if least > most:
                    what = f"a batch for partner {name} has {most} records at most; its adaptive.min_records is {least}"
                    yield ("batching", "max_records"), f"{what}: lower it to {most} or less"

    def _name_rules(self) -> Iterator[BrokenRule]:
        """Topics must be apart from each other, and have names that Kafka takes."""
        if STANDARD not in self.lanes or len(set(self.lanes)) < len(self.lanes):
            yield ("lanes",), f"must name each lane once and hold `{STANDARD}`, the lane of what names none"
        own = [self.topic(short) for short in ANY_NAMES]
        if self.raw_topic in [*own, CONTROL_TOPIC]:
            yield ("raw", "topic"), f"{self.raw_topic!r} is written by the pipeline itself; it would read its own"
        longest = max([*own, self.raw_topic], key=len)
        if len(self.lanes) > 1:
            longest += f".{max(self.lanes, key=len)}"  # see topology/lanes.py
        if len(longest) > 249:
            yield ("pipeline",), f"topic {longest} has {len(longest)} characters; Kafka allows 249"

    def with_profile(self, profile: Profile) -> Pipeline:
        """The same with one profile for whatever comes."""
        options = {name: value for name, value in self.options.items() if name != FEEDS}
        return self.model_copy(update={"profile": profile, "options": options})

    # Names. One place, so that no two parts of the program spell a topic differently.

    def _regional(self, name: str) -> str:
        return f"{self.region}.{name}" if self.region else name

    @property
    def raw_topic(self) -> str:
        """The input topic: publishers know it, so it carries no application."""
        return self.raw.topic or self._regional(f"{self.pipeline}.raw")

    def topic(self, short: str) -> str:
        """Full name of a topic of this pipeline, from its short name (`validated`, `dead-letter`, ...); of `control`
        that of the one which all pipelines share."""
        if short == "raw":
            return self.raw_topic
        if short == "control":
            return CONTROL_TOPIC
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
    def idle_seconds(self) -> float | None:
        """Seconds by the worker's clock after which a window closes; None: with `deterministic` none does by it."""
        return None if self.deterministic else self.batching.idle or 2 * self.batching.linger

    @property
    def partner_names(self) -> list[str]:
        """Every partner this pipeline may send to, sorted."""
        if isinstance(self.partner, str):
            return [self.partner]
        return sorted({*self.partner.map.values(), self.partner.default})


READ_BY: Final[Mapping[Callable[[Pipeline], Iterator[BrokenRule]], frozenset[str]]] = {
    Pipeline._key_rules: frozenset({"partition_by", "idempotency"}),
    Pipeline._version_rules: frozenset({"idempotency", "group_by", "on_conflict", "ordering", "ordering_by"}),
    Pipeline._item_rules: frozenset(
        {"items", "on_conflict", "profile", "options", "lanes", "deterministic", "keep", "partitions", "partition_by"}
    ),
    Pipeline._batch_rules: frozenset({"partner", "group_by", "deterministic", "raw", "batching", "partitions"}),
    Pipeline._time_rules: frozenset({"keep", "batching", "chunk", "parser"}),
    Pipeline._partner_rules: frozenset({"partners", "batching"}),
    Pipeline._name_rules: frozenset({"lanes", "pipeline", "application", "region", "raw"}),
}
"""The rules between fields, and the fields that each of them reads."""


def rules_broken(data: Mapping[str, Any], doubted: frozenset[str]) -> list[BrokenRule]:
    """The rules that a pipeline breaks of which some fields are wrong in themselves, `doubted`: those between the
    others."""
    stand_ins = {"pipeline": "x", "pack": "x", "partition_by": ["x"], "idempotency": ["x"], "partner": "x"}
    known = {name: value for name, value in data.items() if name in Pipeline.model_fields and name not in doubted}
    filled = {**{name: stand_ins[name] for name in stand_ins if name in doubted}, **known}
    try:
        Pipeline.model_validate(filled, context={DOUBTED: doubted})
    except ValidationError as error:
        causes = [detail.get("ctx", {}).get("error") for detail in error.errors(include_url=False)]
        return [broken for cause in causes if isinstance(cause, RulesBroken) for broken in cause.rules]
    return []


def _profiles_of_feeds(options: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """The profiles that a pack's options give feeds, each behind its place in the file. What is no such list is left to
    the pack."""
    feeds = options.get(FEEDS)
    for place, feed in enumerate(feeds if isinstance(feeds, list) else ()):
        if isinstance(feed, dict):
            yield ("options", FEEDS, place, "profile"), feed.get("profile")


def items_of(data: Mapping[str, Any]) -> Any:
    """What a pipeline's file says of `items`, with what its profile says in its place; None: no state rules."""
    items = data.get("items")
    if data.get("profile") != STATEFUL or not isinstance(items, dict | None):
        return items
    by = data.get("partition_by")
    domain = by[0] if isinstance(by, list) and len(by) == 1 and isinstance(by[0], str) else None
    return {"domain": None if has_one_partition(data) else domain} | (items or {})


def has_one_partition(data: Mapping[str, Any]) -> bool:
    """Whether a pipeline's file asks for one partition, be it by a variable."""
    try:
        return _WHOLE.validate_python(data.get("partitions")) == 1
    except ValidationError:
        return False  # the default, or what the model refuses


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
