"""Object stores under fire (O1 to O4): whatever the store answers, one object with our bytes, written once."""

from __future__ import annotations

import asyncio
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from chaos.store import Store
from streams.delivery.object_store import ObjectStoreSink
from streams.delivery.protocol import Envelope, Outcome
from streams.delivery.protocol import OutcomeKind as Kind
from tests.delivery.worlds import BODY, BUCKET, envelope, run, s3, s3_client
from tests.support import wait_for

SHORT = 0.5
"""A sink's time-out where the store does not answer."""


@pytest.fixture(scope="module")
def running() -> Iterator[Store]:
    with Store(BUCKET) as store:
        yield store


@pytest.fixture
def store(running: Store) -> Store:
    """The one store of this module, empty and healthy."""
    for page in running.client.get_paginator("list_object_versions").paginate(Bucket=BUCKET):
        for entry in page.get("Versions", []):
            running.client.delete_object(Bucket=BUCKET, Key=entry["Key"], VersionId=entry["VersionId"])
    running.gate.faults.clear()
    running.gate.read_faults.clear()
    running.gate.requests.clear()
    running.change(down="", fault="", slow=0.0)
    return running


def deliver(store: Store, *envelopes: Envelope, timeout: float = 10.0) -> list[Outcome]:
    async def work() -> list[Outcome]:
        sink = ObjectStoreSink("lake", s3(store.endpoint, timeout=timeout))
        try:
            return [await sink.send(each) for each in envelopes]
        finally:
            await sink.close()

    return run(work())


def held(store: Store, folder: Path) -> list[tuple[str, str, int]]:
    """Path, digest and number of versions of all there is; each copied file has that digest."""
    found = store.dump(folder)
    for entry in found:
        assert sha256((folder / entry["path"]).read_bytes()).hexdigest() == entry["sha256"]
    return [(entry["path"], entry["sha256"], entry["versions"]) for entry in found]


OURS = [(envelope().path, sha256(BODY).hexdigest(), 1)]


def test_the_dump_says_when_an_object_was_first_asked_for(store: Store, tmp_path: Path) -> None:
    begun = time.time()
    store.gate.play(["status:500"])
    deliver(store, envelope())
    failed = time.time()
    deliver(store, envelope(attempt=2))
    (entry,) = store.dump(tmp_path)
    assert begun <= entry["time"] <= failed


WRITE_FAULTS = [
    # fault of the write, outcome of the attempt that meets it, objects it left behind
    ("slow_down", Kind.PAUSED, 0),
    ("status:429", Kind.PAUSED, 0),
    ("precondition_failed", Kind.UNKNOWN, 0),
    ("store_then_precondition_failed", Kind.DELIVERED, 1),
    ("conflict", Kind.UNKNOWN, 0),
    ("store_then_conflict", Kind.DELIVERED, 1),
    ("store_then_error", Kind.UNKNOWN, 1),
    ("status:500", Kind.UNKNOWN, 0),
    ("status:503", Kind.UNKNOWN, 0),
    ("status:301", Kind.REFUSED, 0),
    ("status:400", Kind.REFUSED, 0),
    ("status:403", Kind.STOPPED, 0),
    ("status:404", Kind.STOPPED, 0),
    ("reset", Kind.UNKNOWN, 0),
    ("store_then_reset", Kind.UNKNOWN, 1),
    ("truncated", Kind.UNKNOWN, 1),
    ("hang", Kind.UNKNOWN, 0),
    ("store_then_hang", Kind.UNKNOWN, 1),
    ("late:30", Kind.UNKNOWN, 1),
    ("late:0.1", Kind.DELIVERED, 1),
]


@pytest.mark.parametrize(("fault", "kind", "objects"), WRITE_FAULTS, ids=[row[0] for row in WRITE_FAULTS])
def test_a_fault_of_the_write_then_a_retry_ends_in_one_object(
    store: Store, tmp_path: Path, fault: str, kind: Kind, objects: int
) -> None:
    store.gate.play([fault])
    (first,) = deliver(store, envelope(), timeout=SHORT if "hang" in fault or fault == "late:30" else 10)
    assert first.kind is kind
    assert held(store, tmp_path) == OURS * objects
    (second,) = deliver(store, envelope(attempt=2))
    assert second.kind is Kind.DELIVERED
    assert held(store, tmp_path) == OURS


