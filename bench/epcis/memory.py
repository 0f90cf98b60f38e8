"""`python -m bench.epcis.memory [--megabytes N] [--way check|folder|gateway|worker …] [--syntax …]`: the most memory of
a process that one large document goes through, beside the same with a document of 1 MB. No part of `make bench`: it
takes minutes.

    check     `waybill check epcis FILE`: unpacked and judged to the last event
    folder    `waybill source run`, from a folder to a broker
    gateway   `waybill gateway`, from an HTTP request (capture interface) to a broker
    worker    `waybill worker --stages validate`, from `raw` to `validated`; of XML, its parser process stands beside it

Peak is what the kernel says of the process (VmHWM: resident, code and libraries included), looked at 20 times a second.
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, get_args

from bench.process import ROOT, peak_mib
from bench.world import broker, cluster
from schemas.packs.epcis.sample import Syntax, one_document
from topology.load import load_pipeline, topology_folder
from topology.topics import topic_specs

MB = 10**6
LOOK_SECONDS = 0.05
LIMIT = 256 * 2**20
"""`raw.max_message_bytes`, the most there may be."""
WAYBILL = [sys.executable, "-m", "waybill.main"]
TYPES = {"json": "application/ld+json"}
SOURCES = "drop: {kind: folder, pipeline: epcis, path: drop, complete: renamed, interval: 0.1}\n"


class Peak(NamedTuple):
    """Of one process."""

    mib: float
    child: float
    """MiB of the process that it keeps; 0 where it keeps none."""
    cpu: float
    """Processor seconds, with those of its children."""
    seconds: float


class Home:
    """A topology folder whose pipeline takes large documents, and the documents."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "drop").mkdir()
        (folder / "partners.yaml").write_text((topology_folder().parent / "partners.yaml").read_text())
        (folder / "sources.yaml").write_text(SOURCES.replace("path: drop", f"path: '{folder / 'drop'}'"))
        text = (topology_folder() / "epcis.yaml").read_text()
        more = f"raw: {{max_message_bytes: {LIMIT}}}"
        (folder / "epcis.yaml").write_text(f"{text}\n{more}\n")

    def document(self, syntax: Syntax, size: int) -> Path:
        """Written once."""
        path = self.folder / f"{syntax}-{size}"
        if not path.exists():
            with path.open("wb") as file:
                file.writelines(one_document(syntax, size))
        return path

    def check(self, document: Path) -> Peak:
        """Unpacked, and every event judged. Raises RuntimeError unless every event is valid."""
        command = [*WAYBILL, "check", "epcis", str(document), "--folder", str(self.folder), "--json", "--fail"]
        return _ran(command)

    def from_folder(self, document: Path, bootstrap: str) -> Peak:
        """Dropped, published and moved."""
        os.link(document, self.folder / "drop" / document.name)
        where = ["--brokers", bootstrap, "--folder", str(self.folder), "--json"]
        peak = _ran([*WAYBILL, "source", "run", "drop", "--until-end", *where])
        assert (self.folder / "drop" / "done" / document.name).exists()
        return peak

    def by_worker(self, document: Path, bootstrap: str) -> Peak:
        """Published, and validated to its last event. Raises RuntimeError where one is refused."""
        self.from_folder(document, bootstrap)
        peak = _ran(
            [*WAYBILL, "worker", "--pipeline", str(self.folder / "epcis.yaml"), "--stages", "validate", "--until-end",
             "--web-port", "0", "--brokers", bootstrap],
            {"WAYBILL_HOME": str(self.folder / "home")},
        )  # fmt: skip
        made = load_pipeline("epcis", folder=self.folder)
        refused = [(made.topic("dead-letter"), number) for number in range(made.partitions)]
        ends = cluster(bootstrap).ends(refused)
        if ends is None or any(ends.values()):
            raise RuntimeError(f"{document.name}: events were refused")
        return peak

    def by_gateway(self, document: Path, syntax: Syntax, bootstrap: str) -> Peak:
        """Sent to the capture interface."""
        where = ["--port", "0", "--brokers", bootstrap, "--folder", str(self.folder)]
        process = subprocess.Popen([*WAYBILL, "gateway", "epcis", *where], stderr=subprocess.PIPE, text=True, cwd=ROOT)
        try:
            assert process.stderr is not None
            port = next(int(found[1]) for said in process.stderr if (found := re.search(r"127\.0\.0\.1:(\d+)", said)))
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
            with document.open("rb") as file:
                headers = {"Content-Type": TYPES.get(syntax, "application/xml")}
                connection.request("POST", "/v1/epcis/capture", file, headers)
                answer = connection.getresponse()
                assert answer.status == 202, answer.read()
        finally:
            process.send_signal(signal.SIGTERM)
            peak = _ended(process)
        return peak


def _ran(command: Sequence[str], more: Mapping[str, str] | None = None) -> Peak:
    """Raises RuntimeError where it does not end with 0."""
    env = {**os.environ, **(more or {})}
    return _ended(subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT, env=env))


def _ended(process: subprocess.Popen[Any]) -> Peak:
    pid, most, child, began = 0, 0.0, 0.0, time.monotonic()
    while not pid:
        most = max(most, peak_mib(process.pid))
        child = max([child, *map(_peak_or_none, _children(process.pid))])
        time.sleep(LOOK_SECONDS)
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
    return Peak(most, child, used.ru_utime + used.ru_stime, time.monotonic() - began)


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [
            int(one) for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()
        ]
    return []


def _peak_or_none(pid: int) -> float:
    with suppress(OSError):  # it has ended since
        return peak_mib(pid)
    return 0.0


def measure(home: Home, way: str, syntaxes: Sequence[Syntax], sizes: tuple[int, int]) -> Iterator[str]:
    """A line of the table for each syntax."""
    with _broker(home) if way != "check" else tempfile.TemporaryDirectory() as bootstrap:
        for syntax in syntaxes:
            peaks = []
            for size in sizes:
                document = home.document(syntax, size)
                if way == "check":
                    peaks.append(home.check(document))
                elif way == "folder":
                    peaks.append(home.from_folder(document, bootstrap))
                elif way == "worker":
                    peaks.append(home.by_worker(document, bootstrap))
                else:
                    peaks.append(home.by_gateway(document, syntax, bootstrap))
            small, large = peaks
            times = (large.mib - small.mib) * 2**20 / (sizes[1] - sizes[0])
            sizes_of = f"{small.mib:.0f} + {small.child:.0f} | {large.mib:.0f} + {large.child:.0f} | {times:.2f}"
            yield f"| {way} | {syntax} | {sizes_of} | {large.cpu:.0f} | {large.seconds:.0f} |"


@contextmanager
def _broker(home: Home) -> Iterator[str]:
    with broker() as (bootstrap, _):
        made = load_pipeline("epcis", folder=home.folder)
        cluster(bootstrap).create(topic_specs(made))
        yield bootstrap


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.epcis.memory", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--way", nargs="+", choices=("check", "folder", "gateway", "worker"), default=["check"])
    parser.add_argument("--syntax", nargs="+", choices=get_args(Syntax), default=get_args(Syntax))
    asked = parser.parse_args()
    print("| way | syntax | peak with 1 MB, MiB + child | peak with all | for each byte more | CPU-s | s |")
    print("|---|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="waybill-memory-") as folder:
        home = Home(Path(folder))
        for way in asked.way:
            for line in measure(home, way, asked.syntax, (MB, asked.megabytes * MB)):
                print(line, flush=True)


if __name__ == "__main__":
    main()
