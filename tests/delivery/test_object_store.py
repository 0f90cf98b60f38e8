"""Object stores: create-only, whole or absent, the same path for every attempt (DEL-04, DEL-05, IDM-05, trap T6)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import orjson
import pytest

from streams.delivery.object_store import OBJECT_STORE_SLOTS, ObjectStoreSink, object_path, sidecar_path
from streams.delivery.protocol import Envelope, Outcome
from streams.delivery.protocol import OutcomeKind as Kind
from tests.delivery.worlds import (
    BODY,
    BUCKET,
    canned_port,
    closed_port,
    envelope,
    run,
    s3,
    s3_client,
    s3_server,
    silent_port,
    store,
)
from topology.partner import ObjectStorePartner


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as url:
        yield url


def deliver(partner: ObjectStorePartner, *envelopes: Envelope) -> list[Outcome]:
    async def work() -> list[Outcome]:
        sink = ObjectStoreSink("p", partner)
        try:
            return [await sink.send(each) for each in envelopes]
        finally:
            await sink.close()

    return run(work())


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_path_comes_from_date_and_batch_id_alone() -> None:
    digest = sha256(b"x").hexdigest()
    assert object_path("coldchain", "2026-01-31", digest) == (
        f"coldchain/year=2026/month=01/day=31/batch_{digest}.json"
    )
    assert object_path("", "2026-01-31", "ab") == "year=2026/month=01/day=31/batch_ab.json"
    assert object_path("/a//b/", "2026-01-31", "ab") == "a/b/year=2026/month=01/day=31/batch_ab.json"
    for wrong in ("2026-1-31", "2026-01-31T00:00:00Z", "../../etc", "", "２０２６-01-31"):
        with pytest.raises(ValueError, match="YYYY-MM-DD"):
            object_path("coldchain", wrong, digest)


def test_folder_holds_the_body_and_its_metadata_beside_it(tmp_path: Path) -> None:
    (outcome,) = deliver(store(f"file://{tmp_path}/new/lake"), envelope())
    assert outcome.kind is Kind.DELIVERED
    one = envelope()
    found = files(tmp_path / "new" / "lake")
    assert set(found) == {one.path, sidecar_path(one.path)}
    assert found[one.path] == BODY
    assert orjson.loads(found[sidecar_path(one.path)]) == {"content_type": "application/json", **one.metadata}


def test_relative_folder_lies_below_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    deliver(store("file:lake"), envelope())
    assert (tmp_path / "lake" / envelope().path).read_bytes() == BODY


def test_metadata_of_the_first_attempt_stay(tmp_path: Path) -> None:
    first, later = envelope(flush_utc="2026-01-31T12:00:00Z"), envelope(flush_utc="2026-01-31T13:00:00Z", attempt=2)
    assert [o.kind for o in deliver(store(f"file://{tmp_path}"), first, later)] == [Kind.DELIVERED] * 2
    assert orjson.loads(files(tmp_path)[sidecar_path(first.path)])["flush_utc"] == "2026-01-31T12:00:00Z"


def test_a_retry_writes_the_sidecar_an_interrupted_attempt_left_out(tmp_path: Path) -> None:
    one = envelope()
    (tmp_path / one.path).parent.mkdir(parents=True)
    (tmp_path / one.path).write_bytes(BODY)
    (outcome,) = deliver(store(f"file://{tmp_path}"), one)
    assert outcome.kind is Kind.DELIVERED
    assert sidecar_path(one.path) in files(tmp_path)


def test_a_sidecar_that_cannot_be_written_is_no_success(tmp_path: Path) -> None:
    one = envelope(flush_utc="\ud800")  # half a character, which no JSON can hold
    (outcome,) = deliver(store(f"file://{tmp_path}"), one)
    assert outcome.kind is Kind.UNKNOWN, "the object is there, so this is no known failure either"
    assert files(tmp_path) == {one.path: BODY}


def test_a_folder_that_comes_back_is_reached_by_the_same_sink(tmp_path: Path) -> None:
    async def work() -> None:
        mount = tmp_path / "mount"
        mount.write_bytes(b"")  # in the way, as an unmounted disk may be
        sink = ObjectStoreSink("p", store(f"file://{mount}/lake"))
        assert (await sink.send(envelope())).kind is Kind.FAILED
        mount.unlink()
        assert (await sink.send(envelope(attempt=2))).kind is Kind.DELIVERED
        await sink.close()

    run(work())


@pytest.mark.parametrize("stored", [b"", BODY[:-1], BODY.replace(b"1", b"9")], ids=["empty", "short", "same length"])
def test_a_different_stored_object_is_a_conflict_and_stays(tmp_path: Path, stored: bytes) -> None:
    one = envelope()
    (tmp_path / one.path).parent.mkdir(parents=True)
    (tmp_path / one.path).write_bytes(stored)
    (outcome,) = deliver(store(f"file://{tmp_path}"), one)
    assert outcome.kind is Kind.CONFLICT
    assert files(tmp_path) == {one.path: stored}


WRITER = """
import asyncio, resource, signal, sys
sys.path.insert(0, {root!r})
from streams.delivery.object_store import ObjectStoreSink
from tests.delivery.worlds import envelope, store
if {die}:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
print(asyncio.run(ObjectStoreSink("p", store({url!r})).send(envelope(b"x" * 65536))).kind)
"""


def write_limited(folder: Path, *, die: bool) -> subprocess.CompletedProcess[str]:
    """Sends 64 KiB from a process whose files may hold 4 KiB: the write fails in the middle, or kills the process."""
    script = WRITER.format(root=str(Path(__file__).parents[2]), url=f"file://{folder}", die=die)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False, env=environment
    )


def test_a_process_killed_in_the_middle_of_a_write_leaves_no_torn_object(tmp_path: Path) -> None:
    killed = write_limited(tmp_path, die=True)
    assert killed.returncode < 0, killed.stderr
    one = envelope(b"x" * 65536)
    assert (tmp_path / one.path).parent.is_dir(), "the write had begun"
    assert not (tmp_path / one.path).exists()
    (retried,) = deliver(store(f"file://{tmp_path}"), one)
    assert retried.kind is Kind.DELIVERED
    assert (tmp_path / one.path).read_bytes() == one.body


def test_a_folder_that_takes_no_more_bytes_is_a_known_failure(tmp_path: Path) -> None:
    full = write_limited(tmp_path, die=False)
    assert full.stdout.strip() == Kind.FAILED, full.stderr
    assert not (tmp_path / envelope().path).exists()


def test_delivered_means_synced_down_to_the_root_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[str] = set()
    fsync = os.fsync

    def note(descriptor: int) -> None:
        fsync(descriptor)
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(os, "fsync", note)
    root = tmp_path / "lake"
    deliver(store(f"file://{root}"), envelope())
    path = root / envelope().path
    expected = {path, root / sidecar_path(envelope().path), *(p for p in path.parents if p.is_relative_to(root))}
    assert {Path(name) for name in synced} == expected


def test_a_sync_that_fails_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    (outcome,) = deliver(store(f"file://{tmp_path}"), envelope())
    assert outcome.kind is Kind.UNKNOWN
    assert "Input/output error" in outcome.answer


def test_bucket_object_carries_its_metadata_as_attributes(endpoint: str) -> None:
    one = envelope(batch=100)
    first, again = deliver(s3(endpoint), one, one._replace(attempt=2, metadata={"flush_utc": "later"}))
    assert (first.kind, again.kind) == (Kind.DELIVERED, Kind.DELIVERED)
    client = s3_client(endpoint)
    found = client.get_object(Bucket=BUCKET, Key=one.path)
    assert found["Body"].read() == BODY
    assert found["ContentType"] == "application/json"
    assert found["Metadata"] == dict(one.metadata)
    listed = client.list_objects_v2(Bucket=BUCKET)["Contents"]
    client.close()
    assert [item["Key"] for item in listed if one.idempotency_key in item["Key"]] == [one.path]


def test_a_bucket_that_is_not_there_stops_the_partner(endpoint: str) -> None:
    (outcome,) = deliver(s3(endpoint, bucket="nobody"), envelope())
    assert outcome.kind is Kind.STOPPED
    assert "NoSuchBucket" in outcome.answer


XML = b"Content-Type: application/xml\r\n"
SLOW_DOWN = b"<Error><Code>SlowDown</Code></Error>"
CONNECT = (
    b"\n\nDebug source:\n inner: Http(\n    HttpError {\n        kind: Connect,\n inner: Status {\n    status: 400,\n"
)
S3_ANSWERS = [
    (b"", Kind.UNKNOWN),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\ncut", Kind.UNKNOWN),
    (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", Kind.UNKNOWN),
    (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", Kind.UNKNOWN),
    (b"HTTP/1.1 503 Busy\r\nContent-Length: %d\r\n\r\n%b" % (len(SLOW_DOWN), SLOW_DOWN), Kind.PAUSED),
    (b"HTTP/1.1 429 Many\r\nContent-Length: 0\r\n\r\n", Kind.PAUSED),
    (b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n", Kind.REFUSED),
    (b"HTTP/1.1 301 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", Kind.REFUSED),
    (b"HTTP/1.1 401 Who\r\nContent-Length: 0\r\n\r\n", Kind.STOPPED),
    (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", Kind.STOPPED),
    (b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n", Kind.UNKNOWN),
    # words of the server that look like those of the client decide nothing
    (b"HTTP/1.1 500 Oops\r\nContent-Length: %d\r\n\r\n%b" % (len(CONNECT), CONNECT), Kind.UNKNOWN),
]


@pytest.mark.parametrize(
    ("answer", "kind"), S3_ANSWERS, ids=[f"{a[9:12].decode() or 'none'}-{k}" for a, k in S3_ANSWERS]
)
def test_answers_of_a_bucket(answer: bytes, kind: Kind) -> None:
    with canned_port(answer) as port:
        (outcome,) = deliver(s3(f"http://127.0.0.1:{port}"), envelope())
    assert outcome.kind is kind
    assert (outcome.retry_after is not None) == (kind is Kind.PAUSED)
    assert "test-secret" not in outcome.answer


def test_a_bucket_out_of_reach_is_a_known_failure_and_a_silent_one_unknown() -> None:
    with closed_port() as port:
        (refused,) = deliver(s3(f"http://127.0.0.1:{port}"), envelope())
    assert refused.kind is Kind.FAILED
    assert "Connection refused" in refused.answer
    with silent_port() as port:
        (silent,) = deliver(s3(f"http://127.0.0.1:{port}", timeout=0.3), envelope())
    assert silent.kind is Kind.UNKNOWN


def test_one_attempt_is_one_request() -> None:
    """A retry inside the client could end as a known failure after a request that took effect."""
    requests = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    requests.append(connection.recv(65536))
                    connection.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        deliver(s3(f"http://127.0.0.1:{listener.getsockname()[1]}"), envelope())
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert len(requests) == 1
    assert b"if-none-match: *" in requests[0].lower()


def test_a_wrong_url_or_option_is_refused_when_built_and_names_no_secret() -> None:
    with pytest.raises(ValueError, match="zz://lake"):
        ObjectStoreSink("lake", store("zz://lake"))
    with pytest.raises(ValueError, match="endpiont") as caught:
        ObjectStoreSink("lake", store("s3://lake", endpiont="http://x", secret_access_key="sesame-secret"))
    assert "sesame" not in str(caught.value)


def test_a_folder_that_hangs_holds_no_more_bodies_than_it_has_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    healed, entered = threading.Event(), []

    def hang(self: ObjectStoreSink, *_: object) -> Outcome:
        entered.append(1)
        assert healed.wait(60)
        return Outcome(Kind.DELIVERED, "stored")

    monkeypatch.setattr(ObjectStoreSink, "_create", hang)

    async def work() -> None:
        sink = ObjectStoreSink("p", store(tmp_path.as_uri(), timeout=0.05))
        try:
            kinds = [(await sink.send(envelope(batch=n))).kind for n in range(OBJECT_STORE_SLOTS + 5)]
            assert kinds == [Kind.UNKNOWN] * OBJECT_STORE_SLOTS + [Kind.FAILED] * 5
            assert len(entered) == OBJECT_STORE_SLOTS
            healed.set()
            deadline = time.monotonic() + 60
            while (await sink.send(envelope(batch=99))).kind is not Kind.DELIVERED:
                assert time.monotonic() < deadline
        finally:
            healed.set()
            await sink.close()

    run(work())
