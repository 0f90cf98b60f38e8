"""I8 audit: the content chains recomputed from their beginnings, and one legal path for every record."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from chaos.checker.facts import Block, Facts, Place, digest_of, place
from chaos.checker.formats import GENESIS, next_head
from chaos.checker.laws.spans import spans
from chaos.checker.verdict import Verdict

STEPS = {
    "validate": ("VALIDATE", "REJECT"),
    "batch": ("ADMIT", "SUPERSEDE", "DUPLICATE", "CONFLICT"),
    "dispatch": ("DELIVER", "DEAD"),
}
"""Actions that decide about a record, by stage. Others speak of batches, or of what was decided before."""
PATHS: dict[str, list[tuple[str, ...]]] = {
    "delivered": [("VALIDATE", "ADMIT", "DELIVER"), ("VALIDATE", "SUPERSEDE", "DELIVER")],
    "dead in dispatch": [("VALIDATE", "ADMIT", "DEAD"), ("VALIDATE", "SUPERSEDE", "DEAD")],
    "duplicate": [("VALIDATE", "DUPLICATE")],
    "dead in batch": [("VALIDATE", "CONFLICT")],
    "dead in validate": [("REJECT",)],
}
"""The legal paths to each answer."""


def audit(facts: Facts, verdict: Verdict) -> None:
    """I8: chains without gap, heads and offsets as the cluster has them, paths that fit the answers."""
    chains: dict[tuple[str, int], list[Block]] = defaultdict(list)
    for block in facts.blocks:
        chains[block.chain].append(block)
    for chain in sorted(chains.keys() | facts.heads.keys()):
        _chain(verdict, facts, chain, chains.get(chain, []))
        spans(verdict, facts, chain, chains.get(chain, []))
    _paths(verdict, facts)
    _attempts(verdict, facts)


def _chain(verdict: Verdict, facts: Facts, chain: tuple[str, int], blocks: list[Block]) -> None:
    """Every block follows the one before it, and the last is where the head and the committed offset are."""
    stage, partition = chain
    head, expected, last = GENESIS, (1, 0), None
    for block in blocks:
        value = block.value
        at = (value["sequence"], value["part"])
        ids = [f"audit {stage}/{partition} block {at[0]}.{at[1]}"]
        words = f"follows block {expected[0]}.{expected[1]}, which is missing" if at > expected else "out of order"
        verdict.expect(at == expected, words, ids)
        verdict.expect(value["prev_head"] == head, "does not continue the chain", ids)
        data = block.at.value or b""
        verdict.expect(digest_of(data[:-32]) == value["checksum"].hex(), "its checksum is wrong", ids)
        _entries(verdict, facts, value, ids)
        head = value["head"]
        expected = (at[0], at[1] + 1) if at[1] + 1 < value["parts"] else (at[0] + 1, 0)
        last = value
    row, ids = facts.heads.get(chain), [f"audit {stage}/{partition}"]
    if not verdict.expect(row is not None, "a chain without a row in heads", ids) or row is None:
        return
    if not verdict.expect(last is not None, "a head without any audit block", ids) or last is None:
        return
    words = f"ends at block {last['sequence']}, the head counts {row['counter']} transactions"
    verdict.expect((last["sequence"], expected[1], last["head"]) == (row["counter"], 0, row["chain"]), words, ids)
    committed = facts.admin.committed.get(stage, {}).get(partition)
    words = f"the last block commits offset {last['next_offset']}, the group stands at {committed}"
    verdict.expect(last["next_offset"] == committed, words, ids)


def _entries(verdict: Verdict, facts: Facts, value: dict[str, Any], ids: list[str]) -> None:
    """The block's entries lead from its first head to its last; the first that does not is named."""
    head = value["prev_head"]
    for entry in value["entries"]:
        head = next_head(head, entry)
        if head[:4] != entry["link"]:
            where = "/".join(str(entry[n]) for n in ("raw_topic", "raw_partition", "raw_offset", "raw_index"))
            verdict.expect(False, f"the chain breaks at {entry['action']}", [where, *ids])
            return
    verdict.expect(head == value["head"], "its entries do not lead to its head", ids)


def _paths(verdict: Verdict, facts: Facts) -> None:
    """Every answered record has one entry in each stage it passed, with the digest of its answer, and no others do."""
    steps: dict[Place, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for block in facts.blocks:
        stage = block.value["stage"]
        for entry in block.value["entries"]:
            if entry["action"] in STEPS[stage] and entry["raw_topic"] == facts.round.raw:
                steps[place(entry)][stage].append(entry)
    for where in sorted(steps.keys() | facts.answers.keys()):
        taken = [entry for stage in STEPS for entry in steps[where][stage]]
        path = tuple(entry["action"] for entry in taken)
        outcome = facts.outcome(where)
        words = f"answered {outcome}, audited {' '.join(path) or 'nowhere'}"
        fits = verdict.expect(path in PATHS.get(outcome or "", []), words, facts.ids(where))
        if fits:
            answer = facts.answers[where][0].value
            same = all(entry["digest"] == answer["digest"] for entry in taken)
            verdict.expect(same, "audited under another digest than answered", facts.ids(where))
            if answer.get("findings"):
                code = answer["findings"][0]["code"]
                verdict.expect(taken[-1]["code"] == code, "audited under another code than answered", facts.ids(where))


def _attempts(verdict: Verdict, facts: Facts) -> None:
    """Every write-ahead has its ATTEMPT entry and every ATTEMPT its write-ahead: they committed together."""
    noted: Counter[tuple[str, int, int]] = Counter()
    for block in facts.blocks:
        for entry in block.value["entries"]:
            if entry["action"] == "ATTEMPT":
                life, _, attempt = entry["code"].partition(".")
                noted[entry["digest"].hex(), int(life), int(attempt)] += 1
    written = facts.write_aheads
    for key in sorted(noted.keys() | written.keys()):
        times, rows = noted.get(key, 0), len(written.get(key, []))
        words = f"{times} attempts in the audit, {rows} in the delivery topic"
        verdict.expect(times == rows, words, [key[0], f"life {key[1]} attempt {key[2]}"])
