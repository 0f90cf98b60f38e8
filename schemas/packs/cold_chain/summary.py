"""Facts about a batch, per sensor and product: what an inspector reads before the readings (VAL-10).

JSON values without floats: temperatures, minutes and means are decimal texts rounded to 3 places, moments are UTC
texts, indexes count from 0 in the order of the batch. Raw readings are not changed by any of this.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from operator import eq, sub
from typing import Any, NamedTuple

import orjson

from schemas.kept import Kept
from schemas.packs.cold_chain import episodes as ep
from schemas.packs.cold_chain import quality
from schemas.packs.cold_chain.episodes import Point
from schemas.packs.cold_chain.judge import Rules
from schemas.packs.cold_chain.mkt import mkt
from schemas.packs.cold_chain.options import Product
from schemas.packs.cold_chain.times import MINUTE, iso_text
from schemas.packs.cold_chain.units import plain

_MILLI = Decimal("0.001")
NEVER = ep.Triggered(None, 0)
"""An alarm whose limit no reading is beyond."""
_numbers: Kept[str, tuple[float, Decimal]] = Kept(lambda text: (float(text), Decimal(text)), 8192)
"""Temperatures as they were sent: there are few different ones."""


class _Series(NamedTuple):
    """Readings of one sensor and product in order of time, at least one."""

    moments: tuple[int, ...]
    places: tuple[int, ...]
    celsius: list[float | None]
    known: list[float]
    """Those that are no faults."""
    lowest: float | None
    highest: float | None
    steps: list[int]
    """Between neighbours, ms."""
    interval: int | None
    stated: bool
    """The interval is the source's own word."""
    gapless: bool

    @property
    def points(self) -> list[Point]:
        """For a walk over every reading, which few series need."""
        return list(map(Point, self.moments, self.celsius, self.places))

    def spans(self, stated: bool) -> list[int]:
        """See episodes.standing."""
        if self.interval is None or not self.gapless:
            return ep.standing(self.points, self.interval, stated)
        return [*self.steps, self.interval if stated else 0]

    def beyond(self, side: ep.Side, limit: float) -> bool:
        """Whether any reading is out of a limit."""
        extreme = self.lowest if side == "low" else self.highest
        return extreme is not None and ep.is_out(extreme, side, limit)


