"""Owns what a GS1 key is in every spelling: its parts as a table, one value for what `urn.py` and `digital_link.py`
read, and the arithmetic between the two (EPC Tag Data Standard 6.3 and 7; GS1 Digital Link URI Syntax 4).

A key carries its company prefix without saying how long it is. An EPC URN says it; a Digital Link does not, so the way
back to a URN needs the length, from GS1's prefix table or from master data: it is never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from schemas.gs1.characters import check_digit, has_check_digit

PREFIX_LENGTHS = range(6, 13)
"""Digits that a company prefix may have in an EPC."""


class KeyType(NamedTuple):
    """One kind of key."""

    scheme: str
    """Of its URN: `urn:epc:id:SCHEME:…`; classes `urn:epc:class:SCHEME:…`."""
    ai: str
    """Application identifier that carries it."""
    digits: int = 0
    """Digits of company prefix and reference together; 0: the reference is text."""
    leading: bool = False
    """Whether the reference's first digit (indicator, extension) stands before the prefix in the key."""
    zero: bool = False
    """Whether a 0 stands before everything in the key."""
    serial_ai: str = ""
    """Application identifier of the serial part; empty: it is appended to the key, if there is one."""
    serial: str = ""
    """Character set of the serial part: `X` (set 82), `N` (digits); empty: there is none."""
    longest: int = 0
    """Characters of the serial part; of a textual key, of prefix and reference together."""
    kind: str = "id"
    """`id`, or `class` for what names a class of goods."""

    @property
    def textual(self) -> bool:
        """Whether the reference may be other than digits; such a key has no check digit."""
        return self.digits == 0

    @property
    def key_digits(self) -> int:
        """Digits of the key with its check digit; 0 for a textual one."""
        return 0 if self.textual else self.digits + 1 + self.zero


SGTIN = KeyType("sgtin", "01", 13, leading=True, serial_ai="21", serial="X", longest=20)
LGTIN = KeyType("lgtin", "01", 13, leading=True, serial_ai="10", serial="X", longest=20, kind="class")
UPUI = KeyType("upui", "01", 13, leading=True, serial_ai="235", serial="X", longest=28)
SSCC = KeyType("sscc", "00", 17, leading=True)
SGLN = KeyType("sgln", "414", 12, serial_ai="254", serial="X", longest=20)
PGLN = KeyType("pgln", "417", 12)
GRAI = KeyType("grai", "8003", 12, zero=True, serial="X", longest=16)
GIAI = KeyType("giai", "8004", longest=30)
GSRN = KeyType("gsrn", "8018", 17)
GSRNP = KeyType("gsrnp", "8017", 17)
GDTI = KeyType("gdti", "253", 12, serial="X", longest=17)
SGCN = KeyType("sgcn", "255", 12, serial="N", longest=12)
CPI = KeyType("cpi", "8010", serial_ai="8011", serial="N", longest=30)
GINC = KeyType("ginc", "401", longest=30)
GSIN = KeyType("gsin", "402", 16)
ITIP = KeyType("itip", "8006", 13, leading=True, serial_ai="21", serial="X", longest=20)
"""Its key has four digits more: the piece, and how many there are."""

BY_SCHEME: Mapping[str, KeyType] = MappingProxyType(
    {
        key.scheme: key
        for key in (
            SGTIN, LGTIN, UPUI, SSCC, SGLN, PGLN, GRAI, GIAI, GSRN, GSRNP, GDTI, SGCN, CPI, GINC, GSIN, ITIP,
        )
    }
)  # fmt: skip

CHECK_DIGIT = "a wrong check digit"
NOT_ESCAPED = "a character that a URI carries escaped only"
QUALIFIER_ORDER = "qualifiers out of their order"


class NotAKey(NamedTuple):
    """Why a text is no GS1 key."""

    message: str


class Key(NamedTuple):
    """A GS1 key, however it was spelt."""

    type: KeyType
    value: str
    """Data of the key's application identifier, check digit included, an appended serial part excluded. Digits, but
    for a textual key, which stays as it was spelt."""
    serial: str | None = None
    """The serial part (serial, lot, extension) as it was spelt; None: none, so this is a class; `*`: any."""
    prefix_length: int | None = None
    """Digits of the company prefix; None: not stated."""
    qualifiers: Mapping[str, str] = MappingProxyType({})
    """Other parts of a Digital Link's path by application identifier, as spelt."""
    attributes: Mapping[str, str] = MappingProxyType({})
    """A Digital Link's data attributes by application identifier, as spelt."""
    deviations: tuple[str, ...] = ()
    """CHECK_DIGIT, NOT_ESCAPED, QUALIFIER_ORDER: what is wrong though the key can be told."""

    @property
    def gtin(self) -> str | None:
        """GTIN-14 of a key that has one."""
        return self.value[:14] if self.type.ai in ("01", "8006") else None

    @property
    def gln(self) -> str | None:
        """GLN-13 of a location or party."""
        return self.value if self.type in (SGLN, PGLN) else None


def assemble(key: KeyType, prefix: str, reference: str) -> str:
    """The key of a company prefix and a reference, with its check digit where it has one."""
    if key.textual:
        return prefix + reference
    extra = ""
    if key is ITIP:
        reference, extra = reference[:-4], reference[-4:]
    body = reference[:1] + prefix + reference[1:] if key.leading else prefix + reference
    body = "0" * key.zero + body
    return body + check_digit(body) + extra


def split(key: KeyType, value: str, prefix_length: int) -> tuple[str, str]:
    """(company prefix, reference) of a key's value, the reverse of `assemble`. The check digit is not looked at."""
    if key.textual:
        return value[:prefix_length], value[prefix_length:]
    extra = value[-4:] if key is ITIP else ""
    body = value[key.zero : key.key_digits - 1]
    if not key.leading:
        return body[:prefix_length], body[prefix_length:]
    return body[1 : 1 + prefix_length], body[0] + body[1 + prefix_length :] + extra


def check_digit_holds(key: KeyType, value: str) -> bool:
    """Whether the key's own check digit is right; a textual key has none."""
    return key.textual or has_check_digit(value[: key.key_digits])


def wrong_check_digit(key: KeyType, value: str) -> str:
    """In words which digit of a key's value is wrong, among which digits, and which is right. Only for a key whose
    check digit does not hold."""
    digits = value[key.zero : key.key_digits]
    return f"has check digit {digits[-1]} in {digits}, which should be {check_digit(digits[:-1])}"
