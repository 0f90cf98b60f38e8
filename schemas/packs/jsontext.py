"""Strict reading of untrusted JSON: everything that makes two readers disagree is found, with its path.

This is the slow, thorough reader, used where the fast gate refuses a message or has a doubt. It never raises.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from schemas import errors
from schemas.errors import Finding

BOM = b"\xef\xbb\xbf"
SAFE = 2**53 - 1

# Possessive, and content with a string that never ends: one pass, whatever a sender makes up.
_TOKENS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+|[\[\]{},]', re.DOTALL)
_FLAT = re.compile(rb'\s*+(\{[^"{}\[\]]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}\[\]]*+)*+\})\s*+,', re.DOTALL)
"""An element that is an object without arrays or objects in it, and the comma behind it."""
_SURROGATE = re.compile("[\ud800-\udfff]")


class Inspected(NamedTuple):
    """`value` is None beside findings that leave nothing to look at; otherwise the parsed text, in which what was
    found wrong has been replaced by a `Hole`."""

    value: Any
    findings: list[Finding]


class Hole(NamedTuple):
    """Stands where a value was refused by the reader itself."""

    code: str
    message: str


class _Object(dict[str, Any]):
    """An object that remembers which keys it named twice."""

    repeated: tuple[str, ...] = ()


def _pairs(pairs: list[tuple[str, Any]]) -> _Object:
    found = _Object(pairs)
    if len(found) != len(pairs):
        times = Counter(name for name, _ in pairs)
        found.repeated = tuple(sorted(name for name, count in times.items() if count > 1))
    return found


def _integer(text: str) -> int | Hole:
    if len(text) > 17 or abs(int(text)) > SAFE:
        return Hole(errors.UNSAFE_INTEGER, f"{shorten(text)} is beyond 2^53-1: send it as text or as a smaller number")
    return int(text)


def _float(text: str) -> float | Hole:
    number = float(text)
    if math.isinf(number):
        return Hole(errors.NOT_A_NUMBER, f"{shorten(text)} is too large for a double")
    return number


def _constant(text: str) -> Hole:
    return Hole(errors.NOT_A_NUMBER, f"{text} is no JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=_integer, parse_float=_float, parse_constant=_constant)


def shorten(text: str, limit: int = 60) -> str:
    """Text fit for a message: repr, printable ASCII only; dots behind the quotes where it was cut."""
    return ascii(text) if len(text) <= limit else ascii(text[:limit]) + "..."


def depth(data: bytes) -> int:
    """Deepest nesting of brackets outside strings."""
    deepest = level = 0
    for match in _TOKENS.finditer(data):
        char = data[match.start()]
        if char in b"[{":
            level += 1
            deepest = max(deepest, level)
        elif char in b"]}":
            level -= 1
    return deepest


def inspect(data: bytes, max_depth: int) -> Inspected:
    """Reads one JSON text (a leading BOM is passed over)."""
    data = data.removeprefix(BOM)
    if not data.strip():
        return Inspected(None, [Finding(errors.EMPTY_MESSAGE, "", "the message holds no bytes but white space")])
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return Inspected(None, [Finding(errors.NOT_UTF8, "", f"byte {error.start} is not UTF-8")])
    if "\0" in text:
        return Inspected(None, [Finding(errors.NUL_CHARACTER, "", f"a NUL at character {text.index(chr(0))}")])
    # So many brackets at most are open at once; few texts need the look at each.
    if data.count(b"{") + data.count(b"[") > max_depth and (found := depth(data)) > max_depth:
        return Inspected(None, [Finding(errors.NESTED_TOO_DEEP, "", f"{found} levels; {max_depth} are allowed")])
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        return Inspected(None, [Finding(errors.MALFORMED_JSON, "", f"not well-formed: {error}")])
    # Only an escape can bring in what a text may not hold: the bytes are UTF-8 without NUL.
    if "\\u" not in text and _sound(value):
        return Inspected(value, [])
    return Inspected(value, list(_walk(value, "")))


def _sound(value: Any) -> bool:
    """Whether no key stands twice and no number was refused: as `_walk`, without a path to each part."""
    if isinstance(value, _Object):
        return not value.repeated and all(_sound(one) for one in value.values() if one.__class__ is not str)
    if isinstance(value, list):
        return all(_sound(one) for one in value if one.__class__ is not str)
    return not isinstance(value, Hole)


def _walk(value: Any, path: str) -> Iterator[Finding]:
    if isinstance(value, Hole):
        yield Finding(value.code, path, value.message)
    elif isinstance(value, str):
        yield from text_findings(value, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, f"{path}[{index}]")
    elif isinstance(value, _Object):
        for name in value.repeated:
            yield Finding(errors.DUPLICATE_JSON_KEY, _join(path, name), f"the key {shorten(name)} stands twice")
        for name, item in value.items():
            yield from text_findings(name, path)
            yield from _walk(item, _join(path, name))


def text_findings(text: str, path: str) -> Iterator[Finding]:
    """What no text of a record may hold."""
    if "\0" in text:
        yield Finding(errors.NUL_CHARACTER, path, "a NUL character in the text")
    if _SURROGATE.search(text):
        yield Finding(errors.LONE_SURROGATE, path, "half of a surrogate pair in the text")


def _join(path: str, name: str) -> str:
    safe = shorten(name)[1:-1]
    return f"{path}.{safe}" if path else safe


def split_array(data: bytes) -> list[bytes] | None:
    """The elements of a JSON array as slices, without looking inside them; None if the brackets do not pair up or an
    element is missing.

    A broken element thus refuses itself and not its neighbours."""
    data = data.removeprefix(BOM).strip()
    if data[:1] != b"[" or data[-1:] != b"]":
        return None
    slices: list[bytes] = []
    level, start = 1, 1
    # Each element of a usual array at once: a third of the time that its tokens take. The rest by tokens.
    while flat := _FLAT.match(data, start):
        slices.append(flat[1])
        start = flat.end()
    for match in _TOKENS.finditer(data, start):
        at = match.start()
        char = data[at]
        if char in b"[{":
            level += 1
        elif char in b"]}":
            level -= 1
            if level <= 0 and at != len(data) - 1:
                return None
        elif char == 0x2C and level == 1:
            if not (element := data[start:at].strip()):
                return None  # nothing between two commas
            slices.append(element)
            start = at + 1
    if level != 0:
        return None
    last = data[start:-1].strip()
    if not last:
        return None if slices else []
    return [*slices, last]
