"""What a run of rounds came to: one line for each, a page, a table of faults and invariants, and a picture.

`rounds.jsonl` is the source of the page and the table: an entry for each round, with its plan, what was done when, how
the workers ended, how long it took, and the checker's verdict.
"""

from __future__ import annotations

import json
import re
import subprocess
from argparse import Namespace
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from chaos.checker.judge import LAWS
from chaos.faults import FAULTS
from chaos.faults.partners import ANSWERS
from chaos.fork_server import ROOT
from chaos.round import Result

SHOWN = 5
"""Findings of one invariant that a page shows."""
COMPLAINT = re.compile(r'"level": "(warning|error|critical)"|WARN|ERROR|Traceback|Error: ')
COMPLAINTS = 6
"""Lines of one log that are shown of a failed round."""

ROUNDS, TABLE, PICTURE, PAGE = "rounds.jsonl", "faults.md", "timeline.png", "report.md"

Entry = dict[str, Any]
"""A line of `rounds.jsonl`."""


def entry_of(result: Result) -> Entry:
    """What is kept of a round."""
    return {
        "commit": commit(),
        "verdict": _short(result.verdict),
        "seconds": round(result.seconds, 1),
        **result.history,
    }


@cache
def commit() -> str:
    """What was played: the checkout's commit, with a `+` where it was changed; `unknown` outside a checkout."""
    asked = ("rev-parse", "--short=9", "HEAD"), ("status", "--porcelain", "--untracked-files=no")
    try:
        found = [
            subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
            for words in asked
        ]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found[0] + ("+" if found[1] else "")


def entries(folder: Path) -> list[Entry]:
    """Of a run's report, in the order of their numbers; none where there is no report."""
    if not (folder / ROUNDS).exists():
        return []
    found = [json.loads(text) for text in (folder / ROUNDS).read_text(encoding="utf-8").splitlines()]
    return sorted(found, key=lambda entry: entry["plan"]["number"])


def failed(entry: Entry) -> bool:
    """Whether the checker found anything, or could not look."""
    return bool(entry["verdict"].get("error") or entry["verdict"]["findings"])


def happened(entry: Entry) -> set[str]:
    """The faults that a round met. A failpoint that no worker came to is none."""
    return {event["what"] for event in entry["events"] if event.get("happened", True)} & FAULTS.keys()


def unmet(everything: Sequence[Entry]) -> list[str]:
    """Kinds of answers and failures of partners that no round with several of them at once has met."""
    met: set[str] = set().union(*(_kinds(entry) for entry in everything))
    return [kind for kinds in ANSWERS.values() for kind in kinds if kind not in met]


def answers_line(everything: Sequence[Entry]) -> str:
    """How much of the answer table such rounds have met, in one line; empty where there was none."""
    several = [entry for entry in everything if entry["plan"].get("others")]
    if not several:
        return ""
    every, left = sum(map(len, ANSWERS.values())), unmet(everything)
    caps = sum(sum(entry["verdict"].get("caps", {}).values()) for entry in several)
    return (
        f"several partners at once: rounds={len(several)} caps={caps} answers={every - len(left)}/{every}"
        f"{' unmet: ' + ' '.join(left) if left else ''}"
    )


def _kinds(entry: Entry) -> set[str]:
    """Kinds of faults that requests met in a round with several partners at once; a round of before does not tell."""
    return set().union(*entry.get("met", {}).values()) if entry["plan"].get("others") else set()


def line(result: Result) -> str:
    """A round in one line."""
    plan, verdict = result.plan, result.verdict
    faults = _faults(plan.as_json())
    if verdict.get("error"):
        return f"round {plan.number:3} ERROR  {result.seconds:5.1f} s  {faults}: {verdict['error']}"
    word = f"FAILED {verdict['findings']}" if result.failed else "ok"
    counts = f"records={verdict['records']} batches={verdict['batches']}"
    broken = [entry["id"] for entry in verdict["invariants"] if entry["findings"]]
    return f"round {plan.number:3} {word:6} {result.seconds:5.1f} s  {counts}  {faults}  {' '.join(broken)}".rstrip()


def _faults(plan: dict[str, Any]) -> str:
    """What was planned, the faults of further partners under their names; a plan of before has none."""
    said = [", ".join(planned["fault"] for planned in plan["faults"])]
    for other in plan.get("others", ()):
        said.append(f"{other['partner']}: {', '.join(planned['fault'] for planned in other['faults'])}")
    return "; ".join(said)


def last_words(result: Result, folder: Path) -> list[str]:
    """Of a failed round: what was found, and the last complaints of its workers and its broker."""
    lines = _findings(result.verdict)
    for log in sorted(folder.glob("*.log")):
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()
        lines += [f"{log.name}: {text}" for text in [text for text in said if COMPLAINT.search(text)][-COMPLAINTS:]]
    return lines


def write(folder: Path, options: Namespace, played: Sequence[Result]) -> Path:
    """Writes the report of all rounds in the folder's `rounds.jsonl`; returns its page.

    played: those that were played just now; one of them is drawn, unless the picture that is there shows more.
    """
    everything = entries(folder)
    (folder / ROUNDS).write_text("".join(json.dumps(entry) + "\n" for entry in everything), encoding="utf-8")
    (folder / TABLE).write_text(faults_table(everything))
    most = max((result for result in played if result.timeline is not None), key=_much, default=None)
    if most is not None and _much(most) >= max(len(entry["events"]) for entry in everything):
        from chaos.picture import draw

        draw(most, folder / PICTURE)
    page = folder / PAGE
    page.write_text(_page(options, everything, (folder / PICTURE).exists()))
    return page


