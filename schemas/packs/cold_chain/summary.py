"""Facts about a batch, per sensor and product: what an inspector reads before the readings (VAL-10).

JSON values without floats: temperatures, minutes and means are decimal texts rounded to 3 places, moments are UTC
texts, indexes count from 0 in the order of the batch. Raw readings are not changed by any of this.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import orjson

from schemas.packs.cold_chain import episodes as ep
from schemas.packs.cold_chain import quality
from schemas.packs.cold_chain.episodes import Point
from schemas.packs.cold_chain.judge import Rules
from schemas.packs.cold_chain.mkt import mkt
from schemas.packs.cold_chain.options import Product
from schemas.packs.cold_chain.times import MINUTE, iso_text
from schemas.packs.cold_chain.units import plain

_MILLI = Decimal("0.001")


def summarize(payloads: Sequence[bytes], rules: Rules) -> Mapping[str, Any]:
    """Of a batch's payloads in order. A sensor with several products has an entry for each."""
    groups: dict[tuple[str, str], list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for index, payload in enumerate(payloads):
        record = orjson.loads(payload)
        groups[record["sensor_id"], record["product"]].append((index, record))
    sensors = [_sensor(name, product, records, rules) for (name, product), records in sorted(groups.items())]
    return {
        "records": len(payloads),
        "excursion_flag": any(sensor["excursion_records"] for sensor in sensors),
        "sensors": sensors,
    }


def _sensor(name: str, product: str, records: list[tuple[int, dict[str, Any]]], rules: Rules) -> dict[str, Any]:
    readings = sorted(
        ((index, record) for index, record in records if record["kind"] == "reading"),
        key=lambda pair: (pair[1]["event_time"], pair[0]),
    )
    points = [
        Point(record["event_time"], float(record["temperature_c"]) if "temperature_c" in record else None, index)
        for index, record in readings
    ]
    stated = next((record["interval_s"] * 1000 for _, record in reversed(readings) if "interval_s" in record), None)
    interval = stated or ep.typical_interval(points)
    others = [_device(index, record) for index, record in records if record["kind"] != "reading"]
    facts: dict[str, Any] = {
        "sensor_id": name,
        "product": product,
        "records": len(records),
        "readings": len(readings),
        "faults": sum(point.celsius is None for point in points),
        "excursion_records": sorted(index for index, record in records if record["state"] == "excursion"),
        "claims_differ": sorted(index for index, record in readings if _differs(record)),
    }
    if others:
        facts["device"] = others
    if points:
        facts |= {"first": iso_text(points[0].at), "last": iso_text(points[-1].at)}
        facts |= _doubts(points, interval, rules)
        limits = rules.products.get(product)
        exact = [Decimal(record["temperature_c"]) for _, record in readings if "temperature_c" in record]
        facts |= _temperatures(points, interval, exact, float(rules.options.activation_energy))
        if limits is not None and not rules.structure_only:
            facts |= _limits(points, ep.standing(points, interval, stated is not None), interval, limits)
            if limits.mkt_limit is not None and facts.get("mkt_c") is not None:
                facts["mkt_exceeded"] = Decimal(facts["mkt_c"]) > limits.mkt_limit
    return facts


def _differs(record: Mapping[str, Any]) -> bool:
    claim, state = record["compliance_state"], record["state"]
    return "unknown" not in (claim, state) and claim != state


def _device(index: int, record: Mapping[str, Any]) -> dict[str, Any]:
    """A device's own words, without what it stated verbatim."""
    return {"index": index, **{key: value for key, value in record.items() if key not in ("stated", "conf")}}


def _temperatures(points: Sequence[Point], interval: int | None, exact: list[Decimal], energy: float) -> dict[str, Any]:
    """Extremes and the plain mean, exact; MKT over the durations the readings stand, equal ones if unknown. A weight is
    no claim about time: also where nobody states the interval, the last reading has one."""
    if not exact:
        return {}
    spans = ep.standing(points, interval)
    known = [(point.celsius, span) for point, span in zip(points, spans, strict=True) if point.celsius is not None]
    weights = [span for _, span in known] if any(span for _, span in known) else None
    kinetic = mkt([celsius for celsius, _ in known], weights, energy)
    return {
        "min_c": plain(min(exact)),
        "max_c": plain(max(exact)),
        "mean_c": _text(sum(exact, Decimal(0)) / len(exact)),
        "mkt_c": None if kinetic is None else _text(Decimal(kinetic)),
    }


def _doubts(points: Sequence[Point], interval: int | None, rules: Rules) -> dict[str, Any]:
    checks = rules.options
    return {
        "interval_s": None if interval is None else _text(Decimal(interval) / 1000),
        "gaps": [
            {"after": iso_text(gap.after), "before": iso_text(gap.before), "minutes": _minutes(gap.before - gap.after)}
            for gap in quality.gaps(points, interval)
        ],
        "stuck": [
            {
                "start": iso_text(run.start),
                "end": iso_text(run.end),
                "temperature_c": _text(Decimal(run.celsius)),
                "readings": run.readings,
            }
            for run in quality.stuck(points, checks.stuck_readings)
        ],
        "jumps": [
            {"at": iso_text(jump.at), "step_c": _text(Decimal(jump.step))}
            for jump in quality.jumps(points, interval, float(checks.jump_c))
        ],
    }


def _limits(points: Sequence[Point], spans: Sequence[int], interval: int | None, product: Product) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "minutes_observed": _minutes(
            sum(span for point, span in zip(points, spans, strict=True) if point.celsius is not None)
        )
    }
    found: list[ep.Episode] = []
    sides: tuple[tuple[ep.Side, Decimal | None, str], ...] = (
        ("low", product.low, "minutes_below"),
        ("high", product.high, "minutes_above"),
    )
    for side, limit, name in sides:
        if limit is not None:
            facts[name] = _minutes(ep.time_out(points, spans, side, float(limit)))
            found += ep.episodes(points, spans, side, float(limit), interval)
    facts["excursions"] = [
        {
            "side": episode.side,
            "start": iso_text(episode.start),
            "end": iso_text(episode.end),
            "minutes": _minutes(episode.observed),
            "extreme_c": _text(Decimal(episode.extreme)),
            "readings": episode.readings,
        }
        for episode in sorted(found, key=lambda episode: (episode.start, episode.side))
    ]
    facts["alarms"] = []
    for rule in product.alarms:
        hit = ep.alarm(points, spans, rule.side, float(rule.limit), rule.minutes, rule.mode, interval)
        told = {"side": rule.side, "limit_c": plain(rule.limit), "after_minutes": rule.minutes, "mode": rule.mode}
        at = None if hit.at is None else iso_text(hit.at)
        facts["alarms"].append({**told, "minutes": _minutes(hit.observed), "triggered_at": at})
    return facts


def _minutes(milliseconds: int) -> str:
    return _text(Decimal(milliseconds) / MINUTE)


def _text(number: Decimal) -> str:
    return plain(number.quantize(_MILLI))
