"""One contender as a process: what it reports of itself, and what the kernel says it used.

The clock of a contender runs from before its first fetch to after its last commit; its processor time from before it
makes its clients (they prefetch) to after its last commit, all threads. Start-up is left out of both: it is paid once,
and would weigh more the shorter the run. `whole_cpu` is the process with its start-up, as wait4 gives it, and
`broker_cpu` what the broker spent meanwhile.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 600.0
"""For one contender: longer means that it hangs."""


@dataclass
class Report:
    """What a contender prints as its last line."""

    records: int
    seconds: float
    cpu: float
    """Processor seconds, user and system."""
    threads: dict[str, float] = field(default_factory=dict)
    """Processor seconds by kind of thread: `client` is librdkafka's own, `python` the rest."""
    transactions: int = 0
    redone: int = 0
    """Transactions that had to be done again; a run with any is no measurement."""


@dataclass
class Measurement:
    """A report, and what the kernel says."""

    name: str
    report: Report
    whole_cpu: float
    peak_mib: float
    broker_cpu: float | None = None
    """Processor seconds of the broker from the start of the process to its end; None where nobody said which it is."""

    @property
    def rate(self) -> float:
        """Records per second."""
        return self.report.records / self.report.seconds

    @property
    def cpu_per_million(self) -> float:
        """Processor seconds per million records."""
        return self.report.cpu / self.report.records * 1e6


class Meter:
    """Used inside a contender."""

    def __init__(self) -> None:
        self._cpu, self._client = _own_cpu(), client_threads()
        self.first: float | None = None
        self.last = 0.0

    def fetched(self, at: float) -> None:
        """The first messages came from a fetch that began at `at` (perf_counter)."""
        if self.first is None:
            self.first = at

    def committed(self) -> None:
        """A transaction has committed just now."""
        self.last = time.perf_counter()

    def report(self, records: int, **more: Any) -> Report:
        """Everything since the meter was made."""
        if self.first is None:
            raise SystemExit("nothing was read: is the topic filled?")
        total = _own_cpu() - self._cpu
        client = client_threads() - self._client
        threads = {"python": round(total - client, 3), "client": round(client, 3)}
        return Report(records, self.last - self.first, total, threads, **more)


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def client_threads(tasks: Path = Path("/proc/self/task")) -> float:
    """Processor seconds of librdkafka's threads that are alive (Linux; elsewhere 0)."""
    spent, tick = 0, os.sysconf("SC_CLK_TCK")
    for stat in tasks.glob("*/stat"):
        try:
            text = stat.read_text()
        except (FileNotFoundError, ProcessLookupError):  # it has ended since it was listed
            continue
        name, _, rest = text.partition("(")[2].rpartition(")")
        if name.startswith("rdk:"):
            numbers = rest.split()
            spent += int(numbers[11]) + int(numbers[12])
    return spent / tick


def tell(report: Report, **more: Any) -> None:
    """The last line of a contender, which then ends without tidying up: that is no part of the measurement.
    more: what its kind of report has besides."""
    os.write(1, f"\n{json.dumps({**asdict(report), **more})}\n".encode())  # not print: Faust takes hold of sys.stdout
    os._exit(0)


def run(name: str, module: str, job: dict[str, Any]) -> Measurement:
    """Runs `python -m module` with a job (JSON) as its argument, to its end. Raises RuntimeError with what it said."""
    ended = last_line(name, [sys.executable, "-m", module, json.dumps(job)])
    return Measurement(name, Report(**ended.said), ended.cpu, ended.peak_mib, ended.broker_cpu)


class Ended(NamedTuple):
    """A contender's process that has ended."""

    said: dict[str, Any]
    """Its last line."""
    cpu: float
    """Of the whole process, seconds."""
    peak_mib: float
    broker_cpu: float | None


_broker: int | None = None


def watch_broker(pid: int | None) -> None:
    """Whose processor time stands beside that of each contender from now on; None: nobody's."""
    global _broker
    _broker = pid


def cpu_of(pid: int) -> float:
    """Processor seconds of a process so far, user and system, all threads (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def last_line(name: str, command: Sequence[str]) -> Ended:
    """Runs a contender's command to its end; its last line is JSON. Raises RuntimeError with what it said."""
    broker, before = _broker, cpu_of(_broker) if _broker else 0.0
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=complained, cwd=ROOT)
        try:
            status, used, peak = _wait(process)
        finally:
            if process.returncode is None:  # we were told to end: so is it
                process.kill()
        said.seek(0)
        complained.seek(0)
        lines = said.read().decode().splitlines()
        if status != 0 or not lines:
            raise RuntimeError(f"{name} ended with {status}:\n{complained.read().decode()[-4000:]}")
    spent = cpu_of(broker) - before if broker else None
    return Ended(json.loads(lines[-1]), used.ru_utime + used.ru_stime, peak, spent)


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, resource.struct_rusage, float]:
    """Its exit code, what it used, and its peak memory in MiB: as last looked at, because `ru_maxrss` of a child begins
    with that of the parent it was forked from."""
    deadline, peak = time.monotonic() + SECONDS, 0.0
    while True:
        peak = max(peak, peak_mib(process.pid))
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, used, peak
        if time.monotonic() > deadline:
            process.kill()
            os.wait4(process.pid, 0)
            raise RuntimeError(f"{process.args!r} did not end within {SECONDS:g} s")
        time.sleep(0.05)


def peak_mib(pid: int) -> float:
    """Most memory of a process since it runs its program (Linux); 0 where it has ended."""
    return memory_mib(pid, "VmHWM")


def memory_mib(pid: int, what: str) -> float:
    """A figure of a process in MiB, by its name in /proc/PID/status (Linux); 0 where the process has ended."""
    found = re.search(rf"^{what}:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0
