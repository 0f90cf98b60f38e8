"""The frozen models behind `sources.yaml`: where submissions come from that nobody publishes (ING-03, ING-04)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from schemas.settings import Number, Settings, Whole
from topology.credentials import Auth, Secret, Tls
from topology.model import Lane
from topology.partner import HeaderText, one_way_in
from topology.sections import Name

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""No record time is earlier."""


class _Source(Settings):
    """What is said of every source."""

    pipeline: Name = Field(description="whose raw topic they go to")
    lane: Lane | None = Field(None, description="priority lane, if the pipeline has some; none: `standard`")


class DropSettings(_Source):
    """What is said of files that are dropped, wherever they lie."""

    pattern: str = Field(
        "*",
        min_length=1,
        description="which names are taken, as a shell matches them; never those that begin with a dot or end in "
        "`.part`, `.tmp` or `.filepart`",
    )
    complete: Literal["settled", "renamed", "marker"] = Field(
        "settled",
        description="when a file is whole: `settled` once size and time of change stay the same for `settle` seconds; "
        "`renamed` at once, because writers write beside and rename; `marker` once a file of its name and `marker` is "
        "there",
    )
    settle: Number = Field(10.0, gt=0, le=86_400, description="seconds, for `settled`")
    marker: str = Field(".done", pattern=r"^[A-Za-z0-9._-]+$", description="end of a marker's name, for `marker`")
    after: Literal["move", "leave"] = Field(
        "move",
        description="what becomes of a file that is published: `move` into `done`, or into `refused` if it is too "
        "large; `leave` where we have no right to: it lies until others take it away",
    )
    interval: Number = Field(2.0, gt=0, le=86_400, description="seconds between two looks into the folder")
    content_type: HeaderText | None = Field(
        None, pattern=r"^[^/ ]+/[^/ ]+", description="of the files; none: the pack sniffs"
    )
    site: HeaderText | None = Field(None, description="`waybill-site` of each submission, for the pack's options")


class FolderSource(DropSettings):
    """A folder of this machine into which files are dropped; each is one submission."""

    kind: Literal["folder"] = Field(description="a folder of this machine")
    path: str = Field(min_length=1, description="the folder; `done` and `refused` are made inside it")

    @property
    def place(self) -> str:
        """What the folder is called to a person."""
        return self.path


class SftpSource(DropSettings):
    """A folder of an SFTP server into which files are dropped; each is one submission."""

    kind: Literal["sftp"] = Field(description="a folder of an SFTP server")
    url: str = Field(
        pattern=r"^sftp://[^@/:]+@(\[[0-9A-Fa-f:.]+\]|[^@/:\[\]]+)(:[0-9]{1,5})?(/[^?#]*)?$",
        description="sftp://user@host:port/folder, without a password; `done` and `refused` are made inside it",
    )
    known_hosts: str = Field(min_length=1, description="file with the server's key, as ssh keeps it")
    private_key: str | None = Field(None, description="file with the key to log in with")
    password: Secret | None = Field(None, description="in place of a key")
    interval: Number = Field(30.0, gt=0, le=86_400, description="seconds between two looks into the folder")
    timeout: Number = Field(60.0, gt=0, le=3600, description="seconds for one listing, one file, one move")

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        return _address_checked(url)

    @model_validator(mode="after")
    def _way_in(self) -> SftpSource:
        one_way_in(self.private_key, self.password)
        return self

    @property
    def place(self) -> str:
        """What the folder is called to a person."""
        return self.url


class QuerySource(_Source):
    """The query interface of an EPCIS 2.0 repository, which is asked again and again; each page is one submission."""

    kind: Literal["epcis-query"] = Field(description="the query interface of an EPCIS 2.0 repository")
    url: str = Field(
        pattern=r"^https?://[^?#@\s\x00-\x1f\x7f]+$", description="of the events, e.g. `https://partner.example/events`"
    )
    parameters: dict[str, str] = Field(
        default_factory=dict, description="further parameters of the query, e.g. `EQ_bizStep: shipping`"
    )
    since: str | None = Field(
        None,
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9]{2}:[0-9]{2})$",
        description="record time with its zone from which the first question asks; none: whatever there is",
    )
    per_page: Whole = Field(100, ge=1, le=10_000, description="events that are asked for at a time")
    overlap: Number = Field(
        60.0, ge=0, le=86_400, description="seconds before the newest record time seen from which is asked again"
    )
    interval: Number = Field(60.0, gt=0, le=86_400, description="seconds between two questions when all is fetched")
    timeout: Number = Field(30.0, gt=0, le=600, description="seconds for one page")
    auth: Auth | None = Field(None, description="who we are, as to an HTTP partner")
    tls: Tls | None = Field(None, description="certificates, as of an HTTP partner")
    site: HeaderText | None = Field(None, description="`waybill-site` of each submission")

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        return _address_checked(url)

    @field_validator("since")
    @classmethod
    def _moment(cls, since: str | None) -> str | None:
        if since is not None and not _is_moment(since):
            raise ValueError(f"{since!r} is no time since 1970; allowed: e.g. 2026-01-31T00:00:00Z")
        return since

    @model_validator(mode="after")
    def _own(self) -> QuerySource:
        if taken := sorted({"GE_recordTime", "perPage", "nextPageToken", "orderBy"} & self.parameters.keys()):
            raise ValueError(f"{', '.join(taken)} is set by the source itself; allowed: other parameters")
        return self


def _address_checked(url: str) -> str:
    try:
        host, _ = urlsplit(url).hostname, urlsplit(url).port
    except ValueError as wrong:
        raise ValueError(f"{url!r} is no URL: {wrong}") from wrong
    if not host:
        raise ValueError(f"{url!r} names no server")
    return url


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text) >= EPOCH
    except ValueError:
        return False


FileSource = FolderSource | SftpSource
Source = FileSource | QuerySource
SOURCE_KINDS: Mapping[str, type[Source]] = {"folder": FolderSource, "sftp": SftpSource, "epcis-query": QuerySource}
