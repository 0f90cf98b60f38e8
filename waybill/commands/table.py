"""`waybill table ls|show|rebuild`: the compacted tables, and whether they follow from the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from waybill.commands.tail import readable
from waybill.context import (
    Brokers,
    Folder,
    Json,
    MaybePipeline,
    PipelineName,
    find_brokers,
    load_lane,
    load_some,
    require_topics,
)
from waybill.listing import noun
from waybill.output import Code, Fault, count, emit, finish, key_text, line, safe, say, utc
from waybill.tables import table

if TYPE_CHECKING:
    from schemas.canonical import RawPosition
    from topology.model import Pipeline
    from waybill.derive import Difference
    from waybill.reader import Decoder, Ends, Reader

DERIVED = ("idempotency", "windows", "delivery")
SHOWN = 50
NOT_COMPARED = {
    "idempotency": "versions that are past their age: they are tidied up at leisure",
    "windows": "lines whose records were trimmed from `validated`",
    "delivery": "attempts, waits, body digest and retention of batches that are not settled; when lives began; rows "
    "tidied after `keep`; rows about partners",
}
TableName = Annotated[
    str, typer.Argument(metavar="TABLE", help="idempotency, windows, items, waiting, heads or delivery")
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = noun("The compacted tables.")
    group.command("ls")(ls)
    group.command("show")(show)
    group.command("rebuild")(rebuild)
    app.add_typer(group, name="table")


def ls(name: MaybePipeline = None, brokers: Brokers = None, folder: Folder = None, json: Json = False) -> None:
    """List the tables of pipelines with their rows and what their changelogs hold."""
    from topology.lanes import each_lane
    from waybill.commands.reconcile import present
    from waybill.reader import Reader

    cluster = find_brokers(brokers)
    found = []
    with Reader(cluster) as reader:
        for pipeline in each_lane(present(cluster, load_some(name, folder), named=name is not None)):
            for short in pipeline.tables:
                ends = reader.ends(pipeline.topic(short))
                offsets = sum(ends.high[p] - ends.low[p] for p in ends.low)
                rows = len(reader.table(pipeline.topic(short)))
                found.append((pipeline.pipeline, short, pipeline.topic(short), len(ends.low), rows, offsets))
    columns = ("pipeline", "table", "topic", "partitions", "rows", "offsets")
    if json:
        for values in found:
            emit(dict(zip(columns, values, strict=True)))
    else:
        table(columns, found, wrap=("offsets",), less=("topic",))
    finish(Code.FINE)


def show(
    name: PipelineName,
    short: TableName,
    key: Annotated[str | None, typer.Option(help="rows whose key contains this text")] = None,
    brokers: Brokers = None,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Show the rows of a table as they stand now."""
    from streams.dispatch.agent import PARTNER_KEY
    from waybill.reader import Decoder, Reader

    pipeline, cluster = _open(name, folder, short, brokers)
    decoder = Decoder(pipeline)
    number = 0
    with Reader(cluster) as reader:
        for (partition, row_key), message in sorted(reader.table(pipeline.topic(short)).items()):
            of_batch = short == "delivery" and not row_key.startswith(PARTNER_KEY)
            shown = row_key.hex() if of_batch else row_key.decode("utf-8", "backslashreplace")
            if key is not None and key not in shown and key not in str(key_text(shown)):
                continue
            number += 1
            _, fields = decoder.codec.decode(message.value or b"")
            row = readable(decoder, fields)
            if json:
                emit({"partition": partition, "row": shown, "at": utc(message.timestamp), "value": row})
            else:
                body = "  ".join(f"{column}={value}" for column, value in row.items() if value not in (None, []))
                line(f"{partition}  {safe(str(key_text(shown)))}  {safe(str(key_text(body)))}")
    say(f"{count(number, 'row')} of {pipeline.topic(short)}")
    finish(Code.FINE)


