"""I6 atomicity, the heads: the last row of each stage and partition says what the stage's input implies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chaos.checker.facts import Facts, place
from chaos.checker.verdict import Verdict

TABLES: dict[str, tuple[str, ...]] = {"validate": (), "batch": ("idempotency", "windows"), "dispatch": ("delivery",)}
"""The tables of each stage, beside the heads."""
POSITION = ("raw_topic", "raw_incarnation", "raw_partition", "raw_offset", "raw_index")


def heads(verdict: Verdict, facts: Facts) -> None:
    """Holds the fields against topics and cluster; chain and counter are held against the audit (I8)."""
    for (stage, partition), row in sorted(facts.heads.items()):
        through, ids = int(row["processed_through"]), facts.admin.topic_ids
        begun = _begun(facts, partition, through) if stage == "validate" else 0
        wanted = {
            "committed": facts.admin.committed.get(stage, {}).get(partition),
            "input_topic_id": ids.get(facts.round.inputs[stage]),
            "tables": [{"table": table, "topic_id": ids.get(table)} for table in TABLES[stage]],
            "incarnation": 0,
            "next_index": begun,
            "begun": _first(facts, partition, through, row) if begun else None,
            "stream_time": _stream_time(facts, stage, partition, through, begun),
            "sources": _sources(facts, partition, through) if stage == "batch" else [],
        }
        for name, value in wanted.items():
            words = f"the head's {name} is {row[name]!r}, not {value!r}"
            verdict.expect(row[name] == value, words, [f"heads {stage}/{partition}"])


def _begun(facts: Facts, partition: int, through: int) -> int:
    """How many records validate has written of the submission that it is at."""
    at = partition, through + 1
    written = {place(message.value) for message in facts.validated}
    written |= {where for where, answers in facts.answers.items() if answers[0].outcome == "dead in validate"}
    return sum(where[:2] == at for where in written)


def _first(facts: Facts, partition: int, through: int, row: dict[str, Any]) -> dict[str, Any]:
    """What the records say that validate has written of it; how many broke their reader none of them does."""
    written = [message.value for message in facts.validated]
    written += [answers[0].value for answers in facts.answers.values() if answers[0].outcome == "dead in validate"]
    told = next(value for value in written if place(value)[:2] == (partition, through + 1))
    return (row["begun"] or {}) | {name: told[name] for name in ("recorded_at", "count")}


def _stream_time(facts: Facts, stage: str, partition: int, through: int, begun: int) -> int:
    """The highest recorded time seen. Only records move it, so dispatch has none."""
    seen: list[int] = []
    if stage == "validate":
        last = through + bool(begun)
        seen = [message.timestamp for at, message in facts.raw.items() if at[0] == partition and at[1] <= last]
    elif stage == "batch":
        seen = [value["recorded_at"] for value in _read_by_batch(facts, partition, through)]
    return max(seen, default=0)


def _sources(facts: Facts, partition: int, through: int) -> list[dict[str, Any]]:
    """The last raw position seen of each raw partition (BA4)."""
    last: dict[tuple[str, int], dict[str, Any]] = {}
    for value in _read_by_batch(facts, partition, through):
        source = value["raw_topic"], value["raw_partition"]
        if source not in last or place(value) > place(last[source]):
            last[source] = {name: value[name] for name in POSITION}
    return [last[source] for source in sorted(last)]


def _read_by_batch(facts: Facts, partition: int, through: int) -> Iterator[dict[str, Any]]:
    for message in facts.validated:
        if message.at.partition == partition and message.at.offset <= through:
            yield message.value
