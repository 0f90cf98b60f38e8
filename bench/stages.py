"""Processor time of `process()` of each stage, without a broker: `python -m bench.stages [--beside CHECKOUT]`.

The same readings go through new stages in every turn, chunk by chunk, as the log would bring them: what validate wrote
is what batch reads, and so on to the acks. Rows go into tables in memory outside the clock. Printed: µs of the thread's
processor time for each record, by stage, median and best, and SHA-256 over everything that was written. With `--beside`
a second checkout (another commit, compiled modules) takes turns with this one, and must write the same bytes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from bench.process import ROOT
from bench.world import pipeline, readings
from schemas.codec import SingleObjectCodec
from schemas.packs import load_pack
from streams.accelerated import compiled
from streams.delivery.protocol import Envelope, Outcome, OutcomeKind
from streams.pipeline import STAGES, Parts
from streams.progress import Identity
from streams.runtime import garbage
from streams.stage import Chunk, Header, Message, Output, TableStore
from streams.tables import table_rows
from topology.model import Pipeline, partition_for

RECORDS = 10_000
TURNS = 9
NOW = 1_767_225_600_000
"""Milliseconds; the clock stands still."""
WRITES = {"validate": "validated", "batch": "batched", "dispatch": "sent"}
CHUNK = {"validate": 4_000, "batch": 4_000, "dispatch": 8}
"""Messages: some 3,000 records are what a turn of the first two stages brings at load, dispatch gets batches."""

Logged = tuple[int, bytes | None, bytes | None, tuple[Header, ...]]
"""A message of a topic: partition, key, value, headers."""


@dataclass
class Turn:
    """What one turn came to."""

    micros: dict[str, float] = field(default_factory=dict)
    """Of the thread's processor time, for each record, by stage."""
    digest: Any = field(default_factory=sha256)
    """Over everything that was written."""


class Desk:
    """One stage with its tables in memory."""

    def __init__(self, stage: Any, partitions: int) -> None:
        self._stage = stage
        self._stores: dict[tuple[str, int], TableStore] = {}
        self.spent = 0.0
        """Seconds of processor time in `process()`."""
        for partition in range(partitions):
            stores = {table: stage.store(table, partition) for table in stage.tables}
            self._stores |= {(table, partition): store for table, store in stores.items()}
            stage.restore(partition, stores, None, NOW)

    def work(self, messages: list[Message], answers: list[Any]) -> tuple[list[Output], list[Any]]:
        """What is written of a chunk, and what is sent. Raises RuntimeError where the stage was cut."""
        chunk = Chunk(messages, NOW, answers)
        began = time.thread_time()
        work = self._stage.process(chunk)
        self.spent += time.thread_time() - began
        if work.resume:
            raise RuntimeError(f"{self._stage.name} was cut at {work.resume}: take fewer messages at once")
        self._commit(work)
        return work.outputs, work.effects

    def end(self) -> list[Output]:
        """What is written when no more input comes."""
        work = self._stage.drain(Chunk([], NOW), True)
        self._commit(work)
        return list(work.outputs)

    def _commit(self, work: Any) -> None:
        for (table, partition), rows in table_rows(work.outputs, self._stage.tables).items():
            self._stores[table, partition].apply(rows, 0)
        self._stage.committed(work, NOW)


def turn(made: Pipeline, raw: Sequence[tuple[str, bytes]]) -> Turn:
    """All three stages, new ones, over the same readings."""
    found = Turn()
    log: list[Logged] = [(partition_for(key, made.partitions), key.encode(), value, ()) for key, value in raw]
    for name in STAGES:
        written = _stage(found, made, name, list(_messages(log, made.partitions)), len(raw))
        log = [(o.partition, o.key, o.value, o.headers) for o in written if o.topic == WRITES[name]]
    if len(log) != len(raw):
        raise RuntimeError(f"{len(raw)} readings have {len(log)} answers")
    return found


