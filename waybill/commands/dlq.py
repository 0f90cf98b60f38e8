"""`waybill dlq ls|show|stats`: the dead letters of pipelines."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from waybill.context import Brokers, Folder, Json, MaybePipeline, find_brokers, load_pack_of, load_some, pipeline_and_id
from waybill.listing import noun
from waybill.output import Code, Fault, count, emit, finding_text, finish, key_text, line, safe, say, utc
from waybill.tables import table

if TYPE_CHECKING:
    from streams.stage import Message
    from topology.model import Pipeline
    from waybill.reader import Decoder

ErrorClassOption = Annotated[str | None, typer.Option("--class", help="of this class only")]
CodeOption = Annotated[str | None, typer.Option("--code", help="with a finding of this code")]
StageOption = Annotated[str | None, typer.Option("--stage", help="of this stage only")]
ReviewOption = Annotated[bool, typer.Option("--review", help="those on `review`: what object stores failed to take")]

SHOWN_BYTES = 1024
"""Of an original that is no text, without --json."""


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = noun("Dead letters.")
    group.command("ls")(ls)
    group.command("stats")(stats)
    group.command("show")(show)
    app.add_typer(group, name="dlq")


def ls(
    name: MaybePipeline = None,
    error_class: ErrorClassOption = None,
    code: CodeOption = None,
    stage: StageOption = None,
    review: ReviewOption = False,
    limit: Annotated[int | None, typer.Option(min=1, help="the newest so many only")] = None,
    brokers: Brokers = None,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """List dead letters by the position of their records: partition, offset, index; later lives of a record last."""
    found = list(letters(find_brokers(brokers), name, folder, error_class, code, stage, review))
    if limit is not None:
        found = sorted(found, key=lambda letter: letter[1].timestamp)[-limit:]
    rows = [row(*letter) for letter in sorted(found, key=place)]
    if json:
        for values in rows:
            emit(values)
    else:
        columns = ("id", "at", "stage", "class", "codes", "reason", "route")
        table(columns, ([*map(values.get, columns[:4]), ", ".join(values["codes"]), *map(values.get, columns[5:])]
                        for values in rows),
              wrap=("codes",), less=("reason", "at", "class", "stage", "route"))  # fmt: skip
    say(f"{count(len(rows), 'dead letter')}{' by the position of their records' if len(rows) > 1 else ''}")
    finish(Code.FINE)


def stats(
    name: MaybePipeline = None,
    error_class: ErrorClassOption = None,
    code: CodeOption = None,
    stage: StageOption = None,
    review: ReviewOption = False,
    brokers: Brokers = None,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Count dead letters by class, code and stage."""
    facets: Counter[tuple[str, str, str, str, str]] = Counter()
    total = 0
    for pipeline, _, letter in letters(find_brokers(brokers), name, folder, error_class, code, stage, review):
        total += 1
        for found in sorted({finding["code"] for finding in letter["findings"]}):
            facets[pipeline.pipeline, letter["stage"], letter["error_class"], found, letter["route"]] += 1
    columns = ("pipeline", "stage", "class", "code", "route", "letters")
    rows = [(*facet, number) for facet, number in sorted(facets.items(), key=lambda item: (-item[1], item[0]))]
    if json:
        for values in rows:
            emit(dict(zip(columns, values, strict=True)))
    else:
        table(columns, rows, less=("route",))
    say(f"{count(total, 'dead letter')}; one with several codes is counted under each")
    finish(Code.FINE)


