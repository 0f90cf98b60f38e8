"""What a round will do: pipeline, workers, load and faults, drawn from a seed and a number before anything runs."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import Any

from chaos.faults import FAULTS

FAULT_SECONDS = 7.0
"""Faults begin in this time, if those of one theme need not wait for each other."""
PER_ROUND = 5
"""Faults of a round."""
SESSION = 4.0
"""session.timeout.ms of the workers, seconds."""

CLINIC = "clinic"
"""The HTTP partner of every round, to which the usual faults are done."""

PIPELINE: dict[str, Any] = {
    "pipeline": "cc",
    "pack": "cold_chain",
    "partition_by": ["sensor_id"],
    "idempotency": ["sensor_id", "event_time", "product"],
    "group_by": ["product"],
    "keep": 604_800,
    "partner": {"by": "product", "map": {"cool": "lake"}, "default": CLINIC},
}
"""Of every round. Small chunks and batches below: a few hundred records make many transactions of every stage."""

EVERY = 3
"""Every so many rounds there are several HTTP partners at once, each with faults of its own."""
OTHERS: dict[str, dict[str, Any]] = {
    "hospital": {"connections": 1},
    "pharmacy": {"breaker": {"failures": 2, "first": 0.5, "longest": 4}},
}
"""They, beside CLINIC, and how they differ from it."""
SEVERAL = {"cool": "lake", "freezer": "hospital", "controlled-cold": "pharmacy"}
"""Product -> partner in such a round; the rest is for CLINIC."""
PER_OTHER = 2
"""Faults of each of the others."""
LAST = "partner-token-expired"
"""After it a partner is left alone for a minute: what came later would be waited for."""


@dataclass(frozen=True)
class Planned:
    """One fault of a round: when it begins, in seconds from the first message, and how long it lasts at least."""

    fault: str
    at: float
    seconds: float


@dataclass(frozen=True)
class Programme:
    """The faults of a partner that a round has beside the usual ones."""

    partner: str
    faults: tuple[Planned, ...]


@dataclass(frozen=True)
class Plan:
    """Everything that is drawn for a round."""

    seed: int
    number: int
    workers: int
    partitions: int
    store: str
    """memory or rocksdb: local store of the tables."""
    lake: str
    """folder or s3: what stands behind the object-store partner."""
    settings: dict[str, Any]
    """Fields of the pipeline."""
    faults: tuple[Planned, ...]
    others: tuple[Programme, ...] = ()
    """More HTTP partners. Everything else is drawn as if there were none."""

    @property
    def name(self) -> str:
        """Begins every topic, group and folder of the round."""
        return f"s{self.seed}r{self.number}"

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self)


def plan(seed: int, number: int, only: tuple[str, ...] = (), several: bool | None = None) -> Plan:
    """The plan of a round; `only` names its faults instead of drawing them; `several` says whether there are several
    HTTP partners (None: in every third round, unless its faults are named).

    Faults come from a shuffled deck that runs over all rounds of a seed, so that each is met before any comes again.
    """
    chance = random.Random(f"{seed}/{number}")
    partitions = chance.randint(1, 3)
    workers = chance.randint(1, partitions)  # more than partitions is a fault of its own: R4
    supersede = chance.random() < 0.3
    deterministic = not supersede and chance.random() < 0.15
    partitions, workers = (1, 1) if deterministic else (partitions, workers)
    names = only or _dealt(seed, number)
    if "freeze" in names:  # somebody else must be there to take over, and something to be taken over
        partitions, workers, deterministic = max(2, partitions), max(2, workers), False
    store = chance.choice(["memory", "rocksdb"])
    batching: dict[str, Any] = {"max_records": chance.choice([5, 20, 60]), "linger": chance.choice([0.3, 1.0])}
    batching |= {"max_reread": 300} if deterministic else {"idle": 1.0}
    settings: dict[str, Any] = {
        "partitions": partitions,
        "store": store,
        "on_conflict": "supersede" if supersede else "conflict",
        "ordering": "group" if supersede else chance.choice(["group", "group", "none"]),
        "acks": chance.choice(["record", "record", "batch"]),
        "deterministic": deterministic,
        "batching": batching,
        "chunk": {"records": chance.choice([7, 60, 1000]), "linger": 0.02},
        "retry": {"backoff": "documents", "attempts": chance.randint(1, 3), "seed": seed},
    }
    if supersede:
        settings["ordering_by"] = "zone_id"
    lake = chance.choice(["folder", "s3"])
    if any(FAULTS[name].theme == "stores" for name in names):  # nothing could be done to a folder
        lake = "s3"
    timed = _timed(chance, names)
    others: tuple[Programme, ...] = ()
    if several if several is not None else not only and number % EVERY == EVERY - 1:
        settings["partner"] = {"by": "product", "map": SEVERAL, "default": CLINIC}
        others = _others(seed, number, number if several else number // EVERY)
    return Plan(seed, number, workers, partitions, store, lake, settings, timed, others)


def _others(seed: int, number: int, turn: int) -> tuple[Programme, ...]:
    """From a deck of their own, so that what else a round does is the same with and without them; `turn`: how many
    rounds had others before."""
    names = sorted(name for name, fault in FAULTS.items() if fault.theme == "partners")
    count = PER_OTHER * len(OTHERS)
    cards = _deal(f"others {seed}", names, turn * count, count)
    chance = random.Random(f"others {seed}/{number}")
    programmes = []
    for place, partner in enumerate(OTHERS):
        mine = sorted(cards[place * PER_OTHER : (place + 1) * PER_OTHER], key=lambda name: name == LAST)
        programmes.append(Programme(partner, _timed(chance, tuple(mine))))
    return tuple(programmes)


def _dealt(seed: int, number: int) -> tuple[str, ...]:
    """The round's cards."""
    return _deal(f"deck {seed}", sorted(FAULTS), number * PER_ROUND, PER_ROUND)


def _deal(deck: str, names: list[str], first: int, count: int) -> tuple[str, ...]:
    """So many cards from the first on of a deck that is shuffled anew each time it is used up."""
    cards: list[str] = []
    turn, start = divmod(first, len(names))
    while len(cards) < start + count:
        shuffled = list(names)
        random.Random(f"{deck}/{turn}").shuffle(shuffled)
        cards += shuffled
        turn += 1
    return tuple(cards[start : start + count])


def _timed(chance: random.Random, names: tuple[str, ...]) -> tuple[Planned, ...]:
    """Faults of one theme follow each other; those of different themes may overlap."""
    faults = []
    free: dict[str, float] = {}
    for name in names:
        theme = FAULTS[name].theme
        seconds = chance.uniform(*FAULTS[name].seconds)
        at = max(chance.uniform(0.0, FAULT_SECONDS), free.get(theme, 0.0))
        free[theme] = at + seconds + 0.5
        faults.append(Planned(name, round(at, 2), round(seconds, 2)))
    return tuple(sorted(faults, key=lambda planned: planned.at))
