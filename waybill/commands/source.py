"""`waybill source`: runs the sources that `sources.yaml` declares."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from waybill.context import Brokers, Folder, Json, find_brokers, lane_of, load, require_topics
from waybill.listing import noun
from waybill.output import Code, Fault, emit, finish, flush, line, safe, say

if TYPE_CHECKING:
    from topology.model import Pipeline
    from topology.source import Source
    from waybill.sources.protocol import Published, Rows, Running

UNKNOWN = "position-unknown"
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds after a doubt, doubled while doubts follow."""
ATTEMPTS = 10
"""Doubts in a row, after which the process ends: somebody must look at the broker."""

SourceName = Annotated[str, typer.Argument(metavar="NAME", help="of a source in sources.yaml")]


def register(app: typer.Typer) -> None:
    """Adds the noun."""
    group = noun("What fetches submissions that nobody publishes.")
    group.command()(run)
    app.add_typer(group, name="source")


def run(
    name: SourceName,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="ends when nothing is left that is whole or may become so by waiting")
    ] = False,
    brokers: Brokers = None,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Publish what a source has, each file or page one submission, exactly once on raw, until Ctrl-C.

    Prints position, SHA-256 and where it is from once the broker has it. Two processes of one source cannot run: the
    later one ends the earlier one.
    """
    from streams.runtime.admin import create_topics, describe_cluster_topics
    from topology.load import load_source
    from topology.topics import check_cluster, source_spec
    from waybill.sources.ledger import Ledger

    source = load_source(name, folder)
    pipeline = load(source.pipeline, folder)
    lane = _lane(name, source, pipeline)
    cluster = find_brokers(brokers)
    require_topics(cluster, lane, "raw")
    table = source_spec(pipeline, name)
    create_topics(cluster, [table])
    if wrong := check_cluster([table], describe_cluster_topics(cluster, [table.name])):
        raise Fault("\n".join(map(str, wrong)))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    rows = closing(Ledger(cluster, pipeline, name, source.lane))
    with rows as ledger, _opened(name, source, pipeline, ledger) as running:
        say(f"ready: {name} to {lane.raw_topic}")
        _work(running, stop, until_end, json)
    finish(Code.FINE)


def _lane(name: str, source: Source, pipeline: Pipeline) -> Pipeline:
    """The lane of the pipeline that the source is for. Raises Fault."""
    try:
        return lane_of(pipeline, source.lane)
    except Fault as wrong:
        raise Fault(f"source {name} in sources.yaml: {wrong}") from wrong


@contextmanager
def _opened(name: str, source: Source, pipeline: Pipeline, rows: Rows) -> Iterator[Running]:
    """The source, and what it speaks through. Raises Fault."""
    from topology.source import FolderSource, SftpSource

    limit = pipeline.raw.max_message_bytes
    if isinstance(source, FolderSource):
        from waybill.sources.drop import DropSource
        from waybill.sources.folder import LocalFolder

        path = Path(source.path)
        if not path.is_dir():
            raise Fault(f"{source.path}: is no folder; make it, or name another as `path` of {name} in sources.yaml")
        yield DropSource(name, source, LocalFolder(path), rows, limit, say, _now)
    elif isinstance(source, SftpSource):
        from waybill.sources.drop import DropSource
        from waybill.sources.sftp_folder import SftpFolder

        with closing(SftpFolder(source)) as remote:
            yield DropSource(name, source, remote, rows, limit, say, _now)
    else:
        from waybill.sources.client import QueryClient
        from waybill.sources.poll import PollSource

        with closing(QueryClient(source, limit)) as client:
            yield PollSource(name, source, client.fetch, rows, say)


def _work(source: Running, stop: threading.Event, until_end: bool, json: bool) -> None:
    """Turns until it is told to stop. Raises Fault."""
    from waybill.sources.ledger import Doubt

    doubts, begun = 0, False
    while not stop.is_set():
        taken = 0
        try:
            if not begun:
                source.start()
                begun = True
            for published in source.turn(time.monotonic()):
                _print(published, json)
                taken, doubts = taken + 1, 0
                if stop.is_set():
                    return
        except Doubt as doubt:
            doubts, begun = doubts + 1, False
            if doubts >= ATTEMPTS:
                raise Fault(f"the broker did not take a submission {doubts} times in a row: {doubt}") from doubt
            pause = min(FIRST_PAUSE * 2 ** (doubts - 1), LONGEST_PAUSE)
            say(f"the broker did not acknowledge ({doubt}); what it has is read again in {pause:g} s")
            stop.wait(pause)
            continue
        if until_end and not taken and not source.waiting:
            return
        stop.wait(source.pause)


def _print(published: Published, json: bool) -> None:
    if json:
        row = {"position": published.position, "id": published.position, "digest": published.digest}
        emit({**row, "bytes": published.size, "file": published.name})
    else:
        line(f"{published.position or UNKNOWN}  {published.digest}  {safe(published.name)}")
    flush()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
