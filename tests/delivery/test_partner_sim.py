"""The fake partner keeps its own word: one effect per key, and a ledger that survives it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import wait_for
from waybill.partner_sim import FAULTS, Modes, Partner, Server, check_faults, main


def call(url: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    """Another client than the sink's own."""
    request = urllib.request.Request(url, data=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_a_look_whether_it_is_well_is_no_batch() -> None:
    with Server() as server:
        with urllib.request.urlopen(urllib.request.Request(server.url, method="HEAD"), timeout=10) as answer:
            assert answer.status == 200
        assert server.partner.lines == []


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
    for wrong in ("status:abc", "late:soon", "none:1", "partial:-1", "2*", "0x*hang", "hang:1", 7, None):
        with pytest.raises(ValueError, match="status:<code>"):
            check_faults([wrong])
    assert check_faults(["2*status:503,7", "late:0.5"]) == ["status:503,7", "status:503,7", "late:0.5"]
    assert check_faults([*FAULTS.keys() - {"status"}])
    with pytest.raises(SystemExit):
        main(["--fault", "explode"])
    assert "is no fault" in capsys.readouterr().err


def test_a_taken_port_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Server() as server:
        assert main(["--port", str(server.port)]) == 1
    assert "choose another --port" in capsys.readouterr().out


BATCH = b'{"records":[{"id":"a","record":{"zone_id":"x"}},{"id":"b","record":{}},{"id":"c"},{"id":"d"}]}'


def test_a_partial_acceptance_says_which_records_it_took_and_the_retry_adds_the_rest(tmp_path: Path) -> None:
    ledger, bodies = tmp_path / "ledger.jsonl", tmp_path / "bodies"
    digest = sha256(BATCH).hexdigest()
    with Server(Partner(ledger, bodies=bodies)) as server:
        server.partner.faults.append("partial:1")
        status, answer = call(server.url, BATCH, Idempotency_Key="k")
        assert (status, [r["status"] for r in answer["records"]]) == (207, [201, 503, 503, 503])
        assert server.partner.effects == []
        assert list(bodies.iterdir()) == []
    with Server(Partner(ledger, bodies=bodies)) as server:  # it remembers over a restart
        assert call(server.url, BATCH + b" ", Idempotency_Key="k")[0] == 422
        server.partner.faults.append("partial:1")
        status, answer = call(server.url, BATCH, Idempotency_Key="k")
        assert (status, [r["status"] for r in answer["records"]]) == (207, [409, 201, 503, 503])
        assert call(server.url, BATCH, Idempotency_Key="k")[0] == 201
        assert call(server.url, BATCH, Idempotency_Key="k")[0] == 409
        parts = [(e["kind"], e["digest"], e["records"]) for e in server.partner.lines if e["kind"] != "attempt"]
    assert parts == [("partial", digest, ["a"]), ("partial", digest, ["b"]), ("effect", digest, ["c", "d"])]
    assert (bodies / "k").read_bytes() == BATCH


def test_a_partner_that_refuses_some_records_for_good_remembers_which_and_says_so_again(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    with Server(Partner(ledger)) as server:
        server.partner.faults.extend(["partial:1", "refuse_some:2"])
        assert call(server.url, BATCH, Idempotency_Key="k")[0] == 207
        status, answer = call(server.url, BATCH, Idempotency_Key="k")
        assert (status, [r["status"] for r in answer["records"]]) == (207, [409, 201, 422, 422])
        server.partner.faults.append("refuse_some:4")
        status, answer = call(server.url, BATCH, Idempotency_Key="none of it")
        assert (status, [r["status"] for r in answer["records"]]) == (207, [422] * 4)
    with Server(Partner(ledger)) as server:
        server.partner.faults.extend(["none", "bare_conflict", "exists", "unframed"])
        for _ in range(4):  # whatever is wrong with it, it does not say that it has them
            status, answer = call(server.url, BATCH, Idempotency_Key="k")
            assert (status, [r["status"] for r in answer["records"]]) == (207, [409, 409, 422, 422])
        parts = [(e["key"], e["records"], e.get("refused")) for e in server.partner.lines if e["kind"] != "attempt"]
    assert parts == [("k", ["a"], None), ("k", ["b"], ["c", "d"])]


def test_a_partner_that_has_it_may_say_so_with_412_and_one_that_has_other_bytes_too() -> None:
    with Server() as server:
        server.partner.faults.extend(["exists:412", "holds_other:412"])
        one = sha256(b"one").hexdigest()
        assert call(server.url, b"one", Idempotency_Key="k")[1]["digest"] == one
        status, answer = call(server.url, b"one", Idempotency_Key="k")
        assert (status, answer["digest"] == one) == (412, False)
        assert len(server.partner.effects) == 1


def test_bodies_of_effects_are_files_named_by_their_key_and_stay_in_their_folder(tmp_path: Path) -> None:
    with Server(Partner(bodies=tmp_path / "deep" / "bodies")) as server:
        for key in ("ab12", "../escaped", "x" * 500):
            assert call(server.url, key.encode(), Idempotency_Key=key)[0] == 201
        assert call(server.url, b"other", Idempotency_Key="ab12")[0] == 422
    found = {path.name: path.read_bytes() for path in (tmp_path / "deep" / "bodies").iterdir()}
    hostile = {sha256(key.encode()).hexdigest(): key.encode() for key in ("../escaped", "x" * 500)}
    assert found == {"ab12": b"ab12", **hostile}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep"]


def test_modes_hold_until_changed_and_the_ledger_says_what_each_request_met() -> None:
    with Server() as server:
        mode = server.url.replace("/batches", "/mode")

        def change(**modes: Any) -> int:
            return call(mode, json.dumps(modes).encode())[0]

        def answers(*keys: str) -> list[int]:
            return [call(server.url, BATCH, Idempotency_Key=key)[0] for key in keys]

        assert change(poison=["x"], capacity=None) == 200
        assert answers("a", "b") == [400, 400]
        assert change(poison=[], capacity=len(BATCH) - 1) == 200
        assert answers("a") == [413]
        assert change(capacity=len(BATCH), unauthorized=True) == 200
        assert answers("a", "b") == [401, 401]
        assert change(unauthorized=False, fault="status:504") == 200
        server.partner.faults.append("status:500")
        assert answers("a", "b", "c") == [500, 504, 504]
        assert change(fault="") == 200
        assert answers("a", "b") == [201, 201]
        assert call(mode)[1] == {**Modes().as_json(), "capacity": len(BATCH)}
        met = [entry["fault"] for entry in server.partner.attempts]
    assert met == [
        *["status:400"] * 2,
        "status:413",
        *["status:401"] * 2,
        "status:500",
        *["status:504"] * 2,
        *["none"] * 2,
    ]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"explode": 1}, "'explode' is no mode; there are down, slow"),
        ({"slow": -1}, "-1 is no value of 'slow'"),
        ({"slow": True}, "no value of 'slow'"),
        ({"fault": "explode"}, "'explode' is no fault"),
        ({"fault": "2*status:500"}, "a mode has one"),
        ({"unauthorized": "no"}, "no value of 'unauthorized'"),
        ({"poison": "x"}, "no value of 'poison'"),
        ({"capacity": 1.5}, "no value of 'capacity'"),
        ({"down": "sleeping"}, "no value of 'down'"),
        ({"down": "refuse"}, "needs its seconds"),
        ([], "expected an object"),
    ],
    ids=str,
)
def test_a_wrong_mode_is_named_and_changes_nothing(wrong: Any, words: str) -> None:
    with Server() as server:
        status, answer = call(server.url.replace("/batches", "/mode"), json.dumps(wrong).encode())
        assert status == 400
        assert words in answer["error"]
        assert server.partner.modes == Modes()


