"""What a run comes to: ratios, a table, and the files in bench/results/."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import libversion

from bench import waits
from bench.process import ROOT, Measurement
from bench.waits import Waits
from streams.accelerated import compiled
from waybill.kafka_jars import KAFKA_VERSION, BrokerUnavailable, find_java

WHOLE, WARM = "cpu_per_million", "warm_cpu_per_million"
OWN = ("validate", "epcis-batch")
"""Of ours, those beside which another one of ours stands below."""
STREAMS = ("streams-validate", "streams-validate-2-threads")
RATIOS = {
    "validate/roof": ("validate", ("roof-validate",), WHOLE),
    "validate/faust": ("validate", ("faust-validate",), WHOLE),
    "batch/roof": ("batch", ("roof-batch",), WHOLE),
    "pipeline/roof": ("pipeline", ("roof-pipeline",), WHOLE),
    "validate-in-frame/validate": ("validate-in-frame", ("validate",), WHOLE),
    "validate/kafka-streams-warm": ("job-validate", STREAMS, WARM),
    "validate/kafka-streams-cold": ("job-validate", STREAMS, WHOLE),
    "validate/kafka-streams-rocksdb": ("job-validate-rocksdb", ("streams-validate-rocksdb",), WARM),
    "validate/flink": ("job-validate", ("flink-validate",), WARM),
    "validate/quix": ("job-validate-rocksdb", ("quix-validate",), WHOLE),  # whose store is RocksDB, too
    "pipeline/kafka-streams": ("job-pipeline", ("streams-pipeline",), WARM),
    "epcis-json/roof": ("epcis-json", ("roof-epcis-json",), WHOLE),
    "epcis-xml/roof": ("epcis-xml", ("roof-epcis-xml",), WHOLE),
    "epcis-batch-items/without": ("epcis-batch-items", ("epcis-batch",), WHOLE),
    "event-hash/openepcis": ("event-hash", ("event-hash-openepcis",), WARM),
    "event-hash/python": ("event-hash", ("event-hash-python",), WHOLE),
}
"""Name of a ratio: which contender by its whole run, against the best of which, and whether against their whole run or
its second half, when their JVM was warm."""
RATES = {
    f"delivery-{kind}/{peer}": (f"delivery-{kind}", f"{peer}-delivery-{kind}")
    for kind in ("http", "http-single", "folder")
    for peer in ("roof", "benthos")
}
"""The same of delivery, in records per second: much of it is waiting for somebody else, which costs no processor."""
PACKAGES = ("waybill", "confluent-kafka", "faust-streaming", "aiokafka", "fastavro", "pydantic", "orjson")


class Figure(NamedTuple):
    """One number and what it is; the first word of the name says which measurement."""

    name: str
    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.name} {self.value:,.{0 if self.value == int(self.value) else 1}f} {self.unit}"


@dataclass
class Found:
    """What a benchmark came to."""

    measured: dict[str, list[Measurement]] = field(default_factory=dict)
    """Rounds by contender."""
    waits: list[Waits] = field(default_factory=list)
    """From publishing on, by contender, load and topic."""
    ratios: dict[str, float] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)


def middle(rounds: Sequence[Measurement]) -> Measurement:
    """The round with the median processor time: one whole measurement, not a mixture."""
    return sorted(rounds, key=lambda measured: measured.report.cpu)[(len(rounds) - 1) // 2]


def ratios(measured: Mapping[str, Sequence[Measurement]]) -> dict[str, float]:
    """Records per processor second, or of delivery per second, ours over the peer's: above 1 is better."""
    found = {}
    for name, (ours, peers, half) in RATIOS.items():
        best = [getattr(middle(measured[peer]), half) for peer in peers if peer in measured]
        if best and ours in measured:
            found[name] = min(best) / middle(measured[ours]).cpu_per_million
    for name, (ours, peer) in RATES.items():
        if ours in measured and peer in measured:
            found[name] = middle(measured[ours]).rate / middle(measured[peer]).rate
    return found


