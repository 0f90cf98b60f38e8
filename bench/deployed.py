"""A pipeline as it is run: its files and topics, `waybill worker` as a process, fake HTTP partners as processes.

Nothing here is built from the product's parts: what is measured is what an operator starts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from prometheus_client.parser import text_string_to_metric_families

from bench.process import ROOT, cpu_of, memory_mib
from bench.world import create
from topology.load import load_pipeline
from topology.model import Pipeline
from waybill.commands.run import free_port

START_SECONDS = 120.0
STOP_SECONDS = 90.0
ASK_SECONDS = 10.0
LOOK_SECONDS = 0.05
PIPELINE: dict[str, Any] = {
    "pipeline": "cold-chain",
    "pack": "cold_chain",
    "partitions": 4,
    "partition_by": ["sensor_id"],
    "idempotency": ["sensor_id", "event_time"],
    "group_by": ["product"],
}
"""Of every measurement, as the shipped pipeline has it."""


def wait_for(condition: Callable[[], bool], seconds: float, what: str, look: float = LOOK_SECONDS) -> None:
    """Returns when the condition is true, asked every `look` seconds. Raises RuntimeError when the deadline passes
    before."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            raise RuntimeError(f"not within {seconds:g} s: {what}")
        time.sleep(look)


def deploy(
    bootstrap: str, folder: Path, name: str, settings: Mapping[str, Any], partners: Mapping[str, Any]
) -> tuple[Path, Pipeline]:
    """Writes a pipeline and its partners to a folder of their own and creates the topics; the file and what it says."""
    home = folder / name
    home.mkdir()
    (home / "partners.yaml").write_text(json.dumps(partners))
    file = home / "pipeline.yaml"
    file.write_text(json.dumps({**PIPELINE, "application": name, **settings}))
    made = load_pipeline(str(file))
    create(bootstrap, made)
    return file, made


def http_partner(port: int, **settings: Any) -> dict[str, Any]:
    """The entry of a fake partner in partners.yaml."""
    return {"kind": "http", "url": f"http://127.0.0.1:{port}/batches", **settings}


class _Process:
    """A process that is gone at the end of its `with` block; what it says is in a file."""

    def __init__(self, command: list[str], said: Path, environment: Mapping[str, str] | None = None) -> None:
        self._command, self.said, self._environment = command, said, environment or {}

    def __enter__(self) -> Self:
        self.started = time.monotonic()
        with self.said.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._command], cwd=ROOT, env={**os.environ, **self._environment},
                stdin=subprocess.PIPE, stdout=out, stderr=out,
            )  # fmt: skip
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _alive(self) -> None:
        if self._process.poll() is not None:
            said = self.said.read_text()[-3000:]
            raise RuntimeError(f"{' '.join(self._command)} ended with {self._process.returncode}:\n{said}")


class PartnerProcess(_Process):
    """The fake partner, healthy unless told otherwise."""

    def __init__(self, folder: Path, port: int) -> None:
        self._port = port
        self.ledger = folder / f"ledger-{port}.jsonl"
        command = ["waybill.partner_sim", "--port", str(port), "--ledger", str(self.ledger)]
        super().__init__(command, folder / f"partner-{port}.log")

    def __enter__(self) -> Self:
        super().__enter__()
        wait_for(self._answers, START_SECONDS, "the fake partner answers")
        return self

    def mode(self, **modes: Any) -> None:
        """See waybill.partner_sim.modes."""
        url = f"http://127.0.0.1:{self._port}/mode"
        asked = urllib.request.Request(url, json.dumps(modes).encode(), {"Content-Type": "application/json"})
        urllib.request.urlopen(asked, timeout=ASK_SECONDS).close()

    def effects(self) -> list[str]:
        """Keys of the batches it has stored, in order."""
        lines = map(json.loads, self.ledger.read_text().splitlines())
        return [line["key"] for line in lines if line["kind"] == "effect"]

    def _answers(self) -> bool:
        self._alive()
        return _ask(self._port, "healthz") is not None


class WorkerProcess(_Process):
    """`waybill worker` on a pipeline, and maybe more of them."""

    def __init__(
        self, file: Path, bootstrap: str, stages: str = "validate,batch,dispatch", more: Sequence[Path] = (),
        slot: int = 0,
    ) -> None:  # fmt: skip
        self._port = free_port()
        command = ["waybill.main", "worker", "--brokers", bootstrap, "--supervised"]
        command += [word for one in (file, *more) for word in ("--pipeline", str(one))]
        command += ["--web-port", str(self._port), "--stages", stages, "--slot", str(slot)]
        super().__init__(command, file.parent / f"worker-{slot}.log", {"WAYBILL_HOME": str(file.parent / "home")})

    def ready(self, seconds: float = START_SECONDS) -> float:
        """Waits until it is; seconds since its start."""
        wait_for(self._says_ready, seconds, "the worker is ready")
        return time.monotonic() - self.started

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels; 0 where there is none."""
        self._alive()
        families = text_string_to_metric_families(_ask(self._port, "metrics") or "")
        return sum(
            one.value
            for family in families
            for one in family.samples
            if one.name == name and labels.items() <= one.labels.items()
        )

    @property
    def pid(self) -> int:
        """Of the process, for the kernel's books."""
        return self._process.pid

    @property
    def cpu(self) -> float:
        """Processor seconds so far."""
        self._alive()
        return cpu_of(self.pid)

    @property
    def rss(self) -> float:
        """Resident memory now, MiB (Linux)."""
        self._alive()
        return memory_mib(self.pid, "VmRSS")

    @property
    def peak(self) -> float:
        """The most resident memory it ever had, MiB (Linux)."""
        self._alive()
        return memory_mib(self.pid, "VmHWM")

    def log_time(self, event: str) -> float:
        """When it logged an event for the last time, seconds since epoch. Raises RuntimeError where it never did."""
        found = [line for line in self.said.read_text().splitlines() if f'"event": "{event}"' in line]
        if not found:
            raise RuntimeError(f"{self.said} has no event {event!r}")
        return datetime.fromisoformat(json.loads(found[-1])["timestamp"]).timestamp()

    def _says_ready(self) -> bool:
        self._alive()
        return _ask(self._port, "readyz") is not None


def _ask(port: int, page: str) -> str | None:
    """A page of a process on this machine; None while there is no good answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=ASK_SECONDS) as answer:
            return str(answer.read().decode())
    except OSError:
        return None
