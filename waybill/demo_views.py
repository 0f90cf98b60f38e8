"""What was delivered, read back from the demo's lake for people to look at: where a refrigerator was too warm, what
happened to an item. Nothing is asked of the pipeline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson


def objects(folder: Path) -> Iterator[Path]:
    """Delivered objects below a folder, without their sidecars."""
    for path in sorted(folder.rglob("batch_*")):
        if not path.name.endswith(".meta.json"):
            yield path


def warmest(folder: Path, product: str = "refrigerator") -> tuple[str, list[tuple[int, float]]]:
    """The sensor of a product with the most excursions in what was delivered, and its readings (time ms, °C) of the
    day it had them; empty where nothing was delivered."""
    worst, best = ("", "", 0), None
    bodies = []
    for path in objects(folder):
        body = orjson.loads(path.read_bytes())
        if body["group"] != product:
            continue
        bodies.append(body)
        for sensor in body["summary"]["sensors"]:
            if len(sensor["excursions"]) > worst[2]:
                worst = sensor["sensor_id"], body["date"], len(sensor["excursions"])
                best = sensor
    if best is None:
        return "", []
    readings = {
        record["record"]["event_time"]: float(record["record"]["temperature_c"])
        for body in bodies
        if body["date"] == worst[1]
        for record in body["records"]
        if record["record"]["sensor_id"] == worst[0] and record["record"].get("temperature_c")
    }
    return worst[0], sorted(readings.items())


Event = dict[str, Any]


def events(folder: Path) -> list[Event]:
    """Every event in the EPCIS documents below a folder, by time."""
    bodies = (orjson.loads(path.read_bytes()) for path in objects(folder))
    found = [event for body in bodies for event in body["epcisBody"]["eventList"]]
    return sorted(found, key=lambda event: str(event["eventTime"]))


def by_step(delivered: list[Event]) -> Counter[tuple[str, str, str]]:
    """How many events of each type, business step and action; error declarations stand apart."""
    return Counter(
        (
            event["type"],
            "error declaration" if "errorDeclaration" in event else event.get("bizStep", "-"),
            event.get("action", "-"),
        )
        for event in delivered
    )


def journey(delivered: list[Event]) -> tuple[str, list[tuple[Event, str]]]:
    """The item that most events name, and its events in order, each with the container it was in ("" for none): what
    happens to a case happens to what was packed into it, until it is unpacked."""
    direct = Counter(epc for event in delivered for epc in named(event))
    if not direct:
        return "", []
    item = max(direct, key=lambda epc: (direct[epc], epc))
    inside, found = "", []
    for event in delivered:
        if item in named(event):
            if event["type"] == "AggregationEvent":
                inside = event.get("parentID", "") if event["action"] == "ADD" else ""
            found.append((event, inside))
        elif inside and inside in (*event.get("epcList", ()), event.get("parentID")):
            found.append((event, inside))
    return item, found


def named(event: Event) -> list[str]:
    """Items that an event names as such, not as a container."""
    return [epc for name in ("epcList", "childEPCs") for epc in event.get(name, ()) if ":sscc:" not in epc]
