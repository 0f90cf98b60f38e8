"""The extra pass of the option `official_schemas`: GS1's own XSDs and JSON schema, from a folder of the deployment.

It looks at the envelope without its events, then at each event inside a plain document of one, so memory is that of the
envelope and of one event, and what is found in an event refuses that event alone. It never fetches anything: the files
are read when the pack is made, may refer to nothing outside of their folder, and a document's own hints
(`xsi:schemaLocation`, `@context`) are not followed. lxml and jsonschema-rs are imported only with the option.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import quoteattr

from schemas.errors import Finding
from schemas.packs.epcis import codes

XSDS = {"1.2": "EPCglobal-epcis-query-1_2.xsd", "2.0": "EPCglobal-epcis-query-2_0.xsd"}
"""By version, the file that imports all that a document or query document needs."""
JSON_SCHEMA = "EPCIS-JSON-Schema.json"
EXTRA = "waybill[official-schemas]"

_SPACES = {"1.2": "urn:epcglobal:epcis:xsd:1", "2.0": "urn:epcglobal:epcis:xsd:2"}
_REFERRING = {f"{{http://www.w3.org/2001/XMLSchema}}{name}" for name in ("import", "include", "redefine", "override")}
_MOST = 20
"""Findings of one event or envelope. libxml2 writes a path for each in time that grows with its siblings: beyond this
they are counted without a tree."""
_LONGEST = 300
"""Characters of a validator's message that are kept."""
_CHUNK = 2**16
_INSIDE = ("epcisBody", "eventList", 0)


class Files(NamedTuple):
    """The schema files of a folder."""

    digests: Mapping[str, str]
    """SHA-256 of each file, by its path in the folder."""
    digest: str
    """SHA-256 of all of them."""
    xsds: Mapping[str, Path]
    json_schema: Path


def find(folder: Path) -> Files:
    """The files, wherever in the folder they lie. Raises ValueError, in words for whoever wrote the option, where one
    is missing, ambiguous, unreadable, or refers to what is not in the folder; and where a library is missing."""
    _libraries()
    if not folder.is_dir():
        raise ValueError(f"no such folder: {folder}")
    home = folder.resolve()
    xsds = {version: _only(home, name) for version, name in XSDS.items()}
    json_schema = _only(home, JSON_SCHEMA)
    texts = {json_schema: json_schema.read_bytes()}
    for path in xsds.values():
        _follow(path, home, texts)
    digests = {str(path.relative_to(home)): hashlib.sha256(text).hexdigest() for path, text in texts.items()}
    digests = dict(sorted(digests.items()))
    lines = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    return Files(digests, hashlib.sha256(lines.encode()).hexdigest(), xsds, json_schema)


def _libraries() -> tuple[Any, Any]:
    """lxml.etree and jsonschema_rs."""
    try:
        import jsonschema_rs
        from lxml import etree
    except ImportError as error:
        raise ValueError(f"needs {error.name or error}, which is not installed: pip install '{EXTRA}'") from error
    return etree, jsonschema_rs


def _only(home: Path, name: str) -> Path:
    found = sorted(home.rglob(name))
    if not found:
        raise ValueError(f"{home} holds no {name}; allowed: a folder with {', '.join((*XSDS.values(), JSON_SCHEMA))}")
    if len(found) > 1:
        raise ValueError(f"{home} holds {name} {len(found)} times: {found[0]} and {found[1]}; allowed: once")
    return found[0].resolve()


def _follow(path: Path, home: Path, texts: dict[Path, bytes]) -> None:
    """Reads a file and all that it refers to."""
    if path in texts:
        return
    texts[path] = path.read_bytes()
    etree, _ = _libraries()
    try:
        root = etree.fromstring(texts[path], _parser(etree))
    except etree.XMLSyntaxError as error:
        raise ValueError(f"{path} is no XML: {error}") from error
    for element in root.iter(*_REFERRING):
        location = element.get("schemaLocation")
        if location is None:
            continue
        other = (path.parent / location).resolve()
        if "://" in location or not other.is_relative_to(home):
            raise ValueError(f"{path} refers to {location}, which is not in the folder; nothing is fetched")
        if not other.is_file():
            raise ValueError(f"{path} refers to {location}, which is not there: put it beside it")
        _follow(other, home, texts)


def _parser(etree: Any, schema: Any = None) -> Any:
    return etree.XMLParser(
        schema=schema,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        resolve_entities=False,
        huge_tree=False,
    )


