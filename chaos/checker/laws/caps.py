"""I6, the caps: what dispatch learnt of a partner reached the batch stage, and binds it from its offset on (DI7)."""

from __future__ import annotations

from collections import defaultdict

from chaos.checker.facts import Batch, Decoded, Facts
from chaos.checker.verdict import Verdict

Told = dict[str, list[Decoded]]
"""The cap messages of each partner on one partition of `validated`, in their order."""


def caps(facts: Facts, verdict: Verdict) -> None:
    """The caps of a partner are told to every partition of `validated` alike and within its bounds, dispatch and batch
    keep the last one, and no batch is larger than the one in force when its last record came."""
    told = [_told(facts, partition) for partition in range(facts.round.partitions)]
    for partner in sorted(set(facts.sizing).union(*told)):
        first = [_said(message) for message in told[0].get(partner, [])]
        for partition, here in enumerate(told):
            same = [_said(message) for message in here.get(partner, [])] == first
            where = f"{facts.round.topic('validated')}/{partition}"
            verdict.expect(same, "was told other caps than partition 0", [where, partner])
        _within(verdict, facts, partner, [records for records, _ in first])
        last = first[-1][0] if first else None
        words = f"dispatch keeps the cap {facts.sizing.get(partner)}, told was {last}"
        verdict.expect(facts.sizing.get(partner) == last, words, [partner])
    for (stage, partition), row in sorted(facts.heads.items()):
        if stage == "batch":
            wanted = _in_force(told[partition], int(row["processed_through"]) + 1)
            kept = {cap["partner"]: cap["records"] for cap in row["caps"]}
            words = f"the head keeps the caps {kept}, told were {wanted}"
            verdict.expect(kept == wanted, words, [f"heads batch/{partition}"])
    for batch in facts.batches:
        _obeyed(verdict, facts, batch, told[batch.value["partition"]])


def told_caps(facts: Facts) -> dict[str, list[int]]:
    """Records of every cap that was told of each partner, in their order."""
    return {partner: [_said(message)[0] for message in some] for partner, some in sorted(_told(facts, 0).items())}


def _told(facts: Facts, partition: int) -> Told:
    found: Told = defaultdict(list)
    for message in facts.decoded("validated"):
        if message.name == "cap" and message.at.partition == partition:
            found[message.value["partner"]].append(message)
    return dict(found)


def _said(message: Decoded) -> tuple[int, str]:
    return message.value["records"], message.value["reason"]


def _in_force(told: Told, offset: int) -> dict[str, int]:
    """The last cap of each partner below an offset."""
    found: dict[str, int] = {}
    for partner, messages in told.items():
        for message in messages:
            if message.at.offset < offset:
                found[partner] = message.value["records"]
    return found


def _within(verdict: Verdict, facts: Facts, partner: str, told: list[int]) -> None:
    bounds = facts.round.partners.get(partner, {}).get("adaptive")
    if verdict.expect(bounds is not None, "a cap for a partner whose batches have a fixed size", [partner]) and bounds:
        for records in told:
            verdict.expect(bounds[0] <= records <= bounds[1], f"a cap of {records}, outside {bounds}", [partner])


def _obeyed(verdict: Verdict, facts: Facts, batch: Batch, told: Told) -> None:
    """A window that held more than a new cap was closed by it, so that nothing came into it afterwards."""
    last = max((facts.validated_offset.get(where, -1) for where in batch.places), default=-1)
    cap = _in_force(told, last).get(batch.value["partner"])
    if cap is not None:
        words = f"has {batch.value['count']} records, the cap in force was {cap}"
        verdict.expect(batch.value["count"] <= cap, words, [batch.id])
