"""Reads untrusted XML with expat: finds the events of a document by their bytes, and makes trees of small pieces.

Nothing is fetched and nothing is expanded: a document type that declares anything is refused before its content is
read, so only the five predefined entities exist. Memory is that of the envelope and of one event, whatever the
document's size; nesting is bounded. `CurrentByteIndex` is why this is expat and not a tree parser (ADR 13).
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from schemas import errors
from schemas.errors import Finding
from schemas.pack import Steps, finish
from schemas.packs.epcis import codes

XSI = "http://www.w3.org/2001/XMLSchema-instance"
_DECLARED = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"'][^>]{0,200}?\?>")
_PLAIN = {"utf-8", "utf8", "us-ascii", "ascii"}
_TRANSCODED = {"utf-16", "utf-16le", "utf-16be", "iso-8859-1", "iso-8859-15", "windows-1252", "latin1"}
_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_CHUNK = 2**16
_MOST_PREFIXES = 200
"""Namespaces in force at once. Real documents have some twenty; each element that declares one copies them all."""


class Unreadable(Exception):
    """The text is no XML this pack reads; `finding` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.finding = Finding(code, "", message)


class Element:
    """An element: name and attribute names as `{namespace}local` or `local`, its own text, its children in order."""

    __slots__ = ("attributes", "children", "name", "texts", "xsi_type")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name, self.attributes = name, attributes
        self.texts: list[str] = []
        self.children: list[Element] = []
        self.xsi_type: tuple[str | None, str] | None = None
        """Namespace (None: its prefix is not declared) and local name of `xsi:type`."""

    @property
    def text(self) -> str:
        """Its own text, that of its children left out."""
        return "".join(self.texts)

    @property
    def local(self) -> str:
        return self.name.rpartition("}")[2]

    @property
    def namespace(self) -> str:
        return self.name[1:].partition("}")[0] if self.name[:1] == "{" else ""

    def child(self, local: str) -> Element | None:
        """The first child of that local name, whatever its namespace."""
        return next((child for child in self.children if child.local == local), None)


class Places:
    """Where the events of a document lie in its bytes: sixteen bytes each, for documents of millions."""

    __slots__ = ("ends", "starts")

    def __init__(self) -> None:
        self.starts, self.ends = array("q"), array("q")

    def __len__(self) -> int:
        return len(self.ends)

    def add(self, start: int, end: int) -> None:
        """One more, behind the last."""
        self.starts.append(start)
        self.ends.append(end)

    def of(self, data: bytes, first: int = 0) -> Iterator[bytes]:
        """The bytes of each event from `first` on."""
        for number in range(first, len(self)):
            yield data[self.starts[number] : self.ends[number]]


class Scan(NamedTuple):
    """A document read to its end, its events not looked into."""

    root: Element
    """The envelope; its event list is empty."""
    places: Places
    listed: bool
    """Whether there is an event list; without one the root itself may be an event."""
    namespaces: Mapping[str, str]
    """Prefixes declared around the events."""
    head: bytes
    """The document up to its first event, without master data."""
    tail: bytes
    """The document from the end of its event list on."""


def to_utf8(data: bytes) -> tuple[bytes, bool]:
    """The text as UTF-8 without declaration of another encoding, and whether it had to be made so.

    Raises Unreadable."""
    bom = next(((mark, name) for mark, name in _BOMS if data.startswith(mark)), None)
    declared = _DECLARED.match(data.removeprefix(_BOMS[0][0]).lstrip()[:512])
    name = bom[1] if bom else declared[1].decode().lower() if declared else "utf-8"
    if declared and bom and declared[1].decode().lower() not in _PLAIN:
        raise Unreadable(codes.WRONG_ENCODING, "the text begins with a UTF-8 mark and declares another encoding")
    if name in _PLAIN:
        return data, False
    if name not in _TRANSCODED:
        raise Unreadable(codes.WRONG_ENCODING, f"the encoding {name} is not read; send UTF-8")
    try:
        text = data.decode(name)
    except UnicodeDecodeError as error:
        raise Unreadable(codes.WRONG_ENCODING, f"byte {error.start} is not {name}, which the text declares") from None
    text = re.sub(r"^\ufeff?\s*<\?xml.{0,400}?\?>", "", text, count=1, flags=re.DOTALL)
    if "<" not in text:
        raise Unreadable(codes.WRONG_ENCODING, f"read as {name}, which it declares, this is no XML")
    return text.encode("utf-8", "surrogatepass"), True


