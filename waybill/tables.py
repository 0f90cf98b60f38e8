"""Owns how rows are shown to a person: as a table that fits the terminal, with nothing cut and ids in one piece."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from waybill.output import line, say, shown

if TYPE_CHECKING:
    from rich.console import Console

GAP = 2
"""Blanks between two columns."""
NARROWEST = 24
"""Characters to which a column may be broken over lines: the longest error codes have some twenty."""


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    wrap: Collection[str] = (),
    less: Sequence[str] = (),
) -> None:
    """Rows under headings: tab-separated for a pipe, drawn on a terminal.

    What does not fit a terminal: columns of `wrap` are broken over lines; then columns of `less` are left out, the
    first of them first, and stderr says so; then each row becomes a block of lines. All others stay in one piece.
    """
    if not sys.stdout.isatty():
        line("\t".join(columns))
        for row in rows:
            line("\t".join(map(shown, row)))
        return
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    cells = [list(map(shown, row)) for row in rows]
    needed = [_needed(name, [row[place] for row in cells], name in wrap) for place, name in enumerate(columns)]

    def fits(places: Sequence[int]) -> bool:
        return sum(needed[place] for place in places) + GAP * (len(places) - 1) <= console.width

    kept, dropped = list(range(len(columns))), list[str]()
    while not fits(kept) and len(dropped) < len(less):
        dropped.append(less[len(dropped)])
        kept.remove(columns.index(dropped[-1]))
    if not fits(kept):
        _blocks(columns, cells)
        return
    _draw(console, [columns[place] for place in kept], [[row[place] for place in kept] for row in cells], wrap)
    if dropped:
        say(f"left out to fit {console.width} columns: {', '.join(dropped)}; --json shows everything")


def _needed(name: str, cells: list[str], may_break: bool) -> int:
    from rich.cells import cell_len

    width = max(map(cell_len, cells), default=0)
    return max(cell_len(name), min(width, NARROWEST) if may_break else width)


def _draw(console: Console, columns: Sequence[str], cells: list[list[str]], wrap: Collection[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold", no_wrap=column not in wrap)
    for row in cells:
        drawn.add_row(*map(Text, row))
    console.print(drawn)


def _blocks(columns: Sequence[str], cells: list[list[str]]) -> None:
    """A line for each cell; a terminal breaks long ones itself, and gives them back whole when they are copied."""
    width = max(map(len, columns))
    for number, row in enumerate(cells):
        if number:
            line("")
        for column, cell in zip(columns, row, strict=True):
            line(f"{column:<{width}}  {cell}")
