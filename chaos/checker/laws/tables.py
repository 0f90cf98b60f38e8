"""I6 atomicity, second half: every table says what the topics it belongs to imply."""

from __future__ import annotations

from typing import Any

from chaos.checker.facts import Answer, Facts, Place, place
from chaos.checker.laws.heads import heads
from chaos.checker.verdict import Verdict
from chaos.checker.versions import decide


def hold(verdict: Verdict, facts: Facts) -> None:
    """Derives each table from the topics and compares it with its rows. Heads are held against the audit, too (I8)."""
    _idempotency(verdict, facts)
    _windows(verdict, facts)
    _delivery(verdict, facts)
    heads(verdict, facts)


def _idempotency(verdict: Verdict, facts: Facts) -> None:
    """One row for every version that was admitted and not released."""
    expected = decide(facts).live
    rows = {(partition, row["key"], row["offset"]): row for (partition, _), row in facts.table("idempotency").items()}
    for key in sorted(expected.keys() | rows.keys()):
        row, value = rows.get(key), expected.get(key)
        where = place(value or row or {})
        ids = (*facts.ids(where), f"idempotency/{key[0]}/{key[2]}")
        verdict.expect(row is not None, "an admitted version without a row", ids)
        verdict.expect(value is not None, "a row of a version that was not admitted or was released", ids)
        if row is not None and value is not None:
            names = ("key", "digest", "group", "date", "ordering")
            same = place(row) == place(value) and all(row[name] == value[name] for name in names)
            verdict.expect(same, "the row differs from the record it was made from", ids)


def _windows(verdict: Verdict, facts: Facts) -> None:
    """A row for each line that is sealed beyond batch's committed offset."""
    sealed: dict[tuple[int, str, str], int] = {}
    for batch in facts.batches:
        line = batch.value["partition"], batch.value["group"], batch.value["date"]
        last = max((facts.validated_offset.get(where, -1) for where in batch.places), default=-1)
        sealed[line] = max(last, sealed.get(line, -1))
    committed = facts.admin.committed.get("batch", {})
    expected = {line: last for line, last in sealed.items() if last >= (committed.get(line[0]) or 0)}
    rows = {
        (partition, row["group"], row["date"]): row["sealed_through"]
        for (partition, _), row in facts.table("windows").items()
    }
    for line in sorted(expected.keys() | rows.keys()):
        words = f"sealed through {rows.get(line)} by the table, {expected.get(line)} by the batches"
        verdict.expect(rows.get(line) == expected.get(line), words, [f"windows/{line[0]}/{line[1]}/{line[2]}"])


def _delivery(verdict: Verdict, facts: Facts) -> None:
    """A settled row goes with the answers of all its records, an unsettled one with none; its facts are the batch's."""
    answered = _answered(facts)
    for (partition, _), row in sorted(facts.table("delivery").items()):
        name = row["batch_id"].hex()
        batch = facts.batch.get(name)
        if (
            not verdict.expect(batch is not None, "a delivery row of a batch that was never frozen", [name])
            or not batch
        ):
            continue
        at = (partition, row["batched_partition"], row["batched_offset"])
        same = at == (batch.at.partition, batch.at.partition, batch.at.offset)
        verdict.expect(same, "the delivery row points elsewhere than at its batch", [name])
        same = all(row[field] == batch.value[field] for field in ("partner", "group", "count"))
        verdict.expect(same, "the delivery row says otherwise than its batch", [name])
        wanted = {"sent": "delivered", "dead": "dead in dispatch"}.get(row["state"])
        for where in batch.places:
            got = answered.get((name, where))
            outcome = got.outcome if got is not None else None
            wanted_here = "dead in dispatch" if row["state"] == "sent" and facts.refuses(name, where) else wanted
            words = f"the row says {row['state']}, the record's answer {outcome}"
            if verdict.expect(outcome == wanted_here, words, (*facts.ids(where), name)) and got is not None:
                _told(verdict, row, got, (*facts.ids(where), name))


def _told(verdict: Verdict, row: dict[str, Any], answer: Answer, ids: tuple[str, ...]) -> None:
    """An answer tells of the delivery what the row does that was written with it."""
    for name, of_row in (("answer", "answer"), ("attempts", "attempt"), ("outcome_unknown", "unknown")):
        if name in answer.whole:
            words = f"the answer's {name} is {answer.whole[name]!r}, its row says {row[of_row]!r}"
            verdict.expect(answer.whole[name] == row[of_row], words, ids)


def _answered(facts: Facts) -> dict[tuple[str, Place], Answer]:
    """Every answer that names a batch."""
    return {
        (answer.batch, where): answer
        for where, answers in facts.answers.items()
        for answer in answers
        if answer.batch is not None
    }
