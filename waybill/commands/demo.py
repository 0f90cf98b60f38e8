"""`waybill demo`: the shipped samples through every shipped pipeline, and the books balanced at the end."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from waybill.context import home
from waybill.output import Code, finish, line, say

if TYPE_CHECKING:
    from waybill.demo import Show, Shown

LIMITS = 2.0, 8.0
"""°C, of product refrigerator."""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("demo")(demo)


def demo(
    readings: Annotated[int, typer.Option(min=100, help="temperature readings to publish")] = 100_000,
    documents: Annotated[int, typer.Option(min=50, help="EPCIS documents to publish")] = 2_000,
    seed: Annotated[int, typer.Option(help="of the samples")] = 1,
    memory: Annotated[bool, typer.Option("--memory", help="run on logs in memory even if there is Java")] = False,
) -> None:
    """Publish the shipped samples, run the pipelines to their end, show what happened. Exit 0 if every record has
    exactly one answer and none is in flight."""
    from waybill.books import total
    from waybill.demo import fresh_home, in_memory, load_show, on_kafka
    from waybill.kafka_jars import BrokerUnavailable

    def shows() -> Sequence[Show]:
        return [
            load_show("cold-chain", readings, "readings", seed),
            load_show("epcis", documents, "documents", seed),
        ]

    folder = fresh_home(home())
    if memory:
        shown = in_memory(shows)
    else:
        try:
            shown = on_kafka(shows, folder)
        except BrokerUnavailable as missing:
            say(f"{missing}; running on logs in memory instead")
            shown = in_memory(shows)
    for one in shown:
        report(one)
        PICTURES[one.show.pipeline.pipeline](folder / "lake")
    line(str(total(one.tally for one in shown)))
    finish(Code.FINE if all(as_expected(one) for one in shown) else Code.FOUND)


def as_expected(shown: Shown) -> bool:
    """Whether the books balance, nothing is in flight, and every record got the answer its sample foretells."""
    tally, expected = shown.tally, shown.show.expected
    counted = tally.acknowledged, tally.dead, tally.duplicate
    foretold = expected.acknowledged, expected.dead, expected.duplicate
    return tally.holds and not tally.in_flight and counted == foretold


def report(shown: Shown) -> None:
    """The figures, each beside what the sample's own manifest says it must be."""
    tally, expected = shown.tally, shown.show.expected
    name = shown.show.pipeline.pipeline
    took = "; all pipelines together took" if shown.together else " in"
    line(f"{name} on {shown.where}: {tally.received:,} records{took} {shown.seconds:.1f} s")
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
    line(f"  {'partner':16}{'batches':>8}{'held there':>12}  closed by")
    for partner in sorted({name for name, _ in shown.batches}):
        reasons = {reason: number for (name, reason), number in sorted(shown.batches.items()) if name == partner}
        closed_by = ", ".join(f"{reason} {number:,}" for reason, number in reasons.items())
        line(f"  {partner:16}{sum(reasons.values()):>8,}{shown.at_partner.get(partner, 0):>12,}  {closed_by}")
    line("")
    for problem in tally.problems[:20]:
        line(f"  BROKEN {problem.id} {problem.what}")


def plot(lake: Path) -> None:
    """The refrigerator with the most excursions, from what the lake was given."""
    import plotext

    from waybill.demo_views import warmest

    sensor, readings = warmest(lake / "coldchain")
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


def tell_journey(lake: Path) -> None:
    """Events by business step, and the way of one item, from the EPCIS documents that the lake was given."""
    from waybill.demo_views import by_step, events, journey

    delivered = events(lake / "epcis")
    line(f"  {'event type':20}{'business step':20}{'action':10}{'delivered':>10}")
    for (kind, step, action), number in sorted(by_step(delivered).items()):
        line(f"  {kind:20}{step:20}{action:10}{number:>10,}")
    line("")
    item, found = journey(delivered)
    line(f"  {item}, as delivered:")
    for event, inside in found:
        where = event.get("readPoint", {}).get("id", "")
        step = event.get("bizStep", "") + " (an error)" * ("errorDeclaration" in event)
        line(f"    {event['eventTime']}  {step:28}{event.get('disposition', ''):14}{where}{inside and f' in {inside}'}")
    line("")


PICTURES = {"cold-chain": plot, "epcis": tell_journey}
"""What is shown of each shipped pipeline's deliveries."""
