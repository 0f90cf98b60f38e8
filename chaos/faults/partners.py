"""Faults of the HTTP partner: P1 to P8 of the fault list (P9, a slow one beside a fast one: bench/isolation.py).
Whatever it does, its ledger knows what it took."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
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
MORE: dict[str, Sequence[str]] = {
    "partner-stores-and-times-out": ["hang"],
    "partner-conflicts": ["exists:412", "holds_other", "holds_other:412", "holds_other:422"],
    "partner-takes-some": ["refuse_some", "refuse_some:3"],
}
"""More of them, for partners with a `response`: rounds with several partners deal these out, too."""
AT_ONCE = 4
"""Of these to one partner, one request after the other."""
DOWN = ("down:refuse", "down:reset")
UNWANTED = ("status:401", "status:403")

ANSWERS: Mapping[str, Sequence[str]] = {
    "207, an answer for each record": ["partial", "partial:1", "refuse_some", "refuse_some:3"],
    "409 exists, or in progress; 412": ["in_progress:1", "exists", "exists:412", "bare_conflict"],
    "409, 412, 422 with another digest": ["holds_other", "holds_other:412", "holds_other:422"],
    "412 of a create-only write": ["precondition_failed", "store_then_precondition_failed"],
    "429, 503 with Retry-After": ONCE["P4", "partner-busy"],
    "no byte of the request was sent": DOWN,
    "5xx": ONCE["P3", "partner-5xx"],
    "time-out, reset": [
        *ONCE["P1", "partner-resets"], *ONCE["P2", "partner-stores-and-times-out"], "hang", "drip", "continue_stall",
    ],
    "a 2xx that is truncated, unreadable or not what it seems": [
        kind for kind in ONCE["P6", "partner-garbles"] if kind not in ("drip", "continue_stall")
    ],
    "413": ["status:413"],
    "400, 422": ["status:400", "status:422"],
    "401, 403": UNWANTED,
    "3xx, other 4xx": ["status:301", "status:404"],
}  # fmt: skip
"""The answer table of the design, and the kinds of faults by which its rows are met: as the partners' ledgers note
them. The row of good answers is that of every delivery."""
LONG_SECONDS = 75.0
"""For the first of them to be met: a partner that has refused the worker itself (401) is left alone for a minute."""
ALL_SECONDS = 10.0
"""For the rest of them, once one was met."""


def until_used(scene: Scene, queue: deque[str], chosen: Sequence[str]) -> None:
    """Waits until requests have met these faults of a queue; takes away those that none has met. One is enough for the
    fault to have happened. What was dealt stays in the queue as long as there is load: workers may have been away."""

    def left() -> int:
        return (Counter(queue.copy()) & Counter(chosen)).total()

    scene.meets(lambda: left() < len(chosen), LONG_SECONDS)
    scene.until(lambda: not left(), ALL_SECONDS)
    met = len(chosen) - left()
    scene.said.append(f"({met} of {len(chosen)})")
    if scene.dealt:
        return
    for one in (Counter(queue.copy()) & Counter(chosen)).elements():
        with suppress(ValueError):
            queue.remove(one)


def _attempts(scene: Scene) -> int:
    return len(scene.partner.partner.attempts)


def _met_since(scene: Scene, before: int, *faults: str) -> bool:
    """Whether an attempt after the first so many met one of these faults; any attempt where none is named."""
    return any(not faults or line["fault"] in faults for line in scene.partner.partner.attempts[before:])


def _some(faults: Sequence[str]) -> Act:
    def act(scene: Scene) -> Iterator[None]:
        chosen = scene.choose(faults, AT_ONCE)
        scene.partner.partner.faults.extend(chosen)
        yield
        until_used(scene, scene.partner.partner.faults, chosen)

    return act


for (_id, _name), _faults in ONCE.items():
    fault(_id, _name, kinds=(*_faults, *MORE.get(_name, ())), at_once=AT_ONCE)(_some(_faults))


@fault("P1", "partner-down", (1.0, 9.0), DOWN)
def _down(scene: Scene) -> Iterator[None]:
    (chosen,) = scene.choose(DOWN)
    scene.partner.change(down=chosen.partition(":")[2])
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


@fault("P8", "partner-token-expired", (1.0, 5.0), UNWANTED)
def _unwanted(scene: Scene) -> Iterator[None]:
    before, (chosen,) = _attempts(scene), scene.choose(UNWANTED)
    scene.partner.change(fault=chosen)
    yield
    scene.meets(lambda: _met_since(scene, before, chosen))
    scene.partner.change(fault="")


@fault("P8", "partner-poisoned", (3.0, 6.0))
def _poisoned(scene: Scene) -> Iterator[None]:
    """One record in so many makes the partner refuse its whole batch."""
    before = _attempts(scene)
    scene.until(lambda: scene.recent(1))
    scene.partner.change(poison=scene.recent(scene.chance.randint(1, 3)))
    yield
    scene.meets(lambda: _met_since(scene, before, "status:400"), ALL_SECONDS)
    scene.partner.change(poison=[])
