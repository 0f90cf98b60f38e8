"""`python -m bench [--quick] [--only …]`: a broker of its own, every contender, ratios on stdout, files in
bench/results/.

Parts come one after the other, so that contenders of one part stand beside each other in time. Where the machine is
fast enough, stages, peers and delivery are then measured once more.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bench import delivery, isolation, latency, outage, partners, pictures, report, restart, waits
from bench.contenders import FAUST_RAW, Round, Sizes, Turn, prepare
from bench.epcis import part as epcis
from bench.peers import beside, programs
from bench.peers.benthos import program
from bench.peers.job import Job, PeerError
from bench.process import ROOT, Measurement, watch_broker
from bench.report import Figure, Found
from bench.sink import Sink
from bench.waits import percentile
from bench.world import RAW, broker, readings
from waybill.broker import Broker
from waybill.kafka_jars import BrokerError

PEERS_RAW = "bench.raw.peers"
SECONDS = 900.0
"""A second round of a part is begun only if it would end within this, going by its first: the whole stays below 20
minutes, also from a clone whose packages have yet to be installed."""


@dataclass(frozen=True)
class Extent:
    """How much is measured."""

    rounds: int
    """At most, of the parts that are repeated."""
    stages: Sizes
    peers: int
    """Records; many, because a JVM spends much of the first million on compiling."""
    latency_records: int
    """Readings for all loads of the latency run."""
    latency_seconds: float
    """Counted of each load."""
    isolation_rounds: int
    isolation_seconds: float
    outage_records: int
    outage_seconds: float
    keys: int
    batches: int
    """Of each shape, to a partner; times 100 are the records of the larger one."""
    partner_records: int
    """Of all 200 partners."""
    delivery_whole: bool
    """Whether batches of one record and the peer of delivery are measured, too."""
    documents: epcis.Sizes


QUICK = Extent(
    1,
    Sizes(20_000, faust=3_000),
    30_000,
    120_000,
    4,
    1,
    3,
    30_000,
    5,
    20_000,
    100,
    2_000,
    False,
    epcis.Sizes(1_000, 0, 1),
)
FULL = Extent(
    2,
    Sizes(150_000, faust=20_000),
    400_000,
    300_000,
    8,
    1,
    10,
    40_000,
    10,
    100_000,
    800,
    4_000,
    True,
    epcis.Sizes(10_000, 2_000, 2),
)


class Bench:
    """The parts, over one broker."""

    def __init__(self, bootstrap: str, folder: Path, extent: Extent, parts: list[str]) -> None:
        self._bootstrap, self._folder, self._extent = bootstrap, folder, extent
        self._parts = parts
        self._started = time.monotonic()
        self.found = Found()
        needed = {
            "stages": extent.stages.records,
            "peers": extent.peers,
            "latency": extent.latency_records,
            "partner-down": extent.outage_records,
            "delivery": delivery.SHAPES[0].size * extent.batches,
        }
        self.readings = readings(max(50_000, *(needed.get(part, 0) for part in parts)))
        self._batches: dict[str, delivery.Batches] = {}

    def say(self, text: str) -> None:
        """Progress, for whoever waits."""
        print(f"[{time.monotonic() - self._started:5.0f} s] {text}", file=sys.stderr, flush=True)

    def run(self) -> Found:
        """Raises contenders.Mismatch where contenders did not do the same work."""
        took = {}
        for part in self._parts:
            begun = self._seconds()
            self.say(f"{part} begins")
            PARTS[part](self)
            took[part] = self._seconds() - begun
        for number in range(1, self._extent.rounds):
            for part in (part for part in self._parts if part in REPEATED):
                if self._seconds() + took[part] > SECONDS:
                    self.say(f"no round {number + 1} of {part}: it would last too long")
                    continue
                self.say(f"round {number + 1} of {part} begins")
                REPEATED[part](self, number)
        self.found.figures += self._batch_rates()
        return self.found

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def stages(self, number: int = 0) -> None:
        """Each stage, and all of them, beside the roof and stock Faust."""
        sizes = self._extent.stages
        if number == 0:
            prepare(self._bootstrap, RAW, self.readings[: sizes.records])
            prepare(self._bootstrap, FAUST_RAW, self.readings[: sizes.faust], "none")  # aiokafka reads no lz4 here
        self._measure(Round(self._bootstrap, self._folder, sizes, number).contenders())

    def peers(self, number: int = 0) -> None:
        """The jobs of the peers, beside those of them that can be had here."""
        records = self._extent.peers
        missing = beside.missing()
        if number == 0:
            for peer, why in missing.items():
                self.say(f"no peer {peer}: {why}")
        if len(missing) == len({peer for peer, _ in beside.PEERS.values()}):
            return
        if number == 0:
            prepare(self._bootstrap, PEERS_RAW, self.readings[:records])
        # Turns below the number of rounds are those of the stages.
        turn = Turn(self._bootstrap, self._folder, records, self._extent.rounds + number, PEERS_RAW)
        self._measure(beside.contenders(turn, missing))

    def _measure(self, contenders: Iterator[Measurement]) -> None:
        for one in contenders:
            self.found.measured.setdefault(one.name, []).append(one)
            self.say(f"{one.name}: {one.rate:,.0f} records/s, {one.cpu_per_million:.1f} CPU-s per million")
        self.found.ratios |= report.ratios(self.found.measured)

    def delivery(self, number: int = 0) -> None:
        """Batches to an HTTP API and to a folder, beside the roof and Benthos."""
        extent, benthos = self._extent, self._extent.delivery_whole
        if benthos:
            try:
                program.build()
            except PeerError as missing:
                self.say(f"no peer benthos: {missing}")
                benthos = False
        with Sink() as sink:
            for place, shape in enumerate(delivery.SHAPES if extent.delivery_whole else delivery.SHAPES[:1]):
                taken = self.readings[: shape.size * extent.batches]
                if shape.suffix not in self._batches:
                    self._batches[shape.suffix] = delivery.make(self._bootstrap, self._folder, taken, shape)
                turn = 100 * (place + 1) + number  # those of stages and peers are below
                made = delivery.Delivery(self._bootstrap, self._folder, sink, self._batches[shape.suffix], turn)
                self._measure(made.contenders(benthos))

    def _batch_rates(self) -> list[Figure]:
        """Batches a second of whoever delivered."""
        return [
            Figure(f"{name} batches/s", measured.rate * len(batches.ready) / batches.records, "")
            for name, rounds in self.found.measured.items()
            for suffix, batches in self._batches.items()
            if "delivery-" in name and name.endswith("-single") == (suffix == "-single")
            for measured in (report.middle(rounds),)
        ]

    def partners(self) -> None:
        """From sealed to delivered, and 200 partners on one worker, of which 5 are dead."""
        extent, readings = self._extent, self.readings
        with Sink() as sink:
            found = partners.sealed_to_delivered(self._bootstrap, self._folder, sink, readings, extent.latency_seconds)
            taken = readings[: extent.partner_records]
            speeds = partners.beside_dead(self._bootstrap, self._folder, sink, taken)
        self.found.figures += [
            Figure("latency sealed-to-delivered p50", percentile(found, 0.5), "ms"),
            Figure("latency sealed-to-delivered p99", percentile(found, 0.99), "ms"),
            *(Figure(f"isolation 200-partners {phase}", speed, "batches/s") for phase, speed in speeds.items()),
        ]
        self.found.ratios["isolation/200-partners"] = speeds["beside-dead"] / speeds["alone"]

    def epcis(self) -> None:
        """EPCIS documents beside the official schemas alone, and event hashes beside their peers'; no broker."""
        self._measure(epcis.contenders(self._folder, self._extent.documents, self.say))

    def latency(self) -> None:
        """From publisher to each topic at several paces, beside Kafka Streams where it can be had."""
        extent, streams = self._extent, True
        try:
            programs.build("streams")
        except PeerError as missing:
            self.say(f"no peer streams: {missing}")
            streams = False
        messages = self.readings[: extent.latency_records]
        self.found.waits = latency.measure(self._bootstrap, self._folder, messages, extent.latency_seconds, streams)
        self.found.ratios |= waits.ratios(self.found.waits)

    def isolation(self) -> None:
        """A fast partner beside a dead one."""
        extent = self._extent
        rounds, seconds = extent.isolation_rounds, extent.isolation_seconds
        waits = isolation.measure(self._bootstrap, self._folder, self.readings, rounds, seconds)
        self.found.figures += [Figure(f"latency raw-to-sent p99 {phase}", wait, "ms") for phase, wait in waits.items()]
        self.found.ratios["isolation/p99"] = waits["beside-dead"] / waits["alone"]

    def outage(self) -> None:
        """A partner that is down while input comes at full speed."""
        extent = self._extent
        messages = self.readings[: extent.outage_records]
        self.found.figures += outage.measure(self._bootstrap, self._folder, messages, extent.outage_seconds)

    def restart(self) -> None:
        """A worker that restores its tables."""
        self.found.figures += restart.measure(self._bootstrap, self._folder, self._extent.keys)


