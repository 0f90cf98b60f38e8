"""The protocol every domain pack fulfils: pure functions from a publisher's bytes to records or refusals.

A pack never sees Kafka, a clock or a file. The laws it must keep are a test suite (`tests/laws/test_packs.py`):

- unpacking is a function of the submission alone; twice gives the same;
- every record of a submission is either a `Record` or a `Refusal`, in order, and `count` is their number;
- a submission of no records, or one that cannot be read, is one `Refusal` (index 0);
- `singles` gives, of the first of several submissions, the one record each that `unpack` gives;
- `original` of a refusal, and `payload` of a record under `CANONICAL_TYPE`, are submissions of their own: unpacked
  alone, under the source and site they came with, they give that one refusal (same codes) or record (same digest);
- no input raises.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from schemas.errors import Finding

CANONICAL_TYPE = "application/vnd.waybill.record+json"
"""Content type of a record's canonical payload, which every pack accepts as a submission of one record."""


class Submission(NamedTuple):
    """One message on `raw`, as the publisher wrote it."""

    value: bytes | None
    content_type: str | None = None
    """`content-type` header; None: the pack sniffs."""
    source: str | None = None
    """`waybill-source` header: a file name, device or feed; see `comes_from`."""
    site: str | None = None
    """`waybill-site` header."""


def comes_from(match: str, source: str | None, site: str | None) -> bool:
    """Whether a rule of a pack's options (`sources:`, `profiles:`) speaks of a submission with these headers: its glob
    fits the source, whole or from the last slash on, or the site."""
    names = (source, source and source.replace("\\", "/").rsplit("/", 1)[-1], site)
    return any(fnmatchcase(name, match) for name in names if name)


Origin = tuple[str | None, str | None, str | None]
"""Content type, source and site of a submission, as above."""


class Record(NamedTuple):
    """A valid record."""

    fields: Mapping[str, str]
    """Every field that `idempotency`, `partition_by`, `group_by` and `ordering` of a pipeline may name, as text."""
    event_time: int
    """The record's own time, ms since epoch, UTC."""
    payload: bytes
    """Canonical JSON."""
    digest: bytes
    """SHA-256 of payload."""
    warnings: tuple[Finding, ...] = ()


class Columns(NamedTuple):
    """Valid records column by column, for who works many at once: each column has a value for each record."""

    field: Callable[[str], Sequence[str]]
    """The values of one of the pack's fields."""
    event_times: Sequence[int]
    payloads: Sequence[bytes]
    digests: Sequence[bytes]
    warnings: Sequence[tuple[Finding, ...]]

    def records(self, names: Iterable[str]) -> list[Record]:
        """The same as records with these fields."""
        fields = [(name, self.field(name)) for name in names] if self.event_times else []
        rows = zip(self.event_times, self.payloads, self.digests, self.warnings, strict=True)
        return [Record({name: values[place] for name, values in fields}, *row) for place, row in enumerate(rows)]


NO_COLUMNS = Columns(lambda name: (), (), (), (), ())


def columns_of(records: Sequence[Record]) -> Columns:
    """Records as columns."""
    if not records:
        return NO_COLUMNS
    fields, *columns = zip(*records, strict=True)
    return Columns(lambda name: [values[name] for values in fields], *columns)


class Refusal(NamedTuple):
    """A record that may not pass, with every finding, and itself as a submission of its own."""

    findings: tuple[Finding, ...]
    original: bytes
    content_type: str
    canonical: bool = False
    """True: `original` is not the publisher's bytes but a canonical form that unpacks to the same refusal."""


class Unpacked(Protocol):
    """A submission read to its end: well-formed as a whole, its count known (VA2)."""

    content_type: str
    count: int
    """Number of records, at least 1."""
    notes: Mapping[str, int]
    """What is no record but was seen, by kind (for example `event_rows`)."""

    def records(self, start: int = 0) -> Iterator[Record | Refusal]:
        """The records from index `start` on, in order."""
        ...


@runtime_checkable
class Divided(Protocol):
    """An `Unpacked` that tells its records apart without looking into them."""

    def original(self, index: int) -> tuple[bytes, str, bool]:
        """A record as a submission of its own: see `original`, `content_type` and `canonical` of `Refusal`. For one
        that breaks its reader, which no refusal of the pack can hold."""
        ...


T = TypeVar("T")
Steps = Generator[None, None, T]
"""Work that may be stopped for a while wherever it yields; what it comes to is returned at its end."""


def finish(steps: Steps[T]) -> T:
    """All steps in one go."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        value: T = end.value
        return value


@runtime_checkable
class Gradual(Protocol):
    """A `Pack` of which submissions may take long to open."""

    def opening(self, submission: Submission) -> Steps[Unpacked]:
        """The same as `unpack`, in steps of which none takes long. Never raises."""
        ...


class Listed:
    """An `Unpacked` whose records are at hand."""

    def __init__(
        self, content_type: str, items: Sequence[Record | Refusal], notes: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        self.content_type, self.count, self.notes = content_type, len(items), notes
        self._items = items

    def records(self, start: int = 0) -> Iterator[Record | Refusal]:
        """See Unpacked."""
        return iter(self._items[start:])


def refuse_whole(submission: Submission, finding: Finding) -> Refusal:
    """The refusal of a submission that could not be read: the publisher's bytes as they are."""
    return Refusal((finding,), submission.value or b"", submission.content_type or "application/octet-stream")


class ItemSearch(NamedTuple):
    """How records about one thing are found, however each of them spells it."""

    mark: bytes
    """Stands in the payload or original of every such record, and perhaps of others."""
    names: Callable[[bytes], bool]
    """Whether a payload or original names the thing."""
    key_field: str | None = None
    """A value of an idempotency key by which a record is found without its payload; None: there is none."""


class Pack(Protocol):
    """The rules of a domain."""

    name: str
    version: str
    """Goes with every record as its schema version (VAL-04)."""
    fields: frozenset[str]
    """Names that a pipeline may use in `idempotency`, `partition_by`, `group_by` and `ordering`."""
    parties: tuple[str, ...]
    """Of these, those whose values must be authorised trading partners (`none`: nobody is named); none: nobody asks."""
    media_types: frozenset[str]
    """Content types that a publisher may state, in lower case and without parameters; the gateway answers others with
    415. None need be stated: the pack sniffs."""
    settings: Mapping[str, Any]
    """Every option in force, for `waybill config`."""

    def heavy(self, submission: Submission) -> bool:
        """Whether this submission is of a kind that may hang, crash or eat memory where it is read (PDF, DOCX, XML,
        spreadsheets): a worker then unpacks it in a process of its own, within the pipeline's `parser` limits (VA3).
        Depth and pages are for the pack itself to limit. Cheap, never raises, and looks at no more than the first
        bytes."""
        ...

    def unpack(self, submission: Submission) -> Unpacked:
        """Never raises: what cannot be read is an `Unpacked` of one `Refusal`."""
        ...

    def singles(self, values: Sequence[bytes | None], origins: Sequence[Origin] | None = None) -> Columns:
        """A short cut past `unpack` for the commonest submissions, given as the values of many and, unless none states
        any, what else each says of itself. Gives the records of the first of them as columns, up to one that is not
        quickly seen to hold one valid record and nothing else: that one is for `unpack`. They are the records that
        `unpack` gives; none at all is always right. Quick, never raises, and stops before whatever is heavy."""
        ...

    def summarize(self, payloads: Sequence[bytes]) -> Mapping[str, Any]:
        """Facts about a batch computed from its records' payloads in order, as JSON values without floats."""
        ...
