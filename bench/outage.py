"""What a worker holds while its only partner is down and the input comes at full speed (DRL-06, OBS-06): the log is
the buffer, so memory must level off. Then the partner comes back, and nothing may be missing.

Batches are small, so that there are many more of them than `max_unsettled`: only then is anything held up.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.deployed import PIPELINE, PartnerProcess, WorkerProcess, deploy, http_partner
from bench.process import ROOT
from bench.report import Figure
from bench.world import fill, read
from waybill.commands.run import free_port

RAW = "bench.raw.outage"
BATCH = 20
"""Records."""
PARKED = 1_000
"""Batches that the partner's partition may have without an answer."""
MOST = PARKED * PIPELINE["partitions"]
"""`max_unsettled`: equal shares for all partitions, of which this one partner has one."""
SETTINGS: dict[str, Any] = {
    "raw": {"topic": RAW},
    "batching": {"max_records": BATCH, "linger": 2},
    "max_unsettled": MOST,
    "retry": {"attempts": 100},  # refused at once: fewer would end batches in the dead letters before it is back
    "partner": "clinic",
}
LOOK_SECONDS = 0.25
SECONDS = 600.0
"""For each arm: longer means that it hangs."""


@dataclass
class Watch:
    """A worker's memory over time."""

    worker: WorkerProcess
    samples: list[tuple[float, float]] = field(default_factory=list)
    """Seconds since the worker's start, resident MiB."""

    def until(self, condition: Callable[[], bool], what: str) -> float:
        """Samples until it is true; the seconds that took. Raises RuntimeError after `SECONDS`."""
        started = time.monotonic()
        while not condition():
            self.samples.append((time.monotonic() - self.worker.started, self.worker.rss))
            if time.monotonic() - started > SECONDS:
                raise RuntimeError(f"not within {SECONDS:g} s: {what}")
            time.sleep(LOOK_SECONDS)
        return time.monotonic() - started

    def rest(self, seconds: float) -> None:
        """Samples for so long."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end, "the rest")


def measure(bootstrap: str, folder: Path, readings: list[tuple[str, bytes]], seconds: float) -> list[Figure]:
    """seconds: how long the partner stays away after the stages before dispatch have worked all input."""
    file, made = deploy(bootstrap, folder, "bench-up", SETTINGS, {"clinic": http_partner(port := free_port())})
    fill(bootstrap, RAW, readings, made.partitions)
    with PartnerProcess(file.parent, port), WorkerProcess(file, bootstrap) as worker:
        taken = Watch(worker).until(lambda: _answered(worker) == len(readings), "everything is answered")
        alone = worker.peak
    return [
        Figure("memory partner-up peak", alone, "MiB"),
        Figure("memory partner-up seconds until all was answered", taken, "s"),
        *_outage(bootstrap, folder, len(readings), seconds),
    ]


def _outage(bootstrap: str, folder: Path, count: int, seconds: float) -> list[Figure]:
    port = free_port()  # nobody listens on it: every attempt is refused
    file, made = deploy(bootstrap, folder, "bench-down", SETTINGS, {"clinic": http_partner(port)})
    with ExitStack() as stack:
        worker = stack.enter_context(WorkerProcess(file, bootstrap))
        watch = Watch(worker)
        watch.until(lambda: _consumed(worker, "batch") >= count, "batch has taken all input")
        watch.until(lambda: worker.metric("waybill_unsettled_batches") >= PARKED, "its share is full")
        before, held_at = worker.rss, _consumed(worker, "dispatch")
        watch.rest(seconds)
        held = _consumed(worker, "dispatch") == held_at
        after, down = worker.rss, worker.peak
        waiting = worker.metric("waybill_lag_messages", stage="dispatch")
        unsettled = worker.metric("waybill_unsettled_batches")
        partner = stack.enter_context(PartnerProcess(file.parent, port))
        resumed = watch.until(lambda: _consumed(worker, "dispatch") > held_at, "dispatch takes input again")
        drained = resumed + watch.until(lambda: _answered(worker) >= count, "everything is answered")
        peak = worker.peak
        books = _books(bootstrap, file)
        effects = partner.effects()
    batches = sum(1 for _ in read(bootstrap, made.topic("batched")))
    return [
        Figure("memory partner-down input held up", float(held), "(1: not a batch was taken)"),
        Figure("memory partner-down unsettled batches", unsettled, f"of at most {PARKED:,}"),
        Figure("memory partner-down batches waiting in the log", waiting, "(markers counted)"),
        Figure("memory partner-down when its share was full", before, "MiB"),
        Figure(f"memory partner-down {seconds:g} s later", after, "MiB"),
        Figure("memory partner-down peak", down, "MiB"),
        Figure("memory partner-down peak with the way back", peak, "MiB"),
        Figure("memory partner-down seconds until resumed", resumed, "s"),
        Figure("memory partner-down seconds until all was answered", drained, "s"),
        Figure("memory partner-down records lost", float(books["received"] - books["acknowledged"]), "records"),
        Figure("memory partner-down batches stored twice", float(len(effects) - len(set(effects))), "batches"),
        Figure("memory partner-down batches not stored", float(batches - len(set(effects))), "batches"),
    ]


def _consumed(worker: WorkerProcess, stage: str) -> float:
    return worker.metric("messaging_client_consumed_messages_total", stage=stage)


def _answered(worker: WorkerProcess) -> float:
    return worker.metric("messaging_client_sent_messages_total", stage="dispatch", topic="sent")


def _books(bootstrap: str, file: Path) -> dict[str, Any]:
    """What `waybill reconcile` says. Raises RuntimeError where the sum does not hold."""
    command = [sys.executable, "-m", "waybill.main", "reconcile", str(file), "--brokers", bootstrap, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    books: dict[str, Any] = next((line for line in lines if line["kind"] == "conservation"), {})
    if done.returncode or not books.get("holds"):
        raise RuntimeError(
            f"waybill reconcile ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return books
