"""The pack itself: chooses the reader of a submission and wraps what it finds as records and refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar

from schemas import errors
from schemas.canonical import canonical_json, sha256
from schemas.errors import Finding
from schemas.pack import CANONICAL_TYPE, Columns, Origin, Record, Refusal, Submission, Unpacked
from schemas.packs.cold_chain import berlinger, codes, csvlog, sniff, summary, unknown
from schemas.packs.cold_chain.canonical import read_canonical
from schemas.packs.cold_chain.csvlog import Table, find_header
from schemas.packs.cold_chain.judge import Rules
from schemas.packs.cold_chain.options import Options, Source
from schemas.packs.cold_chain.plain import MAX_READING, PlainReader, Row, columns
from schemas.packs.cold_chain.reading import Reading, read_thoroughly
from schemas.packs.jsontext import BOM, split_array
from schemas.profiles import RECORD_PROFILES, RecordProfile, check_profile

Part = TypeVar("Part")
HEADER_SHARE = 32
"""A refused row is kept together with its header. A real header is at most some twenty times as long as a row; beyond
this the submission is refused as a whole, or a small file would make gigabytes of dead letters."""
EXPORT_SHARE = 128
"""The same of a logger's export: a refused row is kept with head and signature, in real ones 35 times as long."""
MOST_FINDINGS = 100
"""Findings kept of one record."""
_JSON = sniff.JSON
_PLAIN_TYPES = None, sniff.JSON
"""What a plain reading may be called."""
_NOTHING: Mapping[str, int] = MappingProxyType({})


class One:
    """A submission of one record or refusal."""

    __slots__ = ("content_type", "count", "notes", "outcome")

    def __init__(self, content_type: str, outcome: Record | Refusal, notes: Mapping[str, int] = _NOTHING) -> None:
        self.content_type = content_type
        self.count = 1
        self.notes = notes
        self.outcome = outcome

    def records(self, start: int = 0) -> Iterator[Record | Refusal]:
        """See `schemas.pack.Unpacked`."""
        return iter(() if start else (self.outcome,))


class Many(Generic[Part]):
    """A submission of several records, each judged when it is asked for."""

    def __init__(
        self,
        content_type: str,
        parts: Sequence[Part],
        read: Callable[[Part], Record | Refusal],
        notes: Mapping[str, int] = _NOTHING,
    ) -> None:
        self.content_type = content_type
        self.count = len(parts)
        self.notes = notes
        self._parts = parts
        self._read = read

    def records(self, start: int = 0) -> Iterator[Record | Refusal]:
        """See `schemas.pack.Unpacked`."""
        return map(self._read, self._parts[start:])


class Sourced(NamedTuple):
    """What is known of where a submission comes from, and what reads plain readings from there."""

    rule: Source
    read_plain: PlainReader


class ColdChainPack:
    """Fulfils `schemas.pack.Pack` for temperature readings."""

    name = "cold_chain"
    version = "cold_chain/1"
    fields = frozenset({"sensor_id", "event_time", "product", "zone_id", "kind", "day"})
    parties: tuple[str, ...] = ()
    media_types = sniff.STATED

    def __init__(self, options: Options, profile: RecordProfile) -> None:
        self._rules = Rules(options, profile)
        self._readers = {id(rule): Sourced(rule, PlainReader(self._rules, rule)) for rule in self._rules.sources}
        self._sources: dict[tuple[str | None, str | None], Sourced] = {}
        self._unnamed = self._source(None, None)
        catalogue = {name: product.model_dump(mode="json") for name, product in options.catalogue().items()}
        self.settings: Mapping[str, Any] = {
            **options.model_dump(mode="json"),
            "products": catalogue,
            "profile": profile,
            "reading_schema": sha256(canonical_json(Reading.model_json_schema())).hex(),
        }

    def heavy(self, submission: Submission) -> bool:
        """Never: all input is text, bounded by `max_bytes` and read in time and memory in proportion to its size."""
        return False

    def unpack(self, submission: Submission) -> Unpacked:
        """Never raises; see `schemas.pack.Pack`."""
        value, header, name, site = submission
        sourced = self._source(name, site)
        record = sourced.read_plain(value) if header in _PLAIN_TYPES else None
        return self._choose(value, header, sourced) if record is None else One(_JSON, record)

    def singles(self, values: Sequence[bytes | None], origins: Sequence[Origin] | None = None) -> Columns:
        """See `schemas.pack.Pack`. Lines never pass, since the reader takes one JSON text only."""
        if origins is None:
            return columns(self._unnamed.read_plain.rows(values))
        found: list[Row] = []
        for origin, pairs in groupby(zip(origins, values, strict=True), itemgetter(0)):
            content_type, source, site = origin
            if content_type not in _PLAIN_TYPES:
                break
            run = [value for _, value in pairs]
            read = self._source(source, site).read_plain.rows(run)
            found += read
            if len(read) < len(run):
                break
        return columns(found)

    def _source(self, name: str | None, site: str | None) -> Sourced:
        sourced = self._sources.get((name, site))
        if sourced is None:
            sourced = self._readers[id(self._rules.source(name, site))]
            if len(self._sources) < 10_000:
                self._sources[name, site] = sourced
        return sourced

    def _choose(self, value: bytes | None, header: str | None, sourced: Sourced) -> Unpacked:
        if value is None:
            finding = Finding(errors.TOMBSTONE, "", "a null value means nothing on a raw topic")
            return One(CANONICAL_TYPE, Refusal((finding,), b"null", CANONICAL_TYPE, canonical=True))
        original_type = header or sniff.ANY
        if not value.removeprefix(BOM).strip():
            return _whole(Finding(errors.EMPTY_MESSAGE, "", "the message holds nothing"), value, original_type)
        if len(value) > self._rules.options.max_bytes:
            message = f"{len(value)} bytes; {self._rules.options.max_bytes} are allowed"
            return _whole(Finding(errors.TOO_LARGE, "", message), value, original_type)
        kind = sniff.content_type(header, value)
        rules, source = self._rules, sourced.rule
        if kind == CANONICAL_TYPE:
            return One(kind, refuse(read_canonical(value, rules), value, kind))
        if kind == sniff.READING or (kind == sniff.JSON and sniff.first_bytes(value)[:1] != b"["):
            return One(kind, read_json(value, kind, rules, sourced))
        if kind == sniff.JSON:
            slices = split_array(value)
            if slices is None:
                finding = Finding(
                    errors.MALFORMED_JSON, "", "the array is cut off, lacks an element, or its brackets do not pair up"
                )
                return _whole(finding, value, kind)
            return _many(kind, slices, rules, sourced, value, {})
        if kind == sniff.LINES:
            lines = [line.strip() for line in value.removeprefix(BOM).split(b"\n")]
            slices = [line for line in lines if line]
            blank = len(lines) - len(slices) - (not lines[-1])
            return _many(kind, slices, rules, sourced, value, {"lines": len(slices) + blank, "blank_lines": blank})
        if kind == sniff.CSV and (table := find_header(value)) is not None:
            return _csv(value, table, rules, source)
        if kind == sniff.BERLINGER:
            return _berlinger(value, rules, source)
        message = unknown.describe(header, value)
        return _whole(Finding(errors.UNKNOWN_CONTENT, "", message), value, original_type)

    def summarize(self, payloads: Sequence[bytes]) -> Mapping[str, Any]:
        """See `schemas.pack.Pack` and `summary.py`."""
        return summary.summarize(payloads, self._rules)


