"""What `waybill drill backpressure` runs (DRL-02): a real partner server falls to a tenth of its capacity under load.

The drill has topics, a worker process and a partner of its own on a real cluster. `run` does it and says what was seen;
`judge`, which is pure, says which promise held.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from waybill.context import HOME_VARIABLE, client_settings, load_pack_of
from waybill.output import Fault, say

if TYPE_CHECKING:
    from schemas.pack import Pack
    from schemas.packs.manifest import Manifest
    from topology.model import Pipeline
    from waybill.partner_sim import Server

T = TypeVar("T")

CAPACITY = 40.0
"""Requests a second that the partner serves while it is well."""
SHARE = 0.1
"""Of it, in the drill (DRL-02)."""
OPEN_SECONDS = 30.0
"""In which the breaker must open (RTY-08)."""
DOWN_SECONDS = 5.0
"""For which the load goes on once it is open."""
SETTLE_SECONDS = 300.0
"""From the partner's recovery until everything is answered."""
START_SECONDS = 120.0
"""For a worker to come up and deliver something, on a busy machine too."""
LOOK_SECONDS = 0.5

PIPELINE: dict[str, Any] = {
    "pipeline": "drill",
    "pack": "cold_chain",
    "partitions": 2,
    "partition_by": ["sensor_id"],
    "idempotency": ["sensor_id", "event_time"],
    "group_by": ["sensor_id"],
    "keep": 604_800,
    "batching": {"max_records": 5, "linger": 0.5, "idle": 0.5},
    "partner": "drilled",
}
"""Small batches of many groups: a tenth of the capacity is far too little for them."""


class Finding(NamedTuple):
    """A promise, whether it held, and what was seen."""

    promise: str
    holds: bool
    words: str


@dataclass
class Seen:
    """What the drill saw."""

    expected: Manifest
    opened_after: float | None = None
    """Seconds from the fall of the capacity to the open breaker; None: it stayed closed."""
    shed: int = 0
    """Requests that the partner turned away."""
    conservation: str = ""
    problems: list[str] = field(default_factory=list)
    """What the books find broken, and what is in flight."""
    counts: tuple[int, int, int] = (0, 0, 0)
    """Records acknowledged, dead, duplicate."""
    letters: int = 0
    altered: list[str] = field(default_factory=list)
    """Dead letters whose original is not what was published."""
    overload_dead: list[str] = field(default_factory=list)
    """Records that died in dispatch."""
    effects: int = 0
    """Batches the partner has."""
    missing: list[str] = field(default_factory=list)
    """Records acknowledged as delivered that the partner does not have."""
    twice: list[str] = field(default_factory=list)
    """Records that the partner has more than once."""


def judge(seen: Seen) -> list[Finding]:
    """The promises of DRL-02 and RTY-08."""
    expected = (seen.expected.acknowledged, seen.expected.dead, seen.expected.duplicate)
    opened = seen.opened_after is not None and seen.opened_after <= OPEN_SECONDS
    when = "did not open" if seen.opened_after is None else f"open after {seen.opened_after:.1f} s"
    balanced = not seen.problems and seen.counts == expected
    answers = " ".join(
        f"{name}={count}" for name, count in zip(("acknowledged", "dead", "duplicate"), expected, strict=True)
    )
    return [
        Finding("breaker", opened, f"{when} of {OPEN_SECONDS:g} allowed; {seen.shed} requests turned away"),
        Finding(
            "dead letters intact",
            not seen.altered and seen.letters == seen.expected.dead,
            f"{seen.letters} of {seen.expected.dead}, altered {_named(seen.altered)}",
        ),
        Finding("no batch lost to overload", not seen.overload_dead, f"dead in dispatch {_named(seen.overload_dead)}"),
        Finding("0 silent drops", balanced, f"{seen.conservation}; expected {answers}; broken {_named(seen.problems)}"),
        Finding(
            "each delivered record once at the partner",
            not seen.missing and not seen.twice,
            f"{seen.effects} batches, missing {_named(seen.missing)}, twice {_named(seen.twice)}",
        ),
    ]  # fmt: skip


def _named(things: list[str]) -> str:
    return f"{len(things)} ({', '.join(things[:3])})" if things else "0"


def as_json(seen: Seen, findings: list[Finding]) -> dict[str, Any]:
    """The whole, for a report."""
    return {
        "drill": "backpressure",
        "holds": all(finding.holds for finding in findings),
        "findings": [finding._asdict() for finding in findings],
        "seen": asdict(seen) | {"expected": seen.expected._asdict()},
    }