PARTS: dict[str, Callable[[Bench], None]] = {
    "stages": Bench.stages,
    "peers": Bench.peers,
    "epcis": Bench.epcis,
    "latency": Bench.latency,
    "delivery": Bench.delivery,
    "isolation": Bench.isolation,
    "partners": Bench.partners,
    "partner-down": Bench.outage,
    "restart": Bench.restart,
}
REPEATED: dict[str, Callable[[Bench, int], None]] = {
    "stages": Bench.stages,
    "peers": Bench.peers,
    "delivery": Bench.delivery,
}
LONG = {"peers", "latency", "partners", "partner-down", "restart"}
"""Parts that a quick run leaves out."""


def main() -> None:
    """Raises contenders.Mismatch where contenders did not do the same work."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer records, one round: under 3 minutes")
    parser.add_argument(
        "--only", help=f"comma-separated parts of {', '.join(PARTS)}; default: all; quick: without the long ones"
    )
    parser.add_argument("--records", type=_some, help="readings of each contender, in place of what is usual")
    parser.add_argument("--keys", type=_some, help="idempotency keys of the restarts, in place of what is usual")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results", help="folder of results")
    given = parser.parse_args()
    parts = given.only.split(",") if given.only else [part for part in PARTS if not given.quick or part not in LONG]
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--only {', '.join(sorted(unknown))}: allowed are {', '.join(PARTS)}")
    parts = list(dict.fromkeys(parts))
    if wrong := report.unwritable(given.results):
        parser.error(wrong)
    extent = QUICK if given.quick else FULL
    if given.records:
        sizes = replace(extent.stages, records=given.records, faust=min(extent.stages.faust, given.records))
        extent = replace(extent, stages=sizes, peers=given.records)
    if given.keys:
        extent = replace(extent, keys=given.keys)
    where, started = report.machine(), time.monotonic()
    try:
        with broker() as (bootstrap, folder):
            watch_broker(Broker(folder / "broker").status().pid)
            bench = Bench(bootstrap, folder, extent, parts)
            found = bench.run()
        where["minutes it took"] = round((time.monotonic() - started) / 60, 1)
    except BrokerError as wrong:
        sys.exit(str(wrong))
    _tell(found)
    drawn = pictures.draw(given.results, found)
    report.write(given.results, found, _settings(extent, parts, bench.readings), where, drawn)


def _some(text: str) -> int:
    """A number of an option. Raises ArgumentTypeError where it is none, or below 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is none; allowed: 1 or more")
    return int(text)


