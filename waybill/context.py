"""Owns what commands find around them: the home folder, the brokers to speak to, the pipelines that are declared."""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from waybill.output import Fault

if TYPE_CHECKING:
    from schemas.pack import Pack
    from topology.model import Pipeline
    from waybill.broker import Broker

BROKERS_VARIABLE = "WAYBILL_BROKERS"
HOME_VARIABLE = "WAYBILL_HOME"

PipelineName = Annotated[str, typer.Argument(metavar="PIPELINE", help="name of a pipeline or of its file, or a path")]
MaybePipeline = Annotated[
    str | None, typer.Argument(metavar="PIPELINE", help="name of a pipeline or of its file, or a path; none: all")
]
Brokers = Annotated[
    str | None,
    typer.Option(help=f"host:port[,…] of the cluster; default: {BROKERS_VARIABLE}, then the local broker"),
]
Folder = Annotated[
    Path | None, typer.Option(help="folder of pipelines; default: WAYBILL_TOPOLOGY, then the shipped ones")
]
Json = Annotated[bool, typer.Option("--json", help="JSON Lines on stdout")]


def home() -> Path:
    """Where the local broker and local state live: WAYBILL_HOME, else `.waybill` here."""
    return Path(os.environ.get(HOME_VARIABLE) or ".waybill")


def local_broker(port: int | None = None) -> Broker:
    """The broker of the home folder."""
    from waybill.broker import Broker

    return Broker(home() / "broker", port)


def find_brokers(given: str | None) -> str:
    """The cluster to speak to: the option, the variable, the local broker if it runs; or Fault."""
    named = given or os.environ.get(BROKERS_VARIABLE)
    if named:
        return named
    status = local_broker().status()
    if status.running and status.bootstrap:
        return status.bootstrap
    raise Fault(
        f"no broker: none runs in {home() / 'broker'}; start one with `waybill broker start` or `waybill up`, "
        f"or name a cluster with --brokers or {BROKERS_VARIABLE}"
    )


def load(name: str, folder: Path | None = None) -> Pipeline:
    """A pipeline by name or path. Raises topology.load.TopologyError."""
    from topology.load import load_pipeline

    return load_pipeline(name, folder=folder)


def load_lane(name: str, folder: Path | None = None) -> Pipeline:
    """What has one topic of each kind: a pipeline without lanes, or NAME.LANE of one with lanes. Raises Fault where it
    is not said which, else as `load`."""
    from topology.load import TopologyError
    from topology.model import LANES

    declared, _, lane = name.rpartition(".")
    try:
        pipeline = load(name, folder)
    except TopologyError:
        if not declared or lane not in LANES:
            raise
        return lane_of(load(declared, folder), lane)
    if len(pipeline.lanes) == 1:
        return pipeline
    names = ", ".join(f"{pipeline.pipeline}.{one}" for one in pipeline.lanes)
    raise Fault(f"{pipeline.pipeline} has lanes, with topics and tables of their own; allowed: {names}")


def lane_of(pipeline: Pipeline, lane: str | None) -> Pipeline:
    """One lane of a pipeline; None: the standard one. Raises Fault for one that it does not have."""
    from topology.lanes import lane_named

    try:
        return lane_named(pipeline, lane)
    except ValueError as wrong:
        raise Fault(str(wrong)) from wrong


def load_with_files(name: str | None, folder: Path | None = None) -> list[tuple[Path, Pipeline]]:
    """The named pipeline, or all of them, each with its file. Raises topology.load.TopologyError; Fault where there is
    none."""
    from topology.load import find_pipeline, load_all, topology_folder

    if name is not None:
        path = find_pipeline(name, folder)
        return [(path, load(str(path)))]
    folder = folder or topology_folder()
    found = [(folder / f"{file}.yaml", pipeline) for file, pipeline in load_all(folder).items()]
    if not found:
        raise Fault(f"no pipeline in {folder}: put NAME.yaml files there, or name another folder")
    return found


def load_some(name: str | None, folder: Path | None = None) -> list[Pipeline]:
    """The named pipeline, or all of them. Raises as `load_with_files`."""
    return [pipeline for _, pipeline in load_with_files(name, folder)]


def load_pack_of(pipeline: Pipeline) -> Pack:
    """The pack of a pipeline with its options and profile."""
    from topology.packs import pack_builder

    return pack_builder(pipeline)()


def pipeline_and_id(words: list[str], option: str | None) -> tuple[str | None, str]:
    """`[PIPELINE] ID` as typed, with --pipeline as the other way to say it; Fault for anything else."""
    if len(words) > 2:
        raise Fault(f"{' '.join(words)!r} is more than a pipeline and an id: put quotes around an id with spaces")
    named = words[0] if len(words) == 2 else option
    if option not in (None, named):
        raise Fault(f"two pipelines are named, {named!r} and --pipeline {option!r}; allowed: one")
    return named, words[-1]


def who(given: str | None) -> str:
    """Who gives an order: as said, else the user of this machine. Raises Fault where the machine does not know."""
    if given:
        return given
    try:
        return getpass.getuser()
    except (KeyError, OSError) as unknown:  # a container's user without an entry in passwd
        raise Fault("this machine has no name for its user: say who orders it with --by NAME") from unknown


def client_settings(brokers: str, **more: Any) -> dict[str, Any]:
    """What every Kafka client of a command starts from: it keeps quiet, its errors come back as exceptions."""
    return {"bootstrap.servers": brokers, "client.id": "waybill-command", "log_level": 0, **more}


def require_cluster(brokers: str, seconds: float = 10.0) -> dict[str, int]:
    """Topics of the cluster with their partition counts; Fault where it does not answer in `seconds`."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        found = AdminClient(client_settings(brokers)).list_topics(timeout=seconds).topics
    except KafkaException as failed:
        why = failed.args[0].str()
        raise Fault(
            f"the broker at {brokers} does not answer ({why}): is it running, is the address right?"
        ) from failed
    return {name: len(meta.partitions) for name, meta in found.items() if meta.error is None}


def require_topics(brokers: str, pipeline: Pipeline, *shorts: str) -> dict[str, int]:
    """Partition counts of the named topics of a pipeline, by short name; Fault where one is missing."""
    from topology.lanes import lanes_of

    there = require_cluster(brokers)
    names = [lane.topic(short) for lane in lanes_of(pipeline).values() for short in shorts]
    missing = [name for name in names if name not in there]
    if missing:
        raise Fault(
            f"{brokers} has no topic {', '.join(missing)}: `waybill up {pipeline.pipeline}` makes the topics of a "
            "pipeline; is this the right cluster?"
        )
    return {short: there[pipeline.topic(short)] for short in shorts}
