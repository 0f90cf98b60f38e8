"""Draws a round: throughput and latency over time, with the faults as bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt

from chaos.faults import FAULTS
from chaos.round import Result

BIN = 0.5
"""Seconds of a step of the throughput."""
COLOURS = {"workers": "tab:red", "cluster": "tab:purple", "partners": "tab:orange", "stores": "tab:brown"}


def draw(result: Result, path: Path) -> None:
    """Writes a PNG."""
    matplotlib.use("Agg")
    times = result.timeline
    assert times is not None
    end = max([*times.published, *(at for at, _ in times.answered)], default=1.0)
    figure, (rate, latency, bars) = plt.subplots(
        3, 1, figsize=(11, 7.5), sharex=True, height_ratios=[3, 3, 2], layout="constrained"
    )
    edges = [BIN * step for step in range(int(end / BIN) + 2)]
    for label, moments in (("published", times.published), ("answered", [at for at, _ in times.answered])):
        rate.hist(moments, edges, histtype="step", label=label, weights=[1 / BIN] * len(moments))
    rate.set_ylabel("per second")
    rate.legend(loc="upper right")
    latency.scatter([at for at, _ in times.answered], [took for _, took in times.answered], s=4, alpha=0.5)
    latency.set_ylabel("answer after, s")
    latency.set_yscale("log")
    began = result.history["began"]
    events = [event for event in result.history["events"] if event["what"] in FAULTS]
    for row, event in enumerate(events):
        start, width = event["at"] - began, max(event["until"] - event["at"], 0.1)
        colour = COLOURS[FAULTS[event["what"]].theme]
        bars.barh(row, width, left=start, color=colour)
        bars.text(start + width + 0.2, row, _label(event), va="center", fontsize=8)
        for axis in (rate, latency):
            axis.axvspan(start, start + width, color=colour, alpha=0.12)
    ends = [event["at"] - began for event in result.history["events"] if event["what"] == "ended"]
    bars.scatter(ends, [len(events)] * len(ends), marker="x", color="black", s=20)
    bars.set_yticks([*range(len(events)), len(events)], ["" for _ in events] + ["workers end"], fontsize=8)
    bars.set_xlabel("seconds since the first message")
    rate.set_title(f"Round {result.plan.number} of seed {result.plan.seed}")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _label(event: dict[str, Any]) -> str:
    """What was done, to whom where it was not the usual partner, and how."""
    return " ".join(filter(None, (event["what"], event.get("partner"), event["said"])))
