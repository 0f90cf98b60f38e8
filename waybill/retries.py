"""Owns what the rows of `delivery` tell of attempts after which a batch went on: what each was answered. Pure.

The table is compacted in time: what is no longer there of a settled batch, its worker's log has told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from streams.dispatch.attempts import NO_ANSWER

if TYPE_CHECKING:
    from streams.stage import Message

Rows = Iterable[tuple["Message", dict[str, Any]]]
"""Rows of `delivery` as they were written, and the messages that say so."""


def retries(rows: Rows) -> Iterator[tuple[Message, dict[str, Any]]]:
    """One for each attempt that ended and was not the last, with the message that says so: batch_id, life, attempt,
    answer, unknown (whether an attempt may have taken effect), until (ms since epoch; None: until its partner is well
    again)."""
    before: dict[bytes, Mapping[str, Any]] = {}
    for message, row in rows:
        last = before.get(row["batch_id"])
        before[row["batch_id"]] = row
        if last is not None and last["life"] != row["life"]:
            last = None
        if row["state"] == "pending" and row["answer"] is not None and (last is None or last["state"] == "in_flight"):
            # One that the partner put off was given back, so the row before has its number.
            yield message, _retry(row, max(1, (last or row)["attempt"]), row["answer"], row["not_before"] or None)
        elif last is not None and last["state"] == row["state"] == "in_flight" and last["attempt"] < row["attempt"]:
            yield message, _retry(row, last["attempt"], NO_ANSWER, row["last_attempt_at"])


def _retry(row: Mapping[str, Any], attempt: int, answer: str, until: int | None) -> dict[str, Any]:
    known = {name: row[name] for name in ("batch_id", "life", "unknown")}
    return known | {"attempt": attempt, "answer": answer, "until": until}
