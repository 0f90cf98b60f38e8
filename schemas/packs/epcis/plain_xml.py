"""Plain XML documents, whose tree expat builds without a call into Python for each element: see `plain.py`."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from xml.etree import ElementTree  # nothing that declares anything gets there

from schemas.kept import Kept
from schemas.pack import Record, finish
from schemas.packs.epcis import plain
from schemas.packs.epcis.judge import Around, Rules
from schemas.packs.epcis.party import of_header
from schemas.packs.epcis.pieces import AROUND
from schemas.packs.epcis.xml_check import check, check_child, check_names, is_time
from schemas.packs.epcis.xml_event import to_event
from schemas.packs.epcis.xml_models import LISTED, ROOTS, VERSIONS
from schemas.packs.epcis.xml_text import Element, Unreadable, scan

_OPEN, _CLOSE = b"<EventList>", b"</EventList>"
_DECLARED = re.compile(rb'(?:<\?xml version="1\.0"(?: encoding="(?:UTF|utf)-8")?\?>)?\s*<')
_DATED = re.compile(rb' creationDate="(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))"')
_ANY_DATE = b' creationDate="2000-01-01T00:00:00Z"'
_DEEPEST = 4
_MOST_NODES, _LONGEST = 40, 200
"""Elements of a field and characters of each of their names and texts, in what is kept."""
_KNOWN = plain.KEPT | plain.ITEMS | plain.TIMES | {"parentID", "eventID", "extension"}
_MOST_NAMESPACES = 50
Tree = tuple[Any, ...]
"""An element: name, attributes, text, text behind it, children."""


class _Envelope(NamedTuple):
    """What was seen to be right around events."""

    version: str
    around: Around


def _envelope(text: bytes) -> _Envelope | None:
    try:
        document = finish(scan(text, 8))
    except Unreadable:
        return None
    root = document.root
    if root.name not in ROOTS or not root.name.endswith("}EPCISDocument") or not document.listed:
        return None
    model, version = ROOTS[root.name]
    # A foreign element in the root may say what event hashes leave out.
    if any(check(root, model, VERSIONS[version])) or any(child.namespace for child in root.children):
        return None
    return _Envelope(version, Around(*of_header(root)))


def _part(key: tuple[str, str, Tree]) -> tuple[plain.Part, ...] | None:
    kind, version, tree = key
    child = _element(tree, _DEEPEST)
    if child is None or any(check_child(child, kind, VERSIONS[version])):
        return None
    event = Element(kind, {})
    event.children.append(child)
    found = to_event(event)
    del found["type"]
    return plain.parts_of(kind, found)


def _element(tree: Tree, deepest: int) -> Element | None:
    """None: it says more of itself than its name and values, or lies deep."""
    name, attributes, text, _, *children = tree
    if deepest == 0 or any(attribute[:1] == "{" for attribute, _ in attributes):
        return None
    element = Element(name, dict(attributes))
    element.texts.append((text or "") + "".join(child[3] or "" for child in children))
    for child in children:
        made = _element(child, deepest - 1)
        if made is None:
            return None
        element.children.append(made)
    return element


def _in_order(key: tuple[str, str, tuple[str, ...]]) -> bool:
    """Whether elements of such names may stand in an event in that order."""
    kind, version, names = key
    event = Element(kind, {})
    event.children += [Element(name, {}) for name in names]
    return not any(check_names(event, kind, VERSIONS[version]))


_envelopes, _parts, _orders = Kept(_envelope, 2**6), Kept(_part, 2**11), Kept(_in_order, 2**10)


def read(data: bytes, in_force: Rules) -> list[Record | None] | None:
    """See `pieces.Read`."""
    start, end = data.find(_OPEN) + len(_OPEN), data.find(_CLOSE)
    if (
        not len(_OPEN) <= start <= end
        or not plain.may_hold(data, in_force)
        or data.count(b"EventList") != 2
        or not (declared := _DECLARED.match(data))
        or b"<!" in data
        or data.find(b"<?", declared.end() - 1) >= 0
        or data.count(b"xmlns") > _MOST_NAMESPACES
    ):
        return None
    head, tail = data[:start], data[end:]
    if (dated := _DATED.search(head)) and head.count(b"creationDate") == 1:
        if not is_time(dated[1].decode()):
            return None
        head = head.replace(dated[0], _ANY_DATE)
    envelope = _envelopes[head + tail]
    if envelope is None:
        return None
    try:
        root = ElementTree.XML(data)  # without a document type
    except (ElementTree.ParseError, ValueError, LookupError):
        return None
    events = root.find("EPCISBody/EventList")
    if events is None or not len(events) or (len(head) + len(tail)) * len(events) > AROUND:
        return None
    if _says_text(events):
        return None
    return [_event(event, envelope, in_force) for event in events]


def _says_text(element: ElementTree.Element) -> bool:
    """Whether a text that is more than white space stands beside an element's children."""
    if element.text and element.text.strip():
        return True
    return any(child.tail and child.tail.strip() for child in element)


def _event(element: ElementTree.Element, envelope: _Envelope, in_force: Rules) -> Record | None:
    kind, version = element.tag, envelope.version
    if kind not in LISTED[version] or kind == "QuantityEvent" or element.attrib or _says_text(element):
        return None
    names = tuple([child.tag for child in element])
    own = [name for name in names if name not in _KNOWN]
    if len(names) > _MOST_NODES or not all(map(plain.is_own, own)) or not _orders[kind, version, names]:
        return None
    draft = plain.Draft(kind)
    for child in element:
        name = child.tag
        if name in plain.KEPT or name == "extension" or name in own:
            good = _is_small(child) and draft.parts(_parts[kind, version, _tree(child)])
        elif child.attrib:
            return None
        elif name in plain.ITEMS:
            good = _items(child, name, draft)
        elif len(child) or child.text is None:
            return None
        elif name in plain.TIMES:
            good = draft.time(name, child.text)
        elif name == "parentID":
            good = draft.parent(child.text)
        else:
            good = name == "eventID" and draft.named(child.text)
        if not good:
            return None
    return draft.record(envelope.around, in_force)


def _items(element: ElementTree.Element, name: str, draft: plain.Draft) -> bool:
    if _says_text(element):
        return False
    texts = []
    for child in element:
        if child.tag != "epc" or child.attrib or len(child) or child.text is None:
            return False
        texts.append(child.text)
    return draft.epcs(name, texts)


def _is_small(element: ElementTree.Element) -> bool:
    for number, one in enumerate(element.iter(), 1):
        texts = (one.tag, one.text or "", one.tail or "", *one.attrib, *one.attrib.values())
        if number > _MOST_NODES or len(texts) > 12 or max(map(len, texts)) > _LONGEST:
            return False
    return True


def _tree(element: ElementTree.Element, level: int = 0) -> Tree:
    """An element as a key. What lies deeper than a plain one is left out: the rest is too deep already."""
    if level > _DEEPEST:
        return ("", (), None, None)
    attributes = tuple(element.attrib.items()) if element.attrib else ()
    tail = element.tail if level else None
    return (element.tag, attributes, element.text, tail, *[_tree(child, level + 1) for child in element])
