"""Judges the tables of a finished history, and law 6: the same input, worked again without faults and in other chunks,
gives the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schemas.codec import WireError
from streams.driver import INPUTS
from streams.pipeline import Parts
from streams.progress import Identity
from streams.runtime.memory import MemoryBroker, MemoryLog
from streams.runtime.runner import Runner
from tests.simulation.pack import LinePack

if TYPE_CHECKING:
    from tests.simulation.world import World


def judge_tables(w: World) -> None:
    """Local stores equal their topics; nothing sealed is remembered for ever (BA3)."""
    for process in w.processes:
        for partition, stores in process.runner._stores.items():
            for table, store in stores.items():
                told = _table(w.broker, table, partition)
                if table == "heads":  # those of other stages may be older here
                    told = {key: row for key, row in told.items() if _own(process, key)}
                if {key: row for key, row in store.items() if key in told or table != "heads"} != told:
                    w.broken(f"TX1: {process.name} holds another {table} {partition} than its topic")
    for partition in range(w.pipeline.partitions):
        if _table(w.broker, "windows", partition):
            w.broken(f"BA3: lines of {partition} are remembered though nothing of them is open")
    _judge_caps(w)


def _judge_caps(w: World) -> None:
    """DI7: what dispatch keeps of a partner's cap is what every head of batch keeps."""
    partitions = range(w.pipeline.partitions)
    rows = [w.decode(row)[1] for p in partitions for row in _table(w.broker, "delivery", p).values()]
    told = {row["partner"]: row["sizing"]["records"] for row in rows if row.get("sizing")}
    for partition in partitions:
        head = _table(w.broker, "heads", partition).get(f"batch/{partition}".encode())
        kept = {cap["partner"]: cap["records"] for cap in w.decode(head)[1]["caps"]} if head else {}
        if head and kept != told:
            w.broken(f"DI7: batch {partition} keeps the caps {kept}, dispatch told {told}")


def _own(process: Any, key: bytes) -> bool:
    return key.startswith(process.stage_name.encode())


def _table(broker: MemoryBroker, table: str, partition: int) -> dict[bytes, bytes]:
    """A compacted topic, folded."""
    rows: dict[bytes, bytes] = {}
    for message in broker.partitions(table)[partition]:
        rows.pop(message.key or b"", None)
        if message.value is not None:
            rows[message.key or b""] = message.value
    return rows


def judge_determinism(w: World) -> None:
    """Law 6, for the stages whose result depends on no partner."""
    for stage in ("validate", "batch") if w.pipeline.deterministic else ():
        again = _again(w, stage)
        for topic in ("validated", "batched", "sent", "dead-letter"):
            if _said(w, w.broker, topic, stage) != _said(w, again, topic, stage):
                w.broken(f"law 6: {stage} worked again writes other messages to {topic}")
        heads = [_table(broker, "heads", 0).get(f"{stage}/0".encode()) for broker in (w.broker, again)]
        chains = [head and w.decode(head)[1]["chain"] for head in heads]
        if chains[0] != chains[1]:
            w.broken(f"law 6: {stage} worked again has another chain")


def _again(w: World, stage: str) -> MemoryBroker:
    """One stage on a copy of its input, without a fault; its windows are closed where they were then: caps may come
    later."""
    broker = MemoryBroker(w.pipeline)
    whole = w.broker.partitions(INPUTS[stage])[0]
    closed_at = w.closed_at if stage == "batch" and w.closed_at is not None else w.broker.end(INPUTS[stage], 0)
    parts = Parts(w.pipeline, w.codec, LinePack(), Identity("again", "0", "1"))
    made: Any = parts.validate() if stage == "validate" else parts.batch()
    runner = Runner(MemoryLog(broker, stage, INPUTS[stage]), made, w.pipeline.chunk, clock=lambda: w.now)
    for part in ([m for m in whole if m.offset < closed_at], [m for m in whole if m.offset >= closed_at]):
        for message in part:
            broker.partitions(INPUTS[stage])[0].append(message)
            broker._ends[INPUTS[stage], 0] = message.offset + 1
        while runner.positions.get(0, -1) < broker.end(INPUTS[stage], 0):
            if runner.step(timeout=0).error is not None:
                w.broken(f"law 6: {stage} fails where it did not")
        runner.drain(ending=True)
    return broker


def _said(w: World, broker: MemoryBroker, topic: str, stage: str) -> list[bytes | None]:
    """What a stage wrote to a topic, in order."""
    said = []
    for message in broker.partitions(topic)[0]:
        try:
            name, value = w.decode(message.value or b"")
        except WireError:
            continue
        author = {"validated": "validate", "batched": "batch", "sent": "batch"}.get(name, value.get("stage"))
        if author == stage and value.get("outcome") != "delivered":
            said.append(message.value)
    return said
