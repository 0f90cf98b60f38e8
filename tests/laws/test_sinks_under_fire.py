"""Laws 4 and 7 for every sink, whatever faults it meets in whatever order: delivered means stored, a known failure
means that this attempt stored nothing, and a retry with the same key ends with one effect."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from typing import Protocol

import pytest

from chaos.brokers import Broker
from chaos.kafka_frames import Api
from chaos.proxy import After, Way
from chaos.store import Store
from chaos.store_faults import FAULTS as STORE_FAULTS
from streams.delivery.engine import build_sink
from streams.delivery.protocol import Envelope
from streams.delivery.protocol import OutcomeKind as Kind
from tests.delivery.servers import Cutter, Postgres, Sftp, postgres_server, sftp_server
from tests.delivery.worlds import (
    BODY,
    BUCKET,
    batches_on,
    envelope,
    http,
    kafka_topic,
    postgres,
    run,
    s3,
    sftp,
    table_of_the_page,
)
from tests.support import Names, make_topic
from topology.partner import Partner
from waybill.partner_sim import FAULTS as PARTNER_FAULTS
from waybill.partner_sim import NO_FAULT, Server, check_faults

TIMEOUT = 0.4
"""Seconds; several of the faults only end by it."""
BATCHES = 6
ATTEMPTS = 2
AFTERWARDS = {"store_late", "in_progress"}
"""Faults that, with seconds, store when the attempt is over: of the next attempt no more can be said than of them."""
LIES = {"holds_other"}
"""Faults that claim other bytes under the key; only after these a conflict is right."""
STEPS = [Api.INIT_PRODUCER_ID, Api.ADD_PARTITIONS_TO_TXN, Api.PRODUCE, Api.END_TXN, Api.LIST_OFFSETS, Api.FETCH]
"""Requests of one delivery to a topic."""
STATUSES = ["status:500", "status:503", "status:400", "status:403", "status:404", "status:429"]


class World(Protocol):
    def partner(self) -> Partner: ...
    def draw(self, chance: random.Random) -> list[str]:
        """Queues faults for one attempt; returns them."""
        ...

    def heal(self) -> None:
        """Queues nothing."""
        ...

    def effects(self, one: Envelope) -> list[str]:
        """Digest of what the partner holds of a batch, once for every time it took effect."""
        ...


class TopicWorld:
    def __init__(self, broker: Broker, topic: str) -> None:
        self.broker, self.topic = broker, topic
        make_topic(broker.bootstrap, topic, 2)

    def partner(self) -> Partner:
        return kafka_topic(self.broker.proxy.bootstrap, self.topic, timeout=3.0)

    def draw(self, chance: random.Random) -> list[str]:
        self.heal()
        api, way = chance.choice(STEPS), chance.choice(list(Way))
        count, then = chance.choice([1, 1000]), chance.choice(list(After))
        self.broker.proxy.lose(api, count, way, then)
        return [f"{way.value} of {api.name} lost {count} times, then {then.value}"]

    def heal(self) -> None:
        self.broker.proxy.heal()

    def effects(self, one: Envelope) -> list[str]:
        found = batches_on(self.broker.bootstrap, self.topic)
        return [sha256(body).hexdigest() for key, body in found if key == one.idempotency_key]


class TableWorld:
    def __init__(self, server: Postgres, cutter: Cutter, table: str) -> None:
        self.server, self.cutter, self.table = server, cutter, table
        server.query(table_of_the_page().replace("waybill_batches", table))

    def partner(self) -> Partner:
        return postgres(self.server, self.cutter.port, timeout=TIMEOUT * 10, table=self.table)

    def draw(self, chance: random.Random) -> list[str]:
        return draw_cut(self.cutter, chance, 2_000)

    def heal(self) -> None:
        self.cutter.heal()

    def effects(self, one: Envelope) -> list[str]:
        rows = self.server.query(f"SELECT body FROM {self.table} WHERE batch_id = $1", one.batch_id)
        return [sha256(row["body"]).hexdigest() for row in rows]


class DropWorld:
    def __init__(self, server: Sftp, cutter: Cutter, folder: str) -> None:
        self.server, self.cutter, self.folder = server, cutter, folder
        server.know(cutter.port)

    def partner(self) -> Partner:
        return sftp(self.server, self.folder, self.cutter.port, timeout=TIMEOUT * 10)

    def draw(self, chance: random.Random) -> list[str]:
        return draw_cut(self.cutter, chance, 6_000)

    def heal(self) -> None:
        self.cutter.heal()

    def effects(self, one: Envelope) -> list[str]:
        place = self.server.root / self.folder / one.path
        return [sha256(place.read_bytes()).hexdigest()] if place.exists() else []


def draw_cut(cutter: Cutter, chance: random.Random, most: int) -> list[str]:
    """Cuts after some of the bytes of one delivery, of which there are about `most`."""
    way, size = chance.choice(["up", "down"]), chance.randrange(most)
    cutter.cut_after(way, size)
    return [f"cut after {size} bytes {way}"]


class HttpWorld:
    def __init__(self, server: Server) -> None:
        self.server = server

    def partner(self) -> Partner:
        return http(self.server.url, timeout=TIMEOUT)

    def draw(self, chance: random.Random) -> list[str]:
        names = sorted(PARTNER_FAULTS.keys() - AFTERWARDS - {"status"})
        drawn = check_faults([chance.choice([*names, *STATUSES, "reset_before_read", NO_FAULT])])
        self.heal()
        self.server.partner.faults.extend(drawn)
        return drawn

    def heal(self) -> None:
        self.server.partner.faults.clear()

    def effects(self, one: Envelope) -> list[str]:
        return [effect["digest"] for effect in self.server.partner.effects if effect["key"] == one.idempotency_key]


class BucketWorld:
    def __init__(self, store: Store) -> None:
        self.store = store

    def partner(self) -> Partner:
        return s3(self.store.endpoint, timeout=TIMEOUT)

    def draw(self, chance: random.Random) -> list[str]:
        names = sorted(STORE_FAULTS.keys() - AFTERWARDS - {"status"})
        write, read = (chance.choice([*names, *STATUSES, NO_FAULT, NO_FAULT]) for _ in range(2))
        self.heal()
        self.store.gate.play([write], [read])
        return [write, read]

    def heal(self) -> None:
        self.store.gate.faults.clear()
        self.store.gate.read_faults.clear()

    def effects(self, one: Envelope) -> list[str]:
        client, path = self.store.client, one.path
        versions = client.list_object_versions(Bucket=BUCKET, Prefix=path).get("Versions", [])
        found = [client.get_object(Bucket=BUCKET, Key=path, VersionId=each["VersionId"]) for each in versions]
        return [sha256(each["Body"].read()).hexdigest() for each in found]


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with Store(BUCKET) as running:
        yield running


@pytest.fixture(scope="module")
def broker(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker of this module with a proxy before it (`kafka` says whether this machine can run one)."""
    with Broker(tmp_path_factory.mktemp("proxied"), proxied=True) as broker:
        yield broker