# ---- the run -------------------------------------------------------------------------------------


def run(bootstrap: str, home: Path, readings: int, seed: int, keep: bool = False) -> Seen:
    """The whole drill on a cluster; its topics are deleted afterwards unless they are to be kept. Raises Fault where
    it could not be done at all."""
    from schemas.packs.cold_chain.sample import manifest, sample
    from waybill.partner_sim import Partner, Server

    folder = home / "drill"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    load, seen = list(sample(readings, seed)), Seen(manifest(readings, seed))
    partner = Partner(keep_bodies=True)
    partner.change(per_second=CAPACITY)
    with Server(partner) as server, _deployed(bootstrap, folder, server, keep) as pipeline:
        published = Published(bootstrap, pipeline)
        with _worker(bootstrap, folder) as worker, _Breaker(bootstrap, pipeline) as breaker:
            third = len(load) // 3
            published.take(load[:third])
            _until(lambda: partner.effects, START_SECONDS, worker, "the first batch is delivered")
            say(f"the partner serves {CAPACITY:g} requests a second; now a tenth of it")
            server.change(per_second=CAPACITY * SHARE)
            fell = time.time() * 1000
            published.take(load[third : 2 * third])
            opened = _until(lambda: breaker.opened(fell), OPEN_SECONDS, worker, None)
            seen.opened_after = None if opened is None else max(0.0, opened - fell) / 1000
            say("its breaker stays closed" if seen.opened_after is None else "its breaker is open; the load goes on")
            published.take(load[2 * third :])
            time.sleep(DOWN_SECONDS)  # this long and not until something: the outage itself
            say("the partner is well again")
            server.change(per_second=None)
            _until(lambda: _settled(bootstrap, pipeline, len(load)), SETTLE_SECONDS, worker, None)
        _look(bootstrap, pipeline, published.values, server, seen)
    return seen


@contextmanager
def _deployed(bootstrap: str, folder: Path, server: Server, keep: bool) -> Iterator[Pipeline]:
    """The drill's pipeline with topics of its own."""
    from confluent_kafka.admin import AdminClient

    from streams.runtime.admin import create_topics
    from topology.load import load_pipeline
    from topology.model import CONTROL_TOPIC
    from topology.topics import topic_specs

    application = f"drill-{uuid.uuid4().hex[:8]}"
    settings = PIPELINE | {"application": application, "raw": {"topic": f"{application}.raw"}}
    (folder / "partners.yaml").write_text(json.dumps({"drilled": {"kind": "http", "url": server.url, "timeout": 10}}))
    (folder / "drill.yaml").write_text(json.dumps(settings))
    pipeline = load_pipeline(str(folder / "drill.yaml"))
    specs = topic_specs(pipeline)
    create_topics(bootstrap, specs)
    try:
        yield pipeline
    finally:
        if not keep:
            admin: Any = AdminClient(client_settings(bootstrap))
            for gone in admin.delete_topics([s.name for s in specs if s.name != CONTROL_TOPIC]).values():
                gone.exception(30)  # what is left over harms nobody, and the drill's word stands


