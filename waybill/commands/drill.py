"""`waybill drill NAME`: a promise tried on a real cluster, with topics, worker and partner of the drill's own."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from waybill.context import Brokers, Json, home
from waybill.output import Code, Fault, emit, finish, line, safe


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("drill")(drill)


def drill(
    name: Annotated[str, typer.Argument(metavar="NAME", help="backpressure; or all")],
    brokers: Brokers = None,
    readings: Annotated[int, typer.Option(min=300, help="sample readings to publish")] = 1_500,
    seed: Annotated[int, typer.Option(help="of the sample")] = 1,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="folder that gets NAME.json")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="leave the drill's topics on the cluster")] = False,
    json: Json = False,
) -> None:
    """Run a drill and say what was found. Exit 1 if a promise did not hold.

    backpressure: a partner falls to a tenth of its capacity under load. Its breaker must open within 30 s, no batch may
    die of it, dead letters hold what was published, and nothing is dropped or delivered twice.
    """
    if name not in (*DRILLS, "all"):
        raise Fault(f"no drill {name!r}; there are {', '.join(DRILLS)}, all")
    broken = False
    for one in DRILLS if name == "all" else [name]:
        result = DRILLS[one](brokers, readings, seed, keep)
        broken |= not result["holds"]
        if report is not None:
            report.mkdir(parents=True, exist_ok=True)
            (report / f"{one}.json").write_text(jsonlib.dumps(result, indent=1) + "\n", "utf-8")
        show(result, json)
    finish(Code.FOUND if broken else Code.FINE)


def show(result: dict[str, Any], json: bool) -> None:
    """A line for each promise, and one for the whole."""
    if json:
        emit(result)
        return
    for finding in result["findings"]:
        line(f"{'ok    ' if finding['holds'] else 'BROKEN'}  {finding['promise']}: {safe(finding['words'])}")
    line(f"drill {result['drill']}: {'every promise held' if result['holds'] else 'BROKEN'}")


def _backpressure(brokers: str | None, readings: int, seed: int, keep: bool) -> dict[str, Any]:
    from waybill.backpressure import as_json, judge, run
    from waybill.surroundings import Surroundings

    with Surroundings(brokers, partner_sim=False) as around:
        seen = run(around.bootstrap, home(), readings, seed, keep)
    return as_json(seen, judge(seen))


DRILLS: dict[str, Callable[[str | None, int, int, bool], dict[str, Any]]] = {"backpressure": _backpressure}
"""By name; in the order of `all`."""