def _settings(extent: Extent, parts: list[str], messages: list[tuple[str, bytes]]) -> dict[str, object]:
    return {
        "parts": ", ".join(parts),
        "records, and of the peers' jobs": f"{extent.stages.records:,}, {extent.peers:,}",
        "rounds at most, as far as the time allowed": extent.rounds,
        "peers": ", ".join(f"{name} {version}" for name, version in programs.versions().items()),
        "peers' jobs: ms between commits, and where it is another": (
            f"{Job.commit_ms}, "
            + ", ".join(
                f"{name} {more['commit_ms']:,}" for name, (_, more) in beside.PEERS.items() if "commit_ms" in more
            )
        ),
        "mean record, bytes": round(sum(len(value) for _, value in messages) / len(messages)),
        "latency: records of the backlog, seconds counted of each load": (
            f"{latency.BACKLOG:,}, {extent.latency_seconds:g}"
        ),
        "latency: commit interval of Kafka Streams, ms": latency.COMMIT_MS,
        "pace of the isolation run, records/s for each partner": isolation.PACE,
        "isolation: rounds, and seconds of a phase": f"{extent.isolation_rounds}, {extent.isolation_seconds:g}",
        "delivery: batches of each shape, connections": f"{extent.batches:,}, {delivery.CONNECTIONS}",
        "partners: records of all 200, records/s of the paced run and in a batch": (
            f"{extent.partner_records:,}, {partners.PACE:,}, {partners.BATCH}"
        ),
        "partner-down: records, records in a batch, max_unsettled": (
            f"{extent.outage_records:,}, {outage.BATCH}, {outage.MOST:,}"
        ),
        "restart: keys": extent.keys,
        "epcis: events, of them for the generators of hashes, rounds": ", ".join(f"{n:,}" for n in extent.documents),
    }


def _tell(found: Found) -> None:
    if found.measured:
        print(report.table(found.measured), end="\n\n")
    if found.waits:
        print(waits.table(found.waits), end="\n\n")
    for figure in found.figures:
        print(figure)
    for name, value in found.ratios.items():
        print(f"ratio {name} {value:.2f}")


if __name__ == "__main__":
    main()
