"""The command line: puts the commands together and turns whatever goes wrong into one clear line and an exit code.

Commands import what is heavy (Kafka, YAML models) when they run, so that `waybill --help` is quick.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Protocol, cast

import typer

from streams.accelerated import Stale, compiled
from streams.runtime.garbage import STARTING
from waybill.listing import Listed
from waybill.output import Code, Fault, line, safe, say

NOUNS = (
    "broker", "publish", "gateway", "source", "check", "tail", "trace", "reconcile", "dlq", "table", "topology",
    "audit", "partner", "master", "exceptions", "drill", "status", "doctor", "config",
)  # fmt: skip
LATER = ("run", "demo")
"""Modules that may be absent: commands that start workers."""
MODULES = {"worker": "run", "up": "run", "partner-sim": "run", "demo": "demo", **{noun: noun for noun in NOUNS}}
"""Where each command is."""


class Commands(Protocol):
    """What a module of `waybill.commands` offers."""

    def register(self, app: typer.Typer) -> None:
        """Adds its commands."""
        ...


def build(only: str = "") -> typer.Typer:
    """The command line; all of it, or as much as the command `only` needs: the modules of all others
    take 0.1 s of processor time."""
    app = typer.Typer(
        name="waybill",
        cls=Listed,
        help="Kafka stream processing for regulated records: every record gets exactly one final answer.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_program)  # without one, an only command would be the program itself, and have no name
    for noun in [MODULES[only]] if only in MODULES else (*LATER, *NOUNS):
        name = f"waybill.commands.{noun}"
        if noun in NOUNS or find_spec(name) is not None:
            cast(Commands, import_module(name)).register(app)
    return app


def _version(asked: bool) -> None:
    if asked:
        from waybill.commands.run import software

        line(software().replace("/", " "))
        raise typer.Exit


def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself; `_version` does what there is to do."""


def run(arguments: Sequence[str]) -> int:
    """Runs one command; its exit code. Whatever a user can do wrong comes back as one line on stderr."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        compiled()
    except Stale as stale:  # before anything of it is imported
        return refuse(str(stale), Code.USAGE)
    app = build(arguments[0] if arguments else "")
    try:
        code = app(list(arguments), standalone_mode=False, prog_name="waybill")
        sys.stdout.flush()
        return code if isinstance(code, int) else Code.FINE
    except Fault as fault:
        return refuse(str(fault), fault.code)
    except typer.TyperException as wrong:
        return usage(wrong)
    except (BrokenPipeError, SystemExit):
        # Whoever reads us has seen enough (`waybill tail … | head`); typer makes a SystemExit of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
        return Code.FINE
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except Exception as error:
        words = explained(error)
        if words is None:
            raise
        return refuse(words, Code.USAGE)


def refuse(message: str, code: int) -> int:
    """Says what is wrong, each line under the program's name."""
    for text in message.splitlines() or ["failed"]:
        say(f"waybill: {safe(text)}")
    return code


def usage(wrong: typer.TyperException) -> int:
    """One line for a command line that cannot be understood."""
    describe = getattr(wrong, "format_message", None)
    context = getattr(wrong, "ctx", None)
    where = context.command_path if context is not None else "waybill"
    words = " ".join(str(describe() if describe else wrong).split())
    if type(wrong).__name__ == "NoArgsIsHelpError":
        say(str(wrong))
        return Code.USAGE
    if isinstance(wrong, typer.Abort):
        say("waybill: aborted")
        return Code.FOUND
    return refuse(f"{words.rstrip('.')}; see `{where} --help`", Code.USAGE)


def explained(error: Exception) -> str | None:
    """The line for an error of a topology, a broker, a cluster or a file; None for a mistake of our own.

    The modules are looked up among those already loaded: an error can only come from one that was.
    """
    known = (
        ("topology.yaml_file", "TopologyError"),
        ("waybill.kafka_jars", "BrokerError"),
        ("streams.runtime.log", "LogError"),
        ("schemas.codec", "WireError"),
    )
    for module, name in known:
        if module in sys.modules and isinstance(error, getattr(sys.modules[module], name)):
            return str(error)
    kafka = sys.modules.get("confluent_kafka")
    if kafka is not None and isinstance(error, kafka.KafkaException):
        reason = error.args[0] if error.args else error
        words = reason.str() if hasattr(reason, "str") else str(reason)
        return f"the cluster does not answer as it should: {words}"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else f"{error.strerror or error}"
    return None


def main() -> None:
    """Console script `waybill`."""
    gc.set_threshold(*STARTING)  # with Python's defaults it is a quarter of a worker's start
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
