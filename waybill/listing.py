"""Owns how the help lists commands: each with the whole first sentence of its help, wrapped and never cut."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

WHOLE = 10_000
"""Characters of a first sentence: more than any has."""


class Listed(TyperGroup):
    """A group of commands whose list cuts nothing."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes the list of commands."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(WHOLE)) for name, command in found if command and not command.hidden]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def noun(help: str) -> typer.Typer:
    """A group of commands; without one of them it prints its help."""
    return typer.Typer(help=help, cls=Listed, no_args_is_help=True, rich_markup_mode=None)
