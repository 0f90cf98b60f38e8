"""Faults of the object store: O1 to O4 of the fault list. A round whose lake is a folder has none of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
        if scene.store is not None:
            chosen = scene.chance.choices(faults, k=scene.chance.randint(1, 4))
            scene.said.append(", ".join(chosen))
            scene.store.gate.play(chosen)
        yield

    return act


for (_id, _name), _faults in WRITES.items():
    fault(_id, _name)(_some(_faults))


@fault("O4", "store-read-fails")
def _read_fails(scene: Scene) -> Iterator[None]:
    """A write whose answer is lost, and then the look at what is stored fails, too."""
    if scene.store is not None:
        scene.store.gate.play(["store_then_reset", "precondition_failed"], scene.chance.choices(READS, k=3))
    yield


@fault("O1", "store-down", (1.0, 8.0))
def _down(scene: Scene) -> Iterator[None]:
    if scene.store is not None:
        scene.store.change(down=scene.chance.choice(["refuse", "reset"]))
    yield
    if scene.store is not None:
        scene.store.change(down="")
