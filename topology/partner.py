"""The frozen models behind `partners.yaml`: where batches go, and how each partner wants them.

What a partner's answers mean that say an outcome for each record is said by `RecordAnswers`.
"""

from __future__ import annotations

import re
from string import Formatter
from typing import Annotated, Literal

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from schemas.settings import Number, Settings, Whole
from schemas.wording import RulesBroken
from topology.bucket import Encryption, ObjectLock, check_bucket
from topology.credentials import Auth, Secret, Tls
from topology.deadline import DEADLINE, LONGEST, in_time


def _expression(text: str) -> str:
    try:
        jmespath.compile(text)
    except JMESPathError as error:
        raise ValueError(f"{text!r} is no JMESPath expression: {' '.join(str(error).split())}") from None
    return text


Expression = Annotated[str, AfterValidator(_expression)]
"""A JMESPath expression (https://jmespath.org)."""


class RecordAnswers(Settings):
    """Where in a partner's answer the outcome of each record stands. A record is taken with a status of 2xx or 409,
    refused for good with another 4xx (401, 403, 408, 423, 425 and 429 apart), or by the words given here. What is
    neither leaves the batch as a whole unknown: it is sent again under the same key."""

    statuses: list[Annotated[Whole, Field(ge=200, le=299)]] = Field(
        default=[207], min_length=1, description="2xx statuses whose body holds an answer for each record"
    )
    records: Expression = Field(description="JMESPath to the list of them in the body, e.g. `results`")
    status: Expression = Field("status", description="JMESPath in each to its status: a number or a word")
    id: Expression | None = Field(
        None, description="JMESPath in each to the record it is about; none: they stand in the order of the records"
    )
    by: Literal["id", "key"] = Field(
        "id", description="what `id` finds: the record's id (its raw position) or its idempotency key"
    )
    message: Expression | None = Field(None, description="JMESPath in each to the words for its dead letter")
    taken: list[str] = Field(default=[], description="statuses by which a record was taken, besides 2xx and 409")
    refused: list[str] = Field(default=[], description="statuses by which it was refused for good, besides 4xx")


BodyForm = Literal["batch", "json-array", "json-lines", "avro", "record", "epcis-json", "epcis-xml", "epcis-xml-1.2"]
DOCUMENT_FORMS: frozenset[BodyForm] = frozenset({"epcis-json", "epcis-xml", "epcis-xml-1.2"})
"""Documents of a field, which its pack makes (`schemas.packs.documents`); the others are made of any records."""
BODY = (
    "`batch` one JSON object with the batch's id, summary and records; `json-array` and `json-lines` the records "
    "alone; `avro` an Avro file of them; `record` the one record's own bytes (`max_records: 1`); of the pack epcis, "
    "`epcis-json` and `epcis-xml` an EPCIS 2.0 document in JSON-LD or XML, `epcis-xml-1.2` one of EPCIS 1.2"
)


class BreakerSettings(Settings):
    """When a partner as a whole is left alone. Attempts that fail while it is use up nothing of their batches."""

    failures: Whole = Field(
        3,
        ge=0,
        le=1000,
        description="attempts in a row, of any batches, that fail or end unknown before it opens, at most "
        "`retry.attempts`; 0: it never opens",
    )
    first: Number = Field(1.0, gt=0, le=3600, description="seconds until the partner is tried with one batch")
    longest: Number = Field(
        30.0,
        gt=0,
        le=86_400,
        description="seconds to which it doubles while tries fail; each wait is spread by a fifth",
    )


class Rate(Settings):
    """Attempts per time that a partner allows; they are spread evenly."""

    attempts: Whole = Field(ge=1, description="attempts in `per` seconds")
    per: Number = Field(1.0, gt=0, description="seconds")
    burst: Whole = Field(1, ge=1, description="attempts at once, saved up while there was nothing to send")


