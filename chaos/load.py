"""A seeded load of cold-chain readings, and the manifest of it: the oracle that the pipeline never sees.

Equal seeds give equal messages. Every record carries its correlation id as `zone_id`, a number that rises with each new
reading of its sensor, and the SHA-256 of the bytes it was published as. A sensor's messages all carry its name as key,
so they lie on one partition of `raw` in the order in which they were made. Of a bad record the manifest says which
fields are wrong: what must be found in it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

START = datetime(2026, 3, 2, tzinfo=UTC)
STEP = timedelta(hours=1)
"""Between two readings of a sensor: 24 of them to a date."""

PRODUCTS = {"refrigerator": (2.5, 7.5), "freezer": (-24.0, -16.0), "cool": (8.5, 14.5)}
"""Products of the load and the temperatures, °C, they are read at."""
MORE_PRODUCTS = PRODUCTS | {"controlled-cold": (3.0, 7.0)}
"""Of a round with several partners."""

SHARES = {"bad": 40, "duplicate": 60, "conflict": 25, "late": 40, "array": 20}
"""In thousandths of the messages; the rest are good readings of the running date. Arrays hold some of each."""

NOWHERE = -1
"""Partition and offset of what no topic holds."""


@dataclass
class Sent:
    """One message of the load; `partition` and `offset` are filled in when the broker has taken it, an offset of None
    where it did not say which."""

    key: str
    value: bytes | None
    kind: str
    records: list[dict[str, Any]]
    partition: int = NOWHERE
    offset: int | None = NOWHERE

    def line(self) -> dict[str, Any]:
        """Its line in the manifest."""
        return {
            "partition": self.partition, "offset": self.offset, "kind": self.kind, "key": self.key,
            "records": self.records,
        }  # fmt: skip


@dataclass
class _Sensor:
    name: str
    product: str
    fresh: int = 0
    late: int = 0
    sequence: int = 0
    past: list[dict[str, Any]] = field(default_factory=list)
    """Values of its good readings, newest last."""


class Load:
    """An endless supply of messages."""

    def __init__(
        self, seed: int, sensors: int = 9, products: Mapping[str, tuple[float, float]] = PRODUCTS
    ) -> None:  # fmt: skip
        self._chance = random.Random(seed)
        self._prefix = f"R{seed}"
        self._count = 0
        self._products, names = products, list(products)
        self._sensors = [_Sensor(f"SENSOR-{n:03}", names[n % len(names)]) for n in range(sensors)]

    def take(self, count: int) -> Iterator[Sent]:
        """The next `count` messages."""
        for _ in range(count):
            sensor = self._chance.choice(self._sensors)
            kind = self._kind(sensor)
            if kind == "array":
                yield self._array(sensor)
                continue
            data, record = self._record(sensor, kind)
            yield Sent(sensor.name, data, kind, [{"index": 0, **record}])

    def _kind(self, sensor: _Sensor, allowed: tuple[str, ...] = tuple(SHARES)) -> str:
        roll = self._chance.randrange(1000)
        for kind, share in SHARES.items():
            if roll < share:
                repeats = kind in ("duplicate", "conflict")
                return kind if kind in allowed and (sensor.past or not repeats) else "good"
            roll -= share
        return "good"

    def _record(self, sensor: _Sensor, kind: str, element: bool = False) -> tuple[bytes | None, dict[str, Any]]:
        """Bytes of one reading, and what the manifest says of it."""
        self._count += 1
        number = f"{self._prefix}-{self._count:06}"
        if kind == "bad":
            data, wrong = self._bad(sensor, number, element)
            digest = sha256(data or b"").hexdigest()
            return data, {"id": number, "kind": kind, "sha256": digest, "wrong": list(wrong)}
        if kind == "duplicate":
            value = self._chance.choice(sensor.past[-5:])
        elif kind == "conflict":
            old = self._chance.choice(sensor.past[-5:])
            # below the ids of all good readings, so that it never supersedes one where that is the policy
            value = old | {"temperature_c": self._celsius(sensor), "zone_id": f"A-{number}"}
        else:
            value = self._reading(sensor, number, late=kind == "late")
            sensor.past.append(value)
        sensor.sequence += kind in ("good", "late")
        data = json.dumps(value, separators=(",", ":")).encode()
        record = {
            "id": value["zone_id"], "kind": kind, "time": value["timestamp_utc"], "sha256": sha256(data).hexdigest(),
            "sequence": sensor.sequence, "value": value,
        }  # fmt: skip
        return data, record

    def _reading(self, sensor: _Sensor, number: str, late: bool) -> dict[str, Any]:
        if late:
            sensor.late += 1
            moment = START - timedelta(days=2) + sensor.late * timedelta(minutes=1)
        else:
            moment = START + sensor.fresh * STEP
            sensor.fresh += 1
        return {
            "sensor_id": sensor.name,
            "timestamp_utc": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "temperature_c": self._celsius(sensor),
            "zone_id": number,
            "product": sensor.product,
        }

    def _celsius(self, sensor: _Sensor) -> float:
        return round(self._chance.uniform(*self._products[sensor.product]), 2)

    def _array(self, sensor: _Sensor) -> Sent:
        """One submission of several readings, some of them bad or repeated."""
        parts, records = [], []
        for index in range(self._chance.randint(2, 12)):
            kind = self._kind(sensor, ("bad", "duplicate", "conflict", "late"))
            data, record = self._record(sensor, kind, element=True)
            parts.append(data or b"")
            records.append({"index": index, **record})
        return Sent(sensor.name, b"[" + b",".join(parts) + b"]", "array", records)

    def _bad(self, sensor: _Sensor, number: str, element: bool) -> tuple[bytes | None, tuple[str, ...]]:
        """A reading that must be refused, and the paths of the fields that are wrong in it (empty: the whole); as an
        element of an array it still is well-formed JSON by itself."""
        value = {
            "sensor_id": sensor.name, "timestamp_utc": "2026-03-02T00:00:00Z", "temperature_c": 5.0,
            "zone_id": number, "product": sensor.product,
        }  # fmt: skip
        whole = json.dumps(value, separators=(",", ":")).encode()
        elements: list[tuple[bytes, tuple[str, ...]]] = [
            (whole.replace(b"00:00:00Z", b"00:00:00"), ("timestamp_utc",)),
            (whole.replace(b"5.0", b'"warm"'), ("temperature_c",)),
            (whole.replace(b"5.0", b"-300.5"), ("temperature_c",)),
            (whole.replace(b'"product"', b'"produce"'), ("produce",)),
            (whole.replace(b'"zone_id":"R', b'"zone_id":"r'), ("zone_id",)),
            (whole.replace(sensor.name.encode(), b"S"), ("sensor_id",)),
            (whole.replace(b"5.0", b'"warm"').replace(b'"zone_id":"R', b'"zone_id":"r'), ("temperature_c", "zone_id")),
        ]
        if element:
            return self._chance.choice(elements)
        messages: list[tuple[bytes | None, tuple[str, ...]]] = [
            *elements,
            (whole[: self._chance.randrange(1, len(whole) - 1)], ("",)),
            (whole.replace(b"5.0", b"NaN"), ("temperature_c",)),
            (whole.replace(b"5.0", b"1e400"), ("temperature_c",)),
            (whole.replace(b'"zone_id"', b'"sensor_id"'), ("sensor_id",)),
            (whole.replace(b"00:00:00Z", b"\\ud800"), ("timestamp_utc",)),
            (whole.replace(b"product", b"pro\x00duct"), ("",)),
            (b"\xff\xfe" + number.encode(), ("",)),
            (b"[" * 5000 + number.encode(), ("",)),
            (b"%PDF-1.7 " + number.encode(), ("",)),
            (b"", ("",)),
            (None, ("",)),
        ]
        return self._chance.choice(messages)
