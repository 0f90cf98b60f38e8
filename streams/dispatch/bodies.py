"""Owns the frozen batches that dispatch needs at hand: read by position, decoded, rendered, kept for a short while.

A parked batch keeps its position only; what it holds is read again from `batched` when it is its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import repeat
from typing import Any, NamedTuple
from urllib.parse import quote

from schemas.canonical import RawPosition, record_id, sha256
from schemas.codec import Codec, WireError
from schemas.delivery import Row
from schemas.errors import CLAIM_LOST, UNPROCESSABLE
from schemas.members import Member, member_of, read_members
from schemas.pack import Pack
from streams.claims import NO_CLAIMS, ClaimLost, Claims, ClaimsAway
from streams.delivery.object_store import object_path
from streams.delivery.protocol import Envelope
from streams.delivery.render import CONTENT_TYPES, FORMS, SUFFIXES, render
from streams.dispatch.parts import Part, find_part, part_id
from streams.runtime.log import LogError, LogGap
from streams.stage import Message
from topology.model import Pipeline
from topology.partner import HttpPartner, ObjectStorePartner, Partner, SftpPartner

CACHE_BYTES = 32 * 2**20
"""Message bytes of waiting batches kept read (which takes some three times as much memory)."""
FLUSHED_HEADER = "waybill-flushed-at"

Place = tuple[int, int, int, int]
"""Of a batch or a part of one: partition and offset, first record and number of records."""
Fetch = Callable[[int, int], Message | None]
"""Reads one message of `batched` by partition and offset; None if it is not there any more."""


class Frozen(NamedTuple):
    """A batch as it was sealed."""

    batched: dict[str, Any]
    records: Sequence[Member]
    """In order."""
    flushed_at: str
    """RFC 3339, UTC; metadata only (T6)."""
    size: int
    """Bytes of its message."""

    def part(self, first: int, count: int) -> Frozen:
        """Some of its records as a batch of their own (DI4)."""
        records = self.records[first : first + count]
        own = {
            "batch_id": part_id(self.batched, records),
            "count": count,
            "records": self.batched["records"][first : first + count],
        }
        return Frozen({**self.batched, **own}, records, self.flushed_at, self.size * count // len(self.records))

    @property
    def first(self) -> RawPosition:
        """Its first record, which stands for the batch in the audit."""
        return self.records[0].raw


class Body(NamedTuple):
    """What one batch sends, the same at every attempt (law 3)."""

    digest: bytes
    version: int
    data: bytes
    path: str
    metadata: dict[str, str]
    names: Sequence[str] = ()
    """Of the records, where the partner answers for each one."""
    fetched: bool = False
    """Some of it came from the claim store."""

    def envelope(self, row: Row) -> Envelope:
        """One attempt; `row` is its write-ahead."""
        return Envelope(
            row.batch_id,
            row.batch_id.hex(),
            row.partner,
            self.path,
            self.data,
            self.digest,
            CONTENT_TYPES[self.version],
            self.metadata,
            row.attempt,
            row.life,
            self.names,
        )


class Fault(NamedTuple):
    """Why a body cannot be made."""

    code: str
    why: str


class Bodies:
    """Frozen batches by position."""

    def __init__(
        self,
        pipeline: Pipeline,
        codec: Codec,
        pack: Pack,
        fetch: Fetch,
        claims: Claims = NO_CLAIMS,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._claims = claims
        self.claims_away = False
        """The claim store could not be reached in this turn, and is not asked again before the next one."""
        self._pipeline, self._codec, self._pack, self._fetch = pipeline, codec, pack, fetch
        self._room = cache_bytes
        self._waiting: dict[Place, Frozen] = {}
        """Batches that were read and not begun, in that order, within `cache_bytes`."""
        self._begun: dict[Place, Frozen] = {}
        """Batches an attempt of which is out: as many as partners have connections, and their bodies are held too."""
        self._last: tuple[Place, Frozen] | None = None
        """Read by position, or let go, last."""

    def __len__(self) -> int:
        """Batches at hand."""
        return len(self._waiting) + len(self._begun)

    def read(self, message: Message, batched: dict[str, Any]) -> Frozen:
        """A batch just read; raises WireError where a member is no Validated message."""
        header = self._codec.header("validated")
        read = repeat(None) if header is None else read_members(header, batched["records"])
        records = []
        for data, record in zip(batched["records"], read, strict=False):
            if record is None:
                name, whole = self._codec.decode(data)
                if name != "validated":
                    raise WireError(f"batch {batched['batch_id'].hex()} holds a {name} message")
                record = member_of(whole)
            records.append(record)
        if not records or len(records) != batched["count"]:
            raise WireError(
                f"batch {batched['batch_id'].hex()} counts {batched['count']} records, holds {len(records)}"
            )
        stamps = (value.decode() for name, value in message.headers if name == FLUSHED_HEADER)
        flushed_at = next(stamps, None) or _written(message)
        return Frozen(batched, records, flushed_at, len(message.value or b""))

    # ---- what is kept ----------------------------------------------------------------------------

    def keep(self, row: Row, frozen: Frozen) -> None:
        """A batch just read waits for its first attempt; `trim` is to follow in the same turn."""
        self._waiting[_place(row)] = frozen
        self._room -= frozen.size

    def trim(self) -> None:
        """At the end of a turn: drops what was read last until the rest has room. Those before it are begun first."""
        while self._room < 0:
            self._room += self._waiting.popitem()[1].size

    def release(self, row: Row) -> None:
        """No attempt of a batch is out any more, or it has its final answer. It may wait long for the next one."""
        place = _place(row)
        frozen = self._wait_no_more(place) or self._begun.pop(place, None)
        if frozen is not None and row.parent is None:
            self._last = place, frozen  # its halves, or a retry at once, will ask for it

    def forget(self, partition: int) -> None:
        """Drops what is kept of a partition."""
        for place in [place for place in self._waiting if place[0] == partition]:
            self._wait_no_more(place)
        for place in [place for place in self._begun if place[0] == partition]:
            del self._begun[place]
        self._last = None

    def _wait_no_more(self, place: Place) -> Frozen | None:
        frozen = self._waiting.pop(place, None)
        if frozen is not None:
            self._room += frozen.size
        return frozen

    # ---- by row and by position ------------------------------------------------------------------

    def of(self, row: Row) -> Frozen:
        """The batch of a row, or the part of one that it is.

        Raises LogGap if it is gone, or another message stands there: its records cannot even be named any more, so
        that no answer can be given for them, and going on would hide it.
        """
        frozen = self._kept(row)
        if frozen is None:
            frozen = self._at(row.batched_partition, row.batched_offset, row.batch_id)
            if row.parent is not None:
                frozen = frozen.part(row.first, row.count)
        if frozen.batched["batch_id"] != row.batch_id:
            where = row.batched_partition, row.batched_offset
            raise LogGap(self._gone(*where, row.batch_id, "another batch stands there"))
        return frozen

    def name(self, row: Row, first: int, count: int) -> bytes:
        """The id of a part of a batch. See attempts.Name; raises LogGap as `of` does."""
        whole = self._kept(row) if row.parent is None else None
        whole = whole or self._at(row.batched_partition, row.batched_offset, row.batch_id)
        return part_id(whole.batched, whole.records[first : first + count])

    def find(self, partition: int, offset: int, batch_id: bytes) -> tuple[Frozen, Part]:
        """The batch at a position, and which part of it has this id: all of it as a rule. Raises LogGap as `of`."""
        whole = self._at(partition, offset, batch_id)
        part = find_part(whole.batched, whole.records, batch_id)
        if part is None:
            raise LogGap(self._gone(partition, offset, batch_id, "another batch stands there"))
        return whole, part

    def _kept(self, row: Row) -> Frozen | None:
        place = _place(row)
        return self._begun.get(place) or self._waiting.get(place)

    def _at(self, partition: int, offset: int, batch_id: bytes) -> Frozen:
        """The frozen batch at a position, whichever it is. `batch_id`: for whom it is read."""
        if self._last is not None and self._last[0][:2] == (partition, offset):
            return self._last[1]
        message = self._fetch(partition, offset)
        if message is None or message.value is None:
            raise LogGap(self._gone(partition, offset, batch_id, "nothing stands there any more"))
        try:
            name, batched = self._codec.decode(message.value)
            if name != "batched":
                raise WireError(f"a {name} message stands there")
            frozen = self.read(message, batched)
        except WireError as error:
            raise LogGap(self._gone(partition, offset, batch_id, str(error))) from error
        self._last = (partition, offset, 0, len(frozen.records)), frozen
        return frozen

    def _gone(self, partition: int, offset: int, batch_id: bytes, why: str) -> str:
        where = f"{self._pipeline.topic('batched')}/{partition}/{offset}"
        return f"unsettled batch {batch_id.hex()} cannot be read at {where}: {why}; restore the topic or accept the gap"

    def render(self, row: Row) -> Body | Fault:
        """The body of a batch, by the version of its first attempt; or why it cannot be made.

        Only LogGap and ClaimsAway leave: whatever else fails is this batch's fault and becomes its dead letters
        (law 5). The batch is kept until `release`.
        """
        frozen = self.of(row)
        self._wait_no_more(_place(row))
        self._begun[_place(row)] = frozen
        partner = self._pipeline.partners[row.partner]
        version = FORMS[partner.body] if row.body_digest is None else row.render_version
        name = row.batch_id.hex()
        try:
            records = self._whole(frozen.records)
            data = render(frozen.batched, records, self._pack, version)
            path = _path(partner, frozen.batched, SUFFIXES[version])
        except LogError:
            raise
        except ClaimLost as lost:
            return Fault(CLAIM_LOST, str(lost))
        except Exception as error:  # noqa: BLE001 - a pack may fail in any way
            return Fault(UNPROCESSABLE, f"{type(error).__name__}: {error}")
        metadata = {"batch_digest": name, "record_count": str(row.count), "flush_utc": frozen.flushed_at}
        if row.parent is not None:
            metadata["parent"] = row.parent.hex()
        return Body(
            sha256(data), version, data, path, metadata, _names(partner, frozen.records), records is not frozen.records
        )

    def _whole(self, records: Sequence[Member]) -> Sequence[Member]:
        """The records with the payloads that are kept by claim check (VA4). Raises ClaimLost, ClaimsAway."""
        if not any(record.claimed for record in records):
            return records
        if self.claims_away:
            raise ClaimsAway("the claim store could not be reached a moment ago")
        try:
            return [
                record._replace(payload=self._claims.get(record.digest)) if record.claimed else record
                for record in records
            ]
        except ClaimsAway:
            self.claims_away = True
            raise


def _written(message: Message) -> str:
    """When a message was written, as RFC 3339."""
    at = datetime.fromtimestamp(message.timestamp / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _place(row: Row) -> Place:
    return row.batched_partition, row.batched_offset, row.first, row.count


def _path(partner: Partner, batched: Mapping[str, Any], suffix: str) -> str:
    """Where a batch goes: an object's path, or what stands behind an API's URL. Raises ValueError for a path that a
    value out of a record would lead elsewhere."""
    name = batched["batch_id"].hex()
    if isinstance(partner, ObjectStorePartner | SftpPartner):
        return object_path(partner.prefix, batched["date"], name, suffix)
    if not isinstance(partner, HttpPartner) or partner.path is None:
        return ""
    values = {field: batched[field] for field in ("date", "group", "partner", "pipeline")}
    values |= {"batch": name, "records": str(batched["count"])}
    path = partner.path.format_map({field: quote(value, safe="") for field, value in values.items()})
    if any(part in (".", "..") for part in path.split("/")):
        raise ValueError(f"the path {path} leads elsewhere")
    return path


def _names(partner: Partner, records: Sequence[Member]) -> Sequence[str]:
    """By what the partner tells records apart in its answers, in their order; empty if it answers for none."""
    if not isinstance(partner, HttpPartner) or partner.response is None:
        return ()
    if partner.response.by == "key":
        return [record.key for record in records]
    return [record_id(record.raw) for record in records]