@pytest.mark.parametrize(
    "fault", ["slow_down", "status:500", "status:403", "status:404", "reset", "truncated", "hang", "late:30"]
)
def test_an_object_that_is_there_but_cannot_be_read_is_unknown_until_it_can(
    store: Store, tmp_path: Path, fault: str
) -> None:
    """The write's answer is lost, the retry is told that the object exists, and the look at it fails too."""
    store.gate.play(["store_then_reset"], [fault])
    timeout = SHORT if fault in ("hang", "late:30") else 10
    kinds = [outcome.kind for outcome in deliver(store, envelope(), envelope(attempt=2), timeout=timeout)]
    assert kinds == [Kind.UNKNOWN, Kind.UNKNOWN]
    assert not store.gate.read_faults, "the retry looked"
    (third,) = deliver(store, envelope(attempt=3))
    assert third.kind is Kind.DELIVERED
    assert held(store, tmp_path) == OURS


def test_a_write_that_overtakes_its_own_first_attempt_leaves_one_version(store: Store, tmp_path: Path) -> None:
    store.gate.play(["store_late:1"])
    kinds = [outcome.kind for outcome in deliver(store, envelope(), envelope(attempt=2), timeout=SHORT)]
    assert kinds == [Kind.UNKNOWN, Kind.DELIVERED]
    wait_for(lambda: all(each["status"] for each in store.gate.requests), 20, "the first attempt reaches the store")
    assert [each["status"] for each in store.gate.requests] == [412, 200]
    assert held(store, tmp_path) == OURS


def test_other_bytes_under_the_name_are_a_conflict_whatever_the_way_there(store: Store, tmp_path: Path) -> None:
    assert deliver(store, envelope(b"theirs"))[0].kind is Kind.DELIVERED
    theirs = [(envelope().path, sha256(b"theirs").hexdigest(), 1)]
    for fault in ("none", "precondition_failed", "conflict", "store_then_precondition_failed", "store_then_conflict"):
        store.gate.play([fault])
        assert deliver(store, envelope())[0].kind is Kind.CONFLICT, fault
    assert held(store, tmp_path) == theirs


def test_writers_at_once_make_one_version_and_the_others_know_it(store: Store, tmp_path: Path) -> None:
    async def work() -> list[Outcome]:
        sinks = [ObjectStoreSink("lake", s3(store.endpoint)) for _ in range(12)]
        outcomes = await asyncio.gather(*(sink.send(envelope(b"%d" % n)) for n, sink in enumerate(sinks)))
        await asyncio.gather(*(sink.close() for sink in sinks))
        return outcomes

    kinds = [outcome.kind for outcome in run(work())]
    assert sorted(kinds) == [Kind.CONFLICT] * 11 + [Kind.DELIVERED]
    ((_, digest, versions),) = held(store, tmp_path)
    assert (digest, versions) == (sha256(b"%d" % kinds.index(Kind.DELIVERED)).hexdigest(), 1)


def test_a_multipart_upload_that_somebody_abandoned_is_no_object(store: Store, tmp_path: Path) -> None:
    client = store.client
    upload = client.create_multipart_upload(Bucket=BUCKET, Key=envelope().path)["UploadId"]
    client.upload_part(Bucket=BUCKET, Key=envelope().path, UploadId=upload, PartNumber=1, Body=b"half a batch")
    assert held(store, tmp_path) == []
    assert deliver(store, envelope())[0].kind is Kind.DELIVERED
    assert held(store, tmp_path) == OURS


def test_a_large_batch_is_one_create_only_request(store: Store, tmp_path: Path) -> None:
    """A multipart upload could be abandoned half-way, and some stores complete it over an existing object."""
    large = envelope(bytes(12 * 2**20))
    store.gate.play(["store_then_reset"])
    kinds = [outcome.kind for outcome in deliver(store, large, large._replace(attempt=2))]
    assert kinds == [Kind.UNKNOWN, Kind.DELIVERED]
    assert [(each["method"], each["status"]) for each in store.gate.requests] == [
        ("PUT", 200),
        ("PUT", 412),
        ("GET", 200),
    ]
    assert held(store, tmp_path) == [(large.path, large.body_digest.hex(), 1)]


MODES: list[tuple[dict[str, Any], set[Kind]]] = [
    ({"fault": "slow_down"}, {Kind.PAUSED}),
    ({"fault": "reset"}, {Kind.UNKNOWN}),
    ({"slow": 30.0}, {Kind.UNKNOWN}),
    ({"down": "refuse"}, {Kind.FAILED}),
    ({"down": "reset"}, {Kind.FAILED, Kind.UNKNOWN}),  # whether a byte went before the reset is chance
]


