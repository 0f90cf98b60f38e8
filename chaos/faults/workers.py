"""Faults of workers and of their group: killed, stopped, frozen beyond their session, added and taken away."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress

from chaos.faults.registry import MEET_SECONDS, Act, Scene, fault

STEPS = ("after-fetch", "after-process", "mid-produce", "before-offsets", "before-commit", "after-commit")
SENDING = ("before-send", "after-send")
"""Steps of dispatch alone."""
FAILPOINTS = [f"{stage}:{step}" for stage in ("validate", "batch", "dispatch") for step in STEPS]
FAILPOINTS += [f"dispatch:{step}" for step in SENDING]

FLAPS = 20


def _victim(scene: Scene) -> int:
    """Any that is ready; where none becomes ready, any."""
    scene.happened = scene.until(lambda: scene.crew.ready)
    return scene.chance.choice(scene.crew.ready or scene.crew.slots)


def _joined(scene: Scene, slots: Collection[int]) -> bool:
    """Waits until these workers are up, and for as long again as joining their groups takes at most."""
    up = scene.crew.wait_up(slots, MEET_SECONDS)
    scene.wait(scene.session)
    return up


@fault("K", "kill")
def _kill(scene: Scene) -> Iterator[None]:
    scene.happened = scene.crew.kill(_victim(scene))
    yield


@fault("K", "kill-all")
def _kill_all(scene: Scene) -> Iterator[None]:
    killed = [scene.crew.kill(slot) for slot in scene.crew.slots]
    scene.happened = any(killed)
    yield


def _failpoint(place: str) -> Act:
    def act(scene: Scene) -> Iterator[None]:
        failpoint = f"{place}:{scene.chance.randint(1, 3)}"
        scene.said.append(failpoint)
        # batches of few partners lie on few partitions: any worker may be the one that meets it
        for slot in scene.crew.slots:
            scene.crew.kill(slot, failpoint)
        yield
        scene.meets(lambda: scene.crew.met(failpoint))  # the next fault may kill a worker before it gets there
        scene.crew.disarm()

    return act


for _place in FAILPOINTS:
    fault("K1-K9", f"kill-at-{_place.replace(':', '-')}")(_failpoint(_place))


@fault("K8", "kill-while-partner-has-it")
def _kill_while_partner_has_it(scene: Scene) -> Iterator[None]:
    """Killed after the request was sent and before it was answered: the partner holds it, and has stored it or not."""
    partner, held = scene.partner.partner, scene.chance.choice(["hang", "store_then_hang"])
    scene.said.append(held)
    before = len(partner.attempts)
    partner.faults.appendleft(held)
    scene.meets(lambda: any(line["fault"] == held for line in partner.attempts[before:]))
    if scene.happened:
        for slot in scene.crew.slots:
            scene.crew.kill(slot)
    else:
        with suppress(ValueError):
            partner.faults.remove(held)
    yield


@fault("K10", "terminate")
def _terminate(scene: Scene) -> Iterator[None]:
    scene.crew.restart(_victim(scene))
    yield


@fault("K11", "freeze", (5.5, 7.0))
def _freeze(scene: Scene) -> Iterator[None]:
    """Longer than the session: whoever it was works on as a zombie afterwards."""
    slots = scene.crew.slots
    scene.crew.wait_up(slots, MEET_SECONDS)  # who works on must be there, too
    slot = _victim(scene)
    scene.happened &= len(slots) > 1
    scene.crew.freeze(slot)
    yield
    scene.crew.thaw(slot)


@fault("R1", "add-worker", (3.0, 6.0))
def _add(scene: Scene) -> Iterator[None]:
    slot = max(scene.crew.slots, default=0) + 1
    scene.crew.add(slot)
    yield
    scene.happened = _joined(scene, [slot])


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
    more = range(first, first + 3)
    for slot in more:
        scene.crew.add(slot)
    yield
    scene.happened = _joined(scene, more)
    for slot in more:
        scene.crew.remove(slot)