def _stage(found: Turn, made: Pipeline, name: str, messages: list[Message], records: int) -> list[Output]:
    desk = Desk(_parts(made)[name](), made.partitions)
    left, written, answers = iter(messages), list[Output](), list[Any]()
    while (chunk := list(islice(left, CHUNK[name]))) or answers:
        outputs, effects = desk.work(sorted(chunk, key=lambda message: message.partition), answers)
        answers = [(envelope, Outcome(OutcomeKind.DELIVERED, "stored")) for envelope in effects]
        written += outputs
        _take_in(found.digest, effects)
    written += desk.end()
    for output in written:
        found.digest.update(repr(tuple(output)).encode())
    found.micros[name] = desk.spent / records * 1e6
    return written


def _take_in(digest: Any, effects: Sequence[Envelope]) -> None:
    for envelope in effects:
        digest.update(repr((envelope.idempotency_key, envelope.path, envelope.attempt)).encode() + envelope.body)


def _parts(made: Pipeline) -> dict[str, Callable[[], Any]]:
    pack = load_pack(made.pack, made.options, made.profile)
    parts = Parts(made, SingleObjectCodec(), pack, Identity("0", "waybill/bench", pack.version), random=Random(0))

    def dispatch() -> Any:
        stage = parts.dispatch(lambda partition, offset: None)
        stage.may_send = True
        return stage

    return {"validate": parts.validate, "batch": parts.batch, "dispatch": dispatch}


def _messages(log: Sequence[Logged], partitions: int) -> Iterator[Message]:
    """A topic with these messages in it. Offsets begin where they have three bytes, as in a topic in use."""
    ends = [100_000] * partitions
    for partition, key, value, headers in log:
        yield Message(partition, ends[partition], NOW, key, value, headers)
        ends[partition] += 1


def measure(records: int) -> Iterator[dict[str, Any]]:
    """Turns without end, behind one that warms caches up: µs by stage, and the digest of what was written."""
    made, raw = pipeline("bench-stages", "/nowhere"), readings(records)
    garbage.tune()
    turn(made, raw)
    while True:
        found = turn(made, raw)
        yield {"compiled": compiled(), "micros": found.micros, "digest": found.digest.hexdigest()}


def turns(folders: Sequence[Path], records: int, count: int) -> dict[Path, list[dict[str, Any]]]:
    """What `measure` gives in each checkout, in turn: while one works the others wait."""
    command = [sys.executable, "-m", "bench.stages", "--records", str(records), "--called"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    found: dict[Path, list[dict[str, Any]]] = {folder: [] for folder in folders}
    with ExitStack() as stack:
        running = {folder: stack.enter_context(subprocess.Popen(command, cwd=folder, **pipes)) for folder in folders}
        for folder in [*folders] * count:
            called: Any = running[folder]
            print(file=called.stdin, flush=True)
            if not (said := called.stdout.readline()):
                raise RuntimeError(f"{folder}: the turn failed, see above")
            found[folder].append(json.loads(said))
        for called in running.values():
            called.stdin.close()
    return found


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--beside", type=Path, help="another checkout, with bench/stages.py in it")
    parser.add_argument("--called", action="store_true", help="a turn, as JSON, for each line that comes in")
    wanted = parser.parse_args()
    if wanted.called:
        for _, found in zip(sys.stdin, measure(wanted.records), strict=False):
            print(json.dumps(found), flush=True)
        return
    report(turns([ROOT, *([wanted.beside.resolve()] if wanted.beside else [])], wanted.records, wanted.turns))


def report(found: Mapping[Path, Sequence[dict[str, Any]]]) -> None:
    """Prints the figures. Raises SystemExit where different bytes were written."""
    for name in STAGES:
        for folder, taken in found.items():
            micros = [one["micros"][name] for one in taken]
            print(
                f"{name:8}  median {statistics.median(micros):6.2f} µs  best {min(micros):6.2f} µs  "
                f"{taken[0]['compiled']} modules compiled  {folder}"
            )
    digests = {one["digest"] for taken in found.values() for one in taken}
    if len(digests) > 1:
        raise SystemExit("the same readings came to other bytes")
    print(f"every turn wrote the same: {digests.pop()}")


if __name__ == "__main__":
    main()
