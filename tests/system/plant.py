"""One deployment on the broker of this run: topics of its own, a partner, worker processes, and a load to publish.

Nothing here waits without a deadline. What was published is remembered as (partition, offset), so that `judge.py`
can compare it with what came out.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from confluent_kafka import Producer

from chaos.fork_server import fork_server
from streams.runtime.admin import create_topics
from streams.runtime.failpoints import VARIABLE
from tests.support import wait_for
from topology.load import load_pipeline
from topology.model import Pipeline
from topology.topics import topic_specs
from waybill.commands.run import free_port
from waybill.partner_sim import Partner, Server

READY_SECONDS = 90.0
"""For a worker to be ready: imports on a busy machine, and the session and transaction of a killed predecessor."""
STOP_SECONDS = 60.0
DRAIN_SECONDS = 300.0
SESSION_SECONDS = 4.0

PIPELINE: dict[str, Any] = {
    "pipeline": "cc",
    "pack": "cold_chain",
    "partitions": 2,
    "partition_by": ["sensor_id"],
    "idempotency": ["sensor_id", "event_time"],
    "group_by": ["product"],
    "keep": 604_800,
    "batching": {"max_records": 40, "linger": 1, "idle": 1},
    "chunk": {"records": 60, "linger": 0.02},
    "partner": {"by": "product", "map": {"cool": "lake"}, "default": "clinic"},
    "retry": {"backoff": "packets", "attempts": 3, "seed": 7},
}
"""Small chunks and batches: a few hundred records make many transactions of every stage."""


class Other(NamedTuple):
    """A partner that a plant has besides its own two."""

    declared: Mapping[str, Any]
    """As partners.yaml says it."""
    held: Callable[[], list[str]]
    """The batches it holds, by id, each as often as it took effect; asked without the sink."""


class Worker:
    """One worker process, `python -m waybill.main worker`, or another module that is run in its place."""

    def __init__(self, plant: Plant, slot: int, failpoint: str, options: Iterable[str], module: str) -> None:
        self.port = free_port()
        self.log = plant.folder / f"worker-{slot}-{time.monotonic_ns()}.log"
        arguments = ["worker", "--pipeline", str(plant.file), "--brokers", plant.bootstrap, "--slot", str(slot)]
        arguments += ["--web-port", str(self.port), "--session", str(SESSION_SECONDS), "--drain", "10", *options]
        env = {**os.environ, "WAYBILL_HOME": str(plant.folder / "home"), VARIABLE: failpoint}
        self.process = fork_server().start(module, arguments, env, self.log)

    def ready(self) -> bool:
        """Whether /readyz says so. Fails the test if the process has ended."""
        assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.tail()}"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def wait_ready(self, seconds: float = READY_SECONDS) -> Self:
        """Returns once it is ready."""
        wait_for(self.ready, seconds, "the worker is ready")
        return self

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """The exit code, which must come within so many seconds."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker did not end within {seconds:g} s:\n{self.tail()}") from None

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """SIGTERM, and the exit code."""
        self.process.terminate()
        return self.wait(seconds)

    def kill(self) -> None:
        """SIGKILL: nothing is flushed or closed."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text("utf-8", "replace")[-4000:]


class Plant:
    """Use as a context manager: every worker and the partner end with it."""

    def __init__(
        self,
        bootstrap: str,
        folder: Path,
        prefix: str,
        partner: Partner | None = None,
        others: Mapping[str, Other] | None = None,
        **changes: Any,
    ) -> None:
        """`changes` are fields of the pipeline; `prefix` begins every topic and group; `others`: partners besides the
        clinic and the lake, by name."""
        self.bootstrap, self.folder = bootstrap, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.server = Server(partner or Partner(keep_bodies=True))
        self.lake = folder / "lake"
        self.others = dict(others or {})
        self.file = folder / "cc.yaml"
        self._settings = PIPELINE | {"application": prefix, "raw": {"topic": f"{prefix}.raw"}} | changes
        self.published: dict[tuple[int, int], bytes | None] = {}
        self.workers: list[Worker] = []
        self._producer: Any = Producer(
            {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5, "log_level": 0}
        )

    def __enter__(self) -> Self:
        self.server.start()
        partners = {
            "clinic": {"kind": "http", "url": self.server.url, "timeout": 60},
            "lake": {"kind": "object-store", "url": self.lake.as_uri(), "prefix": "cc"},
            **{name: other.declared for name, other in self.others.items()},
        }
        (self.folder / "partners.yaml").write_text(json.dumps(partners))
        self.write_pipeline()
        create_topics(self.bootstrap, topic_specs(self.pipeline))
        return self

    def write_pipeline(self, **changes: Any) -> None:
        """Writes the pipeline's file, and loads it."""
        self._settings |= changes
        self.file.write_text(json.dumps(self._settings))
        self.pipeline: Pipeline = load_pipeline(str(self.file))

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()
        self.server.stop()

    @property
    def partner(self) -> Partner:
        """The HTTP partner; `partner.faults` are played one per request."""
        return self.server.partner

    def held(self) -> dict[str, list[str]]:
        """The batches that each partner holds, by id, each as often as it took effect."""
        objects = [path.name.removesuffix(".json") for path in self.lake.rglob("batch_*.json")]
        return {
            "clinic": [effect["key"] for effect in self.partner.effects],
            "lake": [name.removeprefix("batch_") for name in objects if not name.endswith(".meta")],
            **{name: other.held() for name, other in self.others.items()},
        }

    def worker(
        self, slot: int = 0, failpoint: str = "", options: Iterable[str] = (), module: str = "waybill.main"
    ) -> Worker:
        """Starts a worker process."""
        worker = Worker(self, slot, failpoint, options, module)
        self.workers.append(worker)
        return worker

    def finish(self) -> Worker:
        """A bounded run over everything there is; it must end well."""
        worker = self.worker(options=["--until-end"])
        code = worker.wait(DRAIN_SECONDS)
        assert code == 0, f"a bounded run ended with {code}:\n{worker.tail()}"
        return worker

    def publish(
        self,
        messages: Iterable[tuple[str | None, bytes | None]],
        partition: int = -1,
        headers: Mapping[str, str] | None = None,
        topic: str | None = None,
    ) -> list[tuple[int, int]]:
        """(key, value) pairs to raw; returns and remembers where each one lies. topic: another lane's, which the judge
        does not look at."""
        places: list[tuple[int, int]] = []

        def written(error: Any, message: Any) -> None:
            assert error is None, error
            place = (message.partition(), message.offset())
            places.append(place)
            if topic is None:
                self.published[place] = message.value()

        where = {} if partition < 0 else {"partition": partition}
        for key, value in messages:
            packed = [(name, text.encode()) for name, text in (headers or {}).items()]
            self._producer.produce(
                topic or self.pipeline.raw_topic, value, key, headers=packed, on_delivery=written, **where
            )
            self._producer.poll(0)
        assert self._producer.flush(60) == 0
        return places


def died_of_kill(worker: Worker, seconds: float = READY_SECONDS) -> bool:
    """Waits for the end of a worker; whether SIGKILL was it."""
    return worker.wait(seconds) == -signal.SIGKILL
