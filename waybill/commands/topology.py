"""`waybill topology check|describe`: the YAML an operator edits, and whether a cluster fits it."""

from __future__ import annotations

from typing import Annotated, Any

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
from waybill.output import Code, count, emit, finish, line, safe, say


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(help="Pipelines as they are declared.", no_args_is_help=True, rich_markup_mode=None)
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
    """Check the YAML of a pipeline, or of all of them and of their sources; with --brokers or --cluster, the topics of
    that cluster too.

    Exit 1: mistakes are named with file, line, field and what is allowed.
    """
    from topology.load import SOURCES, TopologyError, load_sources, topology_folder

    try:
        found = load_with_files(name, folder)
        sources = {} if name is not None else load_sources(folder)
    except TopologyError as wrong:
        for mistake in wrong.mistakes:
            if json:
                emit({"kind": "mistake", **mistake._asdict()})
            else:
                line(safe(str(mistake)))
        unreadable = all(not mistake.line and not mistake.field for mistake in wrong.mistakes)
        say(count(len(wrong.mistakes), "mistake"))
        finish(Code.USAGE if unreadable else Code.FOUND)
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
    for source in sources:
        if json:
            emit({"kind": "source", "source": source, "ok": True, "file": str((folder or topology_folder()) / SOURCES)})
        else:
            line(f"{source} ({SOURCES}): ok")
    finish(Code.FOUND if problems else Code.FINE)


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
