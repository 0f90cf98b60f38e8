"""Input that lies there and is not taken: found, whoever's fault it is; and never found where there is none."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from schemas.codec import SingleObjectCodec
from streams.runtime.lag import Progress, Reading, Stuck
from streams.runtime.log import Abortable
from streams.runtime.observe import MOST_OPENINGS, Metrics, Observer
from streams.runtime.runner import Step
from streams.runtime.stage_thread import WorkerSettings
from streams.runtime.worker import EXIT_STALLED, STALL_SECONDS, Worker
from streams.stage import Work
from tests.support import Names, wait_for
from tests.system.plant import Plant
from topology.load import load_pipeline


class Look:
    """A progress with a clock, and what it is told."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.markers_only = False
        self.asked = 0
        self.progress = Progress(self._empty, lambda: self.now)

    def _empty(self, topic: str, partition: int, start: int, end: int) -> bool:
        self.asked += 1
        return self.markers_only

    def __call__(self, position: int, end: int | None, moved: float = 0.0, held: bool = False) -> float | None:
        """Seconds that the partition waits; None: it does not."""
        reading = Reading("p/batch", "t", 0, position, moved, held)
        self.progress.look([reading], None if end is None else {("t", 0): end})
        worst = self.progress.worst()
        return worst.seconds if worst else None


def test_input_that_is_not_taken_waits_from_the_first_look_on() -> None:
    look = Look()
    assert look(5, 9) is None
    look.now += 30
    assert look(5, 12) == 30
    look.now += 30
    assert look(6, 12) is None, "it moved"


def test_opening_the_same_input_again_and_again_is_no_progress() -> None:
    """Each step of an opening is; but where what it comes to never commits, the worker must end."""
    observer = Observer(Metrics(), load_pipeline("epcis"), "validate", SingleObjectCodec(), "1")

    def moves(result: str = "rebuilt-window", **work: Any) -> bool:
        observer.moved.clear()
        error = Abortable("the brokers are away") if result == "abort" else None
        observer(Step(1, Work(**work), result=result, error=error))
        return 0 in observer.moved

    for _ in range(MOST_OPENINGS):
        assert moves(opening={0})
        assert moves(opening={0})
        assert not moves("abort")
    assert not moves(opening={0})
    assert not moves("commit", offsets={1: 5}, opening={0}), "another partition goes on"
    assert moves("commit", offsets={0: 6})
    assert moves(opening={0}), "it is the next one"


def test_markers_at_the_end_are_no_input_and_are_looked_at_once() -> None:
    """After a restart a stage stands before the marker of its predecessor's last transaction, maybe for days."""
    look = Look()
    look.markers_only = True
    for _ in range(5):
        assert look(5, 6) is None
        look.now += 30
    assert (look.asked, look.progress.lags) == (1, {("p/batch", 0): 0})
    look.markers_only = False
    assert look(5, 7) == 150


@pytest.mark.parametrize(
    "calm", [{"position": 9, "end": 9}, {"position": 5, "end": 9, "held": True}, {"position": 5, "end": None}]
)
def test_no_input_input_held_up_and_a_silent_cluster_blame_nobody(calm: dict[str, Any]) -> None:
    look = Look()
    look(5, 9)
    look.now += 30
    assert look(**calm) is None
    look.now += 30
    assert look(5, 9) is None, "and what was before counts no more"


def test_a_submission_that_spans_many_chunks_is_progress() -> None:
    """And is not asked for: the whole of a large one would be read to learn that it is there."""
    look = Look()
    look(5, 9)
    for _ in range(3):
        look.now += 30
        assert look(5, 9, moved=look.now - 2) == 2
    assert look.asked == 0
    look.now += 30
    assert (look(5, 9, moved=look.now - 32), look.asked) == (32, 1), "it went on before the last look"


def test_what_is_done_again_and_again_is_no_progress() -> None:
    """A worker that aborts for ever: its windows are rebuilt each time, and their records read again."""
    look = Look()
    look(9, 12)
    for position in (5, 7, 9, 5, 8):
        look.now += 30
        waited = look(position, 12)
    assert waited == 150
    assert look(10, 12) is None


def test_a_worker_whose_input_waits_says_so_and_ends(tmp_path: Path) -> None:
    worker = Worker(WorkerSettings("127.0.0.1:9", tmp_path), [load_pipeline("cold-chain")])
    reading = Reading("cold-chain/batch", "waybill.cold-chain.validated", 3, 17, 0.0, False)
    assert worker._standing() is None
    worker._progress.stuck = [Stuck(reading, 5, STALL_SECONDS / 2)]
    status, _, text = worker._readyz()
    assert (status, worker._standing()) == (503, None)
    assert "waybill.cold-chain.validated[3] for 60 s, though 5 offsets lie behind 17" in text
    worker._progress.stuck = [Stuck(reading, 5, STALL_SECONDS + 1)]
    standing = worker._standing()
    assert standing is not None
    assert standing[0] == EXIT_STALLED


@pytest.mark.kafka
def test_a_foreign_transaction_that_stays_open_shows_in_the_metrics(kafka: str, tmp_path: Path, names: Names) -> None:
    with Plant(kafka, tmp_path, names.prefix) as plant:
        worker = plant.worker().wait_ready()
        foreign = Producer({"bootstrap.servers": kafka, "transactional.id": names("foreign")})
        foreign.init_transactions(30)
        foreign.begin_transaction()
        foreign.produce(plant.pipeline.topic("validated"), b"never", partition=0)
        foreign.flush(30)

        def waiting() -> bool:
            with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/metrics", timeout=10) as answer:
                lines = answer.read().decode().splitlines()
            where = 'waybill_input_waiting_seconds{partition="0",pipeline="cc",stage="batch"}'
            return any(line.startswith(where) and float(line.split()[-1]) > 0 for line in lines)

        wait_for(waiting, 50, "the metric tells of it")
        foreign.abort_transaction(30)
        wait_for(lambda: not waiting(), 50, "and that it is over")
        assert worker.stop() == 0
