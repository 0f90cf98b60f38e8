"""What the benchmark says is computed from whole rounds, in records per processor second, ours over the peer's."""

from __future__ import annotations

import re
from pathlib import Path

from bench.peers.job import PeerMeasurement, PeerReport
from bench.pictures import PEERS, draw
from bench.process import Measurement, Report
from bench.report import RATES, RATIOS, Found, machine, middle, ratios, table, write
from bench.waits import OURS, SLOW, Waits


def one(name: str, cpu: float, records: int = 1_000_000) -> Measurement:
    return Measurement(name, Report(records, 10.0, cpu, {"python": cpu / 2, "client": cpu / 2}), cpu + 1, 100.0)


def test_a_ratio_is_ours_over_the_peers_whatever_their_number_of_records() -> None:
    measured = {
        "validate": [one("validate", 20.0)],
        "roof-validate": [one("roof-validate", 8.0)],
        "faust-validate": [one("faust-validate", 20.0, records=100_000)],
    }
    assert ratios(measured) == {"validate/roof": 0.4, "validate/faust": 10.0}


def test_the_round_with_the_median_processor_time_stands_for_all() -> None:
    rounds = [one("a", 3.0), one("a", 90.0), one("a", 2.0)]
    assert middle(rounds) is rounds[0]
    assert "| a | 1,000,000 | 100,000 | 3.0 | 1.5 | 1.5 |" in table({"a": rounds})


def test_quix_streams_stands_beside_our_store_in_rocksdb_as_its_own_is() -> None:
    measured = {
        "job-validate": [one("job-validate", 10.0)],
        "job-validate-rocksdb": [one("job-validate-rocksdb", 20.0)],
        "quix-validate": [one("quix-validate", 30.0)],
    }
    assert ratios(measured) == {"validate/quix": 1.5}


def test_delivery_is_compared_by_time_since_waiting_for_a_partner_costs_no_processor() -> None:
    ours, roof = one("delivery-http", 90.0), one("roof-delivery-http", 2.0)
    roof.report.seconds = 5.0
    assert ratios({"delivery-http": [ours], "roof-delivery-http": [roof]}) == {"delivery-http/roof": 0.5}


def test_the_page_shows_the_pictures_that_were_drawn(tmp_path: Path) -> None:
    waits = [Waits(OURS, SLOW, 1_000, "validated", 40.0, 120.0, 200.0, 300.0, 1.0, 1.0)]
    found = Found({"validate": [one("validate", 20.0)], "roof-validate": [one("roof-validate", 8.0)]}, waits)
    write(tmp_path, found, {}, {}, draw(tmp_path, found))
    page = (tmp_path / "results.md").read_text()
    assert sorted(re.findall(r"\]\((.*)\)", page)) == sorted(file.name for file in tmp_path.glob("*.svg")) != []


def test_the_broker_stands_beside_a_contender_where_it_was_watched() -> None:
    watched = one("a", 3.0)
    watched.broker_cpu = 5.0
    assert "| 1.5 | 5.0 | –" in table({"a": [watched]})
    assert "| 1.5 | – | –" in table({"a": [one("a", 3.0)]})


def test_the_second_half_that_a_ratio_takes_stands_in_the_table() -> None:
    report = PeerReport(1_000_000, 10.0, 50.0, warm_records=500_000, warm_seconds=4.0, warm_cpu=10.0)
    peer = PeerMeasurement("streams-validate", report, 60.0, 100.0)
    measured: dict[str, list[Measurement]] = {"job-validate": [one("job-validate", 40.0)], "streams-validate": [peer]}
    assert ratios(measured)["validate/kafka-streams-warm"] == 0.5
    assert [line.split("|")[-2].strip() for line in table(measured).splitlines()] == ["warm", "---:", "–", "20.0"]


def test_what_is_ours_is_drawn_as_ours_also_where_another_of_ours_stands_beside_it() -> None:
    ours = {name for name, _, _ in RATIOS.values()} | {name for name, _ in RATES.values()} | {"epcis-batch"}
    assert not ours & PEERS


def test_a_run_says_on_what_machine_from_which_sources_and_when() -> None:
    about = machine()
    assert about.keys() >= {"measured", "commit", "cpu", "cores", "memory, GiB", "java", "python", "Apache Kafka"}
    assert isinstance(about["memory, GiB"], float)
    assert about["memory, GiB"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", str(about["measured"]))
