"""GS1 Digital Link URIs (URI Syntax 4): to keys and back. Any host is taken, https://id.gs1.org is canonical."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from schemas.gs1 import application_identifiers as ais
from schemas.gs1.characters import is_digits, needs_escape, unescape
from schemas.gs1.keys import (
    CHECK_DIGIT,
    CPI,
    GDTI,
    GIAI,
    GINC,
    GRAI,
    GSIN,
    GSRN,
    GSRNP,
    ITIP,
    LGTIN,
    NOT_ESCAPED,
    PGLN,
    PREFIX_LENGTHS,
    QUALIFIER_ORDER,
    SGCN,
    SGLN,
    SGTIN,
    SSCC,
    UPUI,
    Key,
    KeyType,
    NotAKey,
    check_digit_holds,
    split,
)

CANONICAL_HOST = "https://id.gs1.org"
_PRIMARY: Mapping[str, KeyType] = MappingProxyType(
    {
        key.ai: key
        for key in (SGTIN, SSCC, SGLN, PGLN, GRAI, GIAI, GSRN, GSRNP, GDTI, SGCN, CPI, GINC, GSIN, ITIP)
    }
)  # fmt: skip
_QUALIFIERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"01": ("22", "10", "21", "235"), "8006": ("22", "10", "21"), "414": ("254", "7040"), "417": ("7040",),
     "8004": ("7040",), "8010": ("8011",), "8017": ("8019",), "8018": ("8019",)}
)  # fmt: skip
"""Key qualifiers in the order in which they stand."""
_SHORT_NAMES: Mapping[str, str] = MappingProxyType(
    {"gtin": "01", "sscc": "00", "gln": "414", "party": "417", "grai": "8003", "giai": "8004", "gsrn": "8018",
     "gsrnp": "8017", "gdti": "253", "gcn": "255", "cpid": "8010", "ginc": "401", "gsin": "402", "itip": "8006",
     "cpv": "22", "lot": "10", "ser": "21", "cpsn": "8011", "glnx": "254"}
)  # fmt: skip
"""Names that Digital Link 1.1 allowed in the place of numbers; documents still hold them."""
_LINK = re.compile(
    r"https?://[^/?#\s]+(?:/[^?#]*?)??/("
    + "|".join(
        sorted([*_PRIMARY, *(name for name, ai in _SHORT_NAMES.items() if ai in _PRIMARY)], key=len, reverse=True)
    )
    + r")/(.*)",
    re.DOTALL,
)
_QUERY = re.compile(r"\?(?=[0-9A-Za-z._~-]*=)")
"""Where the query begins. A `?` is of set 82 and stands unescaped in real serial numbers; a query has `name=`."""


def parse_digital_link(text: str, prefix_length: int | None = None) -> Key | NotAKey:
    """The key of a Digital Link URI. `prefix_length`: digits of the company prefix, where they are known."""
    match = _LINK.fullmatch(text)
    if match is None:
        return NotAKey("is no GS1 Digital Link: expected https://HOST/…/AI/VALUE with the AI of a GS1 key")
    if prefix_length is not None and prefix_length not in PREFIX_LENGTHS:
        return NotAKey("cannot have a company prefix of that length: 6 to 12 digits")
    ai, rest = _SHORT_NAMES.get(match[1], match[1]), match[2]
    path, *query = _QUERY.split(rest, maxsplit=1)
    value, qualifiers = _take_apart(ai, path)
    attributes = _attributes(query[0]) if query else {}
    if isinstance(attributes, NotAKey):
        return attributes
    return _judge(_PRIMARY[ai], value, qualifiers, attributes, prefix_length)


def _take_apart(ai: str, path: str) -> tuple[str, list[tuple[str, str]]]:
    """(key's value, qualifiers) of a path behind the key's AI. A `/` may stand unescaped inside a value: only
    `/AI/` of a qualifier of this key ends one."""
    names = _QUALIFIERS.get(ai, ())
    if not names:
        return path, []
    short = [name for name, number in _SHORT_NAMES.items() if number in names]
    value, *found = re.split(f"/({'|'.join([*names, *short])})/", path)
    return value, [(_SHORT_NAMES.get(name, name), text) for name, text in zip(found[::2], found[1::2], strict=True)]


def _attributes(query: str) -> dict[str, str] | NotAKey:
    found = {}
    for pair in re.split("[&;]", query):
        name, _, value = pair.partition("=")
        if name in ais.AIS:
            if wrong := ais.wrong(name, unescape(value)):
                return NotAKey(f"has a data attribute of which {wrong}")
            found[name] = value
        elif is_digits(name):
            return NotAKey(f"has a data attribute ({name}), which is no application identifier")
    return found


def _judge(
    kind: KeyType, value: str, qualifiers: list[tuple[str, str]], attributes: dict[str, str], length: int | None
) -> Key | NotAKey:
    if wrong := ais.wrong(kind.ai, unescape(value), check_digits=False):
        return NotAKey(f"has a key of which {wrong}")
    for ai, text in qualifiers:
        if wrong := ais.wrong(ai, unescape(text)):
            return NotAKey(f"has a qualifier of which {wrong}")
    key, serial, others = _type_of(kind, dict(qualifiers))
    if len(dict(qualifiers)) < len(qualifiers) or "235" in others or (key is UPUI and others):
        return NotAKey("names a qualifier twice, or one beside another that excludes it")
    spelt = value
    if not kind.textual:
        digits = key.key_digits + (4 if key is ITIP else 0)
        if not key.serial_ai and len(value) > digits:
            serial = value[digits:]
        value = value[:digits]
    if length is not None and not _prefix_fits(key, value, length):
        return NotAKey(f"does not hold a company prefix of {length} digits")
    deviations = []
    if not check_digit_holds(key, value):
        deviations.append(CHECK_DIGIT)
    if needs_escape(spelt) or any(needs_escape(text) for _, text in qualifiers):
        deviations.append(NOT_ESCAPED)
    order = [ai for ai in _QUALIFIERS.get(kind.ai, ()) if ai in dict(qualifiers)]
    if order != [ai for ai, _ in qualifiers]:
        deviations.append(QUALIFIER_ORDER)
    return Key(key, value, serial, length, others, attributes, tuple(deviations))


def _prefix_fits(key: KeyType, value: str, length: int) -> bool:
    prefix, _ = split(key, value, length)
    return len(prefix) == length and is_digits(prefix)


def _type_of(kind: KeyType, qualifiers: dict[str, str]) -> tuple[KeyType, str | None, dict[str, str]]:
    """(type, serial part, other qualifiers): a GTIN is the key of items, of lots and of what a lot's size is."""
    if kind is SGTIN:
        for key in (SGTIN, UPUI, LGTIN):
            if key.serial_ai in qualifiers:
                return key, qualifiers.pop(key.serial_ai), qualifiers
        return SGTIN, None, qualifiers
    return kind, qualifiers.pop(kind.serial_ai, None) if kind.serial_ai else None, qualifiers


def to_digital_link(key: Key, host: str = CANONICAL_HOST) -> str:
    """The Digital Link URI of a key, without its data attributes. The serial part stays as it is spelt; a pattern
    becomes the link of its class."""
    parts = [f"{host}/{key.type.ai}/{key.value}"]
    serial = None if key.serial == "*" else key.serial
    if serial is not None and not key.type.serial_ai:
        parts[0] += serial
    found = {**key.qualifiers, **({key.type.serial_ai: serial} if serial is not None and key.type.serial_ai else {})}
    order = _QUALIFIERS.get(key.type.ai, ())
    parts += [f"{ai}/{found[ai]}" for ai in order if ai in found]
    return "/".join(parts)