def knock(port: int) -> str:
    """What a client meets on the port, without sending a byte."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.2) as client:
            return "closed" if client.recv(1) == b"" else "answered"
    except OSError as error:
        return type(error).__name__


def test_a_partner_that_is_down_keeps_its_port_and_comes_back_on_it() -> None:
    with Server() as server:
        for _round in range(3):
            server.change(down="refuse")
            assert knock(server.port) == "ConnectionRefusedError"
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", server.port))
            server.change(down="reset")
            assert knock(server.port) == "ConnectionResetError"
            server.change(down="")
            assert knock(server.port) == "TimeoutError"  # it listens, and waits for a request
        assert call(server.url, b"one", Idempotency_Key="k")[0] == 201


def test_told_over_http_it_goes_down_for_the_seconds_said(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "waybill.partner_sim", "--port", "0", "--bodies", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().rpartition(" ")[2].strip()
        port = int(url.rpartition(":")[2].partition("/")[0])
        assert call(url.replace("/batches", "/mode"), b'{"down": "refuse:1"}')[0] == 200
        wait_for(lambda: knock(port) == "ConnectionRefusedError", 20, "the partner goes down")
        wait_for(lambda: knock(port) == "TimeoutError", 20, "the partner comes back")
        assert call(url, b"one", Idempotency_Key="k")[0] == 201
        assert (tmp_path / "k").read_bytes() == b"one"
        process.terminate()
        assert process.wait(30) == 0


def test_going_down_cuts_what_is_open() -> None:
    with Server() as server:
        server.partner.faults.append("store_then_hang")
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
            client.sendall(b"POST /batches HTTP/1.1\r\nHost: p\r\nIdempotency-Key: k\r\nContent-Length: 1\r\n\r\nx")
            wait_for(lambda: server.partner.effects, 20, "the batch is stored")
            server.change(down="refuse")
            assert client.recv(100) == b""
        server.change(down="")
        assert call(server.url, b"x", Idempotency_Key="k")[0] == 409


def test_saying_that_a_healthy_partner_is_up_cuts_nothing() -> None:
    with Server() as server, socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(b"POST /batches HTTP/1.1\r\nHost: p\r\nIdempotency-Key: k\r\nContent-Length: 1\r\n\r\n")
        server.change(down="", slow=0.0)
        client.sendall(b"x")
        assert client.recv(100).startswith(b"HTTP/1.1 201 ")


def test_a_partner_that_serves_so_many_in_a_second_lets_a_few_wait_and_turns_the_rest_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("waybill.partner_sim.partner.time", SimpleNamespace(monotonic=lambda: 100.0, time=time.time))
    partner = Partner()
    assert [partner._turn(4.0) for _ in range(6)] == [0.0, 0.25, 0.5, 0.75, 0.75, 0.75], "half a second holds two"
    partner = Partner()
    partner.change(per_second=0.5)
    with Server(partner) as server:
        answers = [call(server.url, b"one", Idempotency_Key=f"k{number}")[0] for number in range(3)]
    assert answers == [201, 503, 503]
    assert [line["fault"] for line in partner.attempts] == ["none", "status:503", "status:503"]
    with pytest.raises(ValueError, match="per_second"):
        partner.change(per_second=0)
