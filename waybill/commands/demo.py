"""`waybill demo`: sample readings through the whole pipeline, and the books balanced at the end."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from waybill.context import home
from waybill.output import Code, finish, line, say

if TYPE_CHECKING:
    from schemas.packs.manifest import Manifest
    from waybill.demo import Shown

PIPELINE = "cold-chain"
LIMITS = 2.0, 8.0
"""°C, of product refrigerator."""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("demo")(demo)


def demo(
    readings: Annotated[int, typer.Option(min=100, help="sample readings to publish")] = 100_000,
    seed: Annotated[int, typer.Option(help="of the sample")] = 1,
    memory: Annotated[bool, typer.Option("--memory", help="run on the log in memory even if there is Java")] = False,
) -> None:
    """Publish the shipped sample, run the pipeline to its end, show what happened. Exit 0 if every record has exactly
    one answer and none is in flight."""
    from schemas.packs.cold_chain.sample import manifest
    from waybill.demo import fresh_home, in_memory, on_kafka
    from waybill.kafka_jars import BrokerUnavailable

    folder = fresh_home(home())
    if memory:
        shown = in_memory(PIPELINE, readings, seed, folder)
    else:
        try:
            shown = on_kafka(PIPELINE, readings, seed, folder)
        except BrokerUnavailable as missing:
            say(f"{missing}; running on the log in memory instead")
            shown = in_memory(PIPELINE, readings, seed, folder)
    expected = manifest(readings, seed)
    report(shown, expected)
    plot(folder)
    tally = shown.tally
    line(str(tally))
    as_expected = (tally.acknowledged, tally.dead, tally.duplicate) == (
        expected.acknowledged, expected.dead, expected.duplicate,
    )  # fmt: skip
    finish(Code.FINE if tally.holds and not tally.in_flight and as_expected else Code.FOUND)


def report(shown: Shown, expected: Manifest) -> None:
    """The figures, each beside what the sample's own manifest says it must be."""
    tally = shown.tally
    line(f"{shown.pipeline} on {shown.where}: {tally.received:,} readings in {shown.seconds:.1f} s")
    line("")
    line(f"  {'':24}{'counted':>10}{'expected':>10}")
    rows = (
        ("received", tally.received, expected.received),
        ("acknowledged", tally.acknowledged, expected.acknowledged),
        ("duplicates", tally.duplicate, expected.duplicate),
        ("dead letters", tally.dead, expected.dead),
        ("in flight", tally.in_flight, 0),
    )
    for name, counted, wanted in rows:
        line(f"  {name:24}{counted:>10,}{wanted:>10,}{'' if counted == wanted else '   DIFFERS'}")
    line("")
    line("  dead letters by code")
    for code, number in shown.codes.most_common():
        line(f"    {code:28}{number:>8,}")
    line("")
    line(f"  {'partner':16}{'closed by':12}{'batches':>8}{'held there':>12}")
    for (partner, reason), number in sorted(shown.batches.items()):
        line(f"  {partner:16}{reason:12}{number:>8,}{shown.at_partner.get(partner, 0):>12,}")
    line("")
    for problem in tally.problems[:20]:
        line(f"  BROKEN {problem.id} {problem.what}")


def plot(folder: Path) -> None:
    """The refrigerator with the most excursions, from what the lake was given."""
    import plotext

    from waybill.demo import warmest

    sensor, readings = warmest(folder)
    if not readings:
        return
    first = readings[0][0]
    day = datetime.fromtimestamp(first / 1000, UTC).strftime("%Y-%m-%d")
    hours = [(moment - first) / 3_600_000 for moment, _ in readings]
    figure = plotext.figure
    figure.clear()
    figure.plot_size(min(96, shutil.get_terminal_size((96, 24)).columns), 16)
    for limit in LIMITS:
        figure.draw(figure.signal([hours[0], hours[-1]], [limit, limit], marker="-").lines())
    figure.draw(figure.signal(hours, [celsius for _, celsius in readings]).lines())
    figure.title(f"{sensor}, {day}: °C as delivered, by hour; limits {LIMITS[0]:g} and {LIMITS[1]:g}")
    for drawn in plotext.uncolorize(str(figure.build())).splitlines():
        line(drawn.rstrip())
    line("")
