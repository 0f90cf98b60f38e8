"""What the checker knows of partners with a limit, of answers for single records and of `review`: a sound run in memory
has no finding, and each alteration of it is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chaos.checker.evidence import Evidence, Message
from chaos.checker.facts import Decoded, Facts
from chaos.checker.judge import judge
from chaos.checker.laws.caps import told_caps
from chaos.checker.report import as_json
from tests.chaos.altered import Finder, found, instead, ledger, more, without
from tests.chaos.memory_round import CAPACITY, played

Alteration = Callable[[Evidence, Finder], Evidence]


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return played(tmp_path_factory.mktemp("memory"))


@pytest.fixture(scope="module")
def find(evidence: Evidence) -> Finder:
    return Finder(Facts(evidence))


def test_a_sound_run_has_no_finding_and_everything_worth_judging(evidence: Evidence, find: Finder) -> None:
    verdicts = judge(find.facts)
    assert [(verdict.invariant, finding) for verdict in verdicts for finding in verdict.findings] == []
    said = as_json(find.facts, verdicts)
    assert said["reviews"] > 1
    assert said["parts"] > 1
    assert said["caps"] == {partner: len(caps) for partner, caps in told_caps(find.facts).items()}
    assert said["caps"].keys() == {"pharmacy"}, "nobody else's batches have a size of their own"
    sizes = [len(body) for key, body in evidence.bodies.items() if find.facts.batch[key].value["partner"] == "pharmacy"]
    assert max(sizes) <= CAPACITY
    assert any(len(refused) == 1 for refused in find.facts.refused.values())


def of_kind(short: str, name: str) -> Callable[[Finder], Decoded]:
    """The last message of a kind on a topic."""
    return lambda find: [m for m in find.facts.decoded(short) if m.name == name][-1]


def changed(short: str, name: str, **changes: Any) -> Alteration:
    """Other values in a message. A change may be a function of the message's."""

    def alter(evidence: Evidence, find: Finder) -> Evidence:
        message = of_kind(short, name)(find)
        values = {field: to(message.value) if callable(to) else to for field, to in changes.items()}
        return instead(evidence, short, message.at, find.encoded(message, **values))

    return alter


def gone(short: str, name: str) -> Alteration:
    """A message that was never written."""
    return lambda evidence, find: without(evidence, short, of_kind(short, name)(find).at)


def twice(short: str, name: str) -> Alteration:
    """A message that was written once more."""
    return lambda evidence, find: more(evidence, short, of_kind(short, name)(find).at)


def of_another(evidence: Evidence, find: Finder) -> Evidence:
    """A copy of a dead letter that no store has caused."""
    message = of_kind("review", "review")(find)
    letter = next(m for m in find.facts.decoded("dead-letter") if m.value["stage"] == "validate")
    return instead(evidence, "review", message.at, find.encoded(message, dead_letter=letter.at.value))


def ignored(evidence: Evidence, find: Finder) -> Evidence:
    """The first cap is smaller than the batches that were cut under it; every partition was told the same."""
    for one in [m for m in find.facts.decoded("validated") if m.name == "cap"]:
        evidence = instead(evidence, "validated", one.at, find.encoded(one, records=1))
    return evidence


def standing(evidence: Evidence, find: Finder) -> Message:
    """The last row of the partner with a limit."""
    return [m for m in evidence.topics["delivery"] if m.key == b"partner/pharmacy"][-1]


def unlearnt(evidence: Evidence, find: Finder) -> Evidence:
    """Batch kept nothing of what it was told."""
    row = [m for m in find.facts.decoded("heads") if m.name and m.value["stage"] == "batch"][-1]
    return instead(evidence, "heads", row.at, find.encoded(row, caps=[]))


def forgotten(evidence: Evidence, find: Finder) -> Evidence:
    """Dispatch kept nothing of what it had told."""
    return instead(evidence, "delivery", standing(evidence, find), None)


