"""The fake partner keeps its own word: one effect per key, and a ledger that survives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from waybill.partner_sim import FAULTS, Partner, Server, check_faults, main


def call(url: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    """Another client than the sink's own."""
    request = urllib.request.Request(url, data=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_first_stores_repeat_is_409_and_other_bytes_are_422() -> None:
    with Server() as server:
        one, two = sha256(b"one").hexdigest(), sha256(b"two").hexdigest()
        first = call(server.url, b"one", Idempotency_Key="k", Waybill_Attempt="1", Waybill_Life="1")
        assert first == (201, {"status": "stored", "batch": "k", "digest": one})
        assert call(server.url, b"one", Idempotency_Key="k", Waybill_Attempt="2", Waybill_Life="1")[0] == 409
        assert call(server.url, b"two", Idempotency_Key="k")[0] == 422
        assert call(server.url, b"two")[0] == 400
        status, lines = call(server.url.replace("/batches", "/ledger"))
        assert status == 200
        assert [(e["kind"], e["key"], e["digest"], e["attempt"], e["life"]) for e in lines] == [
            ("attempt", "k", one, 1, 1),
            ("effect", "k", one, 1, 1),
            ("attempt", "k", one, 2, 1),
            ("attempt", "k", two, None, None),
            ("attempt", "", two, None, None),
        ]
        assert server.partner.bodies == {"k": b"one"}


def test_the_ledger_file_outlives_a_killed_partner(tmp_path: Path) -> None:
    ledger = tmp_path / "deep" / "ledger.jsonl"
    answers = []
    for _life in range(2):
        command = [sys.executable, "-m", "waybill.partner_sim", "--port", "0", "--ledger", str(ledger)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = process.stdout.readline().rpartition(" ")[2].strip()
            answers.append(call(url, b"one", Idempotency_Key="k")[0])
            process.send_signal(signal.SIGKILL)
    assert answers == [201, 409]
    kinds = [json.loads(line)["kind"] for line in ledger.read_text("utf-8").splitlines()]
    assert kinds == ["attempt", "effect", "attempt"]


def test_a_line_torn_by_a_kill_does_not_keep_the_partner_from_starting(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_text('{"kind": "effect", "key": "k", "digest": "' + sha256(b"one").hexdigest() + '"}\n{"kind": "eff')
    with Server(Partner(ledger)) as server:
        assert call(server.url, b"one", Idempotency_Key="k")[0] == 409
    assert [json.loads(line)["kind"] for line in ledger.read_text("utf-8").splitlines()] == ["effect", "attempt"]


def test_it_stops_on_sigterm(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "waybill.partner_sim", "--port", "0", "--fault", "status:503,7"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().rpartition(" ")[2].strip()
        assert call(url, b"one", Idempotency_Key="k")[0] == 503
        assert call(url, b"one", Idempotency_Key="k")[0] == 201
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(30) == 0


def test_faults_are_played_in_order_and_wrong_ones_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with Server() as server:
        faults = server.url.replace("/batches", "/faults")
        assert call(faults, json.dumps(["none", "status:500"]).encode())[0] == 200
        assert [call(server.url, b"x", Idempotency_Key=k)[0] for k in "abc"] == [201, 500, 201]
        status, answer = call(faults, b'["explode"]')
        assert status == 400
        assert "'explode' is no fault; allowed: none, reset_before_read" in answer["error"]
    with pytest.raises(ValueError, match="status:<code>"):
        check_faults(["status:abc"])
    assert check_faults([*FAULTS.keys() - {"status"}])
    with pytest.raises(SystemExit):
        main(["--fault", "explode"])
    assert "is no fault" in capsys.readouterr().err


def test_a_taken_port_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Server() as server:
        assert main(["--port", str(server.port)]) == 1
    assert "choose another --port" in capsys.readouterr().out