class Adaptive(Settings):
    """How the number of records in a batch follows what a partner takes (BAT-07). It begins at the most there may be:
    `batching.max_records`, or the partner's `max_records` if that is less."""

    min_records: Whole = Field(50, ge=1, le=100_000, description="records that a batch may always have")
    step: Whole = Field(
        100, ge=1, le=100_000, description="records more, each time that full batches were taken in time"
    )
    sla: Number | None = Field(
        None,
        gt=0,
        description="seconds in which the partner is to answer; a later answer halves the cap; none: none does",
    )


class Probe(Settings):
    """What `waybill partner test` asks an HTTP partner. The methods are those that change nothing (RFC 9110, 9.2.1)."""

    method: Literal["GET", "HEAD", "OPTIONS"] = Field("GET", description="of the request; it has no body")
    path: str = Field(pattern=r"^/", description="on the server of `url`, e.g. `/health`")


class ObjectStorePartner(Settings):
    """A folder or bucket; objects are created, never overwritten (DEL-04, IDM-05)."""

    kind: Literal["object-store"] = Field(description="a folder or bucket")
    url: str = Field(description="file:///path, s3://bucket, az://container, gs://bucket; relative file:path allowed")
    prefix: str = Field("coldchain", pattern=r"^[A-Za-z0-9._/-]*$", description="first part of every object's path")
    body: BodyForm = Field("batch", description="form of each object, as an HTTP partner's; its name ends accordingly")
    options: dict[str, str] = Field(
        default_factory=dict,
        description="obstore settings, e.g. endpoint, region; ${ENV} is taken from the environment",
    )
    encryption: Encryption | None = Field(None, description="how S3 encrypts the objects; none: as the bucket says")
    object_lock: ObjectLock | None = Field(
        None, description="how long S3 keeps anybody from deleting an object; none: as the bucket says"
    )
    timeout: Number = Field(30.0, gt=0, description="seconds for one attempt, after which its outcome is unknown")
    key_retention: Number | None = Field(None, gt=0, description="seconds; none: an object name is remembered for ever")
    breaker: BreakerSettings = Field(default_factory=BreakerSettings)
    rate: Rate | None = Field(None, description="attempts per time; none: as many as there are")
    deadline: Number | None = Field(None, gt=0, le=LONGEST, description=DEADLINE)
    _in_time = model_validator(mode="after")(in_time)

    @model_validator(mode="after")
    def _of_s3(self) -> ObjectStorePartner:
        check_bucket(self.url, self.options, encryption=self.encryption, object_lock=self.object_lock)
        return self


HEADER = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
"""A field name (RFC 9110, 5.1)."""
PLACES = ("batch", "date", "group", "partner", "pipeline", "records")
"""What a path may name: of the frozen batch, so that every attempt goes to the same place (law 3)."""


def _path(text: str) -> str:
    try:
        found = [(name, spec, conversion) for _, name, spec, conversion in Formatter().parse(text) if name is not None]
    except ValueError as error:
        raise ValueError(f"{text!r} is no template: {error}; allowed: {{{'}, {'.join(PLACES)}}}") from None
    for name, spec, conversion in found:
        if name not in PLACES or spec or conversion:
            raise ValueError(f"{text!r} names {{{name}}}; allowed: {{{'}, {'.join(PLACES)}}}")
    return text


def _line(text: str) -> str:
    if not all(c == "\t" or c.isprintable() for c in text):
        raise ValueError("is no value of a header; allowed: printable text on one line")
    return text


def _header_names(headers: dict[str, str | Secret]) -> dict[str, str | Secret]:
    for name in headers:
        if not re.match(HEADER, name):
            raise ValueError(f"{name!r} is no name of a header; allowed: letters, digits and !#$%&'*+.^_`|~-")
    return headers


HeaderText = Annotated[str, AfterValidator(_line)]
HeaderValue = Annotated[
    Annotated[HeaderText, Tag("text")] | Annotated[Secret, Tag("secret")],
    Discriminator(lambda value: "secret" if isinstance(value, dict | Secret) else "text"),
]


