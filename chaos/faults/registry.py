"""What can be done to a running round. A fault begins, lasts and ends; its id is that of the list in docs/evidence.

Each draws its details from the round's own chance, so that a seed gives the same plan; what it did, and when, goes into
the history. Ends are called at the latest before the round is brought to rest, and must leave nothing broken behind.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from chaos.brokers import Broker
from chaos.crew import Crew
from chaos.store import Store
from chaos.waiting import LOOK_SECONDS
from waybill.partner_sim import Server

MEET_SECONDS = 40.0
"""For a fault to meet somebody: a worker may have to start, to join its group and to come to its work, on a busy
machine under other faults."""


@dataclass
class Scene:
    """What faults act on."""

    chance: random.Random
    crew: Crew
    broker: Broker
    partner: Server
    session: float
    """Seconds after which a silent worker loses its partitions."""
    publish: Callable[[list[bytes]], None]
    """Publishes bad messages, for floods."""
    recent: Callable[[int], list[str]]
    """Correlation ids of so many of the readings that were published last."""
    wait: Callable[[float], None]
    """Lets so many seconds pass, or returns early where the round is over."""
    store: Store | None
    """None where batches go to a folder."""
    dealt: tuple[str, ...] = ()
    """What of the fault that is at work was dealt at planning; empty: it draws that itself."""
    said: list[str] = field(default_factory=list)
    happened: bool = True
    """False where the fault that is at work found no occasion: it then counts for nothing in the report."""

    def until(self, condition: Callable[[], object], seconds: float = MEET_SECONDS) -> bool:
        """Waits for a condition, with a deadline; returns whether it came about."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() >= deadline:
                return False
            self.wait(LOOK_SECONDS)
        return True

    def choose(self, kinds: Sequence[str], most: int = 1) -> list[str]:
        """What was dealt of these, or else up to `most` drawn from them; says it."""
        chosen = list(self.dealt)
        if not chosen and most == 1:
            chosen = [self.chance.choice(kinds)]
        chosen = chosen or self.chance.choices(kinds, k=self.chance.randint(1, most))
        self.said.append(", ".join(chosen))
        return chosen

    def meets(self, condition: Callable[[], object], seconds: float = MEET_SECONDS) -> None:
        """The fault happens when this comes about: waits for it, and else notes that nothing happened."""
        self.happened = self.until(condition, seconds)


Act = Callable[[Scene], Iterator[None]]


@dataclass(frozen=True)
class Fault:
    """One kind of fault. `act` does its harm, yields for as long as it lasts, and undoes it."""

    id: str
    name: str
    act: Act
    seconds: tuple[float, float] = (0.0, 0.0)
    """How long it may last, drawn at planning."""
    kinds: tuple[str, ...] = ()
    """What can be dealt of it, by the names under which partners note it; empty: it is of one kind."""
    at_once: int = 1
    """Of them."""

    @property
    def theme(self) -> str:
        """What it does harm to. Two faults of one theme are never at work together."""
        return self.act.__module__.rpartition(".")[2]

    @property
    def title(self) -> str:
        """As reports name it."""
        return f"{self.id} {self.name}"


FAULTS: dict[str, Fault] = {}
"""By name."""


def fault(
    id: str,
    name: str,
    seconds: tuple[float, float] = (0.0, 0.0),
    kinds: Sequence[str] = (),
    at_once: int = 1,
) -> Callable[[Act], Act]:
    """Registers a fault."""

    def register(act: Act) -> Act:
        FAULTS[name] = Fault(id, name, act, seconds, tuple(kinds), at_once)
        return act

    return register


@contextmanager
def under(one: Fault, scene: Scene) -> Iterator[None]:
    """Runs a fault for as long as the block lasts."""
    course = iter(one.act(scene))
    next(course, None)
    try:
        yield
    finally:
        next(course, None)
