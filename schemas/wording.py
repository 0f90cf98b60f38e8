"""Owns how a mistake in settings is put into words, for pipelines and for the options of packs."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

BrokenRule = tuple[tuple[str | int, ...], str]
"""Where it is broken (keys and list indexes from the model on), and which rule."""


class RulesBroken(ValueError):
    """Rules between fields that settings break."""

    def __init__(self, rules: list[BrokenRule]) -> None:
        self.rules = rules
        super().__init__("; ".join(f"{'.'.join(map(str, at))}: {what}" for at, what in rules))


def did_you_mean(word: object, allowed: Iterable[str]) -> str:
    """`; did you mean `x`?; allowed: …` for a word that is not among those allowed."""
    names = list(allowed)
    near = get_close_matches(str(word), names, n=1, cutoff=0.6)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    return f"{hint}; allowed: {', '.join(names) or 'none'}"
