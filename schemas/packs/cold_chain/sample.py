"""A shipped sample of real-looking readings with seeded trouble, and the answers it must get.

Equal arguments give equal bytes. Times are fixed (from 2026-03-02T00:00:00Z), no clock is read. Conflicts are refused
(`on_conflict: conflict`) and the idempotency key is (sensor_id, event_time), as in the shipped pipeline.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from math import pi, sin
from typing import NamedTuple

from schemas.packs.cold_chain.times import DAY, iso_text
from schemas.packs.manifest import Manifest

START = 1_772_409_600_000
"""2026-03-02T00:00:00Z, ms."""
STEP = 60_000
"""Logging interval of every sensor, ms."""

# Shares of the messages, in thousandths; the rest are good readings of the running day.
SHARES = {"bad": 20, "duplicate": 15, "late": 10, "conflict": 5}


class Sensor(NamedTuple):
    """A probe: its product, the middle of its daily curve, the curve's height, and what an open door adds, °C."""

    name: str
    product: str
    zone: str
    middle: float
    swing: float
    door: float


_KINDS = (
    ("FRIDGE", "refrigerator", 4.8, 0.9, 6.0),
    ("FREEZER", "freezer", -18.5, 1.5, 9.0),
    ("ULT", "ultra-low", -79.0, 1.2, 22.0),
    ("ROOM", "controlled-room", 22.4, 1.1, 3.0),
    ("COLDBOX", "controlled-cold", 5.2, 0.8, 5.0),
    ("CELLAR", "cool", 11.5, 0.7, 2.0),
    ("DEWAR", "unspecified", 19.5, 2.0, 1.0),
)
_BAD = (
    "no_sensor",
    "naive",
    "not_utc",
    "text_value",
    "implausible",
    "unknown_field",
    "nan",
    "cut_off",
    "twice",
    "zone",
)


def sensors(count: int = 42) -> tuple[Sensor, ...]:
    """The probes of the sample."""
    return tuple(
        Sensor(f"{kind}-{number // len(_KINDS):04}", product, f"SITE-{number % 3 + 1}", middle, swing, door)
        for number in range(count)
        for kind, product, middle, swing, door in [_KINDS[number % len(_KINDS)]]
    )


def sample(readings: int, seed: int = 1) -> Iterator[tuple[str, bytes]]:
    """`readings` messages as (publisher's key, bytes), in the order they are to be published."""
    for _, key, message in _messages(readings, seed):
        yield key, message


def manifest(readings: int, seed: int = 1) -> Manifest:
    """The answers to `sample(readings, seed)`, whose messages hold one record each. Its kinds: good, late, duplicate,
    conflict, bad."""
    kinds = Counter(kind for kind, _, _ in _messages(readings, seed))
    dead = kinds["bad"] + kinds["conflict"]
    return Manifest(readings, kinds["good"] + kinds["late"], dead, kinds["duplicate"], dict(sorted(kinds.items())))


def _messages(readings: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    """(kind, key, message). A repeat or conflict follows its original under the same key, so it is met later."""
    chance = random.Random(seed)
    probes = sensors()
    doors = dict.fromkeys(probes, 0.0)
    last: dict[Sensor, tuple[int, float]] = {}
    fresh = dict.fromkeys(probes, 0)
    late = dict.fromkeys(probes, 0)
    spent: set[Sensor] = set()
    for number in range(readings):
        probe = probes[number % len(probes)]
        kind = _kind(chance, spent_or_new=probe in spent or probe not in last)
        if kind == "duplicate":
            yield kind, probe.name, _message(probe, *last[probe])
            continue
        if kind == "conflict":
            moment, celsius = last[probe]
            spent.add(probe)  # what repeats next would be the conflicting value: wait for a new reading
            yield kind, probe.name, _message(probe, moment, round(celsius + 0.5, 2))
            continue
        if kind == "bad":
            yield kind, probe.name, _bad(chance, probe, START + fresh[probe] * STEP)
            continue
        if kind == "late":
            late[probe] += 1
            moment = START - DAY + (late[probe] * STEP) % DAY + (late[probe] * STEP) // DAY
        else:
            moment = START + fresh[probe] * STEP
            fresh[probe] += 1
        celsius = _celsius(chance, probe, moment, doors)
        if kind == "good":
            last[probe] = moment, celsius
            spent.discard(probe)
        yield kind, probe.name, _message(probe, moment, celsius)


def _kind(chance: random.Random, spent_or_new: bool) -> str:
    roll = chance.randrange(1000)
    for kind, share in SHARES.items():
        if roll < share:
            return "good" if spent_or_new and kind in ("duplicate", "conflict") else kind
        roll -= share
    return "good"


def _celsius(chance: random.Random, probe: Sensor, moment: int, doors: dict[Sensor, float]) -> float:
    """A daily curve with noise; an opened door warms the probe at once and wears off."""
    open_door = probe.door * chance.uniform(0.3, 1.0) if chance.random() < 0.01 else 0.0
    doors[probe] = doors[probe] * 0.8 + open_door
    curve = probe.swing * sin(2 * pi * (moment % DAY) / DAY)
    return round(probe.middle + curve + doors[probe] + chance.gauss(0, 0.08), 2)


def _message(probe: Sensor, moment: int, celsius: float, **changes: str) -> bytes:
    text = iso_text(moment)
    parts = {
        "sensor_id": f'"{probe.name}"',
        "timestamp_utc": f'"{text}"',
        "temperature_c": f"{celsius}",
        "zone_id": f'"{probe.zone}"',
        "product": f'"{probe.product}"',
        **changes,
    }
    return ("{" + ",".join(f'"{name}":{value}' for name, value in parts.items() if value) + "}").encode()


def _bad(chance: random.Random, probe: Sensor, moment: int) -> bytes:
    """One of several ways to be refused."""
    how = chance.choice(_BAD)
    text = iso_text(moment)
    changes = {
        "no_sensor": {"sensor_id": ""},
        "naive": {"timestamp_utc": f'"{text[:-1]}"'},
        "not_utc": {"timestamp_utc": f'"{text[:-1]}+02:00"'},
        "text_value": {"temperature_c": '"warm"'},
        "implausible": {"temperature_c": "451"},
        "unknown_field": {"firmware": '"4.0p1o"'},
        "nan": {"temperature_c": "NaN"},
        "zone": {"zone_id": '"cold room"'},
    }.get(how, {})
    message = _message(probe, moment, round(probe.middle, 2), **changes)
    if how == "cut_off":
        return message[: chance.randrange(1, len(message) - 1)]
    if how == "twice":
        return message.replace(b'"zone_id"', b'"product"', 1).replace(probe.zone.encode(), b"freezer", 1)
    return message