def show(
    words: Annotated[
        list[str], typer.Argument(metavar="[PIPELINE] ID", help="record id, or position on the dead-letter topic")
    ],
    pipeline: Annotated[str | None, typer.Option(help="look here only; as PIPELINE before the id")] = None,
    original: Annotated[bool, typer.Option("--original", help="the record's bytes alone, as they came")] = False,
    document: Annotated[bool, typer.Option("--document", help="the record as a file to correct and publish")] = False,
    brokers: Brokers = None,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Show one dead letter: every finding, positions, and the record as it was. Exit 1 if there is none."""
    if original and json:
        raise Fault("--original gives the record's own bytes; --json has them as a field")
    if document and (original or json):
        raise Fault("--document gives a file to correct, and nothing else: leave --original and --json out")
    pipeline, id = pipeline_and_id(words, pipeline)
    last: tuple[Pipeline, str, dict[str, Any]] | None = None
    for one, message, letter in letters(find_brokers(brokers), pipeline, folder):
        summary = row(one, message, letter)
        if id not in (summary["id"], summary["position"]):
            continue
        last = one, summary["id"], letter
        if original or document:
            continue
        whole = summary | detail(letter)
        if json:
            emit(whole)
        else:
            print_letter(whole)
    if last is None:
        raise Fault(f"no dead letter {id!r}: `waybill dlq ls` lists them", Code.FOUND)
    if original or document:
        write(*last, document)
    finish(Code.FINE)


def write(pipeline: Pipeline, id: str, letter: dict[str, Any], document: bool) -> None:
    """A dead letter's record alone on stdout: its own bytes, or as a document. Raises Fault if it lies elsewhere."""
    if letter["original"] is None:
        raise Fault(f"the record is too large for its topic and is kept at {letter['claim']}")
    value = letter["original"]
    if document:
        value, what = to_correct(pipeline, id, letter)
        say(safe(what))
    if sys.stdout.isatty() and not value.endswith(b"\n"):
        value += b"\n"  # for the prompt; a file gets the bytes as they are
    sys.stdout.buffer.write(value)
    sys.stdout.buffer.flush()


def to_correct(pipeline: Pipeline, id: str, letter: dict[str, Any]) -> tuple[bytes, str]:
    """A dead letter's record as a file that a person corrects and publishes, and what to tell them of it.

    Of one that died in validate these are mostly the publisher's own bytes. Later ones are kept in canonical form, in
    which what is derived must follow from the rest: where the pack can, it is written as a publisher would send it.
    """
    from schemas.pack import CANONICAL_TYPE, Record, Submission
    from schemas.packs import editable
    from streams.validate.fitting import Fitting

    original, content_type = letter["original"], letter["content_type"]
    if content_type != CANONICAL_TYPE:
        return original, f"{id} as it came ({content_type})"
    pack = load_pack_of(pipeline)
    written = editable(pack.name, original, id) if letter["canonical"] else None
    if written is None:
        return original, (
            f"{id} in canonical form: no publisher's form says all of it. What is derived must follow from the rest. "
            f"Use `check --content-type {CANONICAL_TYPE}`, `publish --header content-type={CANONICAL_TYPE}`"
        )
    unpacked = pack.unpack(Submission(written, None, letter["source"], letter["site"]))
    found = Fitting(pipeline, pack.name).judge(next(unpacked.records()))
    if not isinstance(found, Record):
        stands = f"is refused: {', '.join(sorted({finding.code for finding in found.findings}))}"
    elif found.digest == letter["digest"]:
        stands = "is the same record again"
    else:
        stands = "is another record: the document does not say all that this one does"
    return written, f"{id} as its publisher would send it; --original has its own bytes. Uncorrected it {stands}"


def letters(
    brokers: str,
    name: str | None,
    folder: Any,
    error_class: str | None = None,
    code: str | None = None,
    stage: str | None = None,
    review: bool = False,
) -> Iterator[tuple[Pipeline, Message, dict[str, Any]]]:
    """The dead letters that match, of one pipeline or of all that the cluster has; `review`: only those that lie on
    `review` too. Raises Fault for unknown words."""
    from schemas.canonical import sha256
    from schemas.errors import ErrorClass
    from topology.lanes import each_lane
    from waybill.commands.reconcile import present
    from waybill.reader import Decoder, Reader

    for given, allowed in ((error_class, [c.value for c in ErrorClass]), (stage, ["validate", "batch", "dispatch"])):
        if given is not None and given not in allowed:
            raise Fault(f"{given!r} is not known; allowed: {', '.join(allowed)}")
    for pipeline in each_lane(present(brokers, load_some(name, folder), named=name is not None)):
        decoder = Decoder(pipeline)
        wanted = reviewed(brokers, pipeline, decoder) if review else None
        with Reader(brokers) as reader:
            for message in reader.all(pipeline.topic("dead-letter")):
                if message.value is None or (wanted is not None and sha256(message.value) not in wanted):
                    continue
                _, letter = decoder.codec.decode(message.value)
                codes = {finding["code"] for finding in letter["findings"]}
                matches = error_class in (None, letter["error_class"]) and stage in (None, letter["stage"])
                if matches and (code is None or code in codes):
                    yield pipeline, message, letter


def reviewed(brokers: str, pipeline: Pipeline, decoder: Decoder) -> set[bytes]:
    """Digests of the dead letters that lie on `review` too (RTY-11)."""
    from schemas.canonical import sha256
    from waybill.reader import Reader

    with Reader(brokers) as reader:
        values = (message.value for message in reader.all(pipeline.topic("review")))
        return {sha256(decoder.codec.decode(value)[1]["dead_letter"]) for value in values if value is not None}


def place(found: tuple[Pipeline, Message, dict[str, Any]]) -> tuple[Any, ...]:
    """Where `dlq ls` lists a dead letter."""
    from schemas.messages import position_of

    pipeline, message, letter = found
    return pipeline.pipeline, position_of(letter), message.timestamp, message.partition, message.offset


def row(pipeline: Pipeline, message: Message, letter: dict[str, Any]) -> dict[str, Any]:
    """What the list shows of a dead letter."""
    from schemas.canonical import record_id
    from schemas.messages import position_of

    return {
        "id": record_id(position_of(letter)),
        "pipeline": pipeline.pipeline,
        "position": f"{pipeline.topic('dead-letter')}/{message.partition}/{message.offset}",
        "at": utc(message.timestamp),
        "stage": letter["stage"],
        "class": letter["error_class"],
        "codes": sorted({finding["code"] for finding in letter["findings"]}),
        "reason": letter["reason"],
        "route": letter["route"],
        "key": letter["key"],
        "source": letter["source"],
    }


def detail(letter: dict[str, Any]) -> dict[str, Any]:
    """The rest of a dead letter; `original` as text, or as `original_hex` where it is none."""
    from schemas.canonical import record_id
    from schemas.messages import position_of

    names = (
        "findings", "count", "digest", "submission_digest", "content_type", "canonical", "claim", "site", "batch_id",
        "partner", "answer", "attempts", "outcome_unknown", "topology_version", "passport",
    )  # fmt: skip
    rest: dict[str, Any] = {name: letter[name] for name in names}
    rest["recorded_at"] = utc(letter["recorded_at"])
    conflict = letter["conflicts_with"]
    rest["conflicts_with"] = record_id(position_of(conflict)) if conflict else None
    original: bytes | None = letter["original"]
    try:
        rest["original"] = None if original is None else original.decode()
    except UnicodeDecodeError:
        rest["original"] = None
        rest["original_hex"] = (original or b"").hex()
    return rest


def print_letter(whole: dict[str, Any]) -> None:
    """A dead letter for a person."""
    for name, value in whole.items():
        if name in ("findings", "original", "original_hex") or value in (None, [], False):
            continue
        text = key_text(value) if name == "key" else ",".join(value) if name == "codes" else value
        line(f"{name:<18} {safe(text.hex() if isinstance(text, bytes) else str(text))}")
    for finding in whole["findings"]:
        line(f"finding            {safe(finding_text(finding))}")
    if "original_hex" in whole:
        print_bytes(bytes.fromhex(whole["original_hex"]))
    elif whole["original"] is not None:
        line("original")
        for text in whole["original"].splitlines():
            line("  " + "\t".join(map(safe, text.split("\t"))))  # a tab is text, and harmless
    else:
        line(f"original           kept at {safe(str(whole['claim']))}")


def print_bytes(data: bytes) -> None:
    """The beginning of an original that is no text: offset, hex, and what of it is printable ASCII."""
    line(f"original           {len(data):,} bytes, no text")
    for at in range(0, min(len(data), SHOWN_BYTES), 16):
        row = data[at : at + 16]
        seen = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        line(f"  {at:06x}  {row.hex(' '):<47}  {seen}")
    if len(data) > SHOWN_BYTES:
        line(f"  and {len(data) - SHOWN_BYTES:,} more bytes; --json shows all of them, as hex")