def summarize(payloads: Sequence[bytes], rules: Rules) -> Mapping[str, Any]:
    """Of a batch's payloads in order. A sensor with several products has an entry for each."""
    groups: dict[tuple[str, str], list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for index, record in enumerate(orjson.loads(b"[%b]" % b",".join(payloads))):
        groups[record["sensor_id"], record["product"]].append((index, record))
    sensors = [_sensor(name, product, records, rules) for (name, product), records in sorted(groups.items())]
    return {
        "records": len(payloads),
        "excursion_flag": any(sensor["excursion_records"] for sensor in sensors),
        "sensors": sensors,
    }


def _sensor(name: str, product: str, records: list[tuple[int, dict[str, Any]]], rules: Rules) -> dict[str, Any]:
    # Once per record, in columns: a reading within its limits costs no call of ours.
    readings = [(record["event_time"], index, record) for index, record in records if record["kind"] == "reading"]
    readings.sort()  # by time, then place, of which there are no equal ones
    others = [_device(index, record) for index, record in records if record["kind"] != "reading"]
    facts: dict[str, Any] = {
        "sensor_id": name,
        "product": product,
        "records": len(records),
        "readings": len(readings),
        "faults": sum("temperature_c" not in record for _, _, record in readings),
        "excursion_records": [index for index, record in records if record["state"] == "excursion"],
        "claims_differ": sorted(
            index
            for _, index, record in readings
            if (claim := record["compliance_state"]) != "unknown"
            and claim != record["state"]
            and record["state"] != "unknown"
        ),
    }
    if others:
        facts["device"] = others
    if readings:
        series, exact = _series(readings)
        facts |= {"first": iso_text(series.moments[0]), "last": iso_text(series.moments[-1])}
        facts |= _doubts(series, rules)
        facts |= _temperatures(series, exact, float(rules.options.activation_energy))
        limits = rules.products.get(product)
        if limits is not None and not rules.structure_only:
            facts |= _limits(series, limits)
            if limits.mkt_limit is not None and facts.get("mkt_c") is not None:
                facts["mkt_exceeded"] = Decimal(facts["mkt_c"]) > limits.mkt_limit
    return facts


def _series(readings: list[tuple[int, int, dict[str, Any]]]) -> tuple[_Series, list[Decimal]]:
    """The series, and its temperatures as they were sent."""
    moments, places, records = zip(*readings, strict=True)
    values = [_numbers[record["temperature_c"]] if "temperature_c" in record else None for record in records]
    known = [value for value in values if value is not None]
    celsius = [None if value is None else value[0] for value in values]
    floats = [number for number, _ in known]
    steps = list(map(sub, moments[1:], moments))
    stated = next((record["interval_s"] * 1000 for record in reversed(records) if "interval_s" in record), None)
    interval = stated or ep.typical_step(steps)
    gapless = interval is None or max(steps, default=0) <= ep.GAP_FACTOR * interval
    extremes = min(floats, default=None), max(floats, default=None)
    series = _Series(moments, places, celsius, floats, *extremes, steps, interval, stated is not None, gapless)
    return series, [exact for _, exact in known]


def _device(index: int, record: Mapping[str, Any]) -> dict[str, Any]:
    """A device's own words, without what it stated verbatim."""
    return {"index": index, **{key: value for key, value in record.items() if key not in ("stated", "conf")}}


def _temperatures(series: _Series, exact: list[Decimal], energy: float) -> dict[str, Any]:
    """Extremes and the plain mean, exact; MKT over the durations the readings stand, equal ones if unknown. A weight is
    no claim about time: also where nobody states the interval, the last reading has one."""
    if not exact:
        return {}
    spans = _where_known(series, series.spans(stated=True))
    kinetic = mkt(series.known, spans if any(spans) else None, energy)
    return {
        "min_c": plain(min(exact)),
        "max_c": plain(max(exact)),
        "mean_c": _text(sum(exact, Decimal(0)) / len(exact)),
        "mkt_c": None if kinetic is None else _text(Decimal(kinetic)),
    }


def _where_known(series: _Series, spans: list[int]) -> list[int]:
    """Those of readings that are no faults."""
    if len(series.known) == len(spans):
        return spans
    return [span for value, span in zip(series.celsius, spans, strict=True) if value is not None]


def _doubts(series: _Series, rules: Rules) -> dict[str, Any]:
    checks, interval = rules.options, series.interval
    gaps = [] if series.gapless else quality.gaps(series.points, interval)
    stuck = quality.stuck(series.points, checks.stuck_readings) if _repeats(series, checks.stuck_readings) else []
    jumps = quality.jumps(series.points, interval, float(checks.jump_c)) if _leaps(series, checks.jump_c) else []
    return {
        "interval_s": None if interval is None else _text(Decimal(interval) / 1000),
        "gaps": [
            {"after": iso_text(gap.after), "before": iso_text(gap.before), "minutes": _minutes(gap.before - gap.after)}
            for gap in gaps
        ],
        "stuck": [
            {
                "start": iso_text(run.start),
                "end": iso_text(run.end),
                "temperature_c": _text(Decimal(run.celsius)),
                "readings": run.readings,
            }
            for run in stuck
        ],
        "jumps": [{"at": iso_text(jump.at), "step_c": _text(Decimal(jump.step))} for jump in jumps],
    }


def _repeats(series: _Series, least: int) -> bool:
    """Whether some temperature comes so often in a row; so may a fault."""
    return b"\1" * (least - 1) in bytes(map(eq, series.celsius[1:], series.celsius))


def _leaps(series: _Series, most: Decimal) -> bool:
    """Whether some step is so large; where there are faults or gaps, whoever asks must look."""
    known = series.known
    if len(known) < len(series.celsius):
        return True
    return max(map(abs, map(sub, known[1:], known)), default=0.0) > float(most)


def _limits(series: _Series, product: Product) -> dict[str, Any]:
    interval, spans = series.interval, series.spans(series.stated)
    facts: dict[str, Any] = {"minutes_observed": _minutes(sum(_where_known(series, spans)))}
    found: list[ep.Episode] = []
    sides: tuple[tuple[ep.Side, Decimal | None, str], ...] = (
        ("low", product.low, "minutes_below"),
        ("high", product.high, "minutes_above"),
    )
    for side, limit, name in sides:
        if limit is not None:
            points = series.points if series.beyond(side, float(limit)) else None
            facts[name] = _minutes(ep.time_out(points, spans, side, float(limit)) if points else 0)
            found += ep.episodes(points, spans, side, float(limit), interval) if points else []
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
        hit = NEVER
        if series.beyond(rule.side, float(rule.limit)):
            hit = ep.alarm(series.points, spans, rule.side, float(rule.limit), rule.minutes, rule.mode, interval)
        told = {"side": rule.side, "limit_c": plain(rule.limit), "after_minutes": rule.minutes, "mode": rule.mode}
        at = None if hit.at is None else iso_text(hit.at)
        facts["alarms"].append({**told, "minutes": _minutes(hit.observed), "triggered_at": at})
    return facts


def _minutes(milliseconds: int) -> str:
    return _text(Decimal(milliseconds) / MINUTE)


def _text(number: Decimal) -> str:
    return plain(number.quantize(_MILLI))
