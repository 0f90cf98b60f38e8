"""Judges the total deadline of batches: none is attempted after it, none is given up before it, and a life begins once,
whatever crashes, moves or splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.errors import DEADLINE_EXCEEDED

if TYPE_CHECKING:
    from tests.simulation.facts import Facts


def judge_deadlines(f: Facts) -> None:
    """Raises Broken. That every batch comes to an end at all is law 1."""
    w = f.w
    begun: dict[tuple[str, int], int] = {}
    for name, rows in f.rows.items():
        allowed = w.pipeline.partners[rows[0]["partner"]].deadline
        for row in rows:
            began = begun.setdefault((name, row["life"]), row["begun_at"])
            if row["begun_at"] != began or not 0 < began <= row["at"]:
                w.broken(
                    f"deadline: life {row['life']} of batch {name[:8]} has begun at {row['begun_at']}, not {began}"
                )
            if allowed is None:
                continue
            if row["state"] == "in_flight" and row["last_attempt_at"] >= began + allowed * 1000:
                w.broken(f"deadline: attempt {row['life']}.{row['attempt']} of batch {name[:8]} begins after it")
    for rows in f.rows.values():
        first, parent = rows[0], (rows[0]["parent"] or b"").hex()
        if parent and first["begun_at"] != begun.get((parent, first["life"]), first["begun_at"]):
            w.broken(f"deadline: a half of batch {parent[:8]} has more time than the whole")
    for answers in f.answers.values():
        for answer in answers:
            if answer.kind == "dead" and answer.message["findings"][0]["code"] == DEADLINE_EXCEEDED:
                _in_time(f, answer.message["batch_id"].hex(), begun)


def _in_time(f: Facts, name: str, begun: dict[tuple[str, int], int]) -> None:
    """A batch that died of its deadline did not do so before it."""
    deaths = [row for row in f.rows[name] if row["state"] == "dead"]
    allowed = f.w.pipeline.partners[deaths[0]["partner"]].deadline
    if allowed is None or all(row["at"] < begun[name, row["life"]] + allowed * 1000 for row in deaths):
        f.w.broken(f"deadline: batch {name[:8]} was given up before it")
