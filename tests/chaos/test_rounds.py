"""Rounds under fire as `make chaos` plays them: 30 that must hold, and a product broken on purpose that must not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chaos.broken import MODES, VARIABLE, worker_module
from chaos.faults import FAULTS
from chaos.faults.partners import ANSWERS
from chaos.fork_server import ROOT
from chaos.plan import LIMITED, OTHERS, Planned, plan
from chaos.proxy import Proxy
from chaos.report import Entry, answers_line, happened, unmet
from chaos.round import run

ROUNDS = 30
SEED = 1
BREAKING = {
    "offsets-outside": "kill-at-batch-before-commit,kill-at-validate-before-commit,kill-at-dispatch-before-commit",
    "table-early": "kill-at-batch-before-commit,kill-at-batch-mid-produce,end-txn-lost",
}
"""Faults that show what each mode has broken."""
WRONG = {"effects-first": "I11", "gives-up": "I3", "misrouted": "I4"}
"""Modes that are wrong without any fault, in every round, and the invariant that must say so."""
TURNS = 3
"""Rounds within which a mode must have failed."""

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(3600)]


def chaos(report: Path, *options: str) -> tuple[int, list[str], list[Entry]]:
    """Exit code, printed lines, and the report's rounds."""
    command = [sys.executable, "-m", "chaos", "--report", str(report), *options]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    rounds = (report / "rounds.jsonl").read_text(encoding="utf-8").splitlines()
    return done.returncode, done.stdout.splitlines(), [json.loads(text) for text in rounds]


def test_a_plan_is_a_function_of_seed_and_number_and_the_deck_leaves_nothing_out() -> None:
    plans = [plan(SEED, number) for number in range(ROUNDS)]
    assert plans == [plan(SEED, number) for number in range(ROUNDS)]
    assert plans != [plan(SEED + 1, number) for number in range(ROUNDS)]
    dealt = Counter(planned.fault for one in plans for planned in one.faults)
    assert dealt.keys() == FAULTS.keys()
    assert min(dealt.values()) >= 2


def test_every_third_round_has_several_partners_with_faults_of_their_own_and_is_else_as_without_them() -> None:
    plans = [plan(SEED, number) for number in range(ROUNDS)]
    several = [one for one in plans if one.others]
    assert [one.number for one in several] == list(range(2, ROUNDS, 3))
    for one in several:
        alone = plan(SEED, one.number, several=False)
        settings = {name: value for name, value in one.settings.items() if name != "partner"}
        assert replace(one, others=(), settings=settings, lake=alone.lake) == alone
        assert [other.partner for other in one.others][:2] == ["hospital", "pharmacy"]
        assert one.lake == "s3"
        stores = [name for name in themes(one.faults) if name == "stores"]
        assert stores or [other.partner for other in one.others][2:] == ["lake"], "the store has a fault in each"
    partner_faults = {name for name, fault in FAULTS.items() if fault.theme == "partners"}
    for place in range(2):
        dealt = {planned.fault for one in several for planned in one.others[place].faults}
        assert dealt <= partner_faults
        assert len(dealt) > len(partner_faults) / 2
    at_apis = [planned for one in several for other in one.others[:2] for planned in other.faults]
    assert {planned.fault for planned in at_apis} == partner_faults


def themes(faults: Iterable[Planned]) -> list[str]:
    """What faults do harm to."""
    return [FAULTS[planned.fault].theme for planned in faults]


def test_every_row_of_the_answer_table_is_dealt_to_several_partners_and_one_of_them_has_a_limit_of_its_own() -> None:
    several = [one for one in (plan(SEED, number) for number in range(ROUNDS)) if one.others]
    dealt = {kind for one in several for other in one.others for planned in other.faults for kind in planned.kinds}
    wanted = {kind for kinds in ANSWERS.values() for kind in kinds}
    assert wanted - dealt == set()
    known = {kind for fault in FAULTS.values() for kind in fault.kinds}
    assert wanted <= known
    assert {kind for fault in FAULTS.values() if fault.theme == "partners" for kind in fault.kinds} <= wanted
    for one in several:
        capacities = {other.partner: other.capacity for other in one.others}
        assert [name for name, capacity in capacities.items() if capacity] == [LIMITED]
        assert "adaptive" in OTHERS[LIMITED]
        assert "max_bytes" not in OTHERS[LIMITED], "nobody wrote the limit down"


@pytest.mark.usefixtures("kafka_broker")
def test_thirty_random_rounds_hold_every_invariant(tmp_path: Path) -> None:
    code, lines, rounds = chaos(tmp_path, "--rounds", str(ROUNDS), "--seed", str(SEED))
    assert code == 0, "\n".join(lines)
    assert lines[-1] == f"rounds={ROUNDS} failures=0"
    assert lines[-2] == answers_line(rounds), "what several partners at once have met, and what not"
    left = unmet(rounds)
    assert [row for row, kinds in ANSWERS.items() if set(kinds) <= set(left)] == [], lines[-2]
    learnt = [entry["verdict"]["caps"] for entry in rounds if entry["plan"]["others"]]
    assert sum(LIMITED in caps for caps in learnt) > len(learnt) / 2, "while workers are killed, caps are learnt"
    for name in sorted(FAULTS.keys() - set().union(*map(happened, rounds))):  # those that found no occasion
        code, lines, again = chaos(tmp_path / name, "--rounds", "1", "--seed", str(SEED), "--faults", name)
        assert code == 0, "\n".join(lines)
        assert happened(again[0]) == {name}
    assert (tmp_path / "timeline.png").stat().st_size > 10_000


# ---- a product broken on purpose ---------------------------------------------------------------------


def test_every_mode_is_played() -> None:
    assert BREAKING.keys() | WRONG.keys() == MODES.keys()


@pytest.fixture
def broken(
    kafka: str, kafka_proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, int, str], set[str]]]:
    """Plays a round with these faults on the broker of this run, which has a proxy before it, too; no fault may concern
    its process. Gives the invariants that did not hold."""
    broker: Any = SimpleNamespace(bootstrap=kafka, proxy=kafka_proxy)
    modes = sorted(MODES)

    def play(mode: str, turn: int, faults: str) -> set[str]:
        monkeypatch.setenv(VARIABLE, mode)
        made = plan(7, TURNS * modes.index(mode) + turn, tuple(faults.split(",")))  # the number names its topics
        verdict = run(made, tmp_path / made.name, broker, worker_module(mode)).verdict
        assert "error" not in verdict, verdict
        return {entry["id"] for entry in verdict["invariants"] if entry["findings"]}

    yield play
    kafka_proxy.heal()


@pytest.mark.parametrize("mode", sorted(BREAKING))
def test_a_product_that_is_broken_on_purpose_fails(broken: Callable[[str, int, str], set[str]], mode: str) -> None:
    assert any(broken(mode, turn, BREAKING[mode]) for turn in range(TURNS))


@pytest.mark.parametrize("mode", sorted(WRONG))
def test_a_product_that_is_always_wrong_fails_in_the_invariant_that_is_broken(
    broken: Callable[[str, int, str], set[str]], mode: str
) -> None:
    assert broken(mode, 0, "bad-flood") == {WRONG[mode]}


@pytest.mark.usefixtures("kafka_broker")
def test_the_program_ends_with_1_where_a_round_fails(tmp_path: Path) -> None:
    options = ("--rounds", "1", "--seed", "7", "--broken", "effects-first", "--faults", "bad-flood")
    code, lines, _ = chaos(tmp_path, *options)
    assert (code, lines[-1]) == (1, "rounds=1 failures=1")
