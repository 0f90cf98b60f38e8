"""`waybill partner ls|pause|resume|test`: how partners are, and an operator's word on them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from waybill.context import Brokers, Folder, Json, MaybePipeline, find_brokers, load_some, who
from waybill.context import pipeline_and_id as pipeline_and_partner
from waybill.control_topic import write_control
from waybill.listing import noun
from waybill.output import Code, Fault, count, emit, finish, line, safe, say
from waybill.tables import table

if TYPE_CHECKING:
    from streams.delivery.protocol import Probed
    from streams.dispatch.orders import Order
    from topology.model import Pipeline
    from topology.partner import Partner
    from waybill.reader import Reader

WORDS = {True: "well", False: "not well", None: "cannot tell"}
"""What a probe came to."""

Words = Annotated[list[str], typer.Argument(metavar="[PIPELINE] PARTNER", help="of all pipelines that name it, or one")]
Named = Annotated[str | None, typer.Option("--pipeline", help="of this pipeline only; as PIPELINE before it")]
Reason = Annotated[str, typer.Option(help="why; kept with the order")]
Actor = Annotated[str | None, typer.Option("--by", help="who orders it; default: the user of this machine")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = noun("Partners: state, pause, probe.")
    group.command("ls")(ls)
    group.command("pause")(pause)
    group.command("resume")(resume)
    group.command("test")(probe)
    app.add_typer(group, name="partner")


def ls(name: MaybePipeline = None, brokers: Brokers = None, folder: Folder = None, json: Json = False) -> None:
    """List partners: state of the breaker, batches that wait, age of the oldest, when the first is given up
    (`deadline`), records a batch may have (`adaptive`), last answer, and whether paused."""
    from waybill.commands.reconcile import present
    from waybill.partners import ordered, read_standings
    from waybill.reader import Reader

    cluster = find_brokers(brokers)
    with Reader(cluster) as reader:
        pipelines = present(cluster, load_some(name, folder), named=name is not None)
        found = read_standings(reader, pipelines, int(time.time() * 1000))
    if json:
        for row in found:
            emit(row)
    else:
        columns = (
            "pipeline", "partner", "state", "queue", "oldest", "deadline", "cap", "last answer", "last attempt",
            "paused",
        )  # fmt: skip
        less = ("last attempt", "oldest", "cap", "deadline")
        rows = [(*_cells(row), ordered(row) if row["paused"] else None) for row in found]
        table(columns, rows, wrap=("last answer", "paused"), less=less)
    say(count(len(found), "partner"))
    finish(Code.FINE)


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    age = row["oldest_age_s"]
    return (
        row["pipeline"], row["partner"], row["state"], row["queue"], None if age is None else f"{age:,.0f} s",
        row["first_deadline"], row["cap"], row["last_answer"], row["last_attempt_at"],
    )  # fmt: skip


def pause(
    words: Words, reason: Reason, pipeline: Named = None, by: Actor = None, brokers: Brokers = None,
    folder: Folder = None, json: Json = False,
) -> None:  # fmt: skip
    """Send nothing to a partner until it is resumed. Its batches wait and lose no attempt; nothing is dead-lettered but
    what a `deadline` of the partner ends meanwhile.

    Workers obey within two seconds; attempts that are out end as they will. The order outlives restarts.
    """
    _order(True, words, reason, pipeline, by, brokers, folder, json)


def resume(
    words: Words, reason: Reason, pipeline: Named = None, by: Actor = None, brokers: Brokers = None,
    folder: Folder = None, json: Json = False,
) -> None:  # fmt: skip
    """Send to a partner again that was paused by command."""
    _order(False, words, reason, pipeline, by, brokers, folder, json)


def _order(
    paused: bool, words: list[str], reason: str, option: str | None, by: str | None, brokers: str | None,
    folder: Any, json: bool,
) -> None:  # fmt: skip
    from waybill.commands.reconcile import present
    from waybill.partners import read_orders
    from waybill.reader import Reader

    if not reason.strip():
        raise Fault("--reason is empty: say why, for whoever finds the partner like this")
    name, partner = pipeline_and_partner(words, option)
    cluster = find_brokers(brokers)
    pipelines = _with_partner(present(cluster, load_some(name, folder), named=name is not None), partner)
    with Reader(cluster) as reader:
        orders = read_orders(reader)
        for pipeline in pipelines:
            before = orders.newest(pipeline, partner)
            if (before is not None and before.paused) == paused:
                _tell(pipeline, partner, paused, before, False, json)
                continue
            given = _new_order(pipeline, partner, paused, before, who(by), reason)
            give(reader, given)
            _tell(pipeline, partner, paused, given, True, json)
    finish(Code.FINE)


def _with_partner(pipelines: list[Pipeline], partner: str) -> list[Pipeline]:
    """Those that send to it. Raises Fault where none does: an entry in partners.yaml alone makes no partner."""
    found = [pipeline for pipeline in pipelines if partner in pipeline.partners]
    if not found:
        names = sorted({name for pipeline in pipelines for name in pipeline.partners})
        raise Fault(
            f"no partner {partner!r}; there are {', '.join(names)} (an entry of partners.yaml is one where a pipeline "
            "names it as its `partner`)"
        )
    return found


def _new_order(pipeline: Pipeline, partner: str, paused: bool, before: Order | None, by: str, reason: str) -> Order:
    from streams.dispatch.orders import Order, subject

    version = before.version + 1 if before else 1
    return Order(subject(pipeline, partner), version, paused, by, reason, int(time.time() * 1000))


def give(reader: Reader, order: Order) -> None:
    """Writes an order to the control topic and waits for the broker's ack. Raises Fault."""
    from schemas.codec import SingleObjectCodec
    from streams.dispatch.orders import encode, key

    write_control(reader.brokers, [(key(order), encode(SingleObjectCodec(), order))], "`waybill partner ls`")


