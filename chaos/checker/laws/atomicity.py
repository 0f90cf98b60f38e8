"""I6 atomicity, first half: outputs and committed offsets agree, stage by stage."""

from __future__ import annotations

from collections import Counter, defaultdict

from chaos.checker.facts import Facts, Place, place
from chaos.checker.laws import tables
from chaos.checker.laws.caps import caps
from chaos.checker.laws.reviews import reviews
from chaos.checker.verdict import Verdict
from chaos.checker.versions import decide

NEVER = -1


def atomicity(facts: Facts, verdict: Verdict) -> None:
    """I6: what lies below a committed offset has its outputs, once; what lies above has none; tables say the same."""
    for words in facts.unreadable:
        verdict.expect(False, "cannot be read", [words])
    _within_the_log(verdict, facts)
    _validate(verdict, facts)
    _batch(verdict, facts)
    _dispatch(verdict, facts)
    _releases(verdict, facts)
    reviews(facts, verdict)
    caps(facts, verdict)
    tables.hold(verdict, facts)


def _through(facts: Facts, stage: str, partition: int) -> int:
    """Last input offset whose effects are committed, as the stage's head says."""
    head = facts.heads.get((stage, partition))
    return NEVER if head is None else int(head["processed_through"])


def _within_the_log(verdict: Verdict, facts: Facts) -> None:
    """Committed offsets lie within the log, and are those of the heads; batch may hold back for open windows."""
    for stage, short in facts.round.inputs.items():
        committed = facts.admin.committed.get(stage, {})
        for partition in range(facts.round.partitions):
            offset, high = committed.get(partition), facts.admin.high[short].get(partition, 0)
            ids = [f"{stage}/{partition}"]
            verdict.expect((offset or 0) <= high, f"committed offset {offset} is beyond the log's end {high}", ids)
            through = _through(facts, stage, partition)
            held_back = stage == "batch" and not facts.round.drained
            fits = through == NEVER if offset is None else offset == through + 1 or (held_back and offset <= through)
            verdict.expect(fits, f"committed offset {offset}, but the head was processed through {through}", ids)


def _validate(verdict: Verdict, facts: Facts) -> None:
    outputs: Counter[Place] = Counter(place(message.value) for message in facts.validated)
    counts: dict[tuple[int, int], set[int]] = defaultdict(set)
    for message in facts.validated:
        counts[place(message.value)[:2]].add(message.value["count"])
    for where, answers in facts.answers.items():
        for answer in answers:
            if answer.outcome == "dead in validate":
                outputs[where] += 1
                counts[where[:2]].add(answer.value["count"])
    indices: dict[tuple[int, int], set[int]] = defaultdict(set)
    for where, times in sorted(outputs.items()):
        verdict.expect(times == 1, f"validate wrote it {times} times", facts.ids(where))
        indices[where[:2]].add(where[2])
    for partition, offset in sorted(facts.raw.keys() | indices.keys()):
        found = indices.get((partition, offset), set())
        ids = [f"{facts.round.raw}/{partition}/{offset}"]
        count = counts.get((partition, offset), set())
        if offset <= _through(facts, "validate", partition):
            whole = len(count) == 1 and found == set(range(next(iter(count))))
            words = f"below the committed offset, but of {sorted(count)} records these came out: {sorted(found)}"
            verdict.expect(whole, words, ids)
        else:
            head = facts.heads.get(("validate", partition))
            begun = (
                head is not None
                and offset == head["processed_through"] + 1
                and max(found, default=-1) < int(head["next_index"])
            )
            verdict.expect(not found or begun, "not committed, but validate has written its records", ids)
    per_submission = Counter(where[:2] for where in facts.published)
    for at, count in sorted(counts.items()):
        ids = [f"{facts.round.raw}/{at[0]}/{at[1]}"]
        verdict.expect(
            count == {per_submission[at]}, f"{per_submission[at]} records were published, validate counts {count}", ids
        )


def _batch(verdict: Verdict, facts: Facts) -> None:
    """A record that batch has passed lies in a batch, or was answered; one that it has not passed does neither."""
    frozen_bytes = {(message.at.partition, place(message.value)): message.at.value for message in facts.validated}
    committed = facts.admin.committed.get("batch", {})
    for message in facts.validated:
        where, partition = place(message.value), message.at.partition
        out = where in facts.batches_of or any(
            answer.outcome in ("duplicate", "dead in batch") for answer in facts.answers.get(where, [])
        )
        if message.at.offset < (committed.get(partition) or 0):
            verdict.expect(out, "below batch's committed offset, but in no batch and unanswered", facts.ids(where))
        elif message.at.offset > _through(facts, "batch", partition):
            verdict.expect(not out, "not processed by batch, but its outputs are there", facts.ids(where))
    for batch in facts.batches:
        for where, data in zip(batch.places, batch.value["records"], strict=True):
            same = frozen_bytes.get((batch.value["partition"], where)) == data
            words = "the batch's member is not the message on `validated`, byte for byte"
            verdict.expect(same, words, (*facts.ids(where), batch.id))


def _dispatch(verdict: Verdict, facts: Facts) -> None:
    """A batch that dispatch has read has its row, and its records' answers if it is settled; another has neither."""
    rows = {row["batch_id"].hex(): row for row in facts.table("delivery").values()}
    settled = {
        answer.batch for answers in facts.answers.values() for answer in answers if answer.outcome != "dead in batch"
    }
    for batch in (*facts.batches, *facts.parts):
        read = batch.at.offset <= _through(facts, "dispatch", batch.at.partition)
        if read:
            verdict.expect(batch.id in rows, "below dispatch's committed offset, but without a row", [batch.id])
            state = rows.get(batch.id, {}).get("state")
            done = not facts.round.drained or state in ("sent", "dead", "split")
            verdict.expect(done, f"the round was drained, but the batch is {state}", [batch.id])
        else:
            verdict.expect(batch.id not in rows, "not read by dispatch, but it has a row", [batch.id])
            verdict.expect(batch.id not in settled, "not read by dispatch, but its records are answered", [batch.id])


def _releases(verdict: Verdict, facts: Facts) -> None:
    """A record is released once if dispatch dead-lettered it with a known outcome, and else never (BA8)."""
    released = decide(facts).released
    due = {
        where
        for where, answers in facts.answers.items()
        for answer in answers
        if answer.outcome == "dead in dispatch" and not answer.value["outcome_unknown"]
    }
    for where in sorted(due | released.keys()):
        times, wanted = released.get(where, 0), int(where in due)
        verdict.expect(times == wanted, f"released {times} times instead of {wanted}", facts.ids(where))
