"""The character sets and the check digit that GS1 identifiers are made of (GS1 General Specifications 7.9, 7.11)."""

from __future__ import annotations

import re

SET_82 = r"!\"%&'()*+,\-./0-9:;<=>?A-Z_a-z"
"""Set 82 as the inside of a regular expression's class."""
SET_39 = r"#\-/0-9A-Z"
NEEDS_ESCAPE = frozenset('"#%&/<>?')
"""Characters that an EPC URN carries as %xx only (EPC Tag Data Standard, 5.4: set 82 in a URI)."""

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")


def check_digit(digits: str) -> str:
    """The check digit of `digits`, which must be ASCII digits: from the right, weights 3, 1, 3, …"""
    threes = sum(map(int, digits[::-2]))
    ones = sum(map(int, digits[-2::-2]))
    return str(-(3 * threes + ones) % 10)


def has_check_digit(digits: str) -> bool:
    """Whether the last digit is the check digit of those before it."""
    return check_digit(digits[:-1]) == digits[-1]


def is_digits(text: str) -> bool:
    """ASCII digits only, at least one: `str.isdigit` knows many others."""
    return text.isascii() and text.isdigit()


def unescape(text: str) -> str:
    """%xx as its character, where that is ASCII; a percent sign that begins no escape stands for itself."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if int(found[1], 16) < 0x80 else found[0], text)


def needs_escape(text: str) -> bool:
    """Whether characters stand in a URI as they are that belong there escaped."""
    return not NEEDS_ESCAPE.isdisjoint(_ESCAPE.sub("", text))