class HttpPartner(Settings):
    """An HTTP API that takes one batch per request."""

    kind: Literal["http"] = Field(description="an HTTP API")
    url: str = Field(pattern=r"^https?://", description="where a batch is sent")
    path: Annotated[str, AfterValidator(_path)] | None = Field(
        None,
        pattern=r"^/",
        description="template behind the URL, e.g. `/batches/{batch}`; it may name {batch} (its id), {date}, {group}, "
        "{partner}, {pipeline}, {records} (how many)",
    )
    method: Literal["POST", "PUT", "PATCH"] = Field("POST", description="of each request; the batch is its body")
    headers: Annotated[dict[str, HeaderValue], AfterValidator(_header_names)] = Field(
        default_factory=dict, description="sent with each request: text, or a secret as `{env: NAME}` or `{file: PATH}`"
    )
    auth: Auth | None = Field(None, description="who we are to the partner; none: nothing is sent")
    tls: Tls | None = Field(
        None, description="certificates; none: the system's authorities, and no certificate of ours"
    )
    body: BodyForm = Field("batch", description=BODY)
    content_type: HeaderText | None = Field(
        None, pattern=r"^[^/ ]+/[^/ ]+", description="of the body; none: the one of its form"
    )
    compression: Literal["none", "gzip"] = Field("none", description="of the body on its way (Content-Encoding)")
    idempotency_header: str = Field(
        "Idempotency-Key", pattern=HEADER, description="header that carries the idempotency key, the batch's id"
    )
    timeout: Number = Field(30.0, gt=0, description="seconds for one attempt, then its outcome is unknown")
    connect_timeout: Number | None = Field(
        None, gt=0, description="seconds to get a connection, then the attempt is a known failure; none: `timeout`"
    )
    read_timeout: Number | None = Field(
        None, gt=0, description="seconds in which nothing comes back, then the outcome is unknown; none: `timeout`"
    )
    connections: Whole = Field(8, ge=1, le=1000, description="pooled connections of the one client")
    adaptive: Adaptive | None = Field(None, description="batches grow and shrink with what it takes; none: they do not")
    max_records: Whole | None = Field(
        None, ge=1, description="records in one request; a batch of more goes on in halves; none: all it has"
    )
    max_bytes: Whole | None = Field(
        None,
        ge=1,
        description="bytes of a body, before compression; a batch of more goes on in halves, and a record that is "
        "larger by itself is a dead letter; none: as many as it takes",
    )
    not_done: list[Annotated[Whole, Field(ge=500, le=599)]] = Field(
        default=[],
        description="5xx statuses by which this partner promises that nothing was done, so that the attempt is a known "
        "failure; after any other 5xx the outcome is unknown (a 503 with Retry-After is a pause, listed or not)",
    )
    key_retention: Number | None = Field(
        None, gt=0, description="seconds the partner remembers an idempotency key; none: for ever"
    )
    response: RecordAnswers | None = Field(None, description="how answers for each record are read; none: they are not")
    probe: Probe | None = Field(
        None, description="what `waybill partner test` asks, with our credentials; none: `HEAD` of `url`"
    )
    breaker: BreakerSettings = Field(default_factory=BreakerSettings)
    rate: Rate | None = Field(None, description="attempts per time; none: as many as there are")
    deadline: Number | None = Field(None, gt=0, le=LONGEST, description=DEADLINE)
    _in_time = model_validator(mode="after")(in_time)


class KafkaPartner(Settings):
    """A topic of another cluster that takes one batch as one message."""

    kind: Literal["kafka"] = Field(description="a topic of another Kafka cluster")
    brokers: str = Field(min_length=1, description="host:port[,…] of that cluster")
    topic: str = Field(
        pattern=r"^[a-zA-Z0-9._-]{1,249}$",
        description="where batches go; its max.message.bytes must admit them; readers use read_committed",
    )
    transactional_id: str | None = Field(
        None,
        min_length=1,
        description="default waybill.<partner>.<topic>; two pipelines with the same one hinder each other",
    )
    options: dict[str, str] = Field(
        default_factory=dict, description="librdkafka settings, e.g. security.protocol, sasl.username"
    )
    secrets: dict[str, Secret] = Field(
        default_factory=dict, description="librdkafka settings that nobody may see, e.g. sasl.password, each a secret"
    )
    body: BodyForm = Field("batch", description=BODY)
    timeout: Number = Field(30.0, gt=0, le=600, description="seconds for one attempt, then its outcome is unknown")
    key_retention: Number = Field(
        7 * 86_400.0, gt=0, description="seconds back in which a worker looks for a batch that is there already"
    )
    breaker: BreakerSettings = Field(default_factory=BreakerSettings)
    rate: Rate | None = Field(None, description="attempts per time; none: as many as there are")
    deadline: Number | None = Field(None, gt=0, le=LONGEST, description=DEADLINE)
    _in_time = model_validator(mode="after")(in_time)

    def producer_of(self, name: str) -> str:
        """The transactional id in force; `name`: the partner's."""
        return self.transactional_id or f"waybill.{name}.{self.topic}"

    @property
    def connections(self) -> int:
        """One transaction at a time."""
        return 1


