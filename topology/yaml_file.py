"""Reads one YAML file into plain values that remember their lines, and owns how a mistake in it is reported.

Nothing here knows what a pipeline is. Duplicate keys, tags, several documents and endless aliases are refused.
`${NAME}` and `${NAME:-default}` in text are taken from the environment; the default may hold variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from schemas.settings import FromVariable

Location = tuple[str | int, ...]
"""Path of a value inside a file: keys and list indexes."""

MAX_BYTES = 2**20
MAX_VALUES = 100_000
MAX_DEPTH = 30

_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_INNER = rf"\$\{{{_NAME}(?::-[^{{}}]*)?\}}"
VARIABLE = re.compile(rf"\$\{{({_NAME})(?::-((?:{_INNER}|(?!\$\{{)[^}}])*))?\}}")
"""Name and default. A default may hold variables, whose own defaults hold none."""
SECRET_NAME = re.compile(
    r"auth|bearer|cookie|credential|pass(w|phrase)|pwd|secret|signature|token"
    r"|(access|account|api|encryption|master|private|sas|shared)[-_ ]?key",
    re.IGNORECASE,
)
SECRET_TEXT = re.compile(r"://[^/\s]*@|^(basic|bearer)\s|[?&](sig|key|pass)[^=]*=", re.IGNORECASE)
"""A value that holds credentials whatever its name: a URL with a user or a signature, the text of an Authorization."""


class Mistake(NamedTuple):
    """One thing wrong in a file: where, and what to do."""

    file: str
    line: int
    """From 1; 0 where the whole file is meant."""
    field: str
    what: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.field}: {self.what}" if self.field else f"{place}: {self.what}"


class TopologyError(ValueError):
    """One or more files an operator must correct. The message has one line for each mistake."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(sorted(set(mistakes)))
        super().__init__("\n".join(map(str, self.mistakes)))


