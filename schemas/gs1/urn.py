"""EPC URNs (EPC Tag Data Standard 6.3, 6.4, 8): pure identities, classes and patterns, to keys and back."""

from __future__ import annotations

import re

from schemas.gs1.characters import SET_39, SET_82, is_digits, needs_escape, unescape
from schemas.gs1.keys import (
    BY_SCHEME,
    CPI,
    ITIP,
    NOT_ESCAPED,
    PREFIX_LENGTHS,
    SGLN,
    SGTIN,
    Key,
    KeyType,
    NotAKey,
    assemble,
    split,
)

_URN = re.compile(r"urn:epc:(id|class|idpat):([a-z]+):(.+)", re.DOTALL)
_TEXT = {"X": re.compile(f"[{SET_82}]+"), "N": re.compile(r"[0-9]+"), "Y": re.compile(f"[{SET_39}]+")}
OTHER_SCHEMES = frozenset({"gid", "usdod", "adi", "bic", "imovn"})
"""Schemes of the standard that hold no GS1 key."""


def parse_urn(text: str) -> Key | NotAKey:
    """The key of an EPC URN. `urn:epc:idpat:` takes `*` for the serial part, and must: what names one item is no
    pattern."""
    match = _URN.fullmatch(text)
    if match is None:
        return NotAKey("is no EPC URN: expected urn:epc:id:SCHEME:…, urn:epc:class:… or urn:epc:idpat:…")
    kind, scheme, rest = match.groups()
    key = BY_SCHEME.get(scheme)
    if key is None:
        return NotAKey(f"has the scheme {scheme!r}, which is none of {', '.join(BY_SCHEME)}")
    if kind != "idpat" and kind != key.kind:
        return NotAKey(f"has the wrong kind: {scheme} is written urn:epc:{key.kind}:{scheme}")
    return _parts(key, rest, pattern=kind == "idpat")


def _parts(key: KeyType, rest: str, pattern: bool) -> Key | NotAKey:
    wanted = 2 + (2 if key is ITIP else 0) + bool(key.serial)
    parts = rest.split(".", wanted - 1)
    if len(parts) != wanted:
        return NotAKey(f"has {len(parts)} parts; {key.scheme} has {wanted}, separated by points")
    prefix, reference, *others = parts
    serial = others.pop() if key.serial else None
    if not is_digits(prefix) or len(prefix) not in PREFIX_LENGTHS:
        return NotAKey("has no company prefix of 6 to 12 digits")
    if wrong := _reference(key, prefix, reference, others):
        return NotAKey(wrong)
    if pattern != (serial == "*"):
        return NotAKey("is a pattern without a `*`" if pattern else "has a `*`, which only a pattern may have")
    if serial is not None and serial != "*" and (wrong := serial_wrong(key, serial)):
        return NotAKey(wrong)
    if key is SGLN and serial == "0":
        serial = None
    spelt = parts[1] + (serial or "")
    deviations = (NOT_ESCAPED,) if needs_escape(spelt) else ()
    value = assemble(key, prefix, reference + "".join(others))
    return Key(key, value, serial, len(prefix), deviations=deviations)


def _reference(key: KeyType, prefix: str, reference: str, others: list[str]) -> str | None:
    if key.textual:
        plain = unescape(reference)
        if (
            not plain
            or len(prefix) + len(plain) > key.longest
            or not _TEXT["Y" if key is CPI else "X"].fullmatch(plain)
        ):
            return f"has a reference that is empty, too long, or holds characters that {key.scheme} does not know"
        return None
    if len(prefix) + len(reference) != key.digits or not (is_digits(reference) or not reference):
        return f"has {len(prefix) + len(reference)} digits of prefix and reference; {key.scheme} has {key.digits}"
    if key.leading and not reference:
        return "has no indicator or extension digit"
    numbered = all(len(part) == 2 and is_digits(part) for part in others)
    if not numbered or (others and not 0 < int(others[0]) <= int(others[1])):
        return "numbers its piece or total wrongly: two digits each, the piece at most the total"
    return None


def serial_wrong(key: KeyType, serial: str) -> str | None:
    """What is wrong with the serial part of a key; None if nothing is."""
    plain = unescape(serial)
    longest = 12 if key is CPI else key.longest
    if not plain or len(plain) > longest or not _TEXT[key.serial].fullmatch(plain):
        what = "digits" if key.serial == "N" else "characters of GS1 set 82"
        return f"has a serial part that is not 1 to {longest} {what}"
    return None


def to_urn(key: Key, prefix_length: int | None = None) -> str | None:
    """The EPC URN of a key. None: its company prefix has an unknown length, or there is no URN for it.

    `prefix_length`: digits of the company prefix, for a key that does not say. The check digit is not looked at, and
    the serial part stays as it is spelt."""
    length = prefix_length or key.prefix_length
    kind = key.type
    if (
        length is None
        or length not in PREFIX_LENGTHS
        or (kind.serial and key.serial is None and kind not in (SGLN, SGTIN))
    ):
        return None
    prefix, reference = split(kind, key.value, length)
    if not is_digits(prefix) or len(prefix) != length:
        return None
    head = "idpat" if key.serial == "*" or (kind is SGTIN and key.serial is None) else kind.kind
    parts = [prefix, reference]
    if kind is ITIP:
        parts = [prefix, reference[:-4], reference[-4:-2], reference[-2:]]
    if kind.serial:
        parts.append(key.serial or ("0" if kind is SGLN else "*"))
    return f"urn:epc:{head}:{kind.scheme}:{'.'.join(parts)}"
