"""Faults of the broker and of the way to it, and floods of bad input."""

from __future__ import annotations

from collections.abc import Iterator

from chaos.faults.registry import Scene, fault
from chaos.kafka_frames import Api
from chaos.proxy import After, Way


@fault("B1", "broker-restart")
def _broker_restart(scene: Scene) -> Iterator[None]:
    scene.broker.stop()
    scene.broker.start()
    yield


@fault("B2", "broker-kill", (0.0, 3.0))
def _broker_kill(scene: Scene) -> Iterator[None]:
    scene.broker.kill()
    yield
    scene.broker.start()


@fault("B3", "broker-pause", (1.0, 8.0))
def _broker_pause(scene: Scene) -> Iterator[None]:
    scene.broker.pause()
    yield
    scene.broker.resume()


@fault("B4", "network-cut", (0.5, 6.0))
def _cut(scene: Scene) -> Iterator[None]:
    scene.broker.proxy.cut(60)
    yield
    scene.broker.proxy.heal()


@fault("B4", "network-black-hole", (1.0, 8.0))
def _hole(scene: Scene) -> Iterator[None]:
    scene.broker.proxy.black_hole(*scene.chance.choice([(), (Way.REQUEST,), (Way.ANSWER,)]))
    yield
    scene.broker.proxy.heal()


@fault("B4", "network-delay", (2.0, 5.0))
def _delay(scene: Scene) -> Iterator[None]:
    scene.broker.proxy.delay(scene.chance.choice([0.02, 0.1, 0.4]), 0.1, scene.chance.choice(list(Way)))
    yield
    scene.broker.proxy.heal()


@fault("B5", "end-txn-lost", (2.0, 5.0))
def _end_txn_lost(scene: Scene) -> Iterator[None]:
    way, then = scene.chance.choice(list(Way)), scene.chance.choice(list(After))
    scene.said.append(f"{way.value} {then.value}")
    scene.broker.proxy.lose(Api.END_TXN, scene.chance.randint(1, 3), way, then)
    yield
    scene.broker.proxy.heal()


@fault("B5", "end-txn-late", (3.0, 6.0))
def _end_txn_late(scene: Scene) -> Iterator[None]:
    """Later than the step's deadline, so that nobody knows whether it committed."""
    scene.broker.proxy.delay(scene.chance.choice([0.5, 2.0, 4.5]), 0.5, Way.ANSWER, Api.END_TXN)
    yield
    scene.broker.proxy.heal()


@fault("B5", "answer-lost", (2.0, 4.0))
def _answer_lost(scene: Scene) -> Iterator[None]:
    api = scene.chance.choice([Api.TXN_OFFSET_COMMIT, Api.PRODUCE, Api.HEARTBEAT, Api.FETCH])
    scene.broker.proxy.lose(api, scene.chance.randint(1, 4), Way.ANSWER, scene.chance.choice(list(After)))
    yield
    scene.broker.proxy.heal()


@fault("Q1", "bad-flood")
def _flood(scene: Scene) -> Iterator[None]:
    """More refused records in a row than anyone expects."""
    scene.publish([b'{"sensor_id": %d' % n for n in range(1200)])
    yield