class YamlFile(NamedTuple):
    """A file's content as dicts, lists, text, numbers, booleans and None, with the line of each value."""

    file: str
    data: dict[str, Any]
    lines: Mapping[Location, int]

    def line(self, location: Location) -> int:
        """Line of a value, or of the nearest thing around it that has one."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)

    def mistake(self, location: Location, what: str) -> Mistake:
        """A mistake at a value, or at a key that is missing there."""
        return Mistake(self.file, self.line(location), dotted(location), what)


def dotted(location: Location) -> str:
    """`("batching", "linger")` as `batching.linger`, `("idempotency", 0)` as `idempotency[0]`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_yaml(path: Path) -> YamlFile:
    """Reads a file whose top is a mapping. Raises TopologyError."""
    file = str(path)
    try:
        content = path.read_bytes()
        if len(content) > MAX_BYTES:
            raise TopologyError([Mistake(file, 0, "", f"{len(content)} bytes; allowed: {MAX_BYTES}")])
        loaded = YAML(typ="rt").load(content.decode())
    except OSError as error:
        raise TopologyError([Mistake(file, 0, "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise TopologyError([Mistake(file, 0, "", f"not UTF-8 at byte {error.start}; allowed: UTF-8")]) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(str(error.problem or error.context).split())
        raise TopologyError([Mistake(file, mark.line + 1 if mark else 0, "", f"not YAML: {what}")]) from error
    except (YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, TopologyError):
            raise
        raise TopologyError([Mistake(file, 0, "", f"not YAML: {' '.join(str(error).split())}")]) from error
    if not isinstance(loaded, CommentedMap):
        what = "empty" if loaded is None else "no mapping at its top"
        raise TopologyError([Mistake(file, 1, "", f"{what}; allowed: `key: value` lines")])
    reader = _Reader(file)
    data = reader.plain(loaded, ())
    if reader.mistakes:
        raise TopologyError(reader.mistakes)
    return YamlFile(file, data, reader.lines)


class _Reader:
    """Turns ruamel's values into plain ones and notes their lines."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Location, int] = {(): 1}
        self.mistakes: list[Mistake] = []
        self._values = 0

    def plain(self, value: Any, at: Location) -> Any:
        self._values += 1
        if len(at) > MAX_DEPTH or self._values > MAX_VALUES:
            limit = f"{MAX_DEPTH} levels and {MAX_VALUES} values"
            raise TopologyError([self._mistake(at, f"nested too deep or aliases without end; allowed: {limit}")])
        tag = getattr(getattr(value, "tag", None), "value", None)
        if isinstance(value, TaggedScalar) or tag is not None:
            self.mistakes.append(self._mistake(at, f"tag {tag}; allowed: no tags"))
            return None
        if isinstance(value, CommentedMap):
            result = {}
            for key, item in value.items():
                place = (*at, str(key))
                self._note(place, value.lc.data, key)
                if not isinstance(key, str):
                    self.mistakes.append(self._mistake(place, "a key that is no text; allowed: text, quoted if needed"))
                    continue
                result[str(key)] = self.plain(item, place)
            return result
        if isinstance(value, CommentedSeq):
            items = []
            for index, item in enumerate(value):
                self._note((*at, index), value.lc.data, index)
                items.append(self.plain(item, (*at, index)))
            return items
        if isinstance(value, bool) or value is None:
            return value
        for kind in (str, int, float):
            if isinstance(value, kind):
                return kind(value)  # ruamel's own subclasses remember their spelling; nothing else needs it
        self.mistakes.append(self._mistake(at, "a value of a kind not used here (a date?); allowed: put it in quotes"))
        return None

    def _note(self, at: Location, data: Mapping[Any, Any] | None, key: Any) -> None:
        if data is not None and key in data:  # a merged key (`<<`) has no line of its own
            self.lines[at] = data[key][0] + 1

    def _mistake(self, at: Location, what: str) -> Mistake:
        return YamlFile(self.file, {}, self.lines).mistake(at, what)


def origin(written: Any, env: Mapping[str, str]) -> str | None:
    """The variables a value as written is made of, and which are not set; None for none."""
    found = [words for text in _texts(written) for words in _origins(text, env)]
    return " and ".join(dict.fromkeys(found)) or None


def _origins(text: str, env: Mapping[str, str]) -> Iterator[str]:
    for match in VARIABLE.finditer(text):
        unset = not env.get(match[1]) if match[2] is not None else match[1] not in env
        yield f"variable {match[1]}" + (", which is not set" if unset else "")
        if unset and match[2]:
            yield from _origins(match[2], env)


def is_secret(at: Location, written: Any, value: Any) -> bool:
    """Whether a value must not be shown: by the names it stands under, those of its variables, or its looks."""
    texts = [*_texts(written), *_texts(value)]
    names = [part for part in at if isinstance(part, str)]
    names += [name for text in texts for name in _variables(text)]
    return any(map(SECRET_NAME.search, names)) or any(map(SECRET_TEXT.search, texts))


def _variables(text: str) -> Iterator[str]:
    """Every variable in a text, those in defaults included."""
    for match in VARIABLE.finditer(text):
        yield match[1]
        yield from _variables(match[2] or "")


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value, the values of mappings and lists included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def expand(value: Any, at: Location, source: YamlFile, env: Mapping[str, str]) -> tuple[Any, list[Mistake]]:
    """The value with `${NAME}` and `${NAME:-default}` replaced in its text, and what could not be replaced.

    An empty variable counts as not set for `:-`, as in a shell.
    """
    mistakes: list[Mistake] = []

    def one(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        found = env.get(name)
        if default is not None:
            return found or VARIABLE.sub(one, default)
        if found is None:
            what = f"environment variable {name} is not set; allowed: set it, or write ${{{name}:-default}}"
            mistakes.append(source.mistake(at, what))
            return ""
        return found

    if isinstance(value, str):
        if "${" in VARIABLE.sub("", value):
            what = f"{value!r} has a ${{ that is no variable; allowed: ${{NAME}}, ${{NAME:-default}}"
            return value, [source.mistake(at, what)]
        replaced = VARIABLE.sub(one, value)
        return (FromVariable(replaced) if VARIABLE.search(value) else value), mistakes
    pairs: Iterable[tuple[Any, Any]]
    if isinstance(value, dict):
        pairs = [(key, expand(item, (*at, key), source, env)) for key, item in value.items()]
        return {key: result[0] for key, result in pairs}, [m for _, result in pairs for m in result[1]]
    if isinstance(value, list):
        pairs = [(index, expand(item, (*at, index), source, env)) for index, item in enumerate(value)]
        return [result[0] for _, result in pairs], [m for _, result in pairs for m in result[1]]
    return value, []
