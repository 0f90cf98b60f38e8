"""A worker whose frame does not come up: Faust's client may wait for ever on a broker that answers half."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streams.runtime import worker as worker_module
from streams.runtime.stage_thread import WorkerSettings
from streams.runtime.worker import EXIT_STALLED, EXIT_UNFINISHED, Worker
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
