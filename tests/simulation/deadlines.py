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
    begun: dict[tuple[str, int, int], int] = {}
    for name, rows in f.rows.items():
        for row in rows:
            # A replay that comes again after the row is gone begins the life that its message says, anew (DI6).
            began = begun.setdefault((name, row["life"], row["forgotten"]), row["begun_at"])
            if row["begun_at"] != began or not 0 < began <= row["at"]:
                w.broken(f"deadline: life {row['life']} of batch {name[:8]} began at {began} and {row['begun_at']}")
            allowed = _allowed(f, row["partner"])
            if row["state"] == "in_flight" and allowed is not None and row["last_attempt_at"] >= began + allowed:
                w.broken(f"deadline: attempt {row['life']}.{row['attempt']} of batch {name[:8]} begins after it")
    for rows in filter(None, f.rows.values()):
        first, parent = rows[0], (rows[0]["parent"] or b"").hex()
        whole = {at for (name, life, _), at in begun.items() if (name, life) == (parent, first["life"])}
        if whole and first["begun_at"] not in whole:
            w.broken(f"deadline: a half of batch {parent[:8]} has other time than the whole")
    for letter in (answer.message for answers in f.answers.values() for answer in answers if answer.kind == "dead"):
        if letter["findings"][0]["code"] == DEADLINE_EXCEEDED:
            name, allowed = letter["batch_id"].hex(), _allowed(f, letter["partner"])
            if allowed is None or letter["at"] < begun[name, 1, 0] + allowed:
                w.broken(f"deadline: batch {name[:8]} was given up before it")


def _allowed(f: Facts, partner: str) -> float | None:
    """What a partner gives a batch, in ms."""
    seconds = f.w.pipeline.partners[partner].deadline
    return None if seconds is None else seconds * 1000