def damaged(evidence: Evidence, find: Finder) -> Evidence:
    """What dispatch keeps of a partner cannot be read."""
    row = standing(evidence, find)
    return instead(evidence, "delivery", row, (row.value or b"")[:-3])


def fixed(evidence: Evidence, find: Finder) -> Evidence:
    """A partner whose batches were to have a fixed size."""
    partners = evidence.round.partners | {"pharmacy": {"kind": "http"}}
    return replace(evidence, round=replace(evidence.round, partners=partners))


def out_of_bounds(evidence: Evidence, find: Finder) -> Evidence:
    """Bounds that were higher than the caps told."""
    partners = evidence.round.partners | {"pharmacy": {"kind": "http", "adaptive": [19, 20]}}
    return replace(evidence, round=replace(evidence.round, partners=partners))


def took_all(evidence: Evidence, find: Finder) -> Evidence:
    """The partner took the records that it refused."""
    lines = [
        line._replace(records=(*(line.records or ()), *line.refused), refused=()) if line.refused else line
        for line in evidence.ledger
    ]
    return ledger(evidence, *lines)


def refused_more(evidence: Evidence, find: Finder) -> Evidence:
    """The partner refused a record that was acknowledged."""
    at = next(n for n, line in enumerate(evidence.ledger) if line.refused)
    line = evidence.ledger[at]
    assert line.records
    lines = list(evidence.ledger)
    lines[at] = line._replace(records=line.records[1:], refused=(line.records[0], *line.refused))
    return ledger(evidence, *lines)


@pytest.mark.parametrize(
    ("invariant", "words", "alter"),
    [
        ("I6", "0 copies on `review` of a dead letter that asks for 1: memory.raw/", gone("review", "review")),
        ("I6", "2 copies on `review` of a dead letter that asks for 1: memory.raw/", twice("review", "review")),
        ("I6", "1 copies on `review` of a dead letter that asks for 0: memory.raw/", of_another),
        ("I6", "1 copies on `review` of a dead letter that asks for 0: under the message key",
         changed("review", "review", dead_letter=b"no dead letter")),
        ("I6", "1 copies on `review` of a dead letter that asks for 0",
         lambda e, f: without(e, "dead-letter", next(
             m.at for m in f.facts.decoded("dead-letter") if m.value["partner"] == "lake"))),
        ("I6", "the copy's why is 'nothing', the dead letter says 'PARTNER_REFUSED: lake: 403 no room'",
         changed("review", "review", why="nothing")),
        ("I6", "the copy's attempts is 9, the dead letter says 1", changed("review", "review", attempts=9)),
        ("I6", "a dead_letter lies on `review`", lambda e, f: instead(
            e, "review", e.topics["review"][0], f.facts.decoded("dead-letter")[0].at.value)),
        ("I6", "was told other caps than partition 0", gone("validated", "cap")),
        ("I6", "was told other caps than partition 0",
         changed("validated", "cap", records=lambda cap: cap["records"] + 1)),
        ("I6", "records, the cap in force was 1", ignored),
        ("I6", "the head keeps the caps", unlearnt),
        ("I6", "dispatch keeps the cap None, told was", forgotten),
        ("I6", "cannot be read: memory.cc.delivery/", damaged),
        ("I6", "a cap for a partner whose batches have a fixed size", fixed),
        ("I6", ", outside [19, 20]", out_of_bounds),
        ("I3", "dead with a known outcome, but the partner has it", took_all),
        ("I6", "the row says sent, the record's answer dead in dispatch", took_all),
        ("I1", "acknowledged, but not in the batch that the partner has", refused_more),
        ("I6", "the row says sent, the record's answer delivered", refused_more),
    ],
)  # fmt: skip
def test_an_alteration_is_found(
    evidence: Evidence, find: Finder, invariant: str, words: str, alter: Alteration
) -> None:
    assert words in found(alter(evidence, find), invariant)
