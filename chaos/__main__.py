"""`python -m chaos --rounds N --seed S [--broken MODE]`: fault rounds on real Kafka, judged from outside.

Rounds run in lanes side by side, each with a broker of its own. The last line is `rounds=n failures=f`; with failures
the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

from chaos.broken import MODES, worker_module
from chaos.brokers import Broker
from chaos.faults import FAULTS
from chaos.plan import plan
from chaos.report import line, write
from chaos.round import Result, run
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
    stack = ExitStack()

    def ended(*_: object) -> NoReturn:
        stack.close()  # no broker outlives it, and the workers end with its end of their standard input
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, ended)
    with stack:
        work = Path(options.keep) if options.keep else Path(stack.enter_context(_temporary()))
        lanes: queue.SimpleQueue[Broker] = queue.SimpleQueue()
        numbers = range(options.first, options.first + options.rounds)
        try:
            for lane in range(min(options.lanes, len(numbers))):
                lanes.put(stack.enter_context(Broker(work / f"broker-{lane}", proxied=True, seed=options.seed + lane)))
        except BrokerError as absent:
            print(f"chaos: {absent}", file=sys.stderr)
            return 2

        def one(number: int) -> Result:
            broker = lanes.get()
            try:
                made = plan(options.seed, number, only)
                folder = work / made.name
                result = run(made, folder, broker, worker_module(options.broken))
                print(line(result), flush=True)
                if not (options.keep or result.failed):
                    shutil.rmtree(folder)
                return result
            finally:
                lanes.put(broker)

        started = time.monotonic()
        with ThreadPoolExecutor(options.lanes) as pool:
            results = list(pool.map(one, numbers))
        report = write(Path(options.report), options, results, time.monotonic() - started)
        failures = [result for result in results if result.failed]
        for result in failures:
            kept = Path(options.report) / result.plan.name
            shutil.copytree(work / result.plan.name, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("home"))
            print(f"kept: {kept}", file=sys.stderr)
        print(f"report: {report}", file=sys.stderr)
        print(f"rounds={len(results)} failures={len(failures)}")
        return int(bool(failures))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description="Fault rounds, judged from outside.")
    parser.add_argument("--rounds", type=_count, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first round: replays one of a longer run")
    parser.add_argument("--faults", help="these faults in every round, by name, instead of drawn ones")
    parser.add_argument("--broken", choices=sorted(MODES), help="a product broken on purpose: the rounds must fail")
    parser.add_argument("--lanes", type=_count, default=LANES, help="rounds at a time, each with a broker of its own")
    parser.add_argument("--report", default="chaos/results", help="folder of the report and of failed rounds")
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
