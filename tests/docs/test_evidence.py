"""The evidence that the documents show is the evidence that lies beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from math import ceil, floor, log10
from pathlib import Path

import pytest

from bench.peers.programs import versions

ROOT = Path(__file__).resolve().parents[2]
EVIDENCE = ROOT / "docs" / "evidence"
PAGE = ROOT / "docs" / "performance.md"
Cells = list[str]

STAGES = {
    "validate": "validate",
    "validate in a worker's frame, with metrics and logs": "validate-in-frame",
    "batch (duplicates, windows of 2,000)": "batch",
    "dispatch (to a folder)": "dispatch",
    "pipeline, all three in one process": "pipeline",
    "roof of validate": "roof-validate",
    "roof of batch": "roof-batch",
    "roof of the pipeline": "roof-pipeline",
    "stock Faust, validate, at least once": "faust-validate",
}
SIZED = {
    "validate (in a worker's frame)": "validate-in-frame",
    "batch": "batch",
    "dispatch": "dispatch",
    "all three in one process": "pipeline",
}
APART = ("validate-in-frame", "batch", "dispatch")
"""The stages in processes of their own."""
A_CORE = "a core, by all three in processes of their own"
PEERS = {
    ("job validate", "Waybill, store in memory"): "job-validate",
    ("job validate", "Waybill, RocksDB"): "job-validate-rocksdb",
    ("job validate", "Kafka Streams 4.3.0, in memory, 1 thread"): "streams-validate",
    ("job validate", "Kafka Streams, in memory, 2 threads"): "streams-validate-2-threads",
    ("job validate", "Kafka Streams, RocksDB"): "streams-validate-rocksdb",
    ("job validate", "Flink 2.2.1, heap state"): "flink-validate",
    ("job validate", "Quix Streams 3.28, RocksDB"): "quix-validate",
    ("job pipeline (batches of 2,000 with digest)", "Waybill, with the audit"): "job-pipeline",
    ("job pipeline", "Kafka Streams, no audit"): "streams-pipeline",
}
EPCIS = {
    "JSON-LD": "epcis-json",
    "XML": "epcis-xml",
    "roof of JSON-LD": "roof-epcis-json",
    "roof of XML": "roof-epcis-xml",
    "event hash alone": "event-hash",
    "event hash by epcis-event-hash-generator 1.9.3 (Python)": "event-hash-python",
    "event hash by OpenEPCIS 0.9.2 (JVM)": "event-hash-openepcis",
    "batch, its `process()`, without state rules": "epcis-batch",
    "batch, its `process()`, with `items`": "epcis-batch-items",
}
DELIVERY = {
    "100 readings, by HTTP": "delivery-http",
    "one reading, by HTTP": "delivery-http-single",
    "100 readings, to a folder": "delivery-folder",
}
DELIVERERS = {"Waybill": "", "roof": "roof-", "Benthos": "benthos-"}


def test_the_table_of_faults_is_that_of_the_rounds() -> None:
    page = (EVIDENCE / "faults.md").read_text("utf-8")
    shown = page.partition("<!-- rounds -->\n")[2].partition("<!-- /rounds -->")[0]
    assert shown == (EVIDENCE / "rounds" / "faults.md").read_text("utf-8")


class Run:
    """The run of `make bench` that lies beside the page, as its results.md states it."""

    def __init__(self) -> None:
        self.text = (EVIDENCE / "speed" / "bench" / "results.md").read_text("utf-8")
        tables = _tables(self.text)
        self.contenders = {row[0]: row[1:] for row in tables["contender"]}
        self.ratios = {row[0]: row[1] for row in tables["ratio"]}
        self.waits = {(row[0], row[2], row[3]): row for row in tables["load"]}

    def cost(self, name: str) -> Cells:
        """Records a second, and CPU-seconds of a million."""
        return self.contenders[name][1:3]

    def planned(self, name: str) -> float:
        return _down(_number(self.cost(name)[0]) / 2)

    def broker(self, name: str) -> float:
        """CPU-seconds of the broker for a million records of a contender, at most."""
        return _number(self.contenders[name][5])

    @property
    def together(self) -> float:
        """CPU-seconds of a million by all three stages, each in a process of its own."""
        return round(sum(_number(self.cost(name)[1]) for name in APART), 1)

    @property
    def brokers(self) -> float:
        """CPU-seconds of the broker for a million records through all three stages."""
        return round(sum(map(self.broker, APART)), 1)


def _costs(run: Run, row: Cells) -> Cells:
    return [row[0], *run.cost(STAGES[row[0]])]


def _sized(run: Run, row: Cells) -> Cells:
    if row[0] == A_CORE:
        most = 1_000_000 / run.together
        rates = [f"{_down(most):,.0f}", f"{_down(most / 2):,.0f}"]
        return [A_CORE, f"{run.together:.1f}", *rates, f"{run.brokers:.1f}"]
    name = SIZED[row[0]]
    rate, cpu = run.cost(name)
    return [row[0], cpu, rate, f"{run.planned(name):,.0f}", f"{run.broker(name):.1f}"]


def _worked_out(run: Run, row: Cells) -> Cells:
    """One machine of 16 cores, and a million records a second. What a column leaves empty stays so."""
    rates = [_down(16 * _down(1_000_000 / run.together / 2)), 1_000_000.0]
    shown = [_example(run, row[0], rate) for rate in rates]
    return [row[0], *(new if old else "" for old, new in zip(row[1:], shown, strict=True))]


def _example(run: Run, what: str, rate: float) -> str:
    processes = {name: ceil(rate / run.planned(name)) for name in APART}
    least = max(processes.values())
    written = rate * 515
    return {
        "records/s planned": f"{rate:,.0f}",
        "processes of validate": f"{processes['validate-in-frame']}",
        "processes of batch": f"{processes['batch']}",
        "processes of dispatch": f"{processes['dispatch']}",
        "processes in all": f"{sum(processes.values())}",
        "of these cores in use": f"{rate * run.together / 1e6:.0f}",
        "cores of brokers, one copy (an upper figure)": f"{ceil(rate * run.brokers / 1e6)}",
        "partitions, at least": f"{least}",
        "partitions, with room for uneven keys": f"{2 * least}",
        "machines of 32 cores, a core for each process": f"{ceil(sum(processes.values()) / 32)}",
        "written by the cluster: records/s × 515 bytes × 3": f"{written * 3 / 1e9:.2g} GB/s",
        "brokers, if one sustains 600 MB/s and half of that is planned": f"{ceil(written * 3 / 300e6)}",
        "kept a day, before replication": f"{written * 86_400 / 1e12:.2g} TB",
    }[what]


def _peers(run: Run, row: Cells) -> Cells:
    return [*row[:2], *run.cost(PEERS[row[0], row[1]])]


def _ratios(run: Run, row: Cells) -> Cells:
    value = run.ratios[row[0].strip("`")]
    return [row[0], f"{float(value):.1f}" if float(value) >= 10 else value, row[2]]


def _latency(run: Run, row: Cells) -> Cells:
    topic = row[2].strip("`")
    found = [run.waits.get((row[0], topic, who)) for who in ("Waybill", "Waybill, the same job", "Kafka Streams")]
    assert found[0], f"the run has no waits to {topic} at {row[0]}"
    waits = [[f"{_number(cell):,.0f}" for cell in one[4:6]] if one else ["", ""] for one in found]
    return [row[0], found[0][1], row[2], *(cell for pair in waits for cell in pair)]


def _delivery(run: Run, row: Cells) -> Cells:
    name = DELIVERERS[row[1]] + DELIVERY[row[0]]
    rate = re.search(rf"^- {name} batches/s ([\d,.]+)", run.text, re.MULTILINE)
    batches = re.search(r"^- delivery: batches of each shape, connections: ([\d,]+), ", run.text, re.MULTILINE)
    assert rate, f"the run has no {name}"
    assert batches, "the run does not say how many batches it delivered"
    records, _, cpu = run.contenders[name][:3]
    each = _number(records) * _number(cpu) / 1e6 / _number(batches[1])
    return [*row[:2], f"{_number(rate[1]):,.0f}", f"{each * 1000:.2f}"]


def _epcis(run: Run, row: Cells) -> Cells:
    return [row[0], *run.cost(EPCIS[row[0]])]


Renewed = Callable[[Run, Cells], Cells]
TABLES: Sequence[tuple[str, str, Renewed]] = [
    ("## What a record costs", "contender", _costs),
    ("## Sizing a deployment", "stage", _sized),
    ("## Sizing a deployment", "", _worked_out),
    ("## Beside its peers", "job", _peers),
    ("## Beside its peers", "ratio", _ratios),
    ("## Latency", "load", _latency),
    ("## Delivery", "bodies", _delivery),
    ("## EPCIS", "contender", _epcis),
]


@pytest.mark.parametrize(
    ("heading", "first", "renewed"), TABLES, ids=[f"{heading.strip('# ')}: {first}" for heading, first, _ in TABLES]
)
def test_the_tables_of_performance_are_those_of_the_run_that_lies_beside_them(
    heading: str, first: str, renewed: Renewed
) -> None:
    """The lines, their names and the aims are the page's, the figures are of one run: those that it should show are
    printed, to be put in."""
    section = PAGE.read_text("utf-8").partition(heading)[2].partition("\n## ")[0]
    shown = _tables(section)[first]
    run = Run()
    due = [renewed(run, row) for row in shown]
    assert shown == due, f"{heading}, lines of the table as they should be:\n\n" + "\n".join(map(_line, due))


def _p99_to_sent(run: Run) -> str:
    found = [run.waits[load, "sent", "Waybill"] for load in ("25 %", "50 %", "75 %")]
    first, second, third = (f"{_number(row[5]):,.0f} ms at {row[0]}" for row in found)
    rates = [f"({row[1]} records/s)" for row in found]
    return f"was {first} of the top rate {rates[0]}, {second} {rates[1]} and {third} {rates[2]}."


def _mean_bytes(run: Run) -> str:
    mean = re.search(r"^- mean record, bytes: (\d+)$", run.text, re.MULTILINE)
    assert mean, "the run does not say how long its records are"
    return f"readings of {mean[1]} bytes on average"


def _keys_of_a_process(run: Run) -> str:
    """At a million records a second."""
    processes = ceil(1_000_000 / run.planned("batch"))
    return f"a `keep` of an hour is 3.6 billion keys, some {3600 / processes:.0f} million for each batch process"


def _half_the_roof(run: Run) -> str:
    roof = _number(run.cost("roof-validate")[1])
    return (
        f"**Half the roof** would be {2 * roof:.0f} µs for a record in validate, of which the client takes {roof:.0f}."
    )


def _faust_records(run: Run) -> str:
    validate, faust = (run.contenders[name][0] for name in ("validate", "faust-validate"))
    return f"Readings of the cold-chain pack, {validate} (of stock Faust {faust}), one process for each line"


@pytest.mark.parametrize("due", [_p99_to_sent, _mean_bytes, _keys_of_a_process, _half_the_roof, _faust_records])
def test_the_figures_in_sentences_of_performance_are_those_of_the_run(due: Callable[[Run], str]) -> None:
    assert due(Run()) in PAGE.read_text("utf-8")


def test_performance_shows_every_wait_of_a_worker_that_the_run_measured() -> None:
    """Also those at which a worker no longer keeps up."""
    section = PAGE.read_text("utf-8").partition("## Latency")[2]
    shown = [(row[0], row[2].strip("`")) for row in _tables(section)["load"]]
    assert shown == [(load, topic) for load, topic, who in Run().waits if who == "Waybill"]


def test_the_page_names_the_versions_of_its_peers_that_are_built() -> None:
    page, built = PAGE.read_text("utf-8"), versions()
    for name, shown in re.findall(rf"({'|'.join(built)}) (\d[\d.]*\d)", page):
        assert f"{built[name]}.".startswith(f"{shown}."), f"{name} {shown} on the page, {built[name]} is built"


def test_the_bytes_that_brokers_are_sized_by_lie_among_those_that_were_measured() -> None:
    lines = (EVIDENCE / "speed" / "scale" / "points.jsonl").read_text("utf-8").splitlines()
    points = [point for point in map(json.loads, lines) if point["axis"] in ("processes", "bytes", "partitions")]
    base = {"processes": (1, 2, 4), "partitions": (4,), "bytes": (150,)}
    found = [one["figures"]["log_bytes_per_record"] for one in points if one["x"] in base[one["axis"]]]
    assert min(found) <= 515 <= max(found)


def _tables(text: str) -> dict[str, list[Cells]]:
    """The lines of each table of a text, by the first cell of its head."""
    blocks = re.findall(r"^(\|.*)\n\|[-: |]+\|\n((?:\|.*\n?)+)", text, re.MULTILINE)
    return {_cells(head)[0]: [_cells(line) for line in lines.splitlines()] for head, lines in blocks}


def _cells(line: str) -> Cells:
    return [cell.strip() for cell in line.strip()[1:-1].split("|")]


def _line(cells: Cells) -> str:
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def _down(value: float) -> float:
    """Three figures, rounded down."""
    step = 10.0 ** (floor(log10(value)) - 2)
    return floor(value / step) * step