class _Reader:
    """What both readings share: a guarded parser, namespaces by prefix, depth."""

    def __init__(self, max_depth: int) -> None:
        self.parser = parser = expat.ParserCreate(None, "}")
        parser.buffer_text = True
        parser.ordered_attributes = False
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.text
        parser.StartNamespaceDeclHandler = self.declare
        parser.StartDoctypeDeclHandler = _doctype
        parser.EntityDeclHandler = _entity
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        self.prefixes: list[dict[str, str]] = [{}]
        self.pending: dict[str, str] = {}
        self.depth, self.max_depth = 0, max_depth
        self.stack: list[Element] = []
        self.root: Element | None = None
        self.offset = 0

    def run(self, data: bytes) -> Steps[Element]:
        try:
            view = memoryview(data)
            for at in range(0, len(data), _CHUNK):
                self.parser.Parse(bytes(view[at : at + _CHUNK]), False)
                yield
            self.parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise self._unreadable(data, error) from None
        finally:
            del self.parser  # or the two would hold each other until the garbage collector looks
        assert self.root is not None  # expat refuses a text without an element
        return self.root

    def _unreadable(self, data: bytes, error: expat.ExpatError) -> Unreadable:
        where = f"line {error.lineno}, column {error.offset + 1}"
        try:
            data.decode()
        except UnicodeDecodeError as wrong:
            if error.code != expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS]:
                return Unreadable(errors.NOT_UTF8, f"byte {wrong.start} is not UTF-8")
        return Unreadable(codes.MALFORMED_XML, f"{expat.ErrorString(error.code)} at {where}")

    def declare(self, prefix: str | None, uri: str | None) -> None:
        self.pending[prefix or ""] = uri or ""

    def open(self, name: str, attributes: dict[str, str]) -> Element:
        self.depth += 1
        if self.depth > self.max_depth:
            raise Unreadable(errors.NESTED_TOO_DEEP, f"more than {self.max_depth} elements inside each other")
        self.prefixes.append({**self.prefixes[-1], **self.pending} if self.pending else self.prefixes[-1])
        if len(self.prefixes[-1]) > _MOST_PREFIXES:
            raise Unreadable(errors.TOO_LARGE, f"more than {_MOST_PREFIXES} namespaces in force at once")
        self.pending = {}
        named = {_name(key): value for key, value in attributes.items()}
        element = Element(_name(name), named)
        if (kind := named.get(f"{{{XSI}}}type")) is not None:
            prefix, colon, local = kind.strip().rpartition(":")
            element.xsi_type = (self.prefixes[-1].get(prefix) if colon else self.prefixes[-1].get("", ""), local)
        if self.stack:
            self.stack[-1].children.append(element)
        else:
            self.root = element
        self.stack.append(element)
        return element

    def close(self) -> None:
        self.depth -= 1
        self.prefixes.pop()
        self.stack.pop()

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.open(name, attributes)

    def end(self, name: str) -> None:
        self.close()

    def text(self, data: str) -> None:
        if self.stack:
            self.stack[-1].texts.append(data)


def _name(name: str) -> str:
    return "{" + name if "}" in name else name


def _doctype(name: str, system: str | None, public: str | None, internal: int) -> None:
    if system or public or internal:
        raise Unreadable(codes.DTD_FORBIDDEN, "a document type with declarations; send the document without it")


def _entity(*_: object) -> None:
    raise Unreadable(codes.DTD_FORBIDDEN, "an entity declaration; send the document without it")


