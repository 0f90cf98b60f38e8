"""`waybill reconcile`: conservation over the whole log (REC-01, REC-03)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from waybill.context import Brokers, Folder, Json, MaybePipeline, find_brokers, load_some, require_cluster
from waybill.moments import Window
from waybill.moments import window as parse_window
from waybill.output import Code, Fault, count, emit, event_utc, finish, line, safe, say

if TYPE_CHECKING:
    from streams.stage import Message
    from topology.model import Pipeline
    from waybill.books import Named, Progress, Tally
    from waybill.reader import Decoder, Reader

SHOWN = 50
"""Ids printed without --json; all of them with it."""
LOOK_SECONDS = 0.5
"""Between two looks while waiting."""
WORD_SECONDS = 5.0
"""Between two lines that say what is waited for."""
NEEDED = ("raw", "validated", "batched", "sent", "dead-letter", "delivery", "heads")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(reconcile)


def reconcile(
    name: MaybePipeline = None,
    wait: Annotated[float, typer.Option(min=0, help="seconds to wait for records in flight")] = 0.0,
    window: Annotated[
        str | None,
        typer.Option(help="only records that the broker took in then: an age (24h), or FROM/TO as RFC 3339 times"),
    ] = None,
    brokers: Brokers = None,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Check that every record received has exactly one answer, or can be named as still in flight.

    With --window the answers of its records count wherever they lie; FROM is in the window, TO is not. Partners that
    are paused or down while batches wait for them are named.

    Exit 1: a record is lost, has two answers, or has an answer and was never received; 3: records are in flight.
    """
    within = None if window is None else parse_window(window, time.time_ns() // 1_000_000)
    cluster = find_brokers(brokers)
    pipelines = present(cluster, load_some(name, folder), named=name is not None)
    deadline = time.monotonic() + wait
    for pipeline in pipelines if wait and within is None else ():
        wait_until_quiet(cluster, pipeline, deadline)
    tallies = [answered(cluster, pipeline, within, deadline) for pipeline in pipelines]
    for result in tallies:
        report(result, json, within)
    held_up(cluster, [one for one, result in zip(pipelines, tallies, strict=True) if result.in_flight], json)
    if not json:
        if within is not None:
            bounds = " ".join(f"{name}={value or '-'}" for name, value in bounds_of(within).items())
            line(f"window: {bounds} outside={sum(result.outside for result in tallies)}")
        for text in sums(tallies):
            line(text)
    finish(max((code_of(result) for result in tallies), key=[Code.FINE, Code.INCOMPLETE, Code.FOUND].index))


def sums(tallies: list[Tally]) -> list[str]:
    """The conservation of each pipeline, where there are several, and that of all."""
    from waybill.books import total

    each = [f"{result.pipeline}: {result}" for result in tallies] if len(tallies) > 1 else []
    return [*each, str(total(tallies))]


def code_of(result: Tally) -> Code:
    """The exit code of one pipeline's books."""
    if not result.holds:
        return Code.FOUND
    return Code.INCOMPLETE if result.in_flight else Code.FINE


def present(brokers: str, pipelines: list[Pipeline], named: bool) -> list[Pipeline]:
    """The pipelines whose topics the cluster has. Fault where the one that was named has not, or none has."""
    from topology.lanes import lanes_of

    there = require_cluster(brokers)
    needed = {p.pipeline: {lane.topic(short) for lane in lanes_of(p).values() for short in NEEDED} for p in pipelines}
    found = [p for p in pipelines if needed[p.pipeline] <= there.keys()]
    if not found or (named and len(found) < len(pipelines)):
        missing = sorted(set().union(*needed.values()) - there.keys())
        names = " ".join(p.pipeline for p in pipelines)
        raise Fault(
            f"{brokers} has no topic {', '.join(missing)}: `waybill up {names}` makes them; is this the right cluster?"
        )
    return found


def bounds_of(window: Window) -> dict[str, str | None]:
    """A window as text; None: without an end."""
    return {"from": event_utc(window.start), "to": None if window.end is None else event_utc(window.end)}


def answered(brokers: str, pipeline: Pipeline, window: Window | None, deadline: float) -> Tally:
    """The books of a pipeline; with a window drawn again until none of its records is in flight, or the deadline
    passes: the pipeline itself may never be quiet."""
    while True:
        began = time.monotonic()
        result = tally(brokers, pipeline, window)
        now = time.monotonic()
        if window is None or not result.in_flight or now >= deadline:
            return result
        time.sleep(min(max(now - began, LOOK_SECONDS), deadline - now))


def report(result: Tally, json: bool, window: Window | None = None) -> None:
    """Prints one pipeline's books: what is broken, what is in flight, the sum."""
    if json:
        for kind, items in (("problem", result.problems), ("in-flight", result.flying)):
            for item in items:
                emit({"kind": kind, "pipeline": result.pipeline, "id": item.id, "what": item.what})
        counts = ("received", "acknowledged", "dead", "duplicate", "in_flight")
        emit(
            {
                "kind": "conservation",
                "pipeline": result.pipeline,
                **{name.replace("_", "-"): getattr(result, name) for name in counts},
                "holds": result.holds,
                **({} if window is None else {"window": bounds_of(window), "outside": result.outside}),
            }
        )
        return
    _list(result.problems, "BROKEN")
    _list(result.flying, "in flight")
    if not result.holds and not result.problems:
        say(f"{result.pipeline}: BROKEN: the sum does not hold")


def held_up(brokers: str, pipelines: list[Pipeline], json: bool) -> None:
    """Says which partners hold up what is in flight, a line for each."""
    from waybill import partners
    from waybill.reader import Reader

    if not pipelines:
        return
    with Reader(brokers) as reader:
        rows = partners.read_standings(reader, pipelines, int(time.time() * 1000))
    for row in rows:
        if (why := partners.held_up(row)) is None:
            continue
        if json:
            names = ("pipeline", "partner", "state", "paused", "until", "queue")
            emit({"kind": "partner", **{name: row[name] for name in names}, "what": why})
        else:
            waits = f"{count(row['queue'], 'batch')} of {row['pipeline']} waiting"
            line(f"partner  {safe(row['partner'])}  {waits}: {safe(why)}")


def _list(items: list[Named], word: str) -> None:
    for item in items[:SHOWN]:
        line(f"{word}  {safe(item.id)}  {safe(item.what)}")
    if len(items) > SHOWN:
        line(f"{word}  … and {len(items) - SHOWN:,} more (--json names them all)")


def tally(brokers: str, pipeline: Pipeline, window: Window | None = None) -> Tally:
    """The books of a pipeline now, of all its lanes; str() of it is the conservation line."""
    from topology.lanes import lanes_of
    from waybill.books import together
    from waybill.reader import Decoder, Reader

    with Reader(brokers) as reader:
        lanes = lanes_of(pipeline).values()
        drawn = [draw(reader, Decoder(lane), lane, window) for lane in lanes]
    return drawn[0] if len(drawn) == 1 else together(pipeline.pipeline, drawn)


def draw(reader: Reader, decoder: Decoder, pipeline: Pipeline, window: Window | None = None) -> Tally:
    """The books of one lane: reads the log in the order that `waybill.books` asks for."""
    from schemas.codec import WireError
    from waybill.books import Books

    topic = pipeline.topic
    progress = progress_of(reader, decoder, pipeline)
    waits = waiting_rows(reader, decoder, pipeline)
    ends = {short: reader.ends(topic(short)) for short in ("dead-letter", "sent", "batched", "validated", "raw")}
    books = Books(pipeline.pipeline, topic("raw"), topic("validated"), topic("batched"), progress, window)

    def each(short: str) -> Iterator[tuple[Message, str, dict[str, Any]]]:
        for message in reader.all(topic(short), ends[short]):
            if message.value is not None:
                try:
                    decoded = decoder.codec.decode(message.value)
                except WireError as error:
                    books.unreadable(f"{topic(short)}/{message.partition}/{message.offset}", str(error))
                else:
                    yield (message, *decoded)

    for row in waits:
        books.waits(decoder.codec.decode(row["value"])[1])
    for _, _, letter in each("dead-letter"):
        books.dead_letter(letter)
    for _, name, ack in each("sent"):
        books.sent(name, ack)
    for message, name, value in each("validated"):
        books.validated(message.partition, message.offset, name, value)
    if books.needs_batches:
        for message, name, batch in each("batched"):
            if name == "batched_again":
                books.batched_again(batch)
            elif name == "batched":
                members = (decoder.codec.decode(data)[1] for data in batch["records"])
                books.batched(message.partition, message.offset, batch["batch_id"], members)
    for message in reader.all(topic("raw"), ends["raw"]):
        books.raw(message.partition, message.offset, message.timestamp)
    return books.balance(complete=not any(ends["validated"].low.values()))


def progress_of(reader: Reader, decoder: Decoder, pipeline: Pipeline) -> Progress:
    """How far the stages are, by their committed offsets and tables."""
    from waybill.books import Half, Progress

    def committed(stage: str, source: str) -> dict[int, int | None]:
        return reader.committed(pipeline.group_id(stage), pipeline.topic(source))

    offsets = committed("validate", "raw"), committed("batch", "validated"), committed("dispatch", "batched")
    heads = [decoder.codec.decode(row.value or b"")[1] for row in reader.table(pipeline.topic("heads")).values()]
    processed = {head["partition"]: head["processed_through"] for head in heads if head["stage"] == "batch"}
    rows = list(decoder.batches(reader.table(pipeline.topic("delivery")).values()))
    halves: dict[bytes, list[Half]] = {}
    for row in rows:
        if row["parent"] is not None:
            halves.setdefault(row["parent"], []).append(Half(row["batch_id"], row["first"], row["count"]))
    states = {row["batch_id"]: row["state"] for row in rows}
    return Progress(offsets[0], offsets[1], processed, offsets[2], states, halves)


def waiting_rows(reader: Reader, decoder: Decoder, pipeline: Pipeline) -> list[dict[str, Any]]:
    """The records that wait, where the pipeline has state rules (ADR 22)."""
    if "waiting" not in pipeline.tables:
        return []
    return decoder.waits(reader.table(pipeline.topic("waiting")).values())


def wait_until_quiet(brokers: str, pipeline: Pipeline, deadline: float) -> bool:
    """Waits until no stage has input left and no batch is unsettled; False if that was not so at the deadline."""
    from waybill.reader import Decoder, Reader

    decoder = Decoder(pipeline)
    with Reader(brokers) as reader:
        return wait_for(lambda: busy(reader, decoder, pipeline), pipeline.pipeline, deadline)


def wait_for(
    left: Callable[[], str | None],
    name: str,
    deadline: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Asks until nothing is left to do; False if something was at the deadline. A cluster that fails to answer is asked
    again: a broker that restarts must not end a wait. What is waited for is said now and then."""
    from confluent_kafka import KafkaException

    next_word = clock() + WORD_SECONDS
    while True:
        try:
            what = left()
        except KafkaException as failed:
            what = f"without an answer of the cluster: {failed.args[0].str()}"
        except Fault as failed:
            what = f"without an answer of the cluster: {failed}"
        if what is None:
            return True
        now = clock()
        if now >= deadline:
            say(f"{name}: still {what}")
            return False
        if now >= next_word:
            say(f"{name}: {what}; waiting {deadline - now:.0f} s more at most")
            next_word = now + WORD_SECONDS
        sleep(min(LOOK_SECONDS, deadline - now))


def busy(reader: Reader, decoder: Decoder, pipeline: Pipeline) -> str | None:
    """What a pipeline still has to do, in any lane, cheaply; None where nothing."""
    from topology.lanes import lanes_of

    return next(filter(None, (_busy(reader, decoder, lane) for lane in lanes_of(pipeline).values())), None)


def _busy(reader: Reader, decoder: Decoder, pipeline: Pipeline) -> str | None:
    for stage, source in (("validate", "raw"), ("batch", "validated"), ("dispatch", "batched")):
        topic = pipeline.topic(source)
        waiting = sum(reader.waiting(topic, reader.committed(pipeline.group_id(stage), topic), cap=1000).values())
        if waiting:
            # The offset commits when a window is sealed (BA4); behind the oldest others may have been, and delivered.
            word = "from batch's oldest open window on; some may have their answers"
            return f"{count(waiting, 'message')} of {topic} {word if stage == 'batch' else f'to be read by {stage}'}"
    if waits := len(waiting_rows(reader, decoder, pipeline)):
        return f"{count(waits, 'record')} waiting for what must come before"
    rows = decoder.batches(reader.table(pipeline.topic("delivery")).values())
    unsettled = sum(row["state"] in ("pending", "in_flight") for row in rows)
    return f"{count(unsettled, 'batch')} unsettled" if unsettled else None
