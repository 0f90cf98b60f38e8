"""Faults of the HTTP partner: P1 to P8 of the fault list (P9, a slow one beside a fast one: bench/isolation.py).
Whatever it does, its ledger knows what it took."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress

from chaos.faults.registry import Act, Scene, fault

ONCE: dict[tuple[str, str], Sequence[str]] = {
    ("P1", "partner-resets"): ["reset_before_read", "reset_after_read"],
    ("P2", "partner-stores-and-times-out"): ["store_then_hang", "store_late:3", "store_then_reset"],
    ("P3", "partner-5xx"): ["status:500", "status:502", "status:503", "status:504"],
    ("P4", "partner-busy"): [
        "status:429,1", "status:503,1", "status:429", "status:429,Thu, 01 Jan 1970 00:00:00 GMT", "status:429,nonsense",
    ],
    ("P5", "partner-conflicts"): ["in_progress:1", "exists", "bare_conflict"],
    ("P6", "partner-garbles"): [
        "drip", "truncated", "truncated:reset", "short_length", "long_length", "unframed:cut", "chunked", "chunked:cut",
        "continue_stall", "invalid_json", "huge", "gzip", "wrong_type", "html", "unframed:empty",
    ],
    ("P7", "partner-takes-some"): ["partial", "partial:1"],
    ("P8", "partner-refuses"): ["status:301", "status:413", "status:400", "status:422", "status:404"],
}  # fmt: skip
"""Faults for single requests, by what they are called here."""
LONG_SECONDS = 75.0
"""For the first of them to be met: a partner that has refused the worker itself (401) is left alone for a minute."""
ALL_SECONDS = 10.0
"""For the rest of them, once one was met."""


def until_used(scene: Scene, queue: deque[str], chosen: Sequence[str]) -> None:
    """Waits until requests have met these faults of a queue; takes away those that none has met. One is enough for the
    fault to have happened."""

    def left() -> int:
        return (Counter(queue.copy()) & Counter(chosen)).total()

    scene.meets(lambda: left() < len(chosen), LONG_SECONDS)
    scene.until(lambda: not left(), ALL_SECONDS)
    met = len(chosen) - left()
    for one in (Counter(queue.copy()) & Counter(chosen)).elements():
        with suppress(ValueError):
            queue.remove(one)
    scene.said.append(f"({met} of {len(chosen)})")


def _attempts(scene: Scene) -> int:
    return len(scene.partner.partner.attempts)


def _met_since(scene: Scene, before: int, *faults: str) -> bool:
    """Whether an attempt after the first so many met one of these faults; any attempt where none is named."""
    return any(not faults or line["fault"] in faults for line in scene.partner.partner.attempts[before:])


def _some(faults: Sequence[str]) -> Act:
    def act(scene: Scene) -> Iterator[None]:
        chosen = scene.chance.choices(faults, k=scene.chance.randint(1, 4))
        scene.said.append(", ".join(chosen))
        scene.partner.partner.faults.extend(chosen)
        yield
        until_used(scene, scene.partner.partner.faults, chosen)

    return act


for (_id, _name), _faults in ONCE.items():
    fault(_id, _name)(_some(_faults))


@fault("P1", "partner-down", (1.0, 9.0))
def _down(scene: Scene) -> Iterator[None]:
    scene.partner.change(down=scene.chance.choice(["refuse", "reset"]))
    yield
    scene.partner.change(down="")


@fault("P3", "partner-breaks", (1.0, 4.0))
def _breaks(scene: Scene) -> Iterator[None]:
    """Long enough for a batch to use up its attempts."""
    before, chosen = _attempts(scene), scene.chance.choice(["status:500", "status:503", "reset_after_read"])
    scene.partner.change(fault=chosen)
    yield
    scene.meets(lambda: _met_since(scene, before, chosen))
    scene.partner.change(fault="")


@fault("P6", "partner-slow", (2.0, 6.0))
def _slow(scene: Scene) -> Iterator[None]:
    before = _attempts(scene)
    scene.partner.change(slow=scene.chance.choice([0.2, 1.0, 2.5]))
    yield
    scene.meets(lambda: _met_since(scene, before))
    scene.partner.change(slow=0.0)


@fault("P8", "partner-token-expired", (1.0, 5.0))
def _unauthorized(scene: Scene) -> Iterator[None]:
    before = _attempts(scene)
    scene.partner.change(unauthorized=True)
    yield
    scene.meets(lambda: _met_since(scene, before, "status:401"))
    scene.partner.change(unauthorized=False)


@fault("P8", "partner-poisoned", (3.0, 6.0))
def _poisoned(scene: Scene) -> Iterator[None]:
    """One record in so many makes the partner refuse its whole batch."""
    before = _attempts(scene)
    scene.until(lambda: scene.recent(1))
    scene.partner.change(poison=scene.recent(scene.chance.randint(1, 3)))
    yield
    scene.meets(lambda: _met_since(scene, before, "status:400"), ALL_SECONDS)
    scene.partner.change(poison=[])
