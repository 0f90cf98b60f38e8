"""Faults of the object store: O1 to O4 of the fault list. A round that is dealt one has an object store as its lake."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chaos.faults.partners import AT_ONCE, until_used
from chaos.faults.registry import Act, Scene, fault

WRITES: dict[tuple[str, str], Sequence[str]] = {
    ("O1", "store-slow-down"): ["slow_down"],
    ("O2", "store-precondition"): ["precondition_failed", "store_then_precondition_failed"],
    ("O3", "store-conflict"): ["conflict", "store_then_conflict"],
    ("O4", "store-answer-lost"): [
        "store_then_reset", "store_then_hang", "store_then_error", "store_late:3", "truncated",
    ],
}  # fmt: skip
"""Faults for single writes, by what they are called here."""
READS = ["reset", "hang", "status:500", "truncated"]


def _some(faults: Sequence[str]) -> Act:
    def act(scene: Scene) -> Iterator[None]:
        scene.happened = scene.store is not None
        if scene.store is None:
            yield
            return
        chosen = scene.choose(faults, AT_ONCE)
        scene.store.gate.play(chosen)
        yield
        until_used(scene, scene.store.gate.faults, chosen)

    return act


for (_id, _name), _faults in WRITES.items():
    fault(_id, _name, kinds=_faults, at_once=AT_ONCE)(_some(_faults))


@fault("O4", "store-read-fails")
def _read_fails(scene: Scene) -> Iterator[None]:
    """A write whose answer is lost, and then the look at what is stored fails, too."""
    scene.happened = scene.store is not None
    if scene.store is None:
        yield
        return
    writes, reads = ["store_then_reset", "precondition_failed"], scene.chance.choices(READS, k=3)
    scene.store.gate.play(writes, reads)
    yield
    until_used(scene, scene.store.gate.faults, writes)
    until_used(scene, scene.store.gate.read_faults, reads)  # this is the fault: without a failed read none happened


@fault("O1", "store-down", (1.0, 8.0))
def _down(scene: Scene) -> Iterator[None]:
    scene.happened = scene.store is not None
    if scene.store is not None:
        scene.store.change(down=scene.chance.choice(["refuse", "reset"]))
    yield
    if scene.store is not None:
        scene.store.change(down="")
