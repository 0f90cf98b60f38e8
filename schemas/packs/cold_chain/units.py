"""Temperatures as exact decimals: numbers to text, units, and conversion to degrees Celsius.

Rule of conversion: °F to °C is (F - 32) x 5 / 9, rounded half to even to 3 places; K to °C is K - 273.15, exact;
°C stays what it is. Texts are plain decimals without exponent, plus sign or trailing zeros, so that equal numbers
are equal bytes.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal

UNITS = {
    "C": "C", "CEL": "C", "°C": "C", "℃": "C",
    "F": "F", "FAH": "F", "°F": "F", "℉": "F",
    "K": "K", "KEL": "K",
}  # fmt: skip
"""What a sender may write (letters and UN/ECE Recommendation 20 codes) and the unit it means."""

_NUMBER = re.compile(r"[+-]?\d{1,400}(?:\.\d{1,400})?", re.ASCII)
LARGEST = 10**12
"""Values from here on are no temperature in any unit or profile; conversions need not be exact for them."""
ABSOLUTE_ZERO = Decimal("-273.15")
_CONTEXT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_MILLI = Decimal("0.001")


def plain(number: Decimal) -> str:
    """A finite decimal as text without exponent, trailing zeros or negative zero."""
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def number_text(number: float) -> str:
    """A finite JSON number in the shortest form that reads back as the same IEEE 754 double."""
    text = repr(number)
    if text[-2:] == ".0":
        text = text[:-2]
        return "0" if text == "-0" else text
    return plain(Decimal(text)) if "e" in text else text


def parse_number(text: str) -> Decimal | None:
    """A decimal as files write it (`69.771`, `+2.0`), None for anything else."""
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def to_celsius(number: Decimal, unit: str) -> Decimal:
    """Degrees Celsius of a value in `C`, `F` or `K`, by the rule above."""
    if unit == "C":
        return number
    if unit == "K":
        return _CONTEXT.subtract(number, Decimal("273.15"))
    scaled = _CONTEXT.multiply(_CONTEXT.subtract(number, Decimal(32)), Decimal(5))
    return _CONTEXT.quantize(_CONTEXT.divide(scaled, Decimal(9)), _MILLI)
