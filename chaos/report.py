"""What a run of rounds came to: one line for each, a page, a table of faults and invariants, and a picture."""

from __future__ import annotations

import json
from argparse import Namespace
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chaos.faults import FAULTS
from chaos.round import Result

SHOWN = 5
"""Findings of one invariant that a page shows."""


def line(result: Result) -> str:
    """A round in one line."""
    plan, verdict = result.plan, result.verdict
    faults = ", ".join(planned.fault for planned in plan.faults)
    if verdict.get("error"):
        return f"round {plan.number:3} ERROR  {result.seconds:5.1f} s  {faults}: {verdict['error']}"
    word = f"FAILED {verdict['findings']}" if result.failed else "ok"
    counts = f"records={verdict['records']} batches={verdict['batches']}"
    broken = [entry["id"] for entry in verdict["invariants"] if entry["findings"]]
    return f"round {plan.number:3} {word:6} {result.seconds:5.1f} s  {counts}  {faults}  {' '.join(broken)}".rstrip()


def write(folder: Path, options: Namespace, results: Sequence[Result], seconds: float) -> Path:
    """Writes the report into the folder; returns its page."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "rounds.jsonl").open("w") as out:
        for result in results:
            entry = {"verdict": _short(result.verdict), "seconds": round(result.seconds, 1), **result.history}
            out.write(json.dumps(entry) + "\n")
    (folder / "faults.md").write_text(faults_table(results))
    pictured = max((r for r in results if r.timeline is not None), key=lambda r: len(r.history["events"]), default=None)
    if pictured is not None:
        from chaos.picture import draw

        draw(pictured, folder / "timeline.png")
    page = folder / "report.md"
    page.write_text(_page(options, results, seconds, pictured))
    return page


def _short(verdict: dict[str, Any]) -> dict[str, Any]:
    """The verdict without the words of each finding past the first few."""
    if "invariants" not in verdict:
        return verdict
    invariants = [entry | {"findings": entry["findings"][:SHOWN]} for entry in verdict["invariants"]]
    return verdict | {"invariants": invariants}


def _page(options: Namespace, results: Sequence[Result], seconds: float, pictured: Result | None) -> str:
    failures = [result for result in results if result.failed]
    judged = [result for result in results if "invariants" in result.verdict]
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    titles = {}
    for result in judged:
        for entry in result.verdict["invariants"]:
            titles[entry["id"]] = entry["title"]
            totals[entry["id"]][0] += entry["checked"]
            totals[entry["id"]][1] += len(entry["findings"])
    records = sum(result.verdict["records"] for result in judged)
    starts = sum(event["what"] == "started" for result in results for event in result.history["events"])
    command = f"make chaos ROUNDS={options.rounds} SEED={options.seed}"
    if options.broken:
        command += f" BROKEN={options.broken}"
    summary = (
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}: {len(results)} rounds, {len(failures)} failures, "
        f"{records:,} records, {starts:,} starts of workers, {seconds / 60:.0f} minutes."
    )
    what_else = (
        "`rounds.jsonl` has each round's plan, what was done when, how the workers ended, and the checker's counts. "
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
    if pictured is not None:
        what = f"Round {pictured.plan.number}: throughput and latency from `raw` to the answer, faults as bars"
        lines += [f"![{what}](timeline.png)", "", f"{what}.", ""]
    lines += ["| round | | seconds | records | faults |", "|---:|---|---:|---:|---|"]
    for result in results:
        names = ", ".join(planned.fault for planned in result.plan.faults)
        word = "failed" if result.failed else "ok"
        count = result.verdict.get("records", "")
        lines.append(f"| {result.plan.number} | {word} | {result.seconds:.0f} | {count} | {names} |")
    for result in failures:
        lines += ["", f"## Round {result.plan.number}", "", *_findings(result)]
    return "\n".join(lines) + "\n"


def _findings(result: Result) -> list[str]:
    if "invariants" not in result.verdict:
        return [str(result.verdict["error"])]
    lines = []
    for entry in result.verdict["invariants"]:
        for finding in entry["findings"][:SHOWN]:
            lines.append(f"- {entry['id']}: {finding['words']}: {', '.join(map(str, finding['ids'][:SHOWN]))}")
    return lines


def faults_table(results: Sequence[Result]) -> str:
    """Faults against invariants: in how many rounds with the fault the invariant was checked and held."""
    held: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    rounds: dict[str, int] = defaultdict(int)
    invariants: list[str] = []
    for result in results:
        met = {event["what"] for event in result.history["events"]} & FAULTS.keys()
        for name in met:
            rounds[name] += 1
            for entry in result.verdict.get("invariants", []):
                if entry["id"] not in invariants:
                    invariants.append(entry["id"])
                held[name][entry["id"]] += bool(entry["checked"]) and not entry["findings"]
    head = f"| fault | | rounds | {' | '.join(invariants)} |"
    rule = "|---|---|---:|" + "---:|" * len(invariants)
    lines = [head, rule]
    for name in sorted(FAULTS, key=lambda n: (FAULTS[n].id, n)):
        cells = " | ".join(str(held[name][invariant]) for invariant in invariants)
        lines.append(f"| {FAULTS[name].id} | {name} | {rounds[name]} | {cells} |")
    return "\n".join(lines) + "\n"
