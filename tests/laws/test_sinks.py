"""Laws every sink keeps, whatever stands behind it: what dispatch relies on without asking which kind it has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from streams.delivery.engine import build_sink
from streams.delivery.object_store import sidecar_path
from streams.delivery.protocol import Envelope, Outcome
from streams.delivery.protocol import OutcomeKind as Kind
from tests.delivery.servers import Postgres, Sftp
from tests.delivery.worlds import (
    BUCKET,
    batches_on,
    closed_port,
    envelope,
    http,
    kafka_topic,
    postgres,
    run,
    s3,
    s3_client,
    s3_server,
    sftp,
    silent_port,
    store,
    table_of_the_page,
)
from tests.support import make_topic, unique_names
from topology.partner import Partner
from waybill.partner_sim import Server


class World(Protocol):
    """A partner to send to, and a way to look at what it holds without the sink."""

    def partner(self) -> Partner: ...
    def unreachable(self) -> Partner: ...
    def too_slow(self) -> Partner: ...
    def stored(self) -> dict[str, bytes]:
        """What the partner holds: bytes by idempotency key, or by object path."""
        ...


class HttpWorld:
    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        self.server = stack.enter_context(Server())
        self.closed = stack.enter_context(closed_port())
        self.silent = stack.enter_context(silent_port())

    def partner(self) -> Partner:
        return http(self.server.url)

    def unreachable(self) -> Partner:
        return http(f"http://127.0.0.1:{self.closed}/")

    def too_slow(self) -> Partner:
        return http(f"http://127.0.0.1:{self.silent}/", timeout=0.3)

    def stored(self) -> dict[str, bytes]:
        return dict(self.server.partner.bodies)


class FolderWorld:
    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        self.root = tmp_path
        (tmp_path / "file").write_bytes(b"")

    def partner(self) -> Partner:
        return store(f"file://{self.root}/lake")

    def unreachable(self) -> Partner:
        return store(f"file://{self.root}/file/lake")

    def too_slow(self) -> Partner:
        return store(f"file://{self.root}/slow", timeout=1e-9)

    def stored(self) -> dict[str, bytes]:
        lake = self.root / "lake"
        found = {str(path.relative_to(lake)): path.read_bytes() for path in lake.rglob("*") if path.is_file()}
        sidecars = {sidecar_path(path) for path in found}
        return {path: data for path, data in found.items() if path not in sidecars}


class BucketWorld:
    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        self.endpoint = stack.enter_context(s3_server())
        self.closed = stack.enter_context(closed_port())
        self.silent = stack.enter_context(silent_port())
        client = s3_client(self.endpoint)
        for old in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
            client.delete_object(Bucket=BUCKET, Key=old["Key"])  # the server's memory outlives the server
        client.close()

    def partner(self) -> Partner:
        return s3(self.endpoint)

    def unreachable(self) -> Partner:
        return s3(f"http://127.0.0.1:{self.closed}")

    def too_slow(self) -> Partner:
        return s3(f"http://127.0.0.1:{self.silent}", timeout=0.3)

    def stored(self) -> dict[str, bytes]:
        client = s3_client(self.endpoint)
        keys = [item["Key"] for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]
        found = {key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}
        client.close()
        return found


class TopicWorld:
    def __init__(self, stack: ExitStack, kafka: str) -> None:
        self.brokers, self.topic = kafka, unique_names()("batches")
        self.closed = stack.enter_context(closed_port())
        self.silent = stack.enter_context(silent_port())
        make_topic(kafka, self.topic, 2, {"max.message.bytes": "8000000"})

    def partner(self) -> Partner:
        return kafka_topic(self.brokers, self.topic)

    def unreachable(self) -> Partner:
        return kafka_topic(f"127.0.0.1:{self.closed}", self.topic, timeout=1.0)

    def too_slow(self) -> Partner:
        """A cluster that says nothing, so that nothing is begun; tests/laws/test_sinks_under_fire.py has one that falls
        silent later."""
        return kafka_topic(f"127.0.0.1:{self.silent}", self.topic, timeout=1.0)

    def stored(self) -> dict[str, bytes]:
        found = batches_on(self.brokers, self.topic)
        assert len({key for key, _ in found}) == len(found), "a batch is there twice"
        return dict(found)


class TableWorld:
    def __init__(self, stack: ExitStack, server: Postgres) -> None:
        self.server, self.table = server, unique_names().prefix
        self.closed = stack.enter_context(closed_port())
        server.query(table_of_the_page().replace("waybill_batches", self.table))

    def partner(self) -> Partner:
        return postgres(self.server, table=self.table)

    def unreachable(self) -> Partner:
        return postgres(self.server, self.closed)

    def too_slow(self) -> Partner:
        """A table whose rows take for ever to commit."""
        self.server.query(
            "CREATE OR REPLACE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(600); RETURN NULL; END $$;"
            f"CREATE CONSTRAINT TRIGGER late AFTER INSERT ON {self.table} DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION wait();"
        )
        return postgres(self.server, timeout=0.5, table=self.table)

    def stored(self) -> dict[str, bytes]:
        return {row["batch_id"].hex(): row["body"] for row in self.server.query(f"SELECT * FROM {self.table}")}


class DropWorld:
    def __init__(self, stack: ExitStack, server: Sftp) -> None:
        self.server = server
        self.closed = stack.enter_context(closed_port())
        self.folder = unique_names().prefix

    def partner(self) -> Partner:
        return sftp(self.server, self.folder)

    def unreachable(self) -> Partner:
        return sftp(self.server, port=self.closed)

    def too_slow(self) -> Partner:
        return sftp(self.server, f"slow/{self.folder}", timeout=0.5)

    def stored(self) -> dict[str, bytes]:
        files = [path for path in (self.server.root / self.folder).rglob("*") if path.is_file()]
        return {path.name: path.read_bytes() for path in files if not path.name.startswith(".")}


WORLDS: dict[str, Callable[[ExitStack, Any], World]] = {
    "http": HttpWorld, "folder": FolderWorld, "bucket": BucketWorld, "topic": TopicWorld, "table": TableWorld,
    "drop": DropWorld,
}  # fmt: skip
NEEDS = {"topic": "kafka", "table": "table_server", "drop": "drop_server"}


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.kafka) if name == "topic" else name for name in WORLDS])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with ExitStack() as stack:
        yield WORLDS[request.param](stack, request.getfixturevalue(NEEDS.get(request.param, "tmp_path")))


def deliver(partner: Partner, *envelopes: Envelope) -> list[Outcome]:
    async def work() -> list[Outcome]:
        sink = build_sink("p", partner)
        try:
            return [await sink.send(each) for each in envelopes]
        finally:
            await sink.close()
            await sink.close()

    return run(work())


def test_the_same_envelope_twice_has_one_effect_and_both_are_delivered(world: World) -> None:
    outcomes = deliver(world.partner(), envelope(), envelope(attempt=2, flush_utc="2026-02-01T00:00:00Z"))
    assert [outcome.kind for outcome in outcomes] == [Kind.DELIVERED, Kind.DELIVERED]
    assert list(world.stored().values()) == [envelope().body]


def test_the_next_life_of_a_process_finds_what_the_last_one_delivered(world: World) -> None:
    (first,) = deliver(world.partner(), envelope())
    (second,) = deliver(world.partner(), envelope()._replace(attempt=2, life=2))
    assert (first.kind, second.kind) == (Kind.DELIVERED, Kind.DELIVERED)
    assert len(world.stored()) == 1


def test_other_bytes_under_the_same_id_never_overwrite(world: World) -> None:
    original, other = envelope(b'{"a":1}'), envelope(b'{"a":2}')
    outcomes = deliver(world.partner(), original, other, original)
    assert [outcome.kind for outcome in outcomes] == [Kind.DELIVERED, Kind.CONFLICT, Kind.DELIVERED]
    assert list(world.stored().values()) == [b'{"a":1}']


BODIES = [b"", b"{}", bytes(range(256)), '{"ß":"\u2028\U0001f321"}'.encode(), b"\r\n" * 3, b"x" * 5_000_000]


def test_bodies_arrive_byte_for_byte_and_are_kept_apart(world: World) -> None:
    outcomes = deliver(world.partner(), *(envelope(body, batch=number) for number, body in enumerate(BODIES)))
    assert [outcome.kind for outcome in outcomes] == [Kind.DELIVERED] * len(BODIES)
    assert sorted(world.stored().values()) == sorted(BODIES)


def test_two_attempts_at_once_have_one_effect(world: World) -> None:
    async def work() -> list[Outcome]:
        sinks = [build_sink("p", world.partner()) for _ in range(4)]
        outcomes = await asyncio.gather(*(sink.send(envelope(attempt=n)) for n, sink in enumerate(sinks, 1)))
        await asyncio.gather(*(sink.close() for sink in sinks))
        return outcomes

    kinds = {outcome.kind for outcome in run(work())}
    assert Kind.DELIVERED in kinds
    assert kinds <= {Kind.DELIVERED, Kind.UNKNOWN}
    assert list(world.stored().values()) == [envelope().body]


def test_a_time_out_is_unknown_unless_nothing_was_begun(world: World) -> None:
    partner = world.too_slow()
    for times in (1, 4, 16, 64):  # a busy machine may begin nothing in the first
        (outcome,) = deliver(partner.model_copy(update={"timeout": partner.timeout * times}), envelope())
        if outcome.kind is Kind.UNKNOWN or isinstance(world, TopicWorld):
            break
        assert outcome.kind is Kind.FAILED
    assert outcome.kind is (Kind.FAILED if isinstance(world, TopicWorld) else Kind.UNKNOWN)


def test_an_unreachable_partner_is_a_known_failure_every_time(world: World) -> None:
    outcomes = deliver(world.unreachable(), envelope(), envelope(attempt=2))
    assert [outcome.kind for outcome in outcomes] == [Kind.FAILED, Kind.FAILED]
    assert all(outcome.answer for outcome in outcomes)


HOSTILE: list[dict[str, Any]] = [
    *({"metadata": envelope(flush_utc=text).metadata} for text in ("a\r\nX: b", "\ud800", "\x00", "ü" * 100_000)),
    {"metadata": {"": "empty name"}},
    {"metadata": {}},
    {"content_type": "a\r\nb"},
    {"idempotency_key": "\x00\r\n"},
    *({"path": path} for path in ("", "/", "a/../../b.json", "a//b.json", "a/\x00.json", f"a/{'x' * 5000}.json")),
    {"body_digest": b""},
]
"""What is wrong about an envelope."""


def test_send_never_raises_and_the_sink_works_on(world: World) -> None:
    async def work() -> None:
        sink = build_sink("p", world.partner())
        for number, hostile in enumerate(HOSTILE):
            outcome = await sink.send(envelope(batch=number)._replace(**hostile))
            assert isinstance(outcome, Outcome), hostile
            assert isinstance(outcome.kind, Kind), hostile
            next_one = await sink.send(envelope(b"good", batch=100 + number))
            assert next_one.kind is Kind.DELIVERED, (hostile, next_one)
        await sink.close()

    run(work())


def test_cancelling_an_attempt_cancels_it(world: World) -> None:
    async def work() -> None:
        sink = build_sink("p", world.too_slow().model_copy(update={"timeout": 30.0}))
        attempt = asyncio.create_task(sink.send(envelope()))
        await asyncio.sleep(0)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        await sink.close()

    run(work())
