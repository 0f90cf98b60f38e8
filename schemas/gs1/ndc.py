"""Owns what a National Drug Code is: its layouts, its 11-digit billing form, and the GTIN that carries it.

An NDC has ten digits in one of three layouts (21 CFR 207.33). Payers write eleven, each part filled up with a zero (the
5-4-2 form). Filling up is arithmetic; the way back is not: eleven digits may come of up to three codes, and a GTIN
carries the ten digits without saying where its parts end. So codes are compared, never guessed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from schemas.gs1.characters import check_digit, is_digits
from schemas.gs1.keys import NotAKey

LAYOUTS = ((4, 4, 2), (5, 3, 2), (5, 4, 1))
"""Digits of labeler, product and package."""
BILLING = (5, 4, 2)
_PREFIX = "03"
"""A GTIN with it carries an NDC in the ten digits behind it (GS1 US; the indicator digit stands before it)."""
_DIGITS = re.compile(r"\d+", re.ASCII)


class Ndc(NamedTuple):
    """A code as it was written: three parts, or eleven digits whose layout nobody can tell."""

    parts: tuple[str, ...]
    """Labeler, product and package; one text of ten or eleven digits where no hyphens stood."""

    @property
    def eleven(self) -> str | None:
        """The billing form; None for ten digits without hyphens, which may have three."""
        if len(self.parts) == 3:
            return "".join(part.zfill(width) for part, width in zip(self.parts, BILLING, strict=True))
        return self.parts[0] if len(self.parts[0]) == 11 else None

    @property
    def tens(self) -> frozenset[str]:
        """The ten digits that a GTIN may carry of it: one where the layout is known, up to three of a billing form."""
        plain = "".join(self.parts)
        if len(plain) == 10:
            return frozenset({plain})
        # The zero that filled the form up stood before one of the three parts.
        return frozenset(plain[:at] + plain[at + 1 :] for at in (0, 5, 9) if plain[at] == "0")


def parse_ndc(text: str) -> Ndc | NotAKey:
    """An NDC in one of its three layouts, in the billing form with hyphens or without, or as ten digits."""
    parts = tuple(text.split("-"))
    if not all(_DIGITS.fullmatch(part) for part in parts):
        return NotAKey("holds other than digits and hyphens")
    if len(parts) == 1 and len(text) in (10, 11):
        ndc = Ndc(parts)
    elif tuple(map(len, parts)) in LAYOUTS:
        return Ndc(parts)
    elif tuple(map(len, parts)) == BILLING:
        ndc = Ndc(("".join(parts),))
    else:
        return NotAKey("is neither of 4-4-2, 5-3-2, 5-4-1 nor of 11 digits")
    return ndc if ndc.tens else NotAKey("is no billing form: none of its parts begins with the zero that fills it up")


def ndc_of_gtin(gtin: str) -> str | None:
    """The ten digits of the NDC that a GTIN-14 carries; None where it carries none."""
    return gtin[3:13] if len(gtin) == 14 and is_digits(gtin) and gtin[1:3] == _PREFIX else None


def gtin_of_ndc(ten: str, indicator: str = "0") -> str:
    """The GTIN-14 that carries an NDC of ten digits. `indicator`: 0 for the package itself, 1 to 8 for what holds it.
    Raises ValueError where these are no ten digits and no such indicator."""
    if len(ten) != 10 or not is_digits(ten) or len(indicator) != 1 or indicator not in "012345678":
        raise ValueError(f"{ten!r} is no NDC of ten digits, or {indicator!r} no indicator from 0 to 8")
    body = indicator + _PREFIX + ten
    return body + check_digit(body)