def read_json(data: bytes, kind: str, rules: Rules, sourced: Sourced) -> Record | Refusal:
    """One JSON reading: fast where it can, thorough where it must."""
    if len(data) > MAX_READING:
        finding = Finding(errors.TOO_LARGE, "", f"a reading of {len(data)} bytes; {MAX_READING} are allowed")
        return Refusal((finding,), data, kind)
    record = sourced.read_plain(data)
    return refuse(read_thoroughly(data, rules, sourced.rule), data, kind) if record is None else record


def refuse(outcome: Record | tuple[Finding, ...], original: bytes, content_type: str) -> Record | Refusal:
    """Findings as a refusal with its own original. A hostile record may have a million: the gravest are kept."""
    if isinstance(outcome, Record):
        return outcome if len(outcome.warnings) <= MOST_FINDINGS else outcome._replace(warnings=_few(outcome.warnings))
    return Refusal(_few(outcome), original, content_type)


def _few(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    if len(findings) <= MOST_FINDINGS:
        return findings
    return tuple(sorted(findings, key=lambda finding: errors.GRAVITY[finding.error_class])[:MOST_FINDINGS])


def _whole(finding: Finding, value: bytes, content_type: str, notes: Mapping[str, int] = _NOTHING) -> One:
    return One(content_type, Refusal((finding,), value, content_type), notes)


def _many(
    kind: str, slices: list[bytes], rules: Rules, sourced: Sourced, value: bytes, notes: Mapping[str, int]
) -> Unpacked:
    if not slices:
        return _whole(Finding(errors.EMPTY_SUBMISSION, "", "holds no reading"), value, kind)

    def read(part: bytes) -> Record | Refusal:
        return read_json(part, sniff.READING, rules, sourced)

    return Many(kind, slices, read, notes)


def _csv(value: bytes, table: Table, rules: Rules, source: Source) -> Unpacked:
    found, notes = csvlog.rows(value, table)
    if not found:
        return _whole(Finding(errors.EMPTY_SUBMISSION, "", "a header without readings"), value, sniff.CSV, notes)
    if len(table.header) * len(found) > HEADER_SHARE * max(len(value), 2**16):
        message = f"a header of {len(table.header)} bytes over {len(found)} rows of a few: no export looks like that"
        return _whole(Finding(errors.MALFORMED_CSV, "", message), value, sniff.CSV, notes)

    def read(row: csvlog.Row) -> Record | Refusal:
        return refuse(csvlog.read_row(row, table, rules, source), table.header + row.line, sniff.CSV)

    return Many(sniff.CSV, found, read, notes)


def _berlinger(value: bytes, rules: Rules, source: Source) -> Unpacked:
    export = berlinger.take_apart(value)
    if isinstance(export, Finding):
        return _whole(export, value, sniff.BERLINGER)
    if not export.parts:
        finding = Finding(errors.EMPTY_SUBMISSION, "", "an export without history, report or data")
        return _whole(finding, value, sniff.BERLINGER, export.notes)
    around = sum(len(part.before) + len(part.after) for part in export.parts)
    if around > EXPORT_SHARE * max(len(value), 2**16):
        message = f"head and signature are far longer than {len(export.parts)} rows: no export looks like that"
        return _whole(Finding(codes.MALFORMED_EXPORT, "", message), value, sniff.BERLINGER, export.notes)

    def read(part: berlinger.Part) -> Record | Refusal:
        return refuse(berlinger.read_part(part, export, rules, source), part.original, sniff.BERLINGER)

    return Many(sniff.BERLINGER, export.parts, read, export.notes)


def build(options: Mapping[str, Any], profile: str) -> ColdChainPack:
    """The configured pack. Raises pydantic.ValidationError for wrong options, ValueError for an unknown profile."""
    check_profile(profile, RECORD_PROFILES)
    return ColdChainPack(Options.model_validate(options), profile)  # type: ignore[arg-type]  # checked above