def _tell(pipeline: Pipeline, partner: str, paused: bool, order: Order | None, changed: bool, json: bool) -> None:
    word = "paused" if paused else "resumed"
    if json:
        who = {} if order is None else {"by": order.actor, "reason": order.reason, "version": order.version}
        emit({"pipeline": pipeline.pipeline, "partner": partner, "paused": paused, "changed": changed, **who})
        return
    line(f"{pipeline.pipeline}\t{partner}\t{word}")
    if paused and (seconds := pipeline.partners[partner].deadline) is not None:
        say(f"a batch for {partner} is still given up {seconds:g} s after its delivery began (`deadline`)")
    if not changed:
        say(f"{partner} was {word if order or paused else 'never paused'} before; nothing was written")


def probe(words: Words, pipeline: Named = None, folder: Folder = None, json: Json = False) -> None:
    """Ask a partner whether it is well, with our credentials, by its `probe`; no record is delivered.

    Exit 1: it is not; 3: it answered, and the answer does not tell (say what to ask with `probe`).
    """
    name, partner = pipeline_and_partner(words, pipeline)
    codes = set()
    asked: list[Partner] = []
    for one in _with_partner(load_some(name, folder), partner):
        declared = one.partners[partner]
        if declared in asked:
            continue
        asked.append(declared)
        started = time.perf_counter()
        probed = asyncio.run(_probe(partner, declared))
        ms = round((time.perf_counter() - started) * 1000)
        codes.add({True: Code.FINE, False: Code.FOUND, None: Code.INCOMPLETE}[probed.well])
        if json:
            emit({"partner": partner, "kind": declared.kind, "well": probed.well, "answer": probed.answer, "ms": ms})
        else:
            line(f"{partner}\t{WORDS[probed.well]}\t{safe(probed.answer)}\t{ms} ms")
    finish(Code.FOUND if Code.FOUND in codes else max(codes))


async def _probe(name: str, partner: Partner) -> Probed:
    from streams.delivery.engine import build_sink
    from streams.delivery.protocol import Probed, Probing

    try:
        sink = build_sink(name, partner)
    except ValueError as wrong:
        raise Fault(str(wrong)) from wrong
    try:
        if not isinstance(sink, Probing):
            return Probed(None, f"a partner of kind {partner.kind} cannot be asked without a delivery")
        return await sink.probe()
    finally:
        await sink.close()
