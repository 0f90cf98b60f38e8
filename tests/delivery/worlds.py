"""Partners on real sockets and folders for the tests of delivery, and the envelopes sent to them."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from confluent_kafka import Consumer, KafkaError, TopicPartition
from moto.server import ThreadedMotoServer

from streams.delivery.object_store import object_path
from streams.delivery.protocol import Envelope
from topology.credentials import Secret
from topology.partner import HttpPartner, KafkaPartner, ObjectStorePartner, PostgresPartner, SftpPartner

if TYPE_CHECKING:
    from tests.delivery.servers import Postgres, Sftp

T = TypeVar("T")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "sinks.md"
BODY = b'{"records":[1,2,3]}'
BUCKET = "lake"


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs one coroutine in a loop of its own, with asyncio's own checks on."""
    return asyncio.run(work, debug=True)


def envelope(body: bytes = BODY, *, batch: int = 1, attempt: int = 1, partner: str = "p", **metadata: str) -> Envelope:
    """An attempt of batch number `batch`."""
    batch_id = sha256(b"%d" % batch).digest()
    given = {"batch_digest": batch_id.hex(), "record_count": "3", "flush_utc": "2026-01-31T12:00:00Z"} | metadata
    return Envelope(
        batch_id=batch_id,
        idempotency_key=batch_id.hex(),
        partner=partner,
        path=object_path("coldchain", "2026-01-31", batch_id.hex()),
        body=body,
        body_digest=sha256(body).digest(),
        content_type="application/json",
        metadata=given,
        attempt=attempt,
        life=1,
    )


def http(url: str, timeout: float = 10.0, **more: Any) -> HttpPartner:
    """An HTTP partner."""
    return HttpPartner(kind="http", url=url, timeout=timeout, **more)


def store(url: str, timeout: float = 10.0, **options: str) -> ObjectStorePartner:
    """A folder or bucket."""
    return ObjectStorePartner(kind="object-store", url=url, timeout=timeout, options=options)


def s3(endpoint: str, bucket: str = BUCKET, timeout: float = 10.0) -> ObjectStorePartner:
    """A bucket of an S3 server on this machine, with made-up credentials."""
    return store(
        f"s3://{bucket}",
        timeout,
        endpoint=endpoint,
        region="us-east-1",
        access_key_id="test-access",
        secret_access_key="test-secret",
    )


def kafka_topic(brokers: str, topic: str, timeout: float = 60.0, **more: Any) -> KafkaPartner:
    """A topic."""
    return KafkaPartner(kind="kafka", brokers=brokers, topic=topic, timeout=timeout, **more)


def postgres(server: Postgres, port: int | None = None, timeout: float = 60.0, **more: Any) -> PostgresPartner:
    """A table."""
    password = Secret(file=str(server.password))
    return PostgresPartner(kind="postgres", url=server.url(port), password=password, timeout=timeout, **more)


def sftp(server: Sftp, folder: str = "drop", port: int | None = None, timeout: float = 60.0) -> SftpPartner:
    """A folder."""
    return SftpPartner(
        kind="sftp",
        url=f"sftp://waybill@127.0.0.1:{port or server.port}/{folder}",
        known_hosts=str(server.known_hosts),
        private_key=str(server.private_key),
        timeout=timeout,
    )


def table_of_the_page() -> str:
    """The statement of docs/sinks.md by which an operator makes the table."""
    found = re.search(r"^CREATE TABLE waybill_batches \(.*?^\);", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[0]


def batches_on(brokers: str, topic: str) -> list[tuple[str, bytes]]:
    """Key and body of every committed message, read by a consumer that shares no code with the sink."""
    settings = {"bootstrap.servers": brokers, "group.id": "look", "isolation.level": "read_committed",
                "enable.partition.eof": True, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 20}  # fmt: skip
    consumer = Consumer(settings)
    partitions = consumer.list_topics(topic, timeout=20).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    found, left = [], set(partitions)
    while left:
        for message in consumer.consume(100, 0.05):
            if message.error() is None:
                found.append((message.key().decode(), message.value()))
            else:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                left.discard(message.partition())
    consumer.close()
    return found


def s3_client(endpoint: str) -> Any:
    """A client that shares no code with the sink."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test-access",
        aws_secret_access_key="test-secret",
    )


@contextmanager
def s3_server() -> Iterator[str]:
    """Endpoint of an S3 server with one empty bucket."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        client = s3_client(endpoint)
        client.create_bucket(Bucket=BUCKET)
        client.close()
        yield endpoint
    finally:
        server.stop()


@contextmanager
def closed_port() -> Iterator[int]:
    """A port on which nobody listens, kept from others."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield listener.getsockname()[1]


@contextmanager
def canned_port(answer: bytes, until: bytes = b"\r\n\r\n") -> Iterator[int]:
    """A port that reads a request until it has seen `until`, gives `answer` and closes."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, suppress(OSError):  # the client may hang up at any point
                    seen = b""
                    while until not in seen and (part := connection.recv(65536)):
                        seen += part
                    connection.sendall(answer)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
