"""`python -m chaos --rounds N --seed S [--broken MODE]`: fault rounds on real Kafka, judged from outside.

Rounds run in lanes side by side, each with a broker of its own. The last line is `rounds=n failures=f`; with failures
the exit code is 1. The line before it says what of the partners' answer table the rounds with several partners at once
have met, and what not.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

from chaos.broken import MODES, worker_module
from chaos.brokers import Broker
from chaos.faults import FAULTS
from chaos.plan import Plan, plan
from chaos.report import ROUNDS, answers_line, entries, entry_of, failed, last_words, line, write
from chaos.round import Result, run
from chaos.store import Moto
from waybill.broker import BrokerError

LANES = 3
"""Most of a round is waiting, so that a machine of two cores bears three."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit code."""
    options = _options(arguments)
    only = tuple(options.faults.split(",")) if options.faults else ()
    if unknown := set(only) - FAULTS.keys():
        print(f"chaos: no fault {', '.join(sorted(unknown))}; there are {', '.join(sorted(FAULTS))}", file=sys.stderr)
        return 2
    report = Path(options.report)
    report.mkdir(parents=True, exist_ok=True)
    if not options.resume:
        (report / ROUNDS).unlink(missing_ok=True)
    before = [entry["plan"] for entry in entries(report)]
    if any(played["seed"] != options.seed for played in before):
        print(
            f"chaos: {report / ROUNDS} is of another seed than {options.seed}: name it, or begin anew", file=sys.stderr
        )
        return 2
    done = {played["number"] for played in before}
    plans = [
        plan(options.seed, number, only, options.several or None)
        for number in range(options.first, options.first + options.rounds)
        if number not in done
    ]
    try:
        played = _play(plans, options, report)
    except BrokerError as absent:
        print(f"chaos: {absent}", file=sys.stderr)
        return 2
    page = write(report, options, played)
    print(f"report: {page}", file=sys.stderr)
    judged = entries(report)
    failures = sum(failed(entry) for entry in judged)
    if several := answers_line(judged):
        print(several)
    print(f"rounds={len(judged)} failures={failures}")
    return int(bool(failures))


def _play(plans: Sequence[Plan], options: argparse.Namespace, report: Path) -> list[Result]:
    """Plays the rounds in lanes; each goes into the report as soon as it is judged. Raises BrokerError."""
    stack = ExitStack()

    def ended(*_: object) -> NoReturn:
        stack.close()  # no broker outlives it, and the workers end with its end of their standard input
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, ended)
    lanes: queue.SimpleQueue[Broker] = queue.SimpleQueue()
    told = threading.Lock()
    with stack:
        work = Path(options.keep) if options.keep else Path(stack.enter_context(_temporary()))
        moto = stack.enter_context(Moto()) if any(made.lake == "s3" for made in plans) else None
        for lane in range(min(options.lanes, len(plans))):
            lanes.put(stack.enter_context(Broker(work / f"broker-{lane}", proxied=True, seed=options.seed + lane)))

        def one(made: Plan) -> Result:
            broker = lanes.get()
            try:
                folder = work / made.name
                result = run(made, folder, broker, worker_module(options.broken), moto)
            finally:
                lanes.put(broker)
            print(line(result), flush=True)
            with told, (report / ROUNDS).open("a", encoding="utf-8") as out:
                out.write(json.dumps(entry_of(result)) + "\n")
            if result.failed:
                kept = report / made.name
                shutil.copytree(folder, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("home"))
                shutil.copy(broker.log_file, kept / "broker.log")
                print(f"kept: {kept}", *last_words(result, kept), sep="\n", file=sys.stderr)
            if not options.keep:
                shutil.rmtree(folder)
            return result

        with ThreadPoolExecutor(options.lanes) as pool:
            return list(pool.map(one, plans))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description="Fault rounds, judged from outside.")
    parser.add_argument("--rounds", type=_count, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first round: replays one of a longer run")
    parser.add_argument("--faults", help="these faults in every round, by name, instead of drawn ones")
    parser.add_argument("--several", action="store_true", help="several HTTP partners in every round, each with faults")
    parser.add_argument("--broken", choices=sorted(MODES), help="a product broken on purpose: the rounds must fail")
    parser.add_argument("--lanes", type=_count, default=LANES, help="rounds at a time, each with a broker of its own")
    parser.add_argument("--report", default="chaos/results", help="folder of the report and of failed rounds")
    parser.add_argument("--resume", action="store_true", help="go on with the run whose report lies in that folder")
    parser.add_argument("--keep", help="keep everything in this folder")
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