class PostgresPartner(Settings):
    """A PostgreSQL table that takes one batch as one row."""

    kind: Literal["postgres"] = Field(description="a PostgreSQL table")
    url: str = Field(
        pattern=r"^postgres(ql)?://([^/@:]+@)?[^@]*$",
        description="postgresql://user@host:port/database, without a password; sslmode and the like behind a `?`",
    )
    password: Secret | None = Field(None, description="of the user; none: the server asks for none")
    table: str = Field(
        "waybill_batches",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$",
        description="table, or schema.table, with the columns named in docs/sinks.md",
    )
    body: BodyForm = Field("batch", description=BODY)
    timeout: Number = Field(30.0, gt=0, description="seconds for one attempt, then its outcome is unknown")
    connections: Whole = Field(4, ge=1, le=100, description="connections of a worker at a time")
    key_retention: Number | None = Field(
        None, gt=0, description="seconds after which rows may have been deleted from the table; none: never"
    )
    breaker: BreakerSettings = Field(default_factory=BreakerSettings)
    rate: Rate | None = Field(None, description="attempts per time; none: as many as there are")
    deadline: Number | None = Field(None, gt=0, le=LONGEST, description=DEADLINE)
    _in_time = model_validator(mode="after")(in_time)


def one_way_in(private_key: str | None, password: Secret | None) -> None:
    """Raises RulesBroken where there are two ways into an SFTP server, or none."""
    if (private_key is None) == (password is None):
        raise RulesBroken([(("private_key",), "either private_key or password must be there")])


class SftpPartner(Settings):
    """A folder of an SFTP server that takes one batch as one file."""

    kind: Literal["sftp"] = Field(description="a folder of an SFTP server")
    url: str = Field(
        pattern=r"^sftp://[^@/]+@[^@/]+(/.*)?$", description="sftp://user@host:port/folder, without a password"
    )
    prefix: str = Field("coldchain", pattern=r"^[A-Za-z0-9._/-]*$", description="first part of every file's path")
    known_hosts: str = Field(min_length=1, description="file with the server's key, as ssh keeps it")
    private_key: str | None = Field(None, description="file with the key to log in with")
    password: Secret | None = Field(None, description="in place of a key")
    body: BodyForm = Field("batch", description=BODY)
    timeout: Number = Field(30.0, gt=0, description="seconds for one attempt, then its outcome is unknown")
    connections: Whole = Field(4, ge=1, le=100, description="files written at a time, over one connection")
    key_retention: Number | None = Field(
        None, gt=0, description="seconds after which files may have been taken out of the folder; none: never"
    )
    breaker: BreakerSettings = Field(default_factory=BreakerSettings)
    rate: Rate | None = Field(None, description="attempts per time; none: as many as there are")
    deadline: Number | None = Field(None, gt=0, le=LONGEST, description=DEADLINE)
    _in_time = model_validator(mode="after")(in_time)

    @model_validator(mode="after")
    def _way_in(self) -> SftpPartner:
        one_way_in(self.private_key, self.password)
        return self


Partner = Annotated[
    ObjectStorePartner | HttpPartner | KafkaPartner | PostgresPartner | SftpPartner, Field(discriminator="kind")
]
