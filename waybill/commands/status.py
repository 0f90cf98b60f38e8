"""`waybill status`: how far every stage is, what waits, what died, how the partners are."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from waybill.context import Brokers, Folder, Json, MaybePipeline, find_brokers, load_some
from waybill.output import Code, emit, finish, flush, line, say, utc
from waybill.tables import table

if TYPE_CHECKING:
    from topology.model import Pipeline
    from waybill.reader import Decoder, Reader

INPUTS = (("validate", "raw"), ("batch", "validated"), ("dispatch", "batched"))


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(status)


def status(
    name: MaybePipeline = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="again and again until Ctrl-C")] = False,
    every: Annotated[float, typer.Option(min=0.2, max=3600, help="seconds between two looks with --watch")] = 2.0,
    brokers: Brokers = None,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Per pipeline, or lane, and stage: lag, positions, batches in flight, dead letters; per partner: its batches by
    state."""
    from topology.lanes import each_lane
    from waybill.commands.reconcile import present
    from waybill.reader import Decoder, Reader

    cluster = find_brokers(brokers)
    pipelines = each_lane(present(cluster, load_some(name, folder), named=name is not None))
    decoders = {pipeline.pipeline: Decoder(pipeline) for pipeline in pipelines}
    with Reader(cluster) as reader:
        while True:
            looks = [look(reader, decoders[pipeline.pipeline], pipeline) for pipeline in pipelines]
            if watch and not json and sys.stdout.isatty():
                sys.stdout.write("\x1b[H\x1b[2J")
            show(looks, cluster, json)
            flush()
            if not watch:
                finish(Code.FINE)
            time.sleep(every)


def look(reader: Reader, decoder: Decoder, pipeline: Pipeline) -> dict[str, Any]:
    """One pipeline now."""
    from waybill.partners import by_partner, queue

    stages = []
    for stage, source in INPUTS:
        topic = pipeline.topic(source)
        committed = reader.committed(pipeline.group_id(stage), topic)
        waiting = reader.waiting(topic, committed, cap=10_000)
        stages.append(
            {
                "stage": stage,
                "lag": sum(waiting.values()),
                "partitions": [{"partition": p, "committed": committed[p], "lag": waiting[p]} for p in sorted(waiting)],
            }
        )
    rows = decoder.batches(reader.table(pipeline.topic("delivery")).values())
    ends = reader.ends(pipeline.topic("dead-letter"))
    dead = sum(1 for _ in reader.all(pipeline.topic("dead-letter"), ends))
    return {
        "pipeline": pipeline.pipeline,
        "at": utc(int(time.time() * 1000)),
        "stages": stages,
        "dead_letters": dead,
        "partners": [queue(name, mine) for name, mine in by_partner(rows).items()],
    }


def show(looks: list[dict[str, Any]], cluster: str, json: bool) -> None:
    """Prints one look at everything."""
    if json:
        for found in looks:
            emit(found)
        return
    say(f"cluster {cluster}, {looks[0]['at']}")
    table(
        ("pipeline", "stage", "lag", "committed by partition"),
        (
            (
                found["pipeline"],
                stage["stage"],
                f"{stage['lag']:,}",
                " ".join(f"{p['partition']}:{'-' if p['committed'] is None else p['committed']}"
                         for p in stage["partitions"]),
            )
            for found in looks
            for stage in found["stages"]
        ),
        wrap=("committed by partition",),
    )  # fmt: skip
    line("")
    table(
        ("pipeline", "partner", "batches", "records in flight", "last attempt", "last answer"),
        (
            (
                found["pipeline"],
                partner["partner"],
                " ".join(f"{state}={number}" for state, number in partner["batches"].items()),
                partner["records_in_flight"],
                partner["last_attempt_at"],
                partner["last_answer"],
            )
            for found in looks
            for partner in found["partners"]
        ),
        wrap=("batches", "last answer"),
        less=("last attempt",),
    )
    line("")
    table(("pipeline", "dead letters"), ((found["pipeline"], f"{found['dead_letters']:,}") for found in looks))