@pytest.fixture(scope="module")
def table() -> Iterator[tuple[Postgres, Cutter]]:
    with postgres_server() as server, closing(Cutter(server.port)) as cutter:
        yield server, cutter


@pytest.fixture(scope="module")
def drop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sftp, Cutter]]:
    with sftp_server(tmp_path_factory.mktemp("sftp")) as server, closing(Cutter(server.port)) as cutter:
        yield server, cutter


@pytest.fixture
def world(request: pytest.FixtureRequest, names: Names) -> Iterator[World]:
    need = request.getfixturevalue
    match request.param:
        case "http":
            with Server() as server:
                yield HttpWorld(server)
        case "bucket":
            yield BucketWorld(need("store"))
        case "topic":
            yield TopicWorld(need("broker"), names("batches"))
            need("broker").proxy.heal()
        case "table":
            table, cutter = need("table")
            yield TableWorld(table, cutter, names.prefix)
        case "drop":
            drop, cutter = need("drop")
            yield DropWorld(drop, cutter, names.prefix)


CASES = [
    *((name, seed) for name in ("http", "bucket") for seed in range(6)),
    *((name, seed) for name in ("table", "drop") for seed in range(2)),
    pytest.param("topic", 0, marks=pytest.mark.kafka),  # half a minute: lost answers are waited for
]


@pytest.mark.parametrize(("world", "seed"), CASES, indirect=["world"])
def test_whatever_happens_the_outcome_is_honest_and_the_effect_is_one(world: World, seed: int) -> None:
    chance = random.Random(seed)

    async def work() -> None:
        for batch in range(BATCHES):
            await _fire_at(world, chance, seed * BATCHES + batch)

    run(work())


async def _fire_at(world: World, chance: random.Random, batch: int) -> None:
    """One batch, a few attempts with faults, and one without."""
    body = BODY + b" " * batch
    one, ours = envelope(body, batch=batch), sha256(body).hexdigest()
    sink = build_sink("p", world.partner())
    for attempt in range(1, ATTEMPTS + 1):
        before = world.effects(one)
        faults = world.draw(chance)
        outcome = await sink.send(one._replace(attempt=attempt))
        after = world.effects(one)
        said = f"batch {batch}, attempt {attempt} met {faults}: {outcome}; effects {before} -> {after}"
        assert after.count(ours) <= 1, said
        if outcome.kind is Kind.DELIVERED:
            assert ours in after, said
        elif outcome.kind is Kind.CONFLICT:
            assert set(faults) & LIES, said
        elif outcome.kind is not Kind.UNKNOWN:
            assert before == after, said
    await sink.close()
    world.heal()
    sink = build_sink("p", world.partner().model_copy(update={"timeout": 10.0}))
    assert (await sink.send(one._replace(attempt=ATTEMPTS + 1))).kind is Kind.DELIVERED
    await sink.close()
    assert world.effects(one).count(ours) == 1


@pytest.mark.kafka
def test_a_commit_whose_answer_never_comes_is_unknown_and_the_topic_is_asked_afterwards(
    broker: Broker, names: Names
) -> None:
    world, one = TopicWorld(broker, names("batches")), envelope()

    async def work() -> None:
        sink = build_sink("p", world.partner())
        assert (await sink.send(envelope(b"first", batch=2))).kind is Kind.DELIVERED, "the sink is at work"
        for api in (Api.END_TXN, Api.INIT_PRODUCER_ID):
            broker.proxy.lose(api, 1000, Way.ANSWER, After.STALL)
        assert (await sink.send(one)).kind is Kind.UNKNOWN
        broker.proxy.heal()
        outcome = await sink.send(one._replace(attempt=2))
        assert (outcome.kind, outcome.answer.partition(":")[0]) == (Kind.DELIVERED, "already there")
        await sink.close()

    run(work())
    assert len(world.effects(one)) == 1