@pytest.mark.parametrize(("mode", "kinds"), MODES, ids=[str(row[0]) for row in MODES])
def test_a_mode_holds_for_every_batch_until_it_is_over(
    store: Store, tmp_path: Path, mode: dict[str, Any], kinds: set[Kind]
) -> None:
    batches = [envelope(batch=batch) for batch in (1, 2, 3)]
    store.change(**mode)
    assert {outcome.kind for outcome in deliver(store, *batches, timeout=SHORT)} <= kinds
    assert held(store, tmp_path) == []
    store.change(fault="", slow=0.0, down="")
    assert {outcome.kind for outcome in deliver(store, *batches)} == {Kind.DELIVERED}
    assert held(store, tmp_path) == sorted((each.path, sha256(BODY).hexdigest(), 1) for each in batches)


def test_what_is_no_fault_or_mode_is_named(store: Store) -> None:
    for wrong in ("explode", "status", "status:abc", "reset:1"):
        with pytest.raises(ValueError, match=f"'{wrong}' is no fault of a store"):
            store.gate.play([wrong])
        with pytest.raises(ValueError, match=f"'{wrong}' is no fault of a store"):
            store.change(fault=wrong)
    with pytest.raises(ValueError, match="'poison' is no mode"):
        store.change(poison=[])


def test_an_object_written_twice_shows(store: Store, tmp_path: Path) -> None:
    for body in (b"one", b"two"):
        store.client.put_object(Bucket=BUCKET, Key="a/b.json", Body=body)
    assert held(store, tmp_path) == [("a/b.json", sha256(b"two").hexdigest(), 2)]


def test_the_gate_changes_nothing_that_passes(store: Store) -> None:
    through = s3_client(store.endpoint)
    key, body = "year=2026/a b+c%2Fß.json", bytes(range(256)) * 100
    through.put_object(Bucket=BUCKET, Key=key, Body=body, ContentType="a/b", Metadata={"batch_digest": "x" * 64})
    for client in (store.client, through):
        found = client.get_object(Bucket=BUCKET, Key=key)
        assert found["Body"].read() == body
        head = client.head_object(Bucket=BUCKET, Key=key)
        assert (head["ContentLength"], head["ContentType"]) == (len(body), "a/b")
        assert head["Metadata"] == {"batch_digest": "x" * 64}
        with pytest.raises(client.exceptions.NoSuchKey):
            client.get_object(Bucket=BUCKET, Key="nothing")
    through.close()


@contextmanager
def recorded(store: Store, take: Callable[[str], None]) -> Iterator[None]:
    """Behind the gate a server that hands the head of every PUT to `take`, then says that it is stored."""

    class Listening(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            take(f"{self.requestline}\n{self.headers}")
            self.send_response(200)
            self.send_header("ETag", '"x"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *words: object) -> None:
            pass

    upstream = store.gate.upstream
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listening) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            store.gate.upstream = f"http://127.0.0.1:{server.server_port}"
            yield
        finally:
            store.gate.upstream = upstream
            server.shutdown()
            thread.join()


def test_what_a_signature_covers_reaches_the_store_as_it_was_sent(store: Store) -> None:
    heads: list[str] = []
    with recorded(store, heads.append):
        assert deliver(store, envelope())[0].kind is Kind.DELIVERED
    (head,) = heads
    lines = head.lower().splitlines()
    assert lines[0] == f"put /{BUCKET}/{envelope().path} http/1.1".replace("=", "%3d").lower()
    assert f"host: 127.0.0.1:{store.port}" in lines
    assert "if-none-match: *" in lines
    assert "x-amz-meta-record_count: 3" in lines
    assert any(line.startswith("authorization: aws4-hmac-sha256") for line in lines)


def test_writes_to_one_name_reach_the_store_one_after_the_other(store: Store) -> None:
    """moto looks whether an object is there and writes it in two steps."""
    taking, together = threading.Semaphore(1), threading.Event()

    def take(_head: str) -> None:
        if not taking.acquire(blocking=False):
            together.set()
            return
        together.wait(0.1)  # time for another to come in, if it can
        taking.release()

    async def work() -> None:
        sink = ObjectStoreSink("lake", s3(store.endpoint))
        await asyncio.gather(*(sink.send(envelope(attempt=n)) for n in range(4)))
        await sink.close()

    with recorded(store, take):
        run(work())
    assert not together.is_set()


OWNER = """
import sys, time
from chaos.store import Moto, Store
with Moto() as moto, Store(moto=moto):
    print(moto.process.pid, flush=True)
    time.sleep(600)
"""


def test_the_process_behind_does_not_outlive_a_killed_owner() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        child = int(owner.stdout.readline())
        owner.send_signal(signal.SIGKILL)

    def gone() -> bool:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return True
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

    wait_for(gone, 30, "the store's process ends")


def test_a_store_that_was_stopped_is_gone() -> None:
    with Store() as store:
        port = store.port
        assert store.partner(timeout=3)["options"]["endpoint"] == store.endpoint
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