def table(measured: Mapping[str, Sequence[Measurement]]) -> str:
    """Markdown, a line per contender; `warm`: CPU-s per million of the second half of a run, where it is apart."""
    heads = "records | records/s | CPU-s per million | Python | client | broker | transactions | peak MiB | warm"
    lines = [f"| contender | {heads} |", f"|---{'|---:' * len(heads.split(' | '))}|"]
    for name, rounds in measured.items():
        chosen = middle(rounds)
        report = chosen.report
        parts = [report.threads.get(kind, 0.0) / report.records * 1e6 for kind in ("python", "client")]
        warm = getattr(chosen, WARM, math.nan)
        broker = "–" if chosen.broker_cpu is None else f"{chosen.broker_cpu / report.records * 1e6:.1f}"
        lines.append(
            f"| {name} | {report.records:,} | {chosen.rate:,.0f} | {chosen.cpu_per_million:.1f} | {parts[0]:.1f} | "
            f"{parts[1]:.1f} | {broker} | {report.transactions or '–'} | {chosen.peak_mib:.0f} | "
            f"{'–' if math.isnan(warm) else f'{warm:.1f}'} |"
        )
    return "\n".join(lines)


def machine() -> dict[str, str | int | float]:
    """Where, when and of which sources this was measured."""
    cpu = re.search(r"model name\s*:\s*(.*)", _text("/proc/cpuinfo"))
    return {
        "measured": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": _said("git", "describe", "--always", "--dirty", "--abbrev=12"),
        "cpu": cpu[1] if cpu else platform.processor(),
        "cores": os.cpu_count() or 0,
        "memory, GiB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "java": _java(),
        "Apache Kafka": KAFKA_VERSION,
        "librdkafka": libversion()[0],
        **{name: version(name) for name in PACKAGES},
        "compiled_modules": compiled(),
    }


def _java() -> str:
    try:
        return _said(find_java(), "-version")
    except BrokerUnavailable:
        return "none"


def _said(*command: str) -> str:
    """The first line that a command says; `unknown` where it cannot be asked."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return (done.stdout or done.stderr).partition("\n")[0]


def _text(path: str) -> str:
    return Path(path).read_text() if Path(path).is_file() else ""


def spread(rounds: Sequence[Measurement]) -> float:
    """How far the rounds' processor times lie apart, over their median."""
    spent = [measured.report.cpu for measured in rounds]
    return (max(spent) - min(spent)) / statistics.median(spent)


def unwritable(folder: Path) -> str | None:
    """Why results cannot be written to the folder of `--results`, which is made, and what to do; None: they can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as wrong:
        return f"--results {folder}: {wrong.strerror or wrong}; name a folder that can be written"
    return None


def write(
    folder: Path,
    found: Found,
    settings: Mapping[str, object],
    where: Mapping[str, object],
    pictures: Mapping[str, str],
) -> None:
    """results.json and results.md. pictures: files of the folder by what they show."""
    measured = found.measured
    folder.mkdir(parents=True, exist_ok=True)
    everything = {
        "ratios": {name: round(value, 3) for name, value in found.ratios.items()},
        "latency": [asdict(one) for one in waits.shown(found.waits)],
        "figures": [figure._asdict() for figure in found.figures],
        "settings": settings,
        "machine": where,
        "rounds": {name: [asdict(one) for one in rounds] for name, rounds in measured.items()},
        "spread": {name: round(spread(rounds), 3) for name, rounds in measured.items()},
    }
    (folder / "results.json").write_text(json.dumps(everything, indent=1) + "\n")
    lines = ["# Benchmark", "", table(measured), "", "| ratio | value |", "|---|---:|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in found.ratios.items()]
    lines += [
        "",
        "Ratios are of records per CPU-second, those of delivery of records per second; `isolation/p99` is of ",
    ]
    lines += ["p99 latencies, `isolation/200-partners` of batches per second (1.00: unaffected for both), and "]
    lines += [
        "`latency/kafka-streams` of the peer's p99 latency over ours at the load where that is worse. `broker` is "
    ]
    lines += ["what the broker spent on a contender from the start of its process to its end, beside its own; `warm` "]
    lines += ["are the CPU-s per million of the second half of a run, which the ratios to a JVM but `cold` take."]
    lines += [f"\n![{what}]({name})" for what, name in pictures.items()]
    if found.waits:
        lines += ["", "From publishing to having it in hand:", "", waits.table(found.waits)]
    lines += ["", *(f"- {figure}" for figure in found.figures)]
    lines += ["", *(f"- {name}: {value}" for name, value in {**settings, **where}.items()), ""]
    (folder / "results.md").write_text("\n".join(lines))
