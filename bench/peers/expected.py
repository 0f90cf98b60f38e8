"""What the peers are given to be checked, and what must come out of it by the product's own pack.

Readings of the bench, with some repeated, some contradicting, some broken and some of unusual but valid form among
them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from bench.world import readings
from schemas.pack import Record, Submission
from schemas.packs import load_pack
from schemas.packs.cold_chain.judge import Rules
from schemas.packs.cold_chain.options import NO_SOURCE, Options
from schemas.packs.cold_chain.plain import PlainReader
from schemas.packs.cold_chain.sample import sample
from schemas.profiles import STATEFUL
from topology.load import load_pipeline

NOT_PLAIN = "NOT_PLAIN"
"""What a peer says of a reading that the pack takes only the thorough way."""
ODD = [
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:00:00Z","temperature_c":5}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:01:00Z","temperature_c":-0.0}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:02:00Z","temperature_c":-0}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:03:00Z","temperature_c":1e1}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:04:00Z","temperature_c":1.50}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:05:00Z","temperature_c":1E-7}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:06:00Z","temperature_c":4.3000000000000001}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:07:00Z","temperature_c":0.30000000000000004}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:08:00Z","temperature_c":5e-324}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:09:00Z","temperature_c":1.7976931348623157e308}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:10:00Z","temperature_c":1e999}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:11:00Z","temperature_c":Infinity}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:12:00.250Z","temperature_c":5.0,"product":"refrigerator"}',
    b'{"product":"refrigerator","temperature_c":8,"timestamp_utc":"2024-02-29T23:59:59Z","sensor_id":"ODD-0001"}',
    b'{"product":"vapour","temperature_c":-196,"timestamp_utc":"2024-02-29T23:59:59.999Z","sensor_id":"ODD-0001"}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:13:00Z","temperature_c":5,"compliance_state":"excursion"}',
    b'{"sensor_id":"COOL","timestamp_utc":"2026-03-02T00:14:00Z","temperature_c":5,"product":"cool","zone_id":"A-1"}',
    b' {"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:15:00Z","temperature_c":5}',
    b'{ "sensor_id" : "ODD-0001" ,\n"timestamp_utc":"2026-03-02T00:16:00Z", "temperature_c" : 5 }\n',
    '{"sensor_id":"KÜHL-日本","timestamp_utc":"2026-03-02T00:17:00Z","temperature_c":5}'.encode(),
    b'{"sensor_id":"K\\u00dchl\\ud83d\\ude00","timestamp_utc":"2026-03-02T00:18:00Z","temperature_c":5}',
    b'{"sensor_id":"K\\u00dc\\u200bhl","timestamp_utc":"2026-03-02T00:19:00Z","temperature_c":5}',
    b'{"sensor_id":"back\\\\slash","timestamp_utc":"2026-03-02T00:20:00Z","temperature_c":5}',
    b'{"sensor_id":"qu\\"ote","timestamp_utc":"2026-03-02T00:21:00Z","temperature_c":5}',
    b'{"sensor_id":"ab","timestamp_utc":"2026-03-02T00:22:00Z","temperature_c":5}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-02-29T00:23:00Z","temperature_c":5}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T24:00:00Z","temperature_c":5}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02 00:24:00Z","temperature_c":5}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:25:00.123456Z","temperature_c":5}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:26:00+00:00","temperature_c":5}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"1969-12-31T23:59:59Z","temperature_c":5}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"yesterday","temperature_c":5}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:27:00Z","temperature":41,"unit":"F"}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:28:00Z","temperature_c":5,"zone_id":null}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:29:00Z","temperature_c":5,"zone_id":""}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:30:00Z","temperature_c":true}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:31:00Z","temperature_c":[5]}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:32:00Z","temperature_c":5,"product":"nectar"}',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:33:00Z","temperature_c":5}x',
    b'{"sensor_id":"ODD-0001","timestamp_utc":"2026-03-02T00:34:00Z","temperature_c":05}',
    b"{}",
    b"",
    b"hello",
]


@dataclass
class Expected:
    """What must come out."""

    digests: set[bytes] = field(default_factory=set)
    groups: dict[bytes, str] = field(default_factory=dict)
    """product|date by digest."""
    either: dict[bytes, bytes] = field(default_factory=dict)
    """Values by digest that the pack takes the thorough way only: a peer gives the same payload or refuses them."""
    refused: Counter[bytes] = field(default_factory=Counter)
    """Values on the dead-letter topic, contradicting ones apart."""
    codes: dict[bytes, set[str]] = field(default_factory=dict)
    duplicates: int = 0
    contradicting: Counter[bytes] = field(default_factory=Counter)
    contradicting_payloads: Counter[bytes] = field(default_factory=Counter)


def messages(count: int, seed: int = 1) -> list[tuple[str, bytes]]:
    """`count` good readings, and among them some repeated, contradicting, broken and odd ones."""
    chance = random.Random(seed)
    made = load_pipeline("cold-chain")
    pack = load_pack(made.pack, made.options, made.profile)
    broken = [
        (key, value)
        for key, value in sample(max(2_000, count // 5))
        if not isinstance(next(iter(pack.unpack(Submission(value)).records())), Record)
    ]
    odd = [(f"odd-{number}", value) for number, value in enumerate(ODD)]
    odd += [(key, value[: chance.randrange(len(value))]) for key, value in readings(200)]
    extra = iter([*broken, *odd])
    found: list[tuple[str, bytes]] = []
    for key, value in readings(count):
        found.append((key, value))
        roll = chance.random()
        if roll < 0.02:
            found.append((key, value))
        elif roll < 0.03:
            found.append((key, value.replace(b'"temperature_c":', b'"temperature_c":1', 1)))
        elif roll < 0.05:
            again = found[chance.randrange(len(found))]
            found.append(again)
        elif roll < 0.08 and (one := next(extra, None)) is not None:
            found.append(one)
    return found + list(extra)


def expect(given: Iterable[tuple[str, bytes]]) -> Expected:
    """The product's answers, duplicates dropped; of what it takes the thorough way, those of a refusal."""
    made = load_pipeline("cold-chain")
    pack = load_pack(made.pack, made.options, made.profile)
    if made.profile == STATEFUL:
        raise ValueError("readings have no state")
    read_plain = PlainReader(Rules(Options.model_validate(made.options), made.profile), NO_SOURCE)
    known: dict[tuple[str, int], bytes] = {}
    found = Expected()
    for _, value in given:
        record = read_plain(value) if value[:1] == b"{" else None
        if record is None:
            item = next(iter(pack.unpack(Submission(value)).records()))
            if isinstance(item, Record):
                found.either[item.digest] = value
            else:
                found.refused[value] += 1
                found.codes[value] = {one.code for one in item.findings}
            continue
        identity = record.fields["sensor_id"], record.event_time
        digest = known.setdefault(identity, record.digest)
        if identity not in known or digest is record.digest:
            found.digests.add(digest)
            found.groups[digest] = f"{record.fields['product']}|{record.fields['day']}"
        elif digest == record.digest:
            found.duplicates += 1
        else:
            found.contradicting[value] += 1
            found.contradicting_payloads[record.payload] += 1
    return found
