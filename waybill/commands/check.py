"""`waybill check`: what the pipeline would say about files, with no broker."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.profiles import PROFILES
from waybill.context import Folder, Json, PipelineName, load, load_pack_of
from waybill.inputs import STDIN, Input, find_inputs, read
from waybill.output import Code, Fault, Ticker, count, emit, event_utc, finding_text, finish, key_text, line, safe, say

if TYPE_CHECKING:
    from schemas.pack import Pack, Record, Refusal
    from topology.model import Pipeline


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(check)


def check(
    name: PipelineName,
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH", help="files, folders (recursively), `-` for stdin")
    ] = None,
    json: Json = False,
    fail: Annotated[bool, typer.Option("--fail", help="exit 1 if any record is refused")] = False,
    profile: Annotated[
        str | None,
        typer.Option(help=f"instead of the pipeline's and of those of its option `profiles`: {', '.join(PROFILES)}"),
    ] = None,
    content_type: Annotated[str | None, typer.Option(help="of every file; default: sniffed")] = None,
    source: Annotated[
        str | None, typer.Option(help="the `waybill-source` header of every file; default: as `publish` has it")
    ] = None,
    site: Annotated[str | None, typer.Option(help="the `waybill-site` header of every file")] = None,
    folder: Folder = None,
) -> None:
    """Unpack and validate files without a broker: one line per record, refused ones included.

    Records are counted from 0 in each file, as the last part of a record id is; they are no line numbers.
    Duplicates and conflicts are not judged here: they depend on what was admitted before.
    """
    if not paths:
        raise Fault(f"no files: `waybill check PIPELINE PATH…`, and {name!r} was taken for the pipeline")
    if profile is not None and profile not in PROFILES:
        raise Fault(f"no profile {profile!r}; allowed: {', '.join(PROFILES)}")
    pipeline = load(name, folder)
    if profile is not None:
        pipeline = pipeline.with_profile(profile)
    try:
        pack = load_pack_of(pipeline)
    except ValueError as error:  # the pack has no such profile, or its options do not fit it
        if profile is None:
            raise
        raise Fault(f"--profile {profile}: {error}") from error
    inputs = [item if source is None else item._replace(source=source) for item in find_inputs(paths)]
    valid = refused = 0
    reasons: Counter[str] = Counter()
    warned: Counter[str] = Counter()
    first: dict[str, str] = {}
    ticker = Ticker(lambda number: f"{number} records")
    for item in inputs:
        for row in rows(pipeline, pack, item, content_type, site):
            ticker.add()
            if row["outcome"] == "valid":
                valid += 1
            else:
                refused += 1
            for code, is_warning in {(found["code"], _is_warning(found)) for found in row["codes"]}:
                (warned if is_warning else reasons)[code] += 1
                first.setdefault(code, f"{row['file']} record {row['index']}")
            if json:
                emit(row)
            else:
                line(text(row))
    ticker.close()
    say(f"{count(valid + refused, 'record')} in {count(len(inputs), 'file')}: {valid:,} valid, {refused:,} refused")
    for code, times in _by_count(reasons) if refused > 1 else ():
        say(f"  {times:,} with {code}, first {safe(first[code])}")
    for code, times in _by_count(warned) if valid + refused > 1 else ():
        say(f"  {times:,} warned of {code}, first {safe(first[code])}")
    if not inputs:
        finish(Code.INCOMPLETE)
    finish(Code.FOUND if fail and refused else Code.FINE)


def _by_count(codes: Counter[str]) -> list[tuple[str, int]]:
    """Codes and how many records have them, the most first; of as many by name."""
    return sorted(codes.items(), key=lambda item: (-item[1], item[0]))


def rows(
    pipeline: Pipeline, pack: Pack, item: Input, content_type: str | None = None, site: str | None = None
) -> Iterator[dict[str, Any]]:
    """One row for each record of a file, in order. Raises Fault if it cannot be read."""
    from schemas.canonical import sha256
    from schemas.errors import TOO_LARGE, Finding
    from schemas.pack import Refusal, Submission
    from streams.validate.fitting import Fitting

    limit = pipeline.raw.max_message_bytes
    value = read(item, limit)
    if len(value) > limit:
        size = f"{item.size} bytes" if item.size is not None else f"more than {limit} bytes"
        finding = Finding(TOO_LARGE, "", f"{size}; the pipeline takes {limit}, and `publish` refuses it")
        digest = _digest_of(item, value)
        refusal = Refusal((finding,), b"", content_type or "application/octet-stream")
        yield _row(pipeline, item, 0, refusal, digest) | {"digest": digest}
        return
    submission = Submission(value, content_type, item.source, site)
    unpacked = pack.unpack(submission)
    digest, fitting = sha256(value).hex(), Fitting(pipeline, pack.name)
    for index, outcome in enumerate(unpacked.records()):
        yield _row(pipeline, item, index, fitting.judge(outcome), digest)


def _digest_of(item: Input, start: bytes) -> str:
    """SHA-256 of a file that is too large to hold; of stdin, of what was read."""
    if item.name == STDIN:
        return hashlib.sha256(start).hexdigest()
    with item.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _row(pipeline: Pipeline, item: Input, index: int, outcome: Record | Refusal, submission: str) -> dict[str, Any]:
    from schemas.canonical import idempotency_key, sha256
    from schemas.errors import judge
    from schemas.pack import Record

    is_record = isinstance(outcome, Record)
    findings = outcome.warnings if isinstance(outcome, Record) else outcome.findings
    verdict = judge(findings)
    row: dict[str, Any] = {
        "file": item.name,
        "index": index,
        "outcome": "valid" if is_record else "refused",
        "class": verdict.error_class.value if verdict else None,
        "codes": [{"code": f.code, "path": f.path, "message": f.message} for f in findings],
        "id": f"{submission}/{index}",
    }
    if isinstance(outcome, Record):
        return row | {
            "key": idempotency_key([outcome.fields[field] for field in pipeline.idempotency]),
            "event_time": event_utc(outcome.event_time),
            "group": pipeline.group_of(outcome.fields),
            "digest": outcome.digest.hex(),
        }
    nothing = {"key": None, "event_time": None, "group": None}
    return row | nothing | {"digest": sha256(outcome.original).hex()}


def text(row: dict[str, Any]) -> str:
    """A row as one line for a person; warnings in brackets."""
    head = f"{safe(row['file'])}  record {row['index']}  {row['outcome']:<7}"
    if row["outcome"] == "valid":
        body = f"{row['event_time']}  {key_text(row['key'])}  {row['group']}  {row['digest']}"
    else:
        body = "; ".join(finding_text(found) for found in row["codes"] if not _is_warning(found))
    warnings = "; ".join(finding_text(found) for found in row["codes"] if _is_warning(found))
    return f"{head}  {safe(body)}" + (f"  ({safe(warnings)})" if warnings else "")


def _is_warning(found: dict[str, str]) -> bool:
    """It refuses nothing, whatever stands beside it."""
    from schemas.errors import ErrorClass, lookup

    return lookup(found["code"]).error_class is ErrorClass.WARNING_DEVIATION
