"""The pictures of a run: what a record costs each contender, and how long it is on its way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.process import Measurement
from bench.report import OWN, RATES, RATIOS, Found, middle
from bench.waits import STREAMS, Waits, shown

OUR_COLOUR, PEER_COLOUR = "#1f5fa8", "#9a9a9a"
PEERS = {peer for _, peers, _ in RATIOS.values() for peer in peers} | {peer for _, peer in RATES.values()}
PEERS -= set(OWN)
INCHES = 0.28
"""Height of a bar."""


def draw(folder: Path, found: Found) -> dict[str, str]:
    """Writes SVGs into the folder; what each shows, and its file."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    if found.measured:
        _cost(found.measured, folder / "cost.svg")
        drawn["Processor time of a million records, by contender"] = "cost.svg"
    if found.waits:
        _waits(shown(found.waits), folder / "latency.svg")
        drawn["Latency by load and topic"] = "latency.svg"
    return drawn


def _cost(measured: Mapping[str, Sequence[Measurement]], path: Path) -> None:
    """A bar for each contender, the least on top."""
    with _figure(path, len(measured)) as place:
        chosen = sorted((middle(rounds) for rounds in measured.values()), key=lambda one: -one.cpu_per_million)
        names = [one.name for one in chosen]
        own = [one.cpu_per_million for one in chosen]
        theirs = [name in PEERS for name in names]
        place.barh(names, own, color=[PEER_COLOUR if peer else OUR_COLOUR for peer in theirs])
        for name, value in zip(names, own, strict=True):
            place.text(value, name, f" {value:,.1f}", va="center")
        place.set_xscale("log")
        place.set_xlabel("CPU-seconds per million records; blue: Waybill, grey: others and roofs")


def _waits(found: Sequence[Waits], path: Path) -> None:
    """From the median to the 99th percentile of each load and topic."""
    with _figure(path, len(found)) as place:
        for one in reversed(found):
            name = f"{one.contender}, {one.load}, to {one.topic}"
            colour = OUR_COLOUR if one.contender != STREAMS else PEER_COLOUR
            place.plot([one.p50, one.p99], [name, name], marker="o", color=colour)
            place.text(one.p99, name, f"  {one.p99:,.0f}", va="center")
        place.set_xscale("log")
        place.set_xlabel("ms from publishing, p50 to p99")


@contextmanager
def _figure(path: Path, bars: int) -> Iterator[Any]:
    """One plot, written to its file at the end of the `with` block."""
    import matplotlib
    import matplotlib.pyplot as plt

    matplotlib.use("Agg")
    with plt.rc_context({"svg.hashsalt": path.name, "font.size": 8}):
        figure, place = plt.subplots(figsize=(9, 1 + INCHES * bars), layout="constrained")
        place.spines[["top", "right"]].set_visible(False)
        yield place
        place.xaxis.set_major_formatter("{x:,g}")
        place.minorticks_off()
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
