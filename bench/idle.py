"""What a worker costs that has nothing to do: `waybill worker` with so many pipelines, their topics empty.

Its processor time is read from the kernel over a while that begins when it is ready and has settled, by kind of thread.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from bench.deployed import WorkerProcess, deploy, wait_for

SETTLE_SECONDS = 10.0
"""After it is ready: what a start leaves behind is no part of idleness."""
READY_SECONDS = 600.0


class Idle(NamedTuple):
    """A worker at rest."""

    pipelines: int
    seconds: float
    percent: dict[str, float]
    """Of one core, by kind of thread: `client` (librdkafka's, by its names), `python`."""
    threads: int
    switches: float
    """Voluntary context switches a second: how often a thread woke up."""
    rss_mib: float
    ready_seconds: float

    @property
    def whole(self) -> float:
        """Percent of one core, all threads."""
        return sum(self.percent.values())


def measure(
    bootstrap: str, folder: Path, pipelines: int, seconds: float, stages: str = "validate,batch,dispatch"
) -> Idle:
    """One worker with so many pipelines, each with topics of its own."""
    name = f"bench-idle-{pipelines}-{time.time_ns()}"
    files = []
    for number in range(pipelines):
        own = f"{name}-{number}"
        settings = {"pipeline": f"idle-{number}", "raw": {"topic": f"{own}.raw"}, "partner": "lake"}
        lake = {"lake": {"kind": "object-store", "url": (folder / own / "lake").as_uri(), "prefix": "idle"}}
        files.append(deploy(bootstrap, folder, own, settings, lake)[0])
    with WorkerProcess(files[0], bootstrap, stages, files[1:]) as worker:
        ready = worker.ready(READY_SECONDS)
        wait_for(lambda: time.monotonic() - worker.started > ready + SETTLE_SECONDS, READY_SECONDS, "it has settled")
        begun, before = time.monotonic(), _spent(worker.pid)
        time.sleep(seconds)
        took, after = time.monotonic() - begun, _spent(worker.pid)
        return Idle(
            pipelines,
            round(took, 1),
            {kind: round((after.cpu[kind] - before.cpu[kind]) / took * 100, 3) for kind in sorted(after.cpu)},
            after.threads,
            round((after.switches - before.switches) / took),
            round(worker.rss, 1),
            round(ready, 1),
        )


class _Spent(NamedTuple):
    cpu: Counter[str]
    """Seconds by kind of thread."""
    switches: int
    threads: int


def _spent(pid: int) -> _Spent:
    """So far, over all threads (Linux). By `schedstat`: `stat` counts whole ticks, and a thread that wakes for a moment
    is seldom seen by one."""
    cpu: Counter[str] = Counter()
    switches = threads = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            name = (task / "comm").read_text().strip()
            ran = int((task / "schedstat").read_text().split()[0])
            switches += _switches((task / "status").read_text().splitlines())
        except (FileNotFoundError, ProcessLookupError):  # it has ended since it was listed
            continue
        threads += 1
        cpu[kind_of(name)] += ran / 1e9  # type: ignore[assignment]
    return _Spent(cpu, switches, threads)


def kind_of(name: str) -> str:
    """Of a thread, by what the kernel calls it: `rdk:broker12` is `client broker`."""
    if not name.startswith("rdk:"):
        return "python"
    return "client " + name.removeprefix("rdk:").rstrip("-0123456789")


def _switches(status: Iterable[str]) -> int:
    return next(int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt_switches"))


def main() -> None:
    """`python -m bench.idle BROKERS PIPELINES SECONDS`: one look at a broker that runs already."""
    import sys
    import tempfile

    with tempfile.TemporaryDirectory(prefix="waybill-idle-") as scratch:
        found = measure(sys.argv[1], Path(scratch), int(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:])
    os.write(1, f"{found.whole:.2f} % of a core: {found}\n".encode())


if __name__ == "__main__":
    main()
