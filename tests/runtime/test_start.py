"""A worker that is ended while it starts: its frame may not come up (Faust's client may wait for ever on a broker that
answers half), a stage may end, or the topic of orders may not have been read yet."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from streams.runtime import worker as worker_module
from streams.runtime.control import ControlWatch
from streams.runtime.log import Fatal, LogGap
from streams.runtime.stage_thread import StageThread, WorkerSettings
from streams.runtime.worker import EXIT_DRAIN, EXIT_FATAL, EXIT_GAP, EXIT_STALLED, EXIT_UNFINISHED, Worker, exit_code
from topology.load import load_pipeline

pytestmark = pytest.mark.timeout(20)


class NeverUp:
    """A frame that neither starts nor stops."""

    async def start(self) -> None:
        await asyncio.Event().wait()

    async def stop(self, seconds: float) -> None:
        raise TimeoutError


def ended(tmp_path: Path, stopped: bool, until_end: bool = False) -> int:
    """Exit code of a worker whose frame never comes up."""
    settings = WorkerSettings("127.0.0.1:9", tmp_path, until_end=until_end)
    worker = Worker(settings, [load_pipeline("cold-chain")])
    worker.frame = NeverUp()  # type: ignore[assignment]

    async def run() -> int:
        stop = asyncio.Event()
        if stopped:
            asyncio.get_running_loop().call_later(0.05, stop.set)
        return await worker.run(stop)

    return asyncio.run(run())


def test_it_can_be_stopped(tmp_path: Path) -> None:
    assert ended(tmp_path, stopped=True) == 0
    assert ended(tmp_path, stopped=True, until_end=True) == EXIT_UNFINISHED


def test_it_ends_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "FRAME_START_SECONDS", 0.1)
    assert ended(tmp_path, stopped=False) == EXIT_STALLED


def test_dispatch_does_not_wait_for_orders_once_it_is_to_stop() -> None:
    """Another stage has ended at once, and the process with it: 25 s later it was said not to have drained."""
    control, stopping = ControlWatch("127.0.0.1:9", lambda wrong: None), threading.Event()
    threading.Timer(0.05, stopping.set).start()
    assert not control.wait_read(stopping)


def test_what_a_stage_ended_with_says_more_than_that_another_had_not_drained(tmp_path: Path) -> None:
    """After 71 nobody starts the worker again; after 73 it is."""
    validate, batch, dispatch = Worker(WorkerSettings("127.0.0.1:9", tmp_path), [load_pipeline("cold-chain")]).threads

    def code(first: StageThread, error: Exception | None) -> int:
        first.error, batch.drained, dispatch.drained = error, False, True
        return exit_code([validate, batch, dispatch])

    assert code(validate, LogGap("the topic was made anew")) == EXIT_GAP
    assert code(validate, Fatal("fenced")) == EXIT_FATAL
    assert code(validate, None) == EXIT_DRAIN
    batch.drained = True
    assert exit_code([validate, batch, dispatch]) == 0