@contextmanager
def _worker(bootstrap: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One worker process with every stage; its log is kept."""
    command = [sys.executable, "-m", "waybill.main", "worker", "--brokers", bootstrap, "--pipeline"]
    command += [str(folder / "drill.yaml"), "--web-port", "0", "--supervised"]
    log, env = folder / "worker.log", {**os.environ, HOME_VARIABLE: str(folder)}
    say(f"the worker's log is {log}")
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=out, env=env) as ran,
    ):
        try:
            yield ran
        finally:
            ran.terminate()
            try:
                ran.wait(60)
            except subprocess.TimeoutExpired:
                ran.kill()


def _until(
    look: Callable[[], T], seconds: float, worker: subprocess.Popen[bytes], what: str | None
) -> T | None:  # fmt: skip
    """The first true value; after so long None, or Fault if `what` must happen. Fault if the worker ends."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if worker.poll() is not None:
            raise Fault(f"the drill's worker ended with {worker.returncode}: see its log")
        if time.monotonic() >= deadline:
            if what is not None:
                raise Fault(f"not within {seconds:g} s: {what}; see the log of the drill's worker")
            return None
        time.sleep(LOOK_SECONDS)
    return found


class Published:
    """What was published, by where it lies."""

    def __init__(self, bootstrap: str, pipeline: Pipeline) -> None:
        from confluent_kafka import Producer

        self._producer: Any = Producer(client_settings(bootstrap, **{"enable.idempotence": True}))
        self._topic = pipeline.raw_topic
        self.values: dict[tuple[int, int], bytes] = {}

    def take(self, load: list[tuple[str, bytes]]) -> None:
        """Publishes and waits for every ack. Raises Fault."""

        def written(error: Any, message: Any) -> None:
            if error is None:
                self.values[message.partition(), message.offset()] = message.value()

        before = len(self.values)
        for key, value in load:
            self._producer.produce(self._topic, value, key, on_delivery=written)
        self._producer.flush(60)
        if len(self.values) - before < len(load):
            raise Fault(f"{before + len(load) - len(self.values)} readings were not acknowledged by the broker")


class _Breaker:
    """Follows the `delivery` table for the moment at which the partner's breaker opens."""

    def __init__(self, bootstrap: str, pipeline: Pipeline) -> None:
        from waybill.reader import Decoder, Reader

        self._reader, self._decoder = Reader(bootstrap), Decoder(pipeline)
        self._topic = pipeline.topic("delivery")
        self._read: dict[int, int] = {}

    def opened(self, since: float) -> int | None:
        """When it opened after a moment, both ms since epoch; None: not yet."""
        ends = self._reader.ends(self._topic)
        start = {partition: self._read.get(partition, low) for partition, low in ends.low.items()}
        found = [m for part in self._reader.read(self._topic, start, ends.high) for m in part if m.value is not None]
        self._read.update(ends.high)
        opened = [row["at"] for row in self._decoder.delivery(found).partners if row["state"] == "open"]
        return min((at for at in opened if at >= since), default=None)

    def __enter__(self) -> _Breaker:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()


def _settled(bootstrap: str, pipeline: Pipeline, published: int) -> bool:
    from waybill.commands.reconcile import tally

    result = tally(bootstrap, pipeline)
    return result.received >= published and not result.in_flight


def _look(
    bootstrap: str, pipeline: Pipeline, published: Mapping[tuple[int, int], bytes], server: Server, seen: Seen
) -> None:  # fmt: skip
    """The books, the dead letters beside what was published, and the partner's ledger beside the acks."""
    from waybill.commands.reconcile import tally
    from waybill.partner_sim.modes import records_of
    from waybill.reader import Decoder, Reader

    result = tally(bootstrap, pipeline)
    seen.conservation = str(result).removeprefix("conservation: ")
    seen.problems = [f"{named.id}: {named.what}" for named in (*result.problems, *result.flying)]
    seen.counts = result.acknowledged, result.dead, result.duplicate
    decoder, pack = Decoder(pipeline), load_pack_of(pipeline)
    with Reader(bootstrap) as reader:
        for message in reader.all(pipeline.topic("dead-letter")):
            _letter(decoder.codec.decode(message.value or b"")[1], published, pack, seen)
        acks = [decoder.codec.decode(message.value or b"")[1] for message in reader.all(pipeline.topic("sent"))]
    partner = server.partner
    has = Counter(name for body in partner.bodies.values() for name, _ in records_of(body))
    seen.effects = len(partner.effects)
    seen.shed = sum(line["fault"] == "status:503" for line in partner.attempts)
    said = {_name(ack) for ack in acks if ack["outcome"] == "delivered"}
    seen.missing = sorted(said - has.keys())
    seen.twice = sorted(name for name, count in has.items() if count > 1)


def _letter(letter: Mapping[str, Any], published: Mapping[tuple[int, int], bytes], pack: Pack, seen: Seen) -> None:
    seen.letters += 1
    value = published.get((letter["raw_partition"], letter["raw_offset"]), b"")
    whole = letter["submission_digest"] == sha256(value).digest()
    if not whole or letter["original"] not in (_canonical(pack, value) if letter["canonical"] else [value]):
        seen.altered.append(_name(letter))
    if letter["stage"] == "dispatch":
        seen.overload_dead.append(_name(letter))


def _canonical(pack: Pack, value: bytes) -> list[bytes]:
    """What a pack makes of the records of a message: the form in which a valid record lies in its dead letter."""
    from schemas.pack import Record, Submission

    return [record.payload for record in pack.unpack(Submission(value)).records() if isinstance(record, Record)]


def _name(message: Mapping[str, Any]) -> str:
    from schemas.canonical import record_id
    from schemas.messages import position_of

    return record_id(position_of(message))
