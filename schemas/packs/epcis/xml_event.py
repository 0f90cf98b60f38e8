"""The canonical event of an XML element, of either version. Reads what is there by name and raises nothing: whether it
may stand there is `xml_check.py`'s to say, so that an event in a wrong order still has its identity."""

from __future__ import annotations

from typing import Any

from schemas.packs.epcis import event as ev
from schemas.packs.epcis.event import Event, add, in_order, own_name, value
from schemas.packs.epcis.xml_text import XSI, Element

_WRAPPERS = frozenset({"extension", "baseExtension"})
"""Where 1.2 hides what later versions added; 2.0 has it flat."""
_EPCIS = "urn:epcglobal:epcis"


def to_event(element: Element) -> Event:
    """The canonical event of an event's element."""
    found: Event = {"type": element.local}
    _fields(element, found)
    _own_attributes(element, found)
    for name in [*ev.EPC_LISTS, *ev.QUANTITY_LISTS]:
        if name in found and not found[name]:
            del found[name]  # 1.2 demands lists that are empty
    return found


def _fields(element: Element, found: Event) -> None:
    for child in element.children:
        name = child.local
        if child.namespace and not child.namespace.startswith(_EPCIS):
            add(found, own_name(child.namespace, name), _own(child))
        elif name in _WRAPPERS:
            _fields(child, found)
        elif name not in ev.LEFT_OUT:
            _field(child, name, found)


def _field(child: Element, name: str, found: Event) -> None:
    if name in ev.EPC_LISTS:
        found[name] = in_order([*found.get(name, ()), *(item.text.strip() for item in child.children)])
    elif name in ev.QUANTITY_LISTS:
        found[name] = in_order([*found.get(name, ()), *(_leaves(item) for item in child.children)])
    elif name in ev.PAIR_LISTS:
        pairs = [_pair(item, ev.PAIR_LISTS[name][0], name) for item in child.children]
        found[name] = in_order([*found.get(name, ()), *pairs])
    elif name in ev.PLACES:
        found[name] = _leaves(child)
    elif name == "persistentDisposition":
        found[name] = _dispositions(child)
    elif name == "errorDeclaration":
        found[name] = _declaration(child)
    elif name == "sensorElementList":
        found[name] = in_order(_sensor(item) for item in child.children if item.local == "sensorElement")
    elif name == "ilmd":
        found[name] = _ilmd(child)
    elif name == "certificationInfo":
        found[name] = in_order([*found.get(name, ()), child.text.strip()])
    elif child.children:
        add(found, name, _own(child))
    elif name in found:
        add(found, name, value(name, child.text))
    else:
        found[name] = value(name, child.text)


def _leaves(element: Element) -> Event:
    """Children that are values, and fields of one's own."""
    found: Event = {}
    for child in element.children:
        if child.namespace and not child.namespace.startswith(_EPCIS):
            add(found, own_name(child.namespace, child.local), _own(child))
        elif child.local in _WRAPPERS or child.children:
            found.update(_leaves(child))
        elif child.text.strip() or not child.attributes.get(f"{{{XSI}}}nil"):
            found[child.local] = value(child.local, child.text)
    return found


def _pair(element: Element, name: str, within: str) -> Event:
    found = {name: element.text.strip()}
    if "type" in element.attributes:
        found["type"] = value("type", element.attributes["type"], within)
    return found


def _dispositions(element: Element) -> Event:
    found: Event = {}
    for child in element.children:
        found.setdefault(child.local, []).append(value("disposition", child.text))
    return {name: in_order(items) for name, items in found.items()}


def _declaration(element: Element) -> Event:
    found: Event = {}
    for child in element.children:
        if child.local == "correctiveEventIDs":
            found[child.local] = in_order(item.text.strip() for item in child.children)
        elif child.namespace and not child.namespace.startswith(_EPCIS):
            add(found, own_name(child.namespace, child.local), _own(child))
        else:
            found[child.local] = value(child.local, child.text)
    return found


def _sensor(element: Element) -> Event:
    found: Event = {}
    reports = []
    for child in element.children:
        if child.local == ev.SENSOR_METADATA and not child.namespace:
            found[ev.SENSOR_METADATA] = _attributes(child, ev.SENSOR_METADATA)
        elif child.local == ev.SENSOR_REPORT and not child.namespace:
            reports.append(_attributes(child, ev.SENSOR_REPORT))
        else:
            add(found, own_name(child.namespace, child.local), _own(child))
    if reports:
        found[ev.SENSOR_REPORT] = in_order(reports)
    return found


def _attributes(element: Element, within: str) -> Event:
    found: Event = {}
    for name, text in element.attributes.items():
        if name[:1] != "{":
            found[name] = value(name, text, within)
    _own_attributes(element, found)
    return found


def _own_attributes(element: Element, found: Event) -> None:
    for name, text in element.attributes.items():
        if name[:1] == "{" and not name.startswith(f"{{{XSI}}}"):
            namespace, _, local = name[1:].partition("}")
            add(found, own_name(namespace, local), text.strip())


def _ilmd(element: Element) -> Event:
    found: Event = {}
    for child in element.children:
        if not child.namespace and child.local in _WRAPPERS:
            found.update(_ilmd(child))
        else:
            add(found, own_name(child.namespace, child.local) if child.namespace else child.local, _own(child))
    return found


def _own(element: Element) -> Any:
    """The value of a field of one's own: text, or its parts by name. Attributes are parts, as in JSON-LD."""
    found: Event = {}
    for child in element.children:
        add(found, own_name(child.namespace, child.local) if child.namespace else child.local, _own(child))
    _own_attributes(element, found)
    for name, text in element.attributes.items():
        if name[:1] != "{":
            add(found, name, text.strip())
    text = element.text.strip()
    if not found:
        return text
    return {**found, "#text": text} if text else found
