"""`python -m chaos.checker FOLDER [--brokers B] [--json]`: judges one round.

Exit code 0: every invariant holds; 1: there are findings; 2: the input cannot be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from chaos.checker.evidence import Unreadable, load, load_round, save_kafka
from chaos.checker.facts import Facts
from chaos.checker.judge import judge
from chaos.checker.kafka import collect
from chaos.checker.report import as_json, last_line, table


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m chaos.checker", description="Judges one round from outside.")
    parser.add_argument("folder", type=Path, help="holds round.json, manifest.jsonl, ledger.jsonl, objects.jsonl …")
    parser.add_argument("--brokers", help="read the topics from there and keep them in the folder")
    parser.add_argument("--json", action="store_true", help="the whole result as JSON")
    options = parser.parse_args(arguments)
    try:
        if options.brokers:
            topics, admin = collect(options.brokers, load_round(options.folder))
            save_kafka(options.folder, topics, admin)
        facts = Facts(load(options.folder))
    except Unreadable as error:
        print(f"chaos.checker: {error}", file=sys.stderr)
        return 2
    verdicts = judge(facts)
    if options.json:
        print(json.dumps(as_json(facts, verdicts)))
        print(last_line(facts, verdicts), file=sys.stderr)
    else:
        print(table(facts, verdicts))
    return int(any(verdict.findings for verdict in verdicts))


if __name__ == "__main__":
    raise SystemExit(main())
