"""Laws 4 and 7 for every sink, whatever faults it meets in whatever order: delivered means stored, a known failure
means that this attempt stored nothing, and a retry with the same key ends with one effect."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from time import monotonic
from typing import Protocol

import pytest

from chaos.kafka_frames import Api
from chaos.proxy import After, Proxy, Way
from chaos.store import Store
from chaos.store_faults import FAULTS as STORE_FAULTS
from streams.delivery.engine import build_sink
from streams.delivery.kafka_topic import KafkaSink
from streams.delivery.protocol import Envelope
from streams.delivery.protocol import OutcomeKind as Kind
from tests.delivery.servers import Cutter, Postgres, Sftp
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
ATTEMPTS = 2
AFTERWARDS = {"store_late", "in_progress"}
"""Faults that, with seconds, store when the attempt is over: of the next attempt no more can be said than of them."""
LIES = {"holds_other"}
"""Faults that claim other bytes under the key; only after these a conflict is right."""
FINAL = {"refuse_some"}
"""Faults that refuse a part for good, so that the batch cannot end as delivered: for partners with a `response`."""
STEPS = [Api.INIT_PRODUCER_ID, Api.ADD_PARTITIONS_TO_TXN, Api.PRODUCE, Api.END_TXN, Api.LIST_OFFSETS, Api.FETCH]
"""Requests of one delivery to a topic."""
STATUSES = ["status:500", "status:503", "status:400", "status:403", "status:404", "status:429"]


class World(Protocol):
    batches: int
    """To send under faults."""

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
    batches = 3  # lost answers are waited for

    def __init__(self, brokers: str, proxy: Proxy, topic: str) -> None:
        self.brokers, self.proxy, self.topic = brokers, proxy, topic
        make_topic(brokers, topic, 2)

    def partner(self) -> Partner:
        return kafka_topic(self.proxy.bootstrap, self.topic, timeout=TIMEOUT * 5)

    def draw(self, chance: random.Random) -> list[str]:
        self.heal()
        api, way = chance.choice(STEPS), chance.choice(list(Way))
        count, then = chance.choice([1, 1000]), chance.choice(list(After))
        self.proxy.lose(api, count, way, then)
        return [f"{way.value} of {api.name} lost {count} times, then {then.value}"]

    def heal(self) -> None:
        self.proxy.heal()

    def effects(self, one: Envelope) -> list[str]:
        found = batches_on(self.brokers, self.topic)
        return [sha256(body).hexdigest() for key, body in found if key == one.idempotency_key]


class TableWorld:
    batches = 6

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
    batches = 6

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
    batches = 6

    def __init__(self, server: Server) -> None:
        self.server = server

    def partner(self) -> Partner:
        return http(self.server.url, timeout=TIMEOUT)

    def draw(self, chance: random.Random) -> list[str]:
        names = sorted(PARTNER_FAULTS.keys() - AFTERWARDS - FINAL - {"status"})
        drawn = check_faults([chance.choice([*names, *STATUSES, "reset_before_read", NO_FAULT])])
        self.heal()
        self.server.partner.faults.extend(drawn)
        return drawn

    def heal(self) -> None:
        self.server.partner.faults.clear()

    def effects(self, one: Envelope) -> list[str]:
        return [effect["digest"] for effect in self.server.partner.effects if effect["key"] == one.idempotency_key]


class BucketWorld:
    batches = 6

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
def table_cutter(table_server: Postgres) -> Iterator[Cutter]:
    with closing(Cutter(table_server.port)) as cutter:
        yield cutter


@pytest.fixture(scope="module")
def drop_cutter(drop_server: Sftp) -> Iterator[Cutter]:
    with closing(Cutter(drop_server.port)) as cutter:
        yield cutter


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
            yield TopicWorld(need("kafka"), need("kafka_proxy"), names("batches"))
            need("kafka_proxy").heal()
        case "table":
            yield TableWorld(need("table_server"), need("table_cutter"), names.prefix)
        case "drop":
            yield DropWorld(need("drop_server"), need("drop_cutter"), names.prefix)


CASES = [
    *((name, seed) for name in ("http", "bucket") for seed in range(6)),
    *((name, seed) for name in ("table", "drop") for seed in range(2)),
    pytest.param("topic", 0, marks=pytest.mark.kafka),
]


@pytest.mark.parametrize(("world", "seed"), CASES, indirect=["world"])
def test_whatever_happens_the_outcome_is_honest_and_the_effect_is_one(world: World, seed: int) -> None:
    chance = random.Random(seed)

    async def work() -> None:
        for batch in range(world.batches):
            await _fire_at(world, chance, seed * world.batches + batch)

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
    sink = build_sink("p", world.partner().model_copy(update={"timeout": 60.0}))
    assert (await sink.send(one._replace(attempt=ATTEMPTS + 1))).kind is Kind.DELIVERED
    await sink.close()
    assert world.effects(one).count(ours) == 1


@pytest.mark.kafka
def test_a_commit_whose_answer_never_comes_is_unknown_and_the_topic_is_asked_afterwards(
    kafka: str, kafka_proxy: Proxy, names: Names
) -> None:
    world, one = TopicWorld(kafka, kafka_proxy, names("batches")), envelope()
    late = 0.0
    sink = KafkaSink("p", kafka_topic(kafka_proxy.bootstrap, world.topic, timeout=60.0), lambda: monotonic() + late)

    async def work() -> None:
        nonlocal late
        assert (await sink.send(envelope(b"first", batch=2))).kind is Kind.DELIVERED, "the sink is at work"
        for api in (Api.END_TXN, Api.INIT_PRODUCER_ID):
            kafka_proxy.lose(api, 1000, Way.ANSWER, After.STALL)
        lost = kafka_proxy.counts["END_TXN answer lost"]
        attempt = asyncio.create_task(sink.send(one))
        async with asyncio.timeout(60):
            while kafka_proxy.counts["END_TXN answer lost"] == lost:
                await asyncio.sleep(0.02)
        late = 60.0
        assert (await attempt).kind is Kind.UNKNOWN
        kafka_proxy.heal()
        outcome = await sink.send(one._replace(attempt=2))
        assert (outcome.kind, outcome.answer.partition(":")[0]) == (Kind.DELIVERED, "already there")
        await sink.close()

    try:
        run(work())
    finally:
        kafka_proxy.heal()
    assert len(world.effects(one)) == 1
