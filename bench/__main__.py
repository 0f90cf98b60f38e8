"""`python -m bench [--quick]`: a broker of its own, every contender, ratios on stdout, files in bench/results/."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench import latency, report
from bench.contenders import Round, Sizes, prepare
from bench.process import ROOT, Measurement
from bench.world import readings
from waybill.broker import Broker

QUICK = Sizes(records=50_000, faust=5_000, rounds=1, latency_seconds=6)
FULL = Sizes(records=400_000, faust=50_000, rounds=3, latency_seconds=30)


def main() -> None:
    """Raises contenders.Mismatch where contenders did not do the same work."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer records, one round: under 3 minutes")
    parser.add_argument("--records", type=int, help="readings of each contender; default: 50,000 or 400,000")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results", help="folder of results")
    given = parser.parse_args()
    sizes = QUICK if given.quick else FULL
    if given.records:
        sizes = replace(sizes, records=given.records, faust=min(sizes.faust, given.records))
    where = report.machine()
    started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # a broker must not stay behind

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as scratch:
        folder = Path(scratch)
        broker = Broker(folder / "broker")
        bootstrap = broker.start()
        try:
            say(f"broker at {bootstrap}; publishing {sizes.records:,} readings")
            messages = readings(sizes.records)
            prepare(bootstrap, messages, sizes)
            measured: dict[str, list[Measurement]] = {}
            for number in range(sizes.rounds):
                for one in Round(bootstrap, folder, sizes, number).contenders():
                    measured.setdefault(one.name, []).append(one)
                    say(f"{one.name}: {one.rate:,.0f} records/s, {one.cpu_per_million:.1f} CPU-s per million")
            waits = latency.measure(bootstrap, folder, messages, sizes.latency_seconds)
        finally:
            broker.stop()
    settings = {
        "records": sizes.records,
        "rounds": sizes.rounds,
        "mean record, bytes": round(sum(len(value) for _, value in messages) / len(messages)),
        "pace of the latency run, records/s": latency.PACE,
    }
    found = report.ratios(measured)
    report.write(given.results, measured, found, waits, settings, where)
    print(report.table(measured))
    print()
    for name, value in waits.items():
        print(f"latency raw-to-validated {name} {value} ms at {latency.PACE} records/s")
    for name, value in found.items():
        print(f"ratio {name} {value:.2f}")


if __name__ == "__main__":
    main()
