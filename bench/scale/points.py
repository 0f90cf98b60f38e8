"""What was measured, a line of JSON for each point, added as soon as there is one: a run that is stopped goes on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.scale.axes import Point

Line = dict[str, Any]


def read(file: Path) -> list[Line]:
    """The lines, the last one of each point; a last line that was cut off while it was written does not count."""
    found: dict[Point, Line] = {}
    lines = file.read_text().splitlines(keepends=True) if file.is_file() else []
    for number, text in enumerate(lines):
        if number == len(lines) - 1 and not text.endswith("\n"):
            break
        line: Line = json.loads(text)
        found[point_of(line)] = line
    return list(found.values())


def point_of(line: Mapping[str, Any]) -> Point:
    """Which point a line is of."""
    return Point(line["axis"], line["x"], line["store"], line["records"])


def missing(points: Iterable[Point], lines: Iterable[Line]) -> list[Point]:
    """Those of the points that have no line."""
    done = {point_of(line) for line in lines}
    return [point for point in points if point not in done]


def add(file: Path, point: Point, figures: Mapping[str, float], about: Mapping[str, Any]) -> Line:
    """Writes a line. about: machine, versions, time."""
    line = {**point._asdict(), "figures": {name: round(value, 3) for name, value in figures.items()}, **about}
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = file.read_text() if file.is_file() else ""
    if whole and not whole.endswith("\n"):  # cut off by a kill
        file.write_text(whole[: whole.rfind("\n") + 1])
    with file.open("a") as out:
        out.write(json.dumps(line) + "\n")
    return line
