"""I2 no duplicate effect, I5 order, I9 stable attempts, I11 nothing unexplained at the partner."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

from chaos.checker.facts import Batch, Facts, Place
from chaos.checker.formats import batch_id
from chaos.checker.laws.lake import explained
from chaos.checker.laws.splits import splits
from chaos.checker.verdict import Verdict

Line = tuple[int, str]
"""What order is promised for: a partition of `validated` and a group."""
TICK = 0.02
"""Seconds by which the time of a file may lie behind the clock: it is that of the system's last tick."""


def one_effect(facts: Facts, verdict: Verdict) -> None:
    """I2: every batch takes effect once, every record and every content is in one effect only."""
    for batch, times in sorted(Counter(effect.batch for effect in facts.effects).items()):
        verdict.expect(times == 1, f"{times} effects of one batch", [batch])
        verdict.expect(batch in facts.batch, "an effect of a batch that was never frozen", [batch])
    for batch, times in sorted(Counter(batch.id for batch in facts.batches).items()):
        verdict.expect(times == 1, "one batch was frozen twice", [batch])
    for where, batches in sorted(facts.batches_of.items()):
        ids = (*facts.ids(where), *(batch.id for batch in batches))
        verdict.expect(len(batches) == 1, f"the record lies in {len(batches)} batches", ids)
    contents: dict[str, set[str]] = defaultdict(set)
    by_id = {facts.record_id(where): record for where, record in facts.published.items()}
    for name, batches_held in sorted(facts.held.items()):
        verdict.expect(len(batches_held) == 1, "the record is at the partner more than once", [name, *batches_held])
        if name in by_id and by_id[name].value is not None:
            contents[json.dumps(by_id[name].value, sort_keys=True)].add(name)
    for names in contents.values():
        verdict.expect(len(names) == 1, "one content is at the partner more than once", sorted(names))


def order(facts: Facts, verdict: Verdict) -> None:
    """I5: batches in log order, records in rising offsets, and at the partner the batches of a line in their order."""
    for line, batches in _lines(facts):
        _frozen_in_order(verdict, facts, batches)
        if facts.round.ordering == "group":
            arrived = _arrived(facts, batches)
            _batches_in_order(verdict, facts, line, arrived)
            _sequences_rise(verdict, facts, arrived)


def _lines(facts: Facts) -> Iterator[tuple[Line, list[Batch]]]:
    """Batches of each partition and group in the order they were frozen; of those that were split, the parts."""
    lines: dict[Line, list[Batch]] = defaultdict(list)
    for batch in facts.batches:
        lines[batch.value["partition"], batch.value["group"]] += facts.delivered_as(batch)
    yield from sorted(lines.items())


def _frozen_in_order(verdict: Verdict, facts: Facts, batches: list[Batch]) -> None:
    """Members of one group and date stand in the order of `validated`, within a batch and from batch to batch."""
    last: dict[str, int] = {}
    for batch in batches:
        for where in batch.places:
            offset = facts.validated_offset.get(where, -1)
            rises = offset > last.get(batch.value["date"], -1)
            verdict.expect(rises, "frozen out of the order of `validated`", (*facts.ids(where), batch.id))
            last[batch.value["date"]] = offset


def _delivered(facts: Facts, batch: Batch) -> bool:
    return any(facts.outcome(where) == "delivered" for where in batch.places)


def _arrived(facts: Facts, batches: list[Batch]) -> list[Batch]:
    """Delivered batches of a line in the order in which they took effect. An object store does not say: there it is
    the order of freezing. The late effect of an attempt that was given up as unknown is no broken promise."""
    there = [batch for batch in batches if batch.id in facts.effect and _delivered(facts, batch)]
    places = {batch.id: facts.effect[batch.id].order for batch in there}
    return sorted(there, key=lambda batch: places[batch.id] or 0)


def _batches_in_order(verdict: Verdict, facts: Facts, line: Line, arrived: list[Batch]) -> None:
    for earlier, later in pairwise(arrived):
        rises = _frozen_at(earlier) < _frozen_at(later)
        words = f"took effect in another order than frozen, group {line[1]} of validated/{line[0]}"
        verdict.expect(rises, words, [earlier.id, later.id])


def _frozen_at(batch: Batch) -> tuple[int, int, int]:
    return batch.at.partition, batch.at.offset, batch.first