def _much(result: Result) -> int:
    return len(result.history["events"])


def _short(verdict: dict[str, Any]) -> dict[str, Any]:
    """The verdict without the words of each finding past the first few."""
    if "invariants" not in verdict:
        return verdict
    invariants = [entry | {"findings": entry["findings"][:SHOWN]} for entry in verdict["invariants"]]
    return verdict | {"invariants": invariants}


def _page(options: Namespace, everything: Sequence[Entry], pictured: bool) -> str:
    failures = [entry for entry in everything if failed(entry)]
    judged = [entry["verdict"] for entry in everything if "invariants" in entry["verdict"]]
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    titles = {}
    for verdict in judged:
        for found in _judged(verdict):
            titles[found["id"]] = found["title"]
            totals[found["id"]][0] += found["checked"]
            totals[found["id"]][1] += len(found["findings"])
    records = sum(verdict["records"] for verdict in judged)
    starts = sum(event["what"] == "started" for entry in everything for event in entry["events"])
    command = f"make chaos ROUNDS={len(everything)} SEED={options.seed}"
    if options.broken:
        command += f" BROKEN={options.broken}"
    summary = (
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}: {len(everything)} rounds, {len(failures)} failed, "
        f"{records:,} records, {starts:,} starts of workers, "
        f"{sum(entry['seconds'] for entry in everything) / 3600:.1f} hours of rounds; "
        f"commit {', '.join(sorted({entry['commit'] for entry in everything}))}."
    )
    what_else = (
        f"`{ROUNDS}` has each round's plan, what was done when, how the workers ended, and the checker's counts. "
        f"`make chaos ROUNDS=1 SEED={options.seed} FIRST=n` plays round n again."
    )
    lines = [
        "# Rounds under fire",
        "",
        summary,
        "",
        what_else,
        "",
        "| invariant | | checks | findings |",
        "|---|---|---:|---:|",
        *(f"| {name} | {titles[name]} | {count:,} | {found:,} |" for name, (count, found) in totals.items()),
        "",
    ]
    if pictured:
        what = "One round: throughput, latency from `raw` to the answer, and the faults as bars"
        lines += [f"![{what}]({PICTURE})", "", f"{what}.", ""]
    lines += ["| round | | seconds | records | faults |", "|---:|---|---:|---:|---|"]
    for entry in everything:
        names = _faults(entry["plan"])
        word = "failed" if failed(entry) else "ok"
        count = entry["verdict"].get("records", "")
        lines.append(f"| {entry['plan']['number']} | {word} | {entry['seconds']:.0f} | {count} | {names} |")
    lines += _answers_table(everything)
    for entry in failures:
        lines += ["", f"## Round {entry['plan']['number']}", "", *_findings(entry["verdict"])]
    return "\n".join(lines) + "\n"


def _answers_table(everything: Sequence[Entry]) -> list[str]:
    """The answer table, and in how many rounds with several partners at once each kind of its rows was met."""
    if not (summary := answers_line(everything)):
        return []
    rounds = Counter(kind for entry in everything for kind in _kinds(entry))
    lines = [
        "",
        "## Several partners at once",
        "",
        summary,
        "",
        "| answer | rounds in which a request met it |",
        "|---|---|",
    ]
    for row, kinds in ANSWERS.items():
        lines.append(f"| {row} | {'; '.join(f'`{kind}` {rounds[kind]}' for kind in kinds)} |")
    return lines


def _findings(verdict: dict[str, Any]) -> list[str]:
    if "invariants" not in verdict:
        return [str(verdict["error"])]
    lines = []
    for entry in verdict["invariants"]:
        for finding in entry["findings"][:SHOWN]:
            lines.append(f"- {entry['id']}: {finding['words']}: {', '.join(map(str, finding['ids'][:SHOWN]))}")
    return lines


def _judged(verdict: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a round was held against. Older rounds name I12 too, which a round alone cannot show."""
    return [found for found in verdict.get("invariants", []) if found["id"] in LAWS]


def faults_table(everything: Sequence[Entry]) -> str:
    """Faults against invariants: in how many rounds with the fault the invariant was checked and held."""
    held: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    rounds: dict[str, int] = defaultdict(int)
    invariants: list[str] = []
    for entry in everything:
        for name in happened(entry):
            rounds[name] += 1
            for found in _judged(entry["verdict"]):
                if found["id"] not in invariants:
                    invariants.append(found["id"])
                held[name][found["id"]] += bool(found["checked"]) and not found["findings"]
    head = f"| fault | | rounds | {' | '.join(invariants)} |"
    rule = "|---|---|---:|" + "---:|" * len(invariants)
    lines = [head, rule]
    for name in sorted(FAULTS, key=lambda n: (FAULTS[n].id, n)):
        cells = " | ".join(str(held[name][invariant]) for invariant in invariants)
        lines.append(f"| {FAULTS[name].id} | {name} | {rounds[name]} | {cells} |")
    return "\n".join(lines) + "\n"
