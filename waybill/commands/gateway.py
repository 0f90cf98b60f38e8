"""`waybill gateway`: the HTTP intake of one or more pipelines."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from waybill.context import Brokers, Folder, find_brokers, load_pack_of, load_some, require_topics
from waybill.output import Fault, say

if TYPE_CHECKING:
    from topology.model import Pipeline
    from waybill.gateway.tokens import Tokens

ACK_SECONDS = 30.0
"""A broker whose leader moves is back by then; after it the outcome of a submission is unknown and said to be so."""
LEAST_OPEN = 64 * 2**20


class Limits(NamedTuple):
    """What is bounded; see the options."""

    backlog: int | None
    open_bytes: int
    connections: int
    drain: float


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(gateway)


def gateway(
    pipelines: Annotated[
        list[str] | None, typer.Argument(metavar="PIPELINE", help="by name or file; default: every one declared")
    ] = None,
    bind: Annotated[
        str, typer.Option(help="address to listen on; another than this machine's own needs --tokens")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one")] = 8080,
    tokens: Annotated[
        Path | None, typer.Option(help="file of bearer tokens, NAME SHA256 [PIPELINE,…] a line; read again on change")
    ] = None,
    backlog: Annotated[
        int | None,
        typer.Option(min=1, help="submissions that may wait for validate; default: twice batching.max_records"),
    ] = None,
    open_bytes: Annotated[
        int | None,
        typer.Option(min=1024, help="bytes of submissions under way; default: 64 MiB, or twice the largest allowed"),
    ] = None,
    connections: Annotated[int, typer.Option(min=1, help="connections at a time; one more is answered 503")] = 1000,
    drain: Annotated[float, typer.Option(min=0, help="seconds to answer what was taken when stopped")] = 35.0,
    brokers: Brokers = None,
    folder: Folder = None,
) -> None:
    """Take submissions by HTTP: POST /v1/PIPELINE/records, answered 202 once the broker has them.

    Its description is at /v1/openapi.json; /healthz, /readyz and /metrics are what they are for a worker.
    """
    from waybill.gateway.tokens import Tokens
    from waybill.logs import configure

    if tokens is None and not _loopback(bind):
        raise Fault(f"--bind {bind}: anybody could publish; name a file of tokens with --tokens")
    granted = None if tokens is None else Tokens(tokens)
    found = [one for name in pipelines for one in load_some(name, folder)] if pipelines else load_some(None, folder)
    loaded = {one.pipeline: one for one in found}
    cluster = find_brokers(brokers)
    for one in loaded.values():
        require_topics(cluster, one, "raw")
    configure()
    largest = max(one.raw.max_message_bytes for one in loaded.values())
    most = open_bytes or max(LEAST_OPEN, 2 * largest)
    if most < largest:
        raise Fault(f"--open-bytes {most}: below the largest submission allowed, {largest}; it could never be taken")
    asyncio.run(_run(loaded, cluster, granted, Limits(backlog, most, connections, drain), bind, port))


def _loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


async def _run(
    pipelines: dict[str, Pipeline], cluster: str, tokens: Tokens | None, limits: Limits, bind: str, port: int
) -> None:
    """Until SIGTERM or SIGINT. Raises Fault where it cannot listen, or the broker does not say how far it is."""
    import structlog

    from topology.lanes import lanes_of
    from waybill.gateway.backlog import Backlog, BacklogWatch, KafkaOffsets
    from waybill.gateway.intake import Gateway
    from waybill.gateway.jobs import KafkaJobs
    from waybill.gateway.observe import Metrics
    from waybill.gateway.route import LaneRoute, Route
    from waybill.gateway.server import KafkaSender, serve
    from waybill.raw_producer import RawProducer

    log = structlog.get_logger("waybill.gateway")
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    routes: dict[str, Route] = {}
    backlogs: list[tuple[Pipeline, Backlog]] = []
    for name, one in pipelines.items():
        lanes = {lane: (each, Backlog(limits.backlog or 2 * one.batching.max_records)) for lane, each in
                 lanes_of(one).items()}  # fmt: skip
        backlogs += lanes.values()
        to = {str(lane): LaneRoute(each.raw_topic, waiting) for lane, (each, waiting) in lanes.items()}
        routes[name] = Route(one, load_pack_of(one).media_types, to)

    def tell() -> None:
        try:
            if tokens is not None and tokens.reload():
                log.info("tokens were read again")
        except Fault as wrong:
            log.error("tokens were not read again; the former ones stay in force", why=str(wrong))

    offsets = KafkaOffsets(cluster)
    watch = BacklogWatch(offsets, backlogs, tell)
    if not watch.first():
        raise Fault(f"the broker at {cluster} does not say how far {', '.join(routes)} are read; see that it is well")
    sender = KafkaSender(RawProducer(cluster, pipelines.values(), ACK_SECONDS), loop)
    jobs = KafkaJobs(cluster)
    intake = Gateway(routes, sender, tokens, limits.open_bytes, Metrics(), jobs)

    def started(at: int) -> None:
        watch.start()
        say(f"ready: http://{bind}:{at}/v1/openapi.json describes {', '.join(sorted(routes))}")

    try:
        await serve(intake.answer, bind, port, limits.connections, limits.drain, stop, started)
    finally:
        sender.close()
        jobs.close()
        watch.stop()
        offsets.close()
