"""Processor time of `process()` of each stage, without a broker: `python -m bench.stages [--beside CHECKOUT]`.

The same readings go through new stages in every turn, one stage after the other. Printed: µs of the thread's processor
time for each record, by stage, median and best, and SHA-256 over everything that was written and sent. With `--beside`
a second checkout (another commit, compiled modules) takes turns with this one, and must write the same bytes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from bench.in_memory import NOW, Timed, work_all
from bench.process import ROOT
from bench.world import pipeline, readings
from schemas.codec import SingleObjectCodec
from schemas.packs import load_pack
from streams.accelerated import compiled
from streams.driver import AcceptingPartner, DirectExchange
from streams.pipeline import STAGES, Parts
from streams.progress import Identity
from streams.runtime import garbage
from streams.runtime.memory import MemoryBroker
from streams.stage import Stage
from topology.model import ANY_NAMES, Pipeline
from topology.sections import Chunking

RECORDS = 10_000
TURNS = 9
CHUNK = {"validate": 4_000, "batch": 4_000, "dispatch": 8}
"""Messages: some 3,000 records are what a turn of the first two stages brings at load, dispatch gets batches."""
FIRST_OFFSET = 100_000
"""Offsets begin where they have three bytes, as in a topic in use."""
HARNESS = 2
"""Raised where the same product is made to write other bytes: of checkouts that differ here, only figures compare."""


class Turn(NamedTuple):
    """What one turn came to."""

    micros: dict[str, float]
    """Of the thread's processor time, for each record, by stage."""
    digest: str
    """Over everything that was written and sent."""


def turn(made: Pipeline, raw: Sequence[tuple[str, bytes]]) -> Turn:
    """All three stages, new ones, over the same readings. Raises RuntimeError where a reading has no answer."""
    broker, partner, micros = MemoryBroker(made), AcceptingPartner(), dict[str, float]()
    broker.now, broker.first_offset = NOW, FIRST_OFFSET
    for key, value in raw:
        broker.publish(key, value)
    exchange = DirectExchange({"lake": partner})
    for stage in _stages(made):
        timed = Timed(stage)
        work_all(broker, timed, Chunking(records=CHUNK[stage.name]), exchange)
        micros[stage.name] = timed.cpu / len(raw) * 1e6
    if len(broker.all("sent")) != len(raw):
        raise RuntimeError(f"{len(raw)} readings have {len(broker.all('sent'))} answers")
    digest = sha256()
    for topic in ANY_NAMES:
        for message in broker.all(topic):
            digest.update(repr((topic, *message)).encode())
    for sent in partner.attempts:
        digest.update(repr((sent.idempotency_key, sent.path, sent.attempt)).encode() + sent.body)
    return Turn(micros, digest.hexdigest())


def _stages(made: Pipeline) -> Iterator[Stage]:
    """In the order data flows."""
    pack = load_pack(made.pack, made.options, made.profile)
    parts = Parts(made, SingleObjectCodec(), pack, Identity("0", "waybill/bench", pack.version), random=Random(0))
    yield parts.validate()
    yield parts.batch()
    dispatch = parts.dispatch(lambda partition, offset: None)
    dispatch.may_send = True
    yield dispatch


def measure(records: int) -> Iterator[dict[str, Any]]:
    """Turns without end, behind one that warms caches up: µs by stage, and the digest of what was written."""
    made, raw = pipeline("bench-stages", "/nowhere"), readings(records)
    garbage.tune()
    turn(made, raw)
    while True:
        found = turn(made, raw)
        yield {"compiled": compiled(), "micros": found.micros, "digest": found.digest, "harness": HARNESS}


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
    every = [one for taken in found.values() for one in taken]
    if len({one.get("harness") for one in every}) > 1:
        print("not compared: bench/stages.py of these checkouts makes the same product write other bytes")
        return
    digests = {one["digest"] for one in every}
    if len(digests) > 1:
        raise SystemExit("the same readings came to other bytes")
    print(f"every turn wrote the same: {digests.pop()}")


if __name__ == "__main__":
    main()
