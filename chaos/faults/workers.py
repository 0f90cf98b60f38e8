"""Faults of workers and of their group: killed, stopped, frozen beyond their session, added and taken away."""

from __future__ import annotations

import time
from collections.abc import Iterator

from chaos.faults.registry import Act, Scene, fault
from chaos.waiting import LOOK_SECONDS

STEPS = ("after-fetch", "after-process", "mid-produce", "before-offsets", "before-commit", "after-commit")
SENDING = ("before-send", "after-send")
"""Steps of dispatch alone."""
FAILPOINTS = [f"{stage}:{step}" for stage in ("validate", "batch", "dispatch") for step in STEPS]
FAILPOINTS += [f"dispatch:{step}" for step in SENDING]

FLAPS = 20
MEET_SECONDS = 40.0
"""For a worker to start, to join its group and to come to its failpoint, on a busy machine under other faults."""


def _victim(scene: Scene) -> int:
    return scene.chance.choice(scene.crew.slots)


@fault("K", "kill")
def _kill(scene: Scene) -> Iterator[None]:
    scene.crew.kill(_victim(scene))
    yield


@fault("K", "kill-all")
def _kill_all(scene: Scene) -> Iterator[None]:
    for slot in scene.crew.slots:
        scene.crew.kill(slot)
    yield


def _failpoint(place: str) -> Act:
    def act(scene: Scene) -> Iterator[None]:
        failpoint = f"{place}:{scene.chance.randint(1, 3)}"
        scene.said.append(failpoint)
        # batches of two partners lie on two partitions at most: any worker may be the one that meets it
        for slot in scene.crew.slots:
            scene.crew.kill(slot, failpoint)
        yield
        deadline = time.monotonic() + MEET_SECONDS  # the next fault may kill a worker before it gets there
        while not scene.crew.met(failpoint) and time.monotonic() < deadline:
            scene.wait(LOOK_SECONDS)
        scene.crew.disarm()
        scene.happened = scene.crew.met(failpoint)

    return act


for _place in FAILPOINTS:
    fault("K1-K9", f"kill-at-{_place.replace(':', '-')}")(_failpoint(_place))


@fault("K10", "terminate")
def _terminate(scene: Scene) -> Iterator[None]:
    scene.crew.restart(_victim(scene))
    yield


@fault("K11", "freeze", (5.5, 7.0))
def _freeze(scene: Scene) -> Iterator[None]:
    """Longer than the session: whoever it was works on as a zombie afterwards."""
    slot = _victim(scene)
    scene.crew.freeze(slot)
    yield
    scene.crew.thaw(slot)


@fault("R1", "add-worker", (3.0, 6.0))
def _add(scene: Scene) -> Iterator[None]:
    slot = max(scene.crew.slots, default=0) + 1
    scene.crew.add(slot)
    yield


@fault("R2", "remove-worker", (3.0, 6.0))
def _remove(scene: Scene) -> Iterator[None]:
    slot = _victim(scene)
    scene.crew.remove(slot)
    yield
    scene.crew.add(slot)


@fault("R3", "flap", (4.0, 6.0))
def _flap(scene: Scene) -> Iterator[None]:
    """A member comes and goes, faster than the group settles; often before it has joined, at times while it takes
    over."""
    slot = max(scene.crew.slots, default=0) + 1
    for _ in range(FLAPS):
        scene.crew.add(slot)
        scene.wait(scene.chance.uniform(0.2, 2.5))
        scene.crew.kill(slot)
    yield
    scene.crew.remove(slot)


@fault("R4", "crowd", (4.0, 6.0))
def _crowd(scene: Scene) -> Iterator[None]:
    """More members than partitions."""
    first = max(scene.crew.slots, default=0) + 1
    for slot in range(first, first + 3):
        scene.crew.add(slot)
    yield
    for slot in range(first, first + 3):
        scene.crew.remove(slot)
