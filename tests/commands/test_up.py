"""`up` refuses what cannot work before it starts anything, and a worker does not outlive its supervisor."""

from __future__ import annotations

import fcntl
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from tests.commands.conftest import Cli
from topology.load import load_pipeline
from topology.partner import HttpPartner, KafkaPartner, ObjectStorePartner, PostgresPartner
from waybill.commands import run
from waybill.surroundings import CLINIC_VARIABLE, SHIPPED_CLINIC, Surroundings


def test_a_web_port_that_is_taken_is_one_line(cli: Cli) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = cli("up", "cold-chain", "--web-port", port)
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 1
    assert f"127.0.0.1:{port} cannot be used" in ran.err
    assert "--web-port" in ran.err


def test_a_second_up_in_the_same_home_is_refused(cli: Cli, tmp_path: Path) -> None:
    lock = tmp_path / "home" / "up.lock"
    lock.parent.mkdir()
    with lock.open("w") as held, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # by the first one, too: not the port is what is wrong
        taken.listen()
        held.write("4711")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        ran = cli("up", "cold-chain", "--web-port", taken.getsockname()[1])
    assert ran.code == 2
    assert "another `waybill up` (pid 4711)" in ran.err


def test_a_pipeline_that_does_not_exist_is_told_before_a_broker_is_started(cli: Cli, tmp_path: Path) -> None:
    ran = cli("up", "cold-chian")
    assert ran.code == 2
    assert "did you mean `cold-chain`" in ran.err
    assert not (tmp_path / "home").exists()


def test_a_worker_learns_that_its_supervisor_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    read, write = socket.socketpair()
    told = threading.Event()
    with read, read.makefile("r") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        run.until_orphaned(told.set)
        assert not told.is_set()
        write.close()
        assert told.wait(10)


def test_the_fake_partner_keeps_the_bodies_where_it_is_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "waybill.main", "partner-sim", "--port", "0", "--bodies", str(tmp_path / "bodies")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().rpartition(" ")[2].strip()
        asked = urllib.request.Request(url, b'{"records":[]}', {"Idempotency-Key": "k"}, method="POST")
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert answer.status == 201
        process.terminate()
        assert process.wait(30) == 0
    assert [path.read_bytes() for path in (tmp_path / "bodies").iterdir()] == [b'{"records":[]}']


def test_up_says_where_batches_go_and_who_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = load_pipeline("cold-chain")
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        there.listen()
        port = there.getsockname()[1]
        partners = {
            "away": HttpPartner(kind="http", url="http://127.0.0.1:1/batches?key=hidden"),
            "here": HttpPartner(kind="http", url=f"http://127.0.0.1:{port}"),
            "lake": ObjectStorePartner(kind="object-store", url="file:lake"),
            "table": PostgresPartner(kind="postgres", url="postgresql://me@db/base?sslmode=require"),
            "topic": KafkaPartner(kind="kafka", brokers="a:9092,b:9092", topic="batches"),
        }
        Surroundings(None, partner_sim=False).say_partners([pipeline.model_copy(update={"partners": partners})])
    assert capsys.readouterr().err.splitlines() == [
        "batches for away go to http://127.0.0.1:1/…, where nobody listens now",
        f"batches for here go to http://127.0.0.1:{port}",
        "batches for lake go to object store file:lake, prefix coldchain",
        "batches for table go to table waybill_batches of postgresql://…@db/base",
        "batches for topic go to topic batches at a:9092,b:9092",
    ]


def test_up_says_which_partner_the_simulator_stands_in_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(CLINIC_VARIABLE, "x")  # so that it is taken back
    with Surroundings("a:9092", partner_sim=True) as around:
        around.say_partners([load_pipeline("cold-chain")])
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("partner simulator at http://127.0.0.1:")
    assert "batches for clinic-api go to the partner simulator" in told


def test_the_place_that_partner_sim_stands_in_for_is_the_shipped_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CLINIC_VARIABLE, raising=False)
    clinic = load_pipeline("cold-chain").partners["clinic-api"]
    assert isinstance(clinic, HttpPartner)
    assert clinic.url == SHIPPED_CLINIC
