"""What a round will do: pipeline, workers, load and faults, drawn from a seed and a number before anything runs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
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
"""Every so many rounds there are several HTTP partners at once, each with faults of its own, and an object store."""
RESPONSE = {"records": "records", "id": "id"}
"""Where the partners' answers of 207 say what became of each record."""
OTHERS: dict[str, dict[str, Any]] = {
    "hospital": {"connections": 1, "not_done": [502], "response": RESPONSE},
    "pharmacy": {
        "breaker": {"failures": 2, "first": 0.5, "longest": 4},
        "adaptive": {"min_records": 1, "step": 1},
        "response": RESPONSE,
    },
}
"""They, beside CLINIC, and how they differ from it."""
LIMITED = "pharmacy"
"""Takes bodies of limited size, and nobody wrote down of which."""
LIMITS = (2_000, 2_600, 3_200)
"""Bytes: two, three or four records. Batches of more are answered 413; one record always fits."""
LAKE = "lake"
"""The object store of every round."""
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
    kinds: tuple[str, ...] = ()
    """Which of it, if that was dealt; else it is drawn when it begins."""


@dataclass(frozen=True)
class Programme:
    """The faults of a partner that a round has beside the usual ones."""

    partner: str
    faults: tuple[Planned, ...]
    capacity: int | None = None
    """Bytes that a body may have; None: any number."""


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
    """More HTTP partners, and the object store. Everything else is drawn as if there were none, but `lake`."""

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
    timed = _timed(chance, [(name, ()) for name in names])
    others: tuple[Programme, ...] = ()
    if several if several is not None else not only and number % EVERY == EVERY - 1:
        settings["partner"] = {"by": "product", "map": SEVERAL, "default": CLINIC}
        lake, others = "s3", _others(seed, number, number if several else number // EVERY, names)
    return Plan(seed, number, workers, partitions, store, lake, settings, timed, others)


def _others(seed: int, number: int, turn: int, usual: Sequence[str]) -> tuple[Programme, ...]:
    """From decks of their own, so that what else a round does is the same with and without them; `turn`: how many
    rounds had others before; `usual`: the round's other faults."""
    count = PER_OTHER * len(OTHERS)
    cards = _deal(f"others {seed}", partial(_cards, "partners"), turn * count, count)
    chance = random.Random(f"others {seed}/{number}")
    programmes = []
    for place, partner in enumerate(OTHERS):
        dealt = cards[place * PER_OTHER : (place + 1) * PER_OTHER]
        mine = tuple(sorted(dealt, key=lambda card: card[0] == LAST))
        capacity = chance.choice(LIMITS) if partner == LIMITED else None
        programmes.append(Programme(partner, _timed(chance, mine), capacity))
    if not any(FAULTS[name].theme == "stores" for name in usual):  # two at once would be in each other's way
        mine = _deal(f"lake {seed}", partial(_cards, "stores"), turn, 1)
        programmes.append(Programme(LAKE, _timed(chance, mine)))
    return tuple(programmes)


Card = tuple[str, tuple[str, ...]]
"""A fault, and which kinds of it."""


def _cards(theme: str, turn: int) -> list[Card]:
    """Every fault of a theme with every kind of it. Of one that is always of one kind, another in each turn."""
    cards: list[Card] = []
    for name in sorted(name for name, fault in FAULTS.items() if fault.theme == theme):
        kinds, most = FAULTS[name].kinds, FAULTS[name].at_once
        if most == 1:
            cards.append((name, kinds and (kinds[turn % len(kinds)],)))
        else:
            cards += [(name, kinds[first : first + most]) for first in range(0, len(kinds), most)]
    return cards


def _usual(turn: int) -> list[Card]:
    """Every fault, its kinds left open."""
    return [(name, ()) for name in sorted(FAULTS)]


def _dealt(seed: int, number: int) -> tuple[str, ...]:
    """The round's faults."""
    return tuple(name for name, _ in _deal(f"deck {seed}", _usual, number * PER_ROUND, PER_ROUND))


def _deal(deck: str, cards: Callable[[int], list[Card]], first: int, count: int) -> tuple[Card, ...]:
    """So many cards from the first on of a deck that is shuffled anew in each turn, when it is used up."""
    dealt: list[Card] = []
    turn, start = divmod(first, len(cards(0)))
    while len(dealt) < start + count:
        shuffled = cards(turn)
        random.Random(f"{deck}/{turn}").shuffle(shuffled)
        dealt += shuffled
        turn += 1
    return tuple(dealt[start : start + count])


def _timed(chance: random.Random, cards: Iterable[Card]) -> tuple[Planned, ...]:
    """Faults of one theme follow each other; those of different themes may overlap."""
    faults = []
    free: dict[str, float] = {}
    for name, kinds in cards:
        theme = FAULTS[name].theme
        seconds = chance.uniform(*FAULTS[name].seconds)
        at = max(chance.uniform(0.0, FAULT_SECONDS), free.get(theme, 0.0))
        free[theme] = at + seconds + 0.5
        faults.append(Planned(name, round(at, 2), round(seconds, 2), kinds))
    return tuple(sorted(faults, key=lambda planned: planned.at))
