"""`waybill worker` and `waybill up`: the processes that do the work, and the one that keeps them going."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from streams.accelerated import compiled
from waybill.context import Brokers, home
from waybill.output import Fault, say


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("worker")(worker)
    app.command("up")(up)
    app.command("partner-sim")(partner_sim)


Slot = Annotated[int, typer.Option(min=0, help="which worker this is; two running workers must differ")]
WebPort = Annotated[int, typer.Option(min=0, max=65535, help="of /healthz, /readyz and /metrics; 0: a free one")]
WebBind = Annotated[str, typer.Option(help="address of the web endpoints")]
Drain = Annotated[float, typer.Option(min=0, help="seconds to finish what is under way when stopped")]
Session = Annotated[
    float, typer.Option(min=1, max=1800, help="seconds of silence after which a worker's partitions go to another one")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="log each transaction")]


def worker(
    pipeline: Annotated[list[str], typer.Option(help="pipeline by name or file; may be repeated")],
    stages: Annotated[str, typer.Option(help="comma-separated roles of this process")] = "validate,batch,dispatch",
    slot: Slot = 0,
    brokers: Brokers = None,
    web_port: WebPort = 6066,
    web_bind: WebBind = "127.0.0.1",
    drain: Drain = 30.0,
    session: Session = 10.0,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="work what there is now, stage by stage, close every window and exit")
    ] = False,
    supervised: Annotated[bool, typer.Option("--supervised", hidden=True, help="stop when stdin is closed")] = False,
    verbose: Verbose = False,
) -> None:
    """Run one worker process against an existing cluster until it is told to stop, or to the end of the input."""
    import structlog

    from streams.pipeline import STAGES
    from streams.runtime.stage_thread import WorkerSettings
    from streams.runtime.worker import EXIT_FATAL, Worker, check_topics
    from topology.load import load_pipeline
    from waybill.context import find_brokers
    from waybill.logs import configure

    chosen = tuple(name.strip() for name in stages.split(",") if name.strip())
    if not chosen or set(chosen) - set(STAGES):
        raise Fault(f"--stages {stages}: allowed are {', '.join(STAGES)}")
    configure(verbose)
    loaded = [load_pipeline(name) for name in pipeline]
    bootstrap = find_brokers(brokers)
    for one in loaded:
        check_topics(bootstrap, one)
    if web_port:
        require_free(web_bind, web_port)
    said = software()
    structlog.get_logger("waybill").info("starting", software=said)
    settings = WorkerSettings(
        bootstrap=bootstrap,
        home=home(),
        slot=slot,
        stages=tuple(name for name in STAGES if name in chosen),
        web_bind=web_bind,
        web_port=web_port or free_port(),
        drain_seconds=drain,
        software=said,
        session_seconds=session,
        until_end=until_end,
    )

    async def main() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if supervised:
            until_orphaned(lambda: loop.call_soon_threadsafe(stop.set))
        return await Worker(settings, loaded).run(stop)

    loop = asyncio.new_event_loop()
    code = EXIT_FATAL
    try:
        code = loop.run_until_complete(main())
    except Exception:  # noqa: BLE001 - printed, and the exit code says it
        traceback.print_exc()
    finally:
        # Everything of ours is closed. What is left are tasks of the frame that do not mind being cancelled; waiting
        # for them would keep a stopped worker alive for ever.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def software() -> str:
    """What a worker says it is, in its log and in the audit: with `+compiled` where modules are (ADR 27)."""
    return f"waybill/{version('waybill')}{'+compiled' if compiled() else ''}"


def up(
    pipelines: Annotated[
        list[str] | None, typer.Argument(metavar="PIPELINE", help="by name or file; default: every shipped one")
    ] = None,
    brokers: Brokers = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="worker processes, each with all stages")] = 1,
    web_port: WebPort = 6066,
    web_bind: WebBind = "127.0.0.1",
    drain: Drain = 30.0,
    partner_sim: Annotated[
        bool, typer.Option("--partner-sim", help="stand in for HTTP partners with a local one that accepts everything")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Start a broker if none is given, create topics, run all stages and keep them running until Ctrl-C."""
    from topology.load import load_pipeline, pipeline_names, topology_folder
    from waybill.supervisor import Supervisor
    from waybill.surroundings import Surroundings

    names = pipelines or [str(topology_folder() / f"{name}.yaml") for name in pipeline_names()]
    for name in names:
        load_pipeline(name)  # a mistake is told before anything is started
    with only_one(home() / "up.lock"):
        for slot in range(workers if web_port else 0):
            require_free(web_bind, web_port + slot)
        with Surroundings(brokers, partner_sim) as around:
            loaded = [load_pipeline(name) for name in names]
            around.create_topics(loaded)
            around.say_partners(loaded)
            commands = []
            for slot in range(workers):
                command = [sys.executable, "-m", "waybill.main", "worker", "--brokers", around.bootstrap]
                command += [word for name in names for word in ("--pipeline", name)]
                command += ["--slot", str(slot), "--drain", str(drain), "--web-bind", web_bind, "--supervised"]
                command += ["--web-port", str(web_port + slot if web_port else 0)] + (["--verbose"] if verbose else [])
                commands.append(command)
            supervisor = Supervisor(commands, say, around.tend)
            code = supervisor.run(drain + 30)
            for one in loaded:
                around.say_what_is_left(one)
    raise typer.Exit(code)


def require_free(address: str, port: int) -> None:
    """Fault where somebody listens there already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as taken:
            raise Fault(
                f"{address}:{port} cannot be used for the web endpoints ({taken.strerror}): does another worker run "
                "here? Choose another with --web-port, or 0 for a free one"
            ) from taken


@contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Holds the lock of a home folder; Fault where another `waybill up` holds it, whose slots would be the same."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.seek(0)
            raise Fault(
                f"another `waybill up` (pid {held.read().strip()}) runs in {lock.parent}: stop it, or give this one a "
                "folder of its own with WAYBILL_HOME"
            ) from None
        held.truncate(0)
        held.write(str(os.getpid()))
        held.flush()
        yield


def until_orphaned(stop: Callable[[], object]) -> None:
    """Calls `stop` when the supervisor at the other end of stdin is gone, however it ended."""

    def wait() -> None:
        while sys.stdin.buffer.read(1):
            pass
        stop()

    threading.Thread(target=wait, name="supervised", daemon=True).start()


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def partner_sim(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one")] = 8081,
    ledger: Annotated[Path | None, typer.Option(help="file that keeps attempts and effects over restarts")] = None,
    bodies: Annotated[Path | None, typer.Option(help="folder that gets the bytes of every stored batch")] = None,
) -> None:
    """Run a fake HTTP partner that stores each batch once and keeps a ledger; for trying things out."""
    from waybill.partner_sim import main

    words = ["--host", host, "--port", str(port)] + (["--ledger", str(ledger)] if ledger else [])
    raise typer.Exit(main(words + (["--bodies", str(bodies)] if bodies else [])))