class Official:
    """The schemas, ready to judge. Every method is a function of its arguments and of the files; none raises."""

    def __init__(self, folder: Path, max_envelope_bytes: int) -> None:
        """Raises ValueError as `find` does, and for files that are no schemas."""
        self.files = find(folder)
        self._most = max_envelope_bytes
        self._etree, self._json_rules = _libraries()
        self._xsds = {version: self._xsd(path) for version, path in self.files.xsds.items()}
        try:
            schema = json.loads(self.files.json_schema.read_bytes())
            # Formats asserted: without that it takes most invalid documents. Masked: a message is as short as its rule.
            self._json = self._json_rules.validator_for(
                schema, validate_formats=True, retriever=_refuse, mask="the value"
            )
        except ValueError as error:
            raise ValueError(f"{self.files.json_schema} is no JSON schema: {str(error)[:_LONGEST]}") from error

    def _xsd(self, path: Path) -> Any:
        try:
            return self._etree.XMLSchema(self._etree.parse(str(path), _parser(self._etree)))
        except self._etree.LxmlError as error:
            raise ValueError(f"{path} is no XML Schema: {error}") from error

    def xml_envelope(self, version: str, start: bytes, end: bytes) -> list[Finding]:
        """What is wrong with a document without its events; `start` and `end` stand around them."""
        if (size := len(start) + len(end)) > self._most:
            return [_finding("", f"an envelope of {size} bytes; {self._most} are held against the official schemas")]
        return [_finding(path, message) for path, message in self._xml(version, start + end)]

    def xml_event(self, version: str, event: bytes, namespaces: Mapping[str, str]) -> list[Finding]:
        """What is wrong with an event of a document in which these prefixes are declared. Of a default namespace around
        it, nothing: that is the envelope's own mistake."""
        declared = "".join(
            f" xmlns:{prefix}={quoteattr(uri)}" for prefix, uri in namespaces.items() if prefix not in ("", "xml")
        )
        head = (
            f'<e:EPCISDocument xmlns:e="{_SPACES[version]}" schemaVersion="{version}"'
            f' creationDate="2000-01-01T00:00:00Z"><EPCISBody><EventList{declared}>'
        )
        document = head.encode() + event + b"</EventList></EPCISBody></e:EPCISDocument>"
        found = self._xml(version, document)
        return [_finding(path.partition("/EventList/")[2].partition("/")[2], message) for path, message in found]

    def xml_bare(self, version: str, document: bytes) -> list[Finding]:
        """What is wrong with an event that stands alone, as a document of this version would hold it."""
        try:
            root = self._etree.fromstring(document, _parser(self._etree))
        except self._etree.XMLSyntaxError as error:
            return [_finding("", str(error))]
        return self.xml_event(version, self._etree.tostring(root), {})

    def _xml(self, version: str, document: bytes) -> Sequence[tuple[str, str]]:
        """The first complaints about a document: XPath and message."""
        schema = self._xsds[version]
        parser = _parser(self._etree, schema)
        try:
            for at in range(0, len(document), _CHUNK):
                parser.feed(document[at : at + _CHUNK])
                if len(parser.feed_error_log) > _MOST:
                    return [("", entry.message) for entry in parser.feed_error_log][:_MOST]
            parser.close()
            return ()
        except self._etree.XMLSyntaxError as error:
            if len(parser.feed_error_log) > _MOST:
                return [("", entry.message) for entry in parser.feed_error_log][:_MOST]
            first = str(error)
        try:  # few: read again for where they lie
            schema.validate(self._etree.fromstring(document, _parser(self._etree)))
        except self._etree.XMLSyntaxError as error:
            return [("", str(error))]
        return [(entry.path or "", entry.message) for entry in schema.error_log][:_MOST] or [("", first)]

    def json_envelope(self, envelope: Mapping[str, Any]) -> list[Finding]:
        """What is wrong first with a document without its events."""
        return [_finding(_dotted(path), message) for path, message in self._json_first(envelope)]

    def json_event(self, event: Any) -> list[Finding]:
        """What is wrong first with an event of a document."""
        document = {
            "@context": "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",
            "type": "EPCISDocument",
            "schemaVersion": "2.0",
            "creationDate": "2000-01-01T00:00:00Z",
            "epcisBody": {"eventList": [event]},
        }
        found = self._json_first(document)
        return [_finding(_dotted(path[len(_INSIDE) :]), message) for path, message in found]

    def json_bare(self, event: Mapping[str, Any]) -> list[Finding]:
        """What is wrong first with an event that stands alone."""
        return self.json_envelope(event)

    def _json_first(self, value: Mapping[str, Any]) -> Iterator[tuple[Sequence[str | int], str]]:
        """The first complaint alone: to collect all takes time that grows with their square."""
        try:
            self._json.validate(value)
        except self._json_rules.ValidationError as error:
            yield error.instance_path, error.message
        except ValueError as error:
            yield (), str(error)


def _refuse(uri: str) -> Any:
    raise ValueError(f"refers to {uri}; nothing is fetched")


def _dotted(path: Sequence[str | int]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_plain(part)}" for part in path)
    return text.removeprefix(".")


def _plain(text: str, limit: int = 60) -> str:
    """Printable ASCII of at most about `limit` characters."""
    cut = text[:limit]
    plain = cut if cut.isascii() and cut.isprintable() else ascii(cut)[1:-1]
    return plain + "..." if len(text) > limit else plain


def _finding(path: str, message: str) -> Finding:
    return Finding(codes.OFFICIAL_SCHEMA, _plain(path, _LONGEST), _plain(message.strip(), _LONGEST))
