"""Owns how paths on the command line become submissions: files as they are, folders recursively and sorted, links
followed, `-` as stdin. The same for `publish` and `check`, so that what was checked is what is published."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn

from waybill.output import Fault

STDIN = "-"


class Input(NamedTuple):
    """One file to read."""

    path: Path
    name: str
    """The path as text that is always UTF-8; `-` is stdin."""
    source: str
    """The `waybill-source` header: relative to the folder that was named, or the file's own name."""
    size: int | None
    """Bytes; None for stdin."""


def find_inputs(paths: Sequence[str]) -> list[Input]:
    """Every file under the paths, in the order given, each folder sorted. Raises Fault for what cannot be read."""
    found: list[Input] = []
    for text in paths:
        path = Path(text)
        if text == STDIN:
            if any(item.name == STDIN for item in found):
                raise Fault("`-` (stdin) is named twice: it can be read once")
            found.append(Input(path, STDIN, "stdin", None))
        elif path.is_dir():
            found.extend(_input(file, file.relative_to(path).as_posix()) for file in _files(path))
        else:
            found.append(_input(path, path.name))
    return found


def _files(folder: Path) -> list[Path]:
    """Every file of a folder and of those inside it, sorted. Symbolic links are followed: what lies behind one is
    input like any other, and a circle is refused."""
    found: list[Path] = []
    todo: list[tuple[Path, tuple[os.stat_result, ...]]] = [(folder, ())]
    while todo:
        where, around = todo.pop()
        try:
            info = where.stat()
            if any(os.path.samestat(info, outer) for outer in around):
                raise Fault(f"{_text(str(where))}: links to a folder that it lies in; take the link away")
            with os.scandir(where) as entries:
                for entry in entries:
                    if entry.is_dir():
                        todo.append((where / entry.name, (*around, info)))
                    else:
                        found.append(where / entry.name)
        except OSError as error:
            _unreadable(_text(str(error.filename or where)), error)
    return sorted(found)


def _input(path: Path, source: str) -> Input:
    name = _text(str(path))
    try:
        info = path.stat()
    except OSError as error:
        _unreadable(name, error)
    if not stat.S_ISREG(info.st_mode):
        raise Fault(f"{name}: is no regular file; pipe it in and name `-` instead")
    return Input(path, name, _text(source), info.st_size)


def _text(name: str) -> str:
    """A file name that is no UTF-8, as text that is."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _unreadable(name: str, error: OSError) -> NoReturn:
    raise Fault(f"{name}: cannot be read: {error.strerror}; name a file, a folder, or `-` for stdin") from error


def read(item: Input, limit: int) -> bytes:
    """The bytes of an input; of one above `limit` bytes, one byte more than that. Raises Fault."""
    try:
        if item.name == STDIN:
            return sys.stdin.buffer.read(limit + 1)
        with item.path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        _unreadable(item.name, error)


def read_lines(item: Input, limit: int) -> Iterator[tuple[int, bytes]]:
    """`lines_of` an input. Raises Fault."""
    try:
        with sys.stdin.buffer if item.name == STDIN else item.path.open("rb") as file:
            yield from lines_of(file, limit)
    except OSError as error:
        _unreadable(item.name, error)


def lines_of(file: BinaryIO, limit: int) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line without its end), blank ones left out, none read further than `limit` + 1 bytes."""
    number = 0
    while data := file.readline(limit + 3):
        number += 1
        text = data.rstrip(b"\r\n")
        if text.strip():
            yield number, text
