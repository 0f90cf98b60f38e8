"""Application identifiers: what each one's data may be (GS1 General Specifications 3.2; GS1 Syntax Dictionary).

A format is written as the dictionary writes it: `N6` six digits, `X..20` one to twenty characters of set 82, `Y` of
set 39, `Z` of base64url, `[…]` optional; behind a comma what else the component must be.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Mapping
from typing import NamedTuple

from schemas.gs1.characters import SET_39, SET_82, has_check_digit

_MEASURES = [
    ai
    for first, last in ((310, 316), (320, 337), (340, 357), (360, 369))
    for ai in range(first, last + 1)
]  # fmt: skip
"""Trade and logistic measures: the fourth digit says where the decimal point stands."""
_FORMATS: tuple[tuple[str, bool, str], ...] = (
    # format, whether its length is predefined (no separator behind it), identifiers
    ("N18,csum", True, "00"),
    ("N14,csum", True, "01-03"),
    ("X..20", False, "10 21-22 243 254 420 4318 7020-7022 710-717 7240 8002 8012"),
    ("N6,yymmd0", True, "11-13 15-17"),
    ("N2", True, "20"),
    ("X..28", False, "235"),
    ("X..30", False, "240-241 250-251 400-401 403 4308 4319 7002 7023 8004 90"),
    ("N..6", False, "242"),
    ("N13,csum [X..17]", False, "253"),
    ("N13,csum [N..12]", False, "255"),
    ("N..8", False, "30 37"),
    ("N6", True, " ".join(f"{ai}0-{ai}5" for ai in _MEASURES)),
    ("N..15", False, "3900-3909 3920-3929"),
    ("N3 N..15", False, "3910-3919 3930-3939"),
    ("N4", False, "3940-3943 8111"),
    ("N6", False, "3950-3955 8005"),
    ("N17,csum", False, "402"),
    ("N13,csum", True, "410-417"),
    ("N3 X..9", False, "421"),
    ("N3", False, "422 424 426"),
    ("N3 [N3] [N3] [N3] [N3]", False, "423 425"),
    ("X..3", False, "427 7008"),
    ("X..35", False, "4300-4301 4310-4311 4320"),
    ("X..70", False, "4302-4306 4312-4316 7257 8110 8112 8200"),
    ("X2", False, "4307 4317"),
    ("N10 N10", False, "4309"),
    ("N1", False, "4321-4323 7252"),
    ("N6,yymmd0 N4", False, "4324-4325"),
    ("N6,yymmdd", False, "4326 7006"),
    ("N6 [X1]", False, "4330-4333"),
    ("N13", False, "7001"),
    ("N6,yymmdd N4", False, "7003"),
    ("N..4", False, "7004"),
    ("X..12", False, "7005"),
    ("N6,yymmdd [N6,yymmdd]", False, "7007"),
    ("X..10", False, "7009 7255"),
    ("X..2", False, "7010"),
    ("N6,yymmdd [N4]", False, "7011"),
    ("N3 X..27", False, "7030-7039"),
    ("N1 X1 X1 X1", False, "7040"),
    ("X..4", False, "7041"),
    ("X2 X..28", False, "7230-7239"),
    ("N2", False, "7241"),
    ("X..25", False, "7242 8013-8014 8020"),
    ("N8", False, "7250"),
    ("N8 N4", False, "7251"),
    ("X..40", False, "7253-7254 7259"),
    ("X..90", False, "7256 91-99"),
    ("X3", False, "7258"),
    ("N4 N5 N3 N1 N1", False, "8001"),
    ("N1,zero N13,csum [X..16]", False, "8003"),
    ("N14,csum N4,pieceoftotal", False, "8006 8026"),
    ("X..34", False, "8007"),
    ("N6,yymmdd N2 [N2] [N2]", False, "8008"),
    ("X..50", False, "8009"),
    ("Y..30", False, "8010"),
    ("N..12", False, "8011"),
    ("N18,csum", False, "8017-8018"),
    ("N..10", False, "8019"),
    ("Z..90", False, "8030"),
    ("N15", False, "8040-8041"),
    ("N32", False, "8042"),
    ("N18 [N..2]", False, "8043"),
)
_CLASSES = {"N": "0-9", "X": SET_82, "Y": SET_39, "Z": "A-Za-z0-9_=\\-"}


class Component(NamedTuple):
    """A part of an identifier's data."""

    kind: str
    least: int
    most: int
    must: str
    """What else holds: `csum`, `yymmd0`, `yymmdd`, `pieceoftotal`, `zero`; empty: nothing."""


class Format(NamedTuple):
    """The data of an application identifier."""

    text: str
    """As in the table."""
    pattern: re.Pattern[str]
    parts: tuple[Component, ...]
    predefined: bool
    """True: an element string needs no separator behind it."""
    most: int
    """Characters at most."""


def _component(text: str) -> tuple[Component, bool]:
    optional = text.startswith("[")
    form, _, must = text.strip("[]").partition(",")
    least, _, most = form[1:].rpartition("..")
    return Component(form[0], int(most) if ".." not in form else int(least or 1), int(most), must), optional


def _format(text: str, predefined: bool) -> Format:
    parts, pattern = [], ""
    for word in text.split():
        part, optional = _component(word)
        parts.append(part)
        pattern += f"([{_CLASSES[part.kind]}]{{{part.least},{part.most}}})" + ("?" if optional else "")
    return Format(text, re.compile(pattern), tuple(parts), predefined, sum(part.most for part in parts))


def _table() -> dict[str, Format]:
    found = {}
    for text, predefined, names in _FORMATS:
        form = _format(text, predefined)
        for name in names.split():
            first, _, last = name.partition("-")
            for number in range(int(first), int(last or first) + 1):
                found[f"{number:0{len(first)}}"] = form
    return found


AIS = _table()
"""Every application identifier by its digits."""


def wrong(ai: str, value: str, check_digits: bool = True) -> str | None:
    """What is wrong with the data of an identifier that AIS knows; None if nothing is."""
    form = AIS[ai]
    match = form.pattern.fullmatch(value)
    if match is None:
        return f"({ai}) does not have the form {re.sub(',[a-z0]+', '', form.text)}"
    for part, text in zip(form.parts, match.groups(), strict=True):
        if text is None or not part.must or (part.must == "csum" and not check_digits):
            continue
        if not _RULES[part.must](text):
            return f"({ai}) {_WORDS[part.must]}"
    return None


def is_date(text: str) -> bool:
    """YYMMDD of a day that exists; DD = 00 is the last day of its month. The century does not matter to the form:
    2000, which YY = 00 may be, was a leap year."""
    month, day = int(text[2:4]), int(text[4:6])
    return 1 <= month <= 12 and day <= monthrange(2000 + int(text[:2]), month)[1]


_RULES: Mapping[str, Callable[[str], bool]] = {
    "csum": has_check_digit,
    "yymmd0": is_date,
    "yymmdd": lambda text: is_date(text) and text[4:] != "00",
    "pieceoftotal": lambda text: 0 < int(text[:2]) <= int(text[2:]),
    "zero": lambda text: text == "0",
}
_WORDS = {
    "csum": "has a wrong check digit",
    "yymmd0": "is no date YYMMDD (DD = 00: the last day of the month)",
    "yymmdd": "is no date YYMMDD",
    "pieceoftotal": "numbers a piece beyond the total",
    "zero": "does not begin with 0",
}
