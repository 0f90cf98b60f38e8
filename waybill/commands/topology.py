"""`waybill topology check|describe`: the YAML an operator edits, and whether a cluster fits it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from waybill.context import (
    Brokers,
    Folder,
    Json,
    MaybePipeline,
    find_brokers,
    load_some,
    load_with_files,
    require_cluster,
)
from waybill.listing import noun
from waybill.output import Code, count, emit, finish, line, safe, say

if TYPE_CHECKING:
    from topology.model import Pipeline
    from topology.yaml_file import Mistake


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = noun("Pipelines as they are declared.")
    group.command("check")(check)
    group.command("describe")(describe)
    app.add_typer(group, name="topology")


def check(
    name: MaybePipeline = None,
    folder: Folder = None,
    brokers: Brokers = None,
    cluster: Annotated[bool, typer.Option("--cluster", help="compare with the cluster too, wherever it is")] = False,
    json: Json = False,
) -> None:
    """Check the YAML of a pipeline, or of all of them, their partners and sources; with --brokers or --cluster, the
    topics of that cluster too.

    Exit 1: mistakes are named with file, line, field and what is allowed.
    """
    from topology.load import SOURCES, topology_folder

    read = _read(name, folder)
    if read.mistakes:
        _tell(read.mistakes, json)
    found = read.pipelines
    problems: list[dict[str, Any]] = []
    if brokers or cluster:
        problems = _compare(find_brokers(brokers), [pipeline for _, pipeline in found])
    for file, pipeline in found:
        wrong_here = [problem for problem in problems if problem["pipeline"] == pipeline.pipeline]
        if json:
            emit({"kind": "pipeline", "pipeline": pipeline.pipeline, "version": pipeline.version, "ok": not wrong_here,
                  "file": str(file)})  # fmt: skip
            for problem in wrong_here:
                emit({"kind": "problem", **problem})
        else:
            called = "" if file.stem == pipeline.pipeline else f" ({safe(file.name)})"
            line(f"{pipeline.pipeline}{called}: {'ok' if not wrong_here else count(len(wrong_here), 'problem')}")
            for problem in wrong_here:
                line(f"  {safe(problem['what'])}")
    for partner in read.unused:
        if json:
            emit({"kind": "partner", "partner": partner, "ok": True, "file": str(read.partners_file)})
        else:
            line(f"{safe(partner)} (partners.yaml): ok, and no pipeline names it")
    for source in read.sources:
        if json:
            emit({"kind": "source", "source": source, "ok": True, "file": str((folder or topology_folder()) / SOURCES)})
        else:
            line(f"{source} ({SOURCES}): ok")
    finish(Code.FOUND if problems else Code.FINE)


@dataclass
class _Read:
    """What the files of a folder say, and what is wrong in them."""

    pipelines: list[tuple[Path, Pipeline]] = field(default_factory=list)
    partners_file: Path | None = None
    unused: list[str] = field(default_factory=list)
    """Partners that no pipeline names."""
    sources: Sequence[str] = ()
    mistakes: list[Mistake] = field(default_factory=list)


def _read(name: str | None, folder: Path | None) -> _Read:
    """One pipeline and the partners it names, or all of a folder."""
    from topology.load import TopologyError, load_partners, load_sources

    read = _Read()
    try:
        read.pipelines = load_with_files(name, folder)
    except TopologyError as wrong:
        read.mistakes += wrong.mistakes
    if name is not None:
        return read
    try:
        read.partners_file, partners = load_partners(folder)
        named = {partner for _, pipeline in read.pipelines for partner in pipeline.partners}
        read.unused = [partner for partner in partners if partner not in named]
    except TopologyError as wrong:
        read.mistakes += [mistake for mistake in wrong.mistakes if mistake not in read.mistakes]
    if read.pipelines:  # else sources would say again what is wrong with them
        try:
            read.sources = list(load_sources(folder))
        except TopologyError as wrong:
            read.mistakes += wrong.mistakes
    return read


def _tell(mistakes: Sequence[Mistake], json: bool) -> NoReturn:
    for mistake in mistakes:
        if json:
            emit({"kind": "mistake", **mistake._asdict()})
        else:
            line(safe(str(mistake)))
    unreadable = all(not mistake.line and not mistake.field for mistake in mistakes)
    say(count(len(mistakes), "mistake"))
    finish(Code.USAGE if unreadable else Code.FOUND)


def _compare(brokers: str, pipelines: list[Any]) -> list[dict[str, Any]]:
    from streams.runtime.admin import describe_cluster_topics
    from topology.topics import check_cluster, topic_specs

    require_cluster(brokers)
    rows = []
    for pipeline in pipelines:
        specs = topic_specs(pipeline)
        states = describe_cluster_topics(brokers, [spec.name for spec in specs])
        rows += [
            {"pipeline": pipeline.pipeline, **problem._asdict(), "what": str(problem)}
            for problem in check_cluster(specs, states)
        ]
    return rows


def describe(
    name: MaybePipeline = None,
    folder: Folder = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="as a Mermaid flowchart")] = False,
    json: Json = False,
) -> None:
    """Draw pipelines: topics, stages, tables, keys, batching, partners. --json: their topics with all settings."""
    from topology.describe import describe as drawn
    from topology.describe import describe_mermaid
    from topology.topics import topic_specs

    for number, pipeline in enumerate(load_some(name, folder)):
        if json:
            for spec in topic_specs(pipeline):
                emit({"pipeline": pipeline.pipeline, **spec._asdict()})
            continue
        if number:
            line("")
        line((describe_mermaid(pipeline) if mermaid else drawn(pipeline)).rstrip("\n"))
