"""The page and the pictures, made from the lines of every run so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.scale.axes import AXES, BASE, Axis
from bench.scale.fit import Pair, exponent, faster_than_linear
from bench.scale.points import Line

HOW = (
    "`make bench-scale` measured this: one axis at a time, the rest as at the base point. Each point is deployed "
    "workers on a local broker of one node, ready before the first reading is published at full speed; all stages, "
    "every check and the audit on, exactly once, a folder as partner where nothing else is said."
)
READING = (
    "`exponent` is k of y = a·x^k, fitted by least squares over logarithms: 1 is linear. A figure grows at most "
    "linearly where no step between neighbours is steeper than linear by more than 15 %, which is noise here. Dotted "
    "in the pictures: linear growth from the first point. Other work shared the machine; its load stands with each "
    "point. Processor time suffers less from that than seconds do."
)


def pairs_of(lines: Sequence[Line], axis: str, store: str, figure: str) -> list[Pair]:
    """(x, figure) of one axis and store, in the order of x."""
    return sorted(
        (float(line["x"]), float(line["figures"][figure]))
        for line in lines
        if line["axis"] == axis and line["store"] == store and figure in line["figures"]
    )


def write(folder: Path, lines: Sequence[Line]) -> Path:
    """report.md, and a picture for each axis that has points. Returns the page."""
    measured = [axis for axis in AXES.values() if any(line["axis"] == axis.name for line in lines)]
    for axis in measured:
        draw(axis, lines, folder / f"{axis.name}.svg")
    (folder / "report.md").write_text(page(lines))
    return folder / "report.md"


def page(lines: Sequence[Line]) -> str:
    """The report, in Markdown."""
    measured = [axis for axis in AXES.values() if any(line["axis"] == axis.name for line in lines)]
    return "\n".join([*_head(lines), *(text for axis in measured for text in section(axis, lines)), ""])


def section(axis: Axis, lines: Sequence[Line]) -> list[str]:
    """Markdown of one axis: its picture, a line for each point, and how fast each figure grows."""
    own = sorted((one for one in lines if one["axis"] == axis.name), key=lambda one: (one["store"], one["x"]))
    names = list(dict.fromkeys(name for line in own for name in line["figures"]))
    head = [axis.unit, "store", *names, "load of the machine, 1 min"]
    rows = [
        [f"{line['x']:,}", line["store"], *(_number(line["figures"].get(name)) for name in names), f"{line['load']:g}"]
        for line in own
    ]
    return [
        "",
        f"## {axis.unit[0].upper()}{axis.unit[1:]}",
        "",
        *([axis.note, ""] if axis.note else []),
        f"![{axis.unit}]({axis.name}.svg)",
        "",
        *_table(head, rows),
        "",
        *_table(["figure", "store", "exponent", "grows"], _growth(axis, lines)),
    ]


def _growth(axis: Axis, lines: Sequence[Line]) -> list[list[str]]:
    rows = []
    for figure, words in axis.figures.items():
        for store in axis.stores:
            pairs = pairs_of(lines, axis.name, store, figure)
            power = exponent(pairs)
            if power is not None:
                rows.append([f"`{figure}`: {words}", store, f"{power:.2f}", verdict(pairs)])
    return rows


def verdict(pairs: Sequence[Pair]) -> str:
    """In words, the steps that are too steep named."""
    steep = faster_than_linear(pairs)
    if not steep:
        return "at most linearly"
    steps = ", ".join(f"from {a[0]:,.0f} to {b[0]:,.0f} by a factor of {b[1] / a[1]:.1f}" for a, b in steep)
    return f"**faster than linearly**: {steps}"


def draw(axis: Axis, lines: Sequence[Line], path: Path) -> None:
    """Writes an SVG: each figure over the axis, both logarithmic, with a dotted line that is linear."""
    import matplotlib
    import matplotlib.pyplot as plt

    matplotlib.use("Agg")
    shown = [name for name in axis.figures if any(pairs_of(lines, axis.name, store, name) for store in axis.stores)]
    with plt.rc_context({"svg.hashsalt": axis.name, "font.size": 8}):
        figure, places = plt.subplots(1, len(shown), figsize=(3.2 * len(shown), 3), layout="constrained", squeeze=False)
        for place, name in zip(places[0], shown, strict=True):
            _panel(place, axis, lines, name)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _panel(place: Any, axis: Axis, lines: Sequence[Line], name: str) -> None:
    for store in axis.stores:
        pairs = pairs_of(lines, axis.name, store, name)
        if not pairs:
            continue
        xs, ys = zip(*pairs, strict=True)
        (drawn,) = place.plot(xs, ys, marker="o", label=store)
        place.plot(xs, [ys[0] * x / xs[0] for x in xs], linestyle=":", color=drawn.get_color(), linewidth=0.8)
    place.set_xscale("log")
    place.set_yscale("log")
    place.set_title(name)
    place.set_xlabel(axis.unit)
    if len(axis.stores) > 1:
        place.legend()


def _head(lines: Sequence[Line]) -> list[str]:
    base = ", ".join(
        f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}" for name, value in BASE.items()
    )
    versions = [f"- {name}: {', '.join(values)}" for name, values in _common(lines).items()]
    return ["# How the cost grows", "", HOW, "", f"Base point: {base}.", "", READING, "", *versions]


def _common(lines: Sequence[Line]) -> dict[str, list[str]]:
    """What the lines say of machine and versions, each different value once."""
    found: dict[str, dict[str, None]] = {}
    for line in lines:
        about: Mapping[str, Any] = {"measured": line["at"][:10], **line["machine"]}
        for name, value in about.items():
            if name != "load_before":
                found.setdefault(name, {})[str(value)] = None
    return {name: list(values) for name, values in found.items()}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    marks = ["---:" if rows and all(_is_number(row[place]) for row in rows) else "---" for place in range(len(head))]
    return [f"| {' | '.join(one)} |" for one in (head, marks, *rows)]


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "", 1).replace("-", "", 1).isdigit() or text == "–"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"