def _sequences_rise(verdict: Verdict, facts: Facts, arrived: list[Batch]) -> None:
    """Good readings of one sensor and date come to the partner in the order they were published to one partition."""
    last: dict[tuple[int, str, str], tuple[int, Place]] = {}
    for batch in arrived:
        for where in batch.places:
            record = facts.published.get(where)
            if record is None or record.kind != "good" or record.sequence is None or record.value is None:
                continue
            line = where[0], str(record.value.get("sensor_id")), batch.value["date"]
            before = last.get(line, (-1, where))
            words = f"sequence {record.sequence} after {before[0]} at the partner"
            verdict.expect(record.sequence > before[0], words, (*facts.ids(where, before[1]), batch.id))
            last[line] = record.sequence, where


def stable_attempts(facts: Facts, verdict: Verdict) -> None:
    """I9: a batch's id follows from its members, and its key and body are the same in every attempt."""
    splits(facts, verdict)
    for batch in (*facts.batches, *facts.parts):
        same = batch_id(batch.value, batch.members).hex() == batch.id
        verdict.expect(same, "the batch id is not the hash of its manifest", [batch.id])
        verdict.expect(batch.value["count"] == len(batch.members), "the batch counts other members", [batch.id])
    digests: dict[str, set[str]] = defaultdict(set)
    for message in facts.decoded("delivery"):
        if message.name == "delivery" and message.value["body_digest"] is not None:
            digests[message.value["batch_id"].hex()].add(message.value["body_digest"].hex())
    for batch_hex, recorded in sorted(digests.items()):
        verdict.expect(len(recorded) == 1, f"{len(recorded)} body digests were written ahead", [batch_hex])
    for line in facts.evidence.ledger:
        if line.kind in ("attempt", "partial", "effect"):
            ids = [line.key, f"life {line.life} attempt {line.attempt}"]
            verdict.expect(line.key in facts.batch, f"{line.kind} under a key that is no batch", ids)
            if line.digest is not None:
                same = line.digest in digests.get(line.key, set())
                verdict.expect(same, f"{line.kind} with another body than was written ahead", ids)
    for effect in facts.effects:
        same = effect.digest in digests.get(effect.batch, set())
        verdict.expect(same, f"{effect.partner} has another body than was written ahead", [effect.batch])


def written_ahead(facts: Facts, verdict: Verdict) -> None:
    """I11: whatever reached a partner was written ahead first, and every write-ahead sends at most once.

    A worker that was fenced cannot write ahead any more, so what it still sends is explained by a row from before, or
    found here. An attempt that the partner put off gives its number back, so one number may be written ahead again.
    Partners are sent POST, which the HTTP client never repeats by itself.

    Rows bear the broker's time, ledgers the partner's; a round has one clock for both. What is sent between the write
    of a row and the commit of its transaction is not told apart from what is sent after it.
    """
    seen: Counter[tuple[str, int, int]] = Counter()
    for line in facts.evidence.ledger:
        ids = [line.key, f"life {line.life} attempt {line.attempt}"]
        if line.life is None or line.attempt is None:
            verdict.expect(False, f"an {line.kind} without number", ids)
            continue
        number = line.key, line.life, line.attempt
        if line.kind != "attempt":
            verdict.expect(seen[number] > 0, f"{line.kind} before its attempt", ids)
            continue
        seen[number] += 1
        rows = facts.write_aheads.get(number, [])
        words = "an attempt that was not written ahead" if not rows else f"sent {seen[number]} times"
        if verdict.expect(seen[number] <= len(rows), words, ids):
            row = sorted(row.timestamp for row in rows)[seen[number] - 1]
            verdict.expect(not _before(line.time, row), "sent before it was written ahead", ids)
    tried = {line.key for line in facts.evidence.ledger if line.kind == "attempt"}
    for effect in facts.effects:
        if effect.order is not None:
            verdict.expect(effect.batch in tried, "an effect without an attempt", [effect.batch])
        rows = [row for number, rows in facts.write_aheads.items() if number[0] == effect.batch for row in rows]
        verdict.expect(bool(rows), "an effect of a batch that was never written ahead", [effect.batch])
        early = rows and _before(effect.time, min(row.timestamp for row in rows), TICK)
        verdict.expect(not early, "written before its attempt was written ahead", [effect.batch])
    explained(facts, verdict)


def _before(time: float | None, row: int, tolerated: float = 0.0) -> bool:
    """Whether a partner's time is earlier than that of a row, in ms."""
    return time is not None and time + tolerated < row / 1000
