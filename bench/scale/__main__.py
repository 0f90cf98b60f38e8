"""`python -m bench.scale`: measures the points that are asked for and writes the page."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from bench import idle
from bench.process import ROOT
from bench.report import machine, unwritable
from bench.scale import keys, load, points, report
from bench.scale.axes import AXES, Point, planned
from bench.world import broker

IDLE_SECONDS = 60.0


def pipelines(bootstrap: str, folder: Path, point: Point) -> dict[str, float]:
    """A point of the axis `pipelines`."""
    found = idle.measure(bootstrap, folder, point.x, IDLE_SECONDS)
    return {
        "percent": found.whole,
        **{f"percent {kind}": share for kind, share in found.percent.items()},
        "switches": found.switches,
        "threads": found.threads,
        "rss_mib": found.rss_mib,
        "ready_seconds": found.ready_seconds,
    }


MEASURES: dict[str, Callable[[str, Path, Point], dict[str, float]]] = {
    **dict.fromkeys(AXES, load.measure),
    "keys": keys.measure,
    "pipelines": pipelines,
}


def main() -> None:
    """Exit code 1 where a point could not be measured: the others are."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--axis", action="append", choices=AXES, help="may be repeated; default: all")
    parser.add_argument("--limit", type=int, help="no points beyond this size, e.g. 1000000 for the keys")
    parser.add_argument("--resume", action="store_true", help="leave out what the results have already")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results" / "scale", help="folder of results")
    given = parser.parse_args()
    file = given.results / "points.jsonl"
    wanted = planned(given.axis or AXES, given.limit)
    if not wanted:
        least = min(planned(given.axis or AXES, None), key=lambda point: point.x)
        parser.error(f"--limit {given.limit}: the smallest point of {least.axis} is {least.x:,}")
    if wrong := unwritable(given.results):
        parser.error(wrong)
    if given.resume:
        wanted = points.missing(wanted, points.read(file))
    failed = False
    for axis, own in groupby(wanted, key=lambda point: point.axis):
        for point in own:
            failed = not _measure(axis, point, file) or failed
    if lines := points.read(file):
        print(report.write(given.results, lines))
    sys.exit(failed)


def _measure(axis: str, point: Point, file: Path) -> bool:
    where = machine()
    load_before = float(where.pop("load_before"))
    about = {"at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "machine": where}
    try:
        with broker() as (bootstrap, folder):
            figures = MEASURES[axis](bootstrap, folder, point)
    except RuntimeError as failure:
        print(f"{axis} {point.x:,} {point.store}: {failure}", file=sys.stderr, flush=True)
        return False
    load_now = max(load_before, round(os.getloadavg()[0], 2))
    line = points.add(file, point, figures, {**about, "load": load_now})
    print(f"{axis} {point.x:,} {point.store}: {line['figures']}", file=sys.stderr, flush=True)
    return True


if __name__ == "__main__":
    main()
