"""`waybill broker start|stop|status`: the local Apache Kafka."""

from __future__ import annotations

from typing import Annotated

import typer

from waybill.context import Json, local_broker
from waybill.listing import noun
from waybill.output import Code, emit, finish, line, say


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = noun("The local Apache Kafka.")
    group.command("start")(start)
    group.command("stop")(stop)
    group.command("status")(status)
    app.add_typer(group, name="broker")


def start(
    port: Annotated[
        int | None,
        typer.Option(min=1024, max=65535, help="on 127.0.0.1; default: that of the last start, or a free one"),
    ] = None,
) -> None:
    """Start the local broker and wait until it answers; prints its address."""
    broker = local_broker(port)
    known = broker.status()
    if known.running and known.bootstrap and port is None:
        say(f"already running (pid {known.pid})")
        line(known.bootstrap)
        return
    say("starting Apache Kafka")
    bootstrap = broker.start()
    say(f"running (pid {broker.status().pid}), data in {broker.home}; stop it with `waybill broker stop`")
    line(bootstrap)


def stop() -> None:
    """Stop the local broker cleanly and wait until it is gone. Its data stays."""
    broker = local_broker()
    say("stopped" if broker.stop() else f"no broker runs in {broker.home}")


def status(json: Json = False) -> None:
    """Say whether the local broker runs, and where: exit 0 if it does, 3 if not."""
    found = local_broker().status()
    if json:
        emit({"running": found.running, "brokers": found.bootstrap, "pid": found.pid, "home": str(found.home)})
    elif found.running:
        line(f"running at {found.bootstrap} (pid {found.pid}), data in {found.home}")
    else:
        line(f"not running; its folder is {found.home}")
    finish(Code.FINE if found.running else Code.INCOMPLETE)