class _Scanner(_Reader):
    """Builds the envelope and notes where events lie; what is inside an event is only counted."""

    def __init__(self, max_depth: int) -> None:
        super().__init__(max_depth)
        self.places = Places()
        self.open_end = False
        self.list_end: int | None = None
        self.namespaces: Mapping[str, str] = {}
        self.skips: list[list[int]] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        at = self.parser.CurrentByteIndex
        self._settle(at)
        if self.stack and self.stack[-1].local == "EventList" and self._is_list():
            self.places.starts.append(at)
            self._look_into_nothing()
            return
        element = self.open(name, attributes)
        if element.local == "EventList" and self._is_list():
            if self.namespaces or self.list_end is not None:
                raise Unreadable(codes.MALFORMED_DOCUMENT, "more than one event list")
            self.namespaces = {**self.prefixes[-1], "xml": "http://www.w3.org/XML/1998/namespace"}
        if element.local == "extension" and [item.local for item in self.stack[1:-1]] == ["EPCISHeader"]:
            self.skips.append([at])

    def _is_list(self) -> bool:
        path = [element.local for element in self.stack]
        return path[1:] in (["EPCISBody", "EventList"], ["EPCISBody", "QueryResults", "resultsBody", "EventList"])

    def _settle(self, at: int) -> None:
        if self.open_end:
            self.places.ends.append(at)
            self.open_end = False
        if self.skips and len(self.skips[-1]) == 2 and self.skips[-1][1] < 0:
            self.skips[-1][1] = at

    def end(self, name: str) -> None:
        at = self.parser.CurrentByteIndex
        self._settle(at)
        element = self.stack[-1]
        if element.local == "EventList" and self._is_list():
            self.list_end = at
        if element.local == "extension" and self.skips and len(self.skips[-1]) == 1 and len(self.stack) == 3:
            self.skips[-1].append(-1)
        self.close()

    def _look_into_nothing(self) -> None:
        """Up to the event's end elements are counted, and that is all: a document's time goes there."""
        self.pending, inside, most = {}, 1, self.max_depth - len(self.stack)

        def deeper(name: str, attributes: dict[str, str]) -> None:
            nonlocal inside
            inside += 1
            if inside > most:
                raise Unreadable(errors.NESTED_TOO_DEEP, f"more than {self.max_depth} elements inside each other")

        def shallower(name: str) -> None:
            nonlocal inside
            inside -= 1
            if not inside:
                self._look_again()

        parser = self.parser
        parser.StartElementHandler, parser.EndElementHandler = deeper, shallower
        parser.CharacterDataHandler = parser.StartNamespaceDeclHandler = None

    def _look_again(self) -> None:
        """Behind an event."""
        self.open_end, parser = True, self.parser
        parser.StartElementHandler, parser.EndElementHandler = self.start, self.end
        parser.CharacterDataHandler, parser.StartNamespaceDeclHandler = self.text, self.declare


def scan(data: bytes, max_depth: int) -> Steps[Scan]:
    """Reads a whole document, in steps. Raises Unreadable."""
    reader = _Scanner(max_depth)
    root = yield from reader.run(data)
    end = reader.list_end if reader.list_end is not None else len(data)
    head, at = b"", 0
    first = reader.places.starts[0] if reader.places.starts else end
    for start, stop in reader.skips:
        if start < first:
            head, at = head + data[at:start], stop
    head += data[at:first]
    return Scan(root, reader.places, reader.list_end is not None, reader.namespaces, head, data[end:])


def parse(piece: bytes, namespaces: Mapping[str, str], max_depth: int) -> Element:
    """The tree of a piece of a document whose prefixes `namespaces` declares. Raises Unreadable."""
    if not namespaces:
        return finish(_Reader(max_depth).run(piece))
    declared = " ".join(
        f"xmlns{':' + prefix if prefix else ''}={quoteattr(uri)}"
        for prefix, uri in namespaces.items()
        if prefix != "xml" and (uri or not prefix)
    )
    reader = _Reader(max_depth + 1)
    return finish(reader.run(f"<piece {declared}>".encode() + piece + b"</piece>")).children[0]