def rebuild(
    name: PipelineName,
    short: TableName,
    compare: Annotated[bool, typer.Option("--compare", help="compare with the table; nothing is written")] = False,
    brokers: Brokers = None,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Derive a table again from the topics and compare it with the one that is there.

    Exit 1: rows differ, and are named; 3: the pipeline moved meanwhile, or the log is trimmed, so not all was compared.
    """
    from waybill.reader import Decoder, Reader

    if not compare:
        raise Fault(
            "`table rebuild` compares only: add --compare (workers rebuild their own tables from the changelog)"
        )
    pipeline, cluster = _open(name, folder, short, brokers)
    if short not in DERIVED:
        raise Fault(f"{short} follows from no other topic but audit: `waybill audit verify` holds the two together")
    decoder = Decoder(pipeline)
    with Reader(cluster) as reader:
        before = _moment(reader, decoder, pipeline)
        check = {"idempotency": idempotency, "windows": windows, "delivery": delivery}[short]
        differences, rows, left_out = check(reader, decoder, pipeline)
        moved = _moment(reader, decoder, pipeline) != before
    for difference in differences if json else differences[:SHOWN]:
        if json:
            emit({"kind": "difference", "row": difference.row, "what": difference.what})
        else:
            line(f"DIFFERENT  {safe(str(key_text(difference.row)))}  {safe(str(key_text(difference.what)))}")
    say(f"not compared: {NOT_COMPARED[short]}" + (f"; {left_out}" if left_out else ""))
    if moved:
        say("the pipeline moved while it was read: differences mean nothing; stop it or try again")
    word = "moving" if moved else "different" if differences else "equal"
    if json:
        emit({"kind": "result", "table": short, "rows": rows, "differences": len(differences), "result": word})
    else:
        line(f"{pipeline.topic(short)}: {word}, {count(rows, 'row')}, {count(len(differences), 'difference')}")
    finish(Code.INCOMPLETE if moved else Code.FOUND if differences else Code.INCOMPLETE if left_out else Code.FINE)


def _open(name: str, folder: Any, short: str, brokers: str | None) -> tuple[Pipeline, str]:
    pipeline = load_lane(name, folder)
    if short not in pipeline.tables:
        raise Fault(f"no table {short!r}; allowed: {', '.join(pipeline.tables)}")
    cluster = find_brokers(brokers)
    require_topics(cluster, pipeline, "validated", "batched", "sent", "dead-letter", *pipeline.tables)
    return pipeline, cluster


def _moment(reader: Reader, decoder: Decoder, pipeline: Pipeline) -> dict[tuple[int, bytes], bytes | None]:
    """The heads, which every transaction of every stage rewrites."""
    return {key: row.value for key, row in reader.table(pipeline.topic("heads")).items()}


def _rows(reader: Reader, decoder: Decoder, topic: str) -> list[tuple[int, dict[str, Any]]]:
    return [(key[0], decoder.codec.decode(row.value or b"")[1]) for key, row in reader.table(topic).items()]


Checked = tuple[list["Difference"], int, str]
"""Differences, rows of the table, what was left out because the log does not go back so far."""


def _versions(reader: Reader, decoder: Decoder, pipeline: Pipeline, ends: Ends) -> dict[int, Any]:
    """Every partition's versions, from `validated` as far as batch has come."""
    from waybill.derive import Versions

    processed = {
        head["partition"]: head["processed_through"]
        for _, head in _rows(reader, decoder, pipeline.topic("heads"))
        if head["stage"] == "batch"
    }
    supersede = pipeline.on_conflict == "supersede"
    refused = _refused(reader, decoder, pipeline) if pipeline.items else frozenset()
    waited = _waited(reader, decoder, pipeline, processed, ends) if pipeline.items else {}
    found = {partition: Versions(int(pipeline.keep * 1000), supersede, refused, waited) for partition in ends.low}
    for message in reader.all(pipeline.topic("validated"), ends):
        if message.value is not None and message.offset <= processed.get(message.partition, -1):
            found[message.partition].take(message.offset, *decoder.codec.decode(message.value))
    return found


def _refused(reader: Reader, decoder: Decoder, pipeline: Pipeline) -> frozenset[RawPosition]:
    """Records that batch dead-lettered."""
    from schemas.messages import position_of

    letters = (decoder.codec.decode(message.value or b"")[1] for message in reader.all(pipeline.topic("dead-letter")))
    return frozenset(position_of(letter) for letter in letters if letter["stage"] == "batch")


def _waited(
    reader: Reader, decoder: Decoder, pipeline: Pipeline, processed: Mapping[int, int], ends: Ends
) -> dict[RawPosition, int]:
    """Records that waited, and where in `validated` they were decided: -1 for those that wait still."""
    from schemas.messages import position_of
    from streams.batch.items import WAITED

    found = {
        position_of(decoder.codec.decode(message.value or b"")[1]): message.offset
        for message in reader.all(pipeline.topic("validated"), ends)
        if message.offset <= processed.get(message.partition, -1) and any(name == WAITED for name, _ in message.headers)
    }
    waits = decoder.waits(reader.table(pipeline.topic("waiting")).values())
    return found | {position_of(row): -1 for row in waits}


def _trimmed(ends: Ends, topic: str) -> str:
    gone = [f"{partition} before {low}" for partition, low in ends.low.items() if low]
    return f"{topic} was trimmed: partition {', '.join(gone)}" if gone else ""


def idempotency(reader: Reader, decoder: Decoder, pipeline: Pipeline) -> Checked:
    """Against what `validated` says."""
    ends = reader.ends(pipeline.topic("validated"))
    versions = _versions(reader, decoder, pipeline, ends)
    rows = _rows(reader, decoder, pipeline.topic("idempotency"))
    differences = []
    for partition, derived in versions.items():
        mine = [row for where, row in rows if where == partition and row["offset"] >= ends.low[partition]]
        differences += derived.compare(mine)
    return differences, len(rows), _trimmed(ends, pipeline.topic("validated"))


def windows(reader: Reader, decoder: Decoder, pipeline: Pipeline) -> Checked:
    """Against what `batched` says, with the offsets `validated` gives its records."""
    from schemas.messages import position_of
    from waybill.derive import compare_windows, sealed

    ends = reader.ends(pipeline.topic("validated"))
    versions = _versions(reader, decoder, pipeline, ends)
    batches: dict[int, list[Any]] = {partition: [] for partition in ends.low}
    for message in reader.all(pipeline.topic("batched")):
        name, batch = decoder.codec.decode(message.value or b"")
        if name == "batched":
            _, last = decoder.codec.decode(batch["records"][-1])
            cut = (batch["group"], batch["date"]), position_of(last)
            batches[batch["partition"]].append(cut)
    committed = reader.committed(pipeline.group_id("batch"), pipeline.topic("validated"))
    rows = _rows(reader, decoder, pipeline.topic("windows"))
    differences = []
    for partition, cuts in batches.items():
        expected = sealed(cuts, versions[partition].admitted)
        mine = {(r["group"], r["date"]): r["sealed_through"] for where, r in rows if where == partition}
        differences += compare_windows(expected, mine, committed.get(partition))
    return differences, len(rows), _trimmed(ends, pipeline.topic("validated"))


def delivery(reader: Reader, decoder: Decoder, pipeline: Pipeline) -> Checked:
    """Against what `batched`, `sent` and `dead-letter` say, as far as dispatch has come."""
    from waybill.derive import Batches

    heads = _rows(reader, decoder, pipeline.topic("heads"))
    processed = {head["partition"]: head["processed_through"] for _, head in heads if head["stage"] == "dispatch"}
    ends = reader.ends(pipeline.topic("batched"))
    derived = Batches()
    for message in reader.all(pipeline.topic("batched"), ends):
        if message.value is not None and message.offset <= processed.get(message.partition, -1):
            derived.batched(message.partition, message.offset, *decoder.codec.decode(message.value))
    for short, state in (("sent", "sent"), ("dead-letter", "dead")):
        for message in reader.all(pipeline.topic(short)):
            if message.value is not None:
                derived.settle(decoder.codec.decode(message.value)[1], state)
    rows = [row for row in _rows(reader, decoder, pipeline.topic("delivery")) if "batch_id" in row[1]]

    def read(partition: int, offset: int) -> Mapping[str, Any]:
        """A batch with its members, which only what was split needs."""
        slices = reader.read(pipeline.topic("batched"), {partition: offset}, {partition: offset + 1})
        _, batch = decoder.codec.decode(next(m.value for one in slices for m in one if m.offset == offset) or b"")
        return batch | {"records": [decoder.codec.decode(data)[1] for data in batch["records"]]}

    differences, tidied = derived.compare(rows, read)
    trimmed = _trimmed(ends, pipeline.topic("batched"))
    if tidied:
        say(f"batches settled and tidied away: {tidied}")
    return differences, len(rows), trimmed
