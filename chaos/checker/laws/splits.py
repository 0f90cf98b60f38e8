"""I9 for a batch that went on in halves: what it was cut into, when that was written, that it has no effect itself."""

from __future__ import annotations

from collections import defaultdict

from chaos.checker.facts import Batch, Decoded, Facts
from chaos.checker.verdict import Verdict

FINAL = ("sent", "dead", "split")
"""States in which nothing more is attempted."""


def splits(facts: Facts, verdict: Verdict) -> None:
    """A split batch has two halves, which are all of it; they were written down with the split, before they were
    attempted; and neither the partner nor an answer knows the whole."""
    rows: dict[str, list[Decoded]] = defaultdict(list)
    for message in facts.decoded("delivery"):
        if message.name == "delivery":
            rows[message.value["batch_id"].hex()].append(message)
    split = {name: found[-1] for name, found in rows.items() if any(m.value["state"] == "split" for m in found)}
    for name, last in sorted(split.items()):
        verdict.expect(last.value["state"] == "split", f"was split, and is {last.value['state']} afterwards", [name])
        verdict.expect(not last.value["unknown"], "split, though an attempt may have taken effect", [name])
        verdict.expect(name not in facts.effect, "split, but the partner has it whole", [name])
        whole = facts.batch.get(name)
        if whole is not None:
            _halved(verdict, whole, facts.halves.get(name, []))
    for part in facts.parts:
        ids = [part.id, part.parent or ""]
        parent, own = split.get(part.parent or ""), rows[part.id]
        if verdict.expect(parent is not None, "half of what was not split", ids) and parent is not None:
            written = min(m.at.offset for m in rows[part.parent or ""] if m.value["state"] == "split")
            verdict.expect(written < own[0].at.offset, "written down before the split it comes of", ids)
        done = [m.value["state"] in FINAL for m in own if m.value["life"] == own[-1].value["life"]]
        verdict.expect(not any(done[:-1]), "went on after its end", ids)


def _halved(verdict: Verdict, whole: Batch, halves: list[Batch]) -> None:
    """Cut in the middle, and nowhere else."""
    middle = len(whole.places) // 2
    wanted = [(whole.first, middle), (whole.first + middle, len(whole.places) - middle)]
    found = [(half.first, half.value["count"]) for half in halves]
    words = f"split at {wanted}, its halves are {found} (first record, records)"
    verdict.expect(found == wanted, words, [whole.id, *(half.id for half in halves)])
