"""Faults of the broker and of the way to it, and floods of bad input."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chaos.faults.registry import Scene, fault
from chaos.kafka_frames import Api, name
from chaos.proxy import After, Way

STEP_OF_SESSION = 0.8
"""Part of the session that a step of a transaction may take: the worker's transaction.timeout.ms."""
INDETERMINATE = '"result": "indeterminate"'
"""What a worker logs when it does not know whether its transaction committed."""


def _grown(scene: Scene, *counts: str) -> Callable[[], bool]:
    """Asks whether the proxy has done one of these since now."""
    done = scene.broker.proxy.counts
    before = {count: done[count] for count in counts}
    return lambda: any(done[count] > before[count] for count in counts)


def _doubted(scene: Scene) -> Callable[[], bool]:
    """Asks whether a worker did not know how its transaction ended, since now."""
    before = scene.crew.logged(INDETERMINATE)
    return lambda: scene.crew.logged(INDETERMINATE) > before


def _too_late(scene: Scene) -> float:
    """Seconds beyond the deadline of a transaction's step."""
    return STEP_OF_SESSION * scene.session * scene.chance.uniform(1.3, 1.8)


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
    scene.until(lambda: scene.crew.ready)  # else there is nothing to cut
    cut = _grown(scene, "connection cut")
    scene.broker.proxy.cut(60)
    yield
    scene.broker.proxy.heal()
    scene.happened = cut()


@fault("B4", "network-black-hole", (1.0, 8.0))
def _hole(scene: Scene) -> Iterator[None]:
    swallowed = _grown(scene, *(f"{way.value} swallowed" for way in Way))
    scene.broker.proxy.black_hole(*scene.chance.choice([(), (Way.REQUEST,), (Way.ANSWER,)]))
    yield
    scene.meets(swallowed)
    scene.broker.proxy.heal()


@fault("B4", "network-delay", (2.0, 5.0))
def _delay(scene: Scene) -> Iterator[None]:
    delayed = _grown(scene, "frame delayed")
    scene.broker.proxy.delay(scene.chance.choice([0.02, 0.1, 0.4]), 0.1, scene.chance.choice(list(Way)))
    yield
    scene.meets(delayed)
    scene.broker.proxy.heal()


@fault("B5", "end-txn-lost")
def _end_txn_lost(scene: Scene) -> Iterator[None]:
    """The connection stays and says nothing, until long after the step's deadline: nobody knows whether it committed,
    and it did where the answer was lost, and not where the request was."""
    way = scene.chance.choice(list(Way))
    scene.said.append(way.value)
    doubted = _doubted(scene)
    scene.broker.proxy.lose(Api.END_TXN, scene.chance.randint(1, 3), way, After.STALL)
    yield
    scene.meets(doubted)
    scene.broker.proxy.heal()


@fault("B5", "end-txn-late")
def _end_txn_late(scene: Scene) -> Iterator[None]:
    """The answer comes when the step's deadline is over, and nobody waits for it any more."""
    doubted, seconds = _doubted(scene), _too_late(scene)
    scene.said.append(f"{seconds:.1f} s")
    scene.broker.proxy.delay(seconds, 0.5, Way.ANSWER, Api.END_TXN)
    yield
    scene.meets(doubted)
    scene.broker.proxy.heal()


@fault("B5", "end-txn-cut")
def _end_txn_cut(scene: Scene) -> Iterator[None]:
    """The connection breaks on the request or its answer; the client asks again on another one."""
    way = scene.chance.choice(list(Way))
    scene.said.append(way.value)
    lost = _grown(scene, f"{name(Api.END_TXN)} {way.value} lost")
    scene.broker.proxy.lose(Api.END_TXN, scene.chance.randint(1, 3), way, After.CLOSE)
    yield
    scene.meets(lost)
    scene.broker.proxy.heal()


@fault("B5", "answer-lost", (2.0, 4.0))
def _answer_lost(scene: Scene) -> Iterator[None]:
    api = scene.chance.choice([Api.TXN_OFFSET_COMMIT, Api.PRODUCE, Api.HEARTBEAT, Api.FETCH])
    scene.said.append(name(api))
    lost = _grown(scene, f"{name(api)} {Way.ANSWER.value} lost")
    scene.broker.proxy.lose(api, scene.chance.randint(1, 4), Way.ANSWER, scene.chance.choice(list(After)))
    yield
    scene.meets(lost)
    scene.broker.proxy.heal()


@fault("Q1", "bad-flood")
def _flood(scene: Scene) -> Iterator[None]:
    """More refused records in a row than anyone expects."""
    scene.publish([b'{"sensor_id": %d' % n for n in range(1200)])
    yield
