"""`waybill audit verify`: the content chains of a pipeline against its tables and committed offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from waybill.context import Brokers, Folder, Json, PipelineName, find_brokers, load, require_topics
from waybill.listing import noun
from waybill.output import emit, finish, line, safe

if TYPE_CHECKING:
    from audit.block import Chain
    from audit.verify import End, Place, Result
    from topology.model import Pipeline
    from waybill.reader import Decoder, Reader

INPUTS = {"validate": "raw", "batch": "validated", "dispatch": "batched"}


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = noun("The audit ledger.")
    group.callback()(lambda: None)  # keeps `verify` a word of its own while it is the only command
    group.command("verify")(verify)
    app.add_typer(group, name="audit")


def verify(name: PipelineName, brokers: Brokers = None, folder: Folder = None, json: Json = False) -> None:
    """Check every audit block of a pipeline, of all its lanes: flipped, dropped, swapped or inserted records are named.

    Exit 1: something is wrong; 3: nothing was checked, or the end of a chain is not known.
    """
    from topology.lanes import lanes_of
    from waybill.reader import Decoder, Reader

    pipeline = load(name, folder)
    cluster = find_brokers(brokers)
    require_topics(cluster, pipeline, "audit", "heads", *INPUTS.values())
    with Reader(cluster) as reader:
        lanes = lanes_of(pipeline).values()
        result = together([check(reader, Decoder(lane), lane) for lane in lanes])
    for finding in result.findings:
        if json:
            chain = str(finding.chain) if finding.chain else None
            emit(
                {"kind": "finding", **finding._asdict(), "finding": finding.kind, "chain": chain} | {"kind": "finding"}
            )
        else:
            line(safe(str(finding)))
    if json:
        emit(
            {
                "kind": "result",
                "pipeline": pipeline.pipeline,
                "findings": len(result.findings),
                "chains": result.chains,
                "blocks": result.blocks,
                "entries": result.entries,
                "open_tails": [str(chain) for chain in result.open_tails],
                "exit": result.exit_code,
            }
        )
    else:
        line(result.summary())
    finish(result.exit_code)


def together(results: list[Result]) -> Result:
    """One result of the lanes of a pipeline: their chains have nothing in common. A lane in which nothing has happened
    yet is none that could not be checked."""
    from audit.verify import Result

    return Result(
        tuple(finding for one in results for finding in one.findings),
        sum(one.chains for one in results),
        sum(one.blocks for one in results),
        sum(one.entries for one in results),
        tuple(chain for one in results for chain in one.open_tails),
    )


def check(reader: Reader, decoder: Decoder, pipeline: Pipeline) -> Result:
    """Verifies the audit topic. A chain that moves meanwhile is judged up to where it was at first."""
    from audit.block import BlockError, read_block
    from audit.verify import verify as judge

    before = ends(reader, decoder, pipeline)
    blocks: list[tuple[Place, bytes]] = []
    topic = pipeline.topic("audit")
    for message in reader.all(topic):
        blocks.append((f"{message.partition}/{message.offset}", message.value or b""))
    after = ends(reader, decoder, pipeline)
    moving = {chain for chain in after if after[chain] != before.get(chain)}
    if moving:
        kept = []
        for place, data in blocks:
            try:
                block = read_block(data)
            except BlockError:
                kept.append((place, data))
                continue
            first, last = before.get(block.chain), after.get(block.chain)
            start = (first.sequence if first else None) or 0
            # Written while we were reading: what its chain's end must be is not known for it.
            new = block.chain in moving and last is not None and start < block.sequence <= (last.sequence or 0)
            if not new:
                kept.append((place, data))
        blocks = kept
    known = {chain: end._replace(next_offset=None) if chain in moving else end for chain, end in before.items()}
    return judge(blocks, ends=known)


def ends(reader: Reader, decoder: Decoder, pipeline: Pipeline) -> dict[Chain, End]:
    """Where each chain must end, by the heads table and the committed offsets."""
    from audit.block import Chain
    from audit.verify import End

    committed: dict[str, dict[int, int | None]] = {}
    found: dict[Chain, End] = {}
    for row in reader.table(pipeline.topic("heads")).values():
        head: dict[str, Any] = decoder.codec.decode(row.value or b"")[1]
        stage = head["stage"]
        if stage not in committed:
            committed[stage] = reader.committed(pipeline.group_id(stage), pipeline.topic(INPUTS[stage]))
        chain = Chain(pipeline.pipeline, stage, head["partition"])
        found[chain] = End(head["counter"], head["chain"], committed[stage].get(head["partition"]))
    return found
