"""Element strings: what a GS1 barcode or an RFID tag's memory says, as application identifiers and their data
(GS1 General Specifications 7.8)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from schemas.gs1 import application_identifiers as ais
from schemas.gs1.keys import NotAKey

FNC1 = "\x1d"
"""Ends data of variable length inside a scanned string."""
_BRACKETED = re.compile(r"\((\d{2,4})\)")
_LENGTHS = (2, 3, 4)


def parse_element_string(text: str) -> Mapping[str, str] | NotAKey:
    """Data by application identifier, of a scanned string (`]d2` or FNC1 in front is passed over) or of the human
    readable form `(01)…(21)…`. Dates stay YYMMDD; DD = 00 is the last day of its month."""
    pairs = _human(text) if text.startswith("(") else _scanned(text)
    if isinstance(pairs, NotAKey):
        return pairs
    found: dict[str, str] = {}
    for ai, value in pairs:
        if wrong := ais.wrong(ai, value):
            return NotAKey(f"holds data of which {wrong}")
        if found.setdefault(ai, value) != value:
            return NotAKey(f"says two things of ({ai})")
    return found if found else NotAKey("is empty")


def _human(text: str) -> list[tuple[str, str]] | NotAKey:
    """A `(21)` may stand inside a serial number too; what is no application identifier does not begin one."""
    _, *words = _BRACKETED.split(text)
    pairs: list[tuple[str, str]] = []
    for ai, value in zip(words[::2], words[1::2], strict=True):
        if ai in ais.AIS:
            pairs.append((ai, value))
        elif pairs:
            pairs[-1] = pairs[-1][0], f"{pairs[-1][1]}({ai}){value}"
        else:
            return NotAKey(f"begins with ({ai}), which is no application identifier")
    return pairs


def _scanned(text: str) -> list[tuple[str, str]] | NotAKey:
    text = re.sub(r"^\][A-Za-z]\d", "", text).removeprefix(FNC1)
    pairs = []
    while text:
        ai = next((text[:length] for length in _LENGTHS if text[:length] in ais.AIS), None)
        if ai is None:
            return NotAKey(f"has no application identifier where {text[:4]!a} stands")
        form = ais.AIS[ai]
        rest = text[len(ai) :]
        if form.predefined:
            value, text = rest[: form.most], rest[form.most :].removeprefix(FNC1)
        else:
            value, _, text = rest.partition(FNC1)
        pairs.append((ai, value))
    return pairs


def element_string(values: Mapping[str, str]) -> str:
    """The string a scanner would give, FNC1 behind variable data unless it stands last.

    Raises ValueError for an unknown application identifier or wrong data."""
    text = ""
    for number, (ai, value) in enumerate(values.items(), 1):
        if ai not in ais.AIS or (wrong := ais.wrong(ai, value)):
            raise ValueError(f"({ai}) is no application identifier" if ai not in ais.AIS else wrong)
        text += ai + value + ("" if ais.AIS[ai].predefined or number == len(values) else FNC1)
    return text
