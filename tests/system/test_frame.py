"""The Faust frame on a real broker: a rebalance of the control group loses no chunk."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streams.runtime.admin import create_topics
from streams.runtime.frame import Frame
from streams.stage import Chunk, Work
from tests.support import Names, wait_for
from tests.system.plant import READY_SECONDS
from topology.model import Pipeline
from topology.topics import topic_specs
from waybill.commands.run import free_port

pytestmark = pytest.mark.kafka


@pytest.fixture
def control(kafka: str, names: Names) -> str:
    """A broker with the control topic."""
    pipeline = Pipeline(
        pipeline="p", application=names.prefix, pack="any", partition_by=["k"], idempotency=["k"], partner="lake"
    )
    create_topics(kafka, [spec for spec in topic_specs(pipeline) if spec.short == "control"])
    return kafka


@contextmanager
def running(frame: Frame) -> Iterator[None]:
    """The frame in a loop and thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(frame.start(), loop).result(READY_SECONDS)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(frame.stop(30), loop).result(40)
        asyncio.run_coroutine_threadsafe(end_tasks(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


async def end_tasks() -> None:
    """Ends what the frame leaves behind in its loop, as the end of a worker process does."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.wait(left, timeout=10) if left else None


def member(name: str, broker: str, folder: Path) -> Frame:
    """A member of the control group `name`."""
    return Frame(name, broker, folder, "127.0.0.1", free_port())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_rebalance_of_the_control_group_loses_no_chunk(control: str, tmp_path: Path, names: Names) -> None:
    chunks = [Chunk([], now) for now in range(400)]
    worked: list[int] = []
    unanswered: list[int] = []
    first = member(names("frame"), control, tmp_path / "first")

    def process(chunk: Chunk) -> Work:
        worked.append(chunk.now)
        time.sleep(0.02)  # a chunk takes its time: that is what a rebalance meets
        return Work(offsets={0: chunk.now})

    async def revoked(*_: Any, **__: Any) -> None:
        unanswered.append(len(chunks) - len(worked))

    hand_over = first.agent("validate", process)
    first.app.on_partitions_revoked.connect(revoked)
    with running(first), ThreadPoolExecutor(len(chunks)) as threads:
        # every one of them is handed over at once: one is open, the rest stand in the queue
        answers = [threads.submit(hand_over, chunk) for chunk in chunks]
        wait_for(lambda: worked, READY_SECONDS, "the agent works")
        before = len(unanswered)
        with running(member(names("frame"), control, tmp_path / "second")):
            wait_for(lambda: len(unanswered) > before, READY_SECONDS, "the first member meets a rebalance")
            assert unanswered[-1] > 1, "no chunk was waiting when it came"
            got = [answer.result(READY_SECONDS).offsets[0] for answer in answers]
    assert got == list(range(len(chunks)))
    assert sorted(worked) == got, "a chunk was worked twice"
