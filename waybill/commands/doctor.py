"""`waybill doctor`: whether this machine and this cluster have what Waybill needs, one line for each thing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Literal, NamedTuple

import typer

from streams.accelerated import compiled
from waybill.context import Brokers, Folder, Json, MaybePipeline, client_settings, find_brokers, home, load_some
from waybill.output import Code, Fault, emit, finish, line, safe

PYTHON = (3, 11), (3, 15)
FREE_BYTES = 2 * 2**30
ANSWER_SECONDS = 5.0

Word = Literal["ok", "warn", "fail"]


class Line(NamedTuple):
    """One thing looked at."""

    word: Word
    what: str
    said: str


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(doctor)


def doctor(name: MaybePipeline = None, brokers: Brokers = None, folder: Folder = None, json: Json = False) -> None:
    """Check Python, Java, Maven, the home folder, the pipelines, the broker, its clock and its topics.

    Exit 1 if anything fails; a warning is no failure.
    """
    failed = False
    for found in look(name, brokers, folder):
        failed = failed or found.word == "fail"
        if json:
            emit(found._asdict())
        else:
            line(f"{found.word:<4}  {found.what:<10}  {safe(found.said)}")
    finish(Code.FOUND if failed else Code.FINE)


def look(name: str | None, brokers: str | None, folder: object) -> Iterator[Line]:
    """Every line, one after the other."""
    yield python()
    yield form()
    yield java()
    yield maven()
    yield home_folder()
    from topology.load import TopologyError

    try:
        pipelines = load_some(name, folder)  # type: ignore[arg-type]
    except (TopologyError, Fault) as wrong:
        yield Line("fail", "pipelines", str(wrong).splitlines()[0] + "; see `waybill topology check`")
        pipelines = []
    else:
        yield Line("ok", "pipelines", ", ".join(pipeline.pipeline for pipeline in pipelines))
    try:
        cluster = find_brokers(brokers)
    except Fault as absent:
        yield Line("warn", "broker", str(absent))
        return
    reached = broker(cluster)
    yield reached
    if reached.word == "fail":
        return
    yield clock()
    from streams.runtime.admin import describe_cluster_topics
    from topology.topics import check_cluster, topic_specs

    for pipeline in pipelines:
        specs = topic_specs(pipeline)
        states = describe_cluster_topics(cluster, [spec.name for spec in specs])
        problems = check_cluster(specs, states)
        if len(states) <= 1:  # the control topic is everybody's
            said = f"{pipeline.pipeline}: not made yet; `waybill up {pipeline.pipeline}` makes them"
            yield Line("warn", "topics", said)
        elif problems:
            yield Line("fail", "topics", f"{problems[0]} ({len(problems)} in all: `waybill topology check --cluster`)")
        else:
            yield Line("ok", "topics", f"{pipeline.pipeline}: {len(specs)} topics as they should be")


def python() -> Line:
    """The interpreter."""
    said = f"{platform.python_version()} at {sys.executable}"
    if PYTHON[0] <= sys.version_info < PYTHON[1]:
        return Line("ok", "python", said)
    return Line("fail", "python", f"{said}: 3.11 to 3.14 are supported")


def form() -> Line:
    """Whether some of our modules run compiled."""
    number = compiled()
    return Line("ok", "modules", f"{number} compiled, the rest as written" if number else "all as written")


def java() -> Line:
    """What the local broker runs on."""
    from waybill.kafka_jars import BrokerUnavailable, find_java

    try:
        return Line("ok", "java", find_java())
    except BrokerUnavailable as absent:
        return Line("warn", "java", str(absent))


def maven() -> Line:
    """What fetches the broker's jars, once."""
    found = shutil.which("mvn")
    if found is None:
        said = "no `mvn` on the PATH: it fetches Kafka's jars for the local broker, once"
        return Line("warn", "maven", f"{said} (Debian: apt-get install maven)")
    return Line("ok", "maven", found)


def home_folder() -> Line:
    """Where local state lives: can be written to, and has room."""
    folder = home().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"waybill")
    except OSError as error:
        return Line(
            "fail", "home", f"{folder} cannot be written to: {error.strerror}; set WAYBILL_HOME to another folder"
        )
    free = shutil.disk_usage(folder).free
    said = f"{folder}, {free / 2**30:.1f} GiB free"
    return Line("ok" if free >= FREE_BYTES else "warn", "home", said)


def broker(cluster: str) -> Line:
    """Whether the cluster answers."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        found = AdminClient(client_settings(cluster)).list_topics(timeout=ANSWER_SECONDS)
    except KafkaException as failed:
        return Line("fail", "broker", f"{cluster} does not answer ({failed.args[0].str()}): is it running?")
    nodes = len(found.brokers)
    return Line("ok", "broker", f"{cluster}: {nodes} node{'s' if nodes != 1 else ''}, {len(found.topics)} topics")


def clock() -> Line:
    """This machine's clock: synchronised by its system, as far as that can be asked."""
    zone = time.strftime("%Z")
    said = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} (zone {zone}; Waybill speaks UTC)"
    if time.time() < 1_700_000_000:
        return Line("fail", "clock", f"{said}: set it; certificates, retention and waits depend on it")
    tool = shutil.which("timedatectl")
    if tool is not None and os.path.isdir("/run/systemd/system"):
        asked = subprocess.run(
            [tool, "show", "--property=NTPSynchronized", "--value"],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
        if asked.stdout.strip() == "no":
            return Line("warn", "clock", f"{said}: not synchronised")
    return Line("ok", "clock", said)
