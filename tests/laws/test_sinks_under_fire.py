"""Laws 4 and 7 for every sink, whatever faults it meets in whatever order: delivered means stored, a known failure
means that this attempt stored nothing, and a retry with the same key ends with one effect."""

from __future__ import annotations

import random
from collections.abc import Iterator
from hashlib import sha256
from typing import Protocol

import pytest

from chaos.store import Store
from chaos.store_faults import FAULTS as STORE_FAULTS
from streams.delivery.engine import build_sink
from streams.delivery.protocol import Envelope
from streams.delivery.protocol import OutcomeKind as Kind
from tests.delivery.worlds import BODY, BUCKET, envelope, http, run, s3
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


@pytest.fixture(params=["http", "bucket"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "bucket":
        yield BucketWorld(request.getfixturevalue("store"))
        return
    with Server() as server:
        yield HttpWorld(server)


@pytest.mark.parametrize("seed", range(6))
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
