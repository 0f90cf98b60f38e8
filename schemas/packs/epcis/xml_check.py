"""Holds an element against its model: every finding, not just the first, with its path. Asks what the XSDs ask, no
more and no less; values are read as their simple types."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from schemas import errors
from schemas.errors import Finding
from schemas.packs.epcis import codes
from schemas.packs.epcis.times import has_zone, is_date_time
from schemas.packs.epcis.xml_models import LOCAL, OTHER, Model, Particle
from schemas.packs.epcis.xml_text import XSI, Element
from schemas.packs.jsontext import shorten

_DECIMAL = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_DOUBLE = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|-?INF|NaN", re.ASCII)
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-](?:(?:0\d|1[0-3]):[0-5]\d|14:00))", re.ASCII)
_UNSAFE = re.compile(r"[^\x21-\x7e]|[<>\"{}|\\^`]")
_REFERENCE = re.compile(
    r"(?:[A-Za-z][A-Za-z0-9+.\-]*:|(?=[^:]*(?:[/?#]|$)))"
    r"(?://(?:[^/?#\[\]]|\[[0-9A-Fa-f:.]+\])*)?(?:[^?#\[\]%]|%[0-9A-Fa-f]{2})*"
    r"(?:\?(?:[^#%]|%[0-9A-Fa-f]{2})*)?(?:#(?:[^#%]|%[0-9A-Fa-f]{2})*)?"
)


def is_uri_reference(text: str) -> bool:
    """xsd:anyURI as XML schema processors read it: a URI reference once what a URI cannot hold is escaped; a space
    is not."""
    return " " not in text and _REFERENCE.fullmatch(_UNSAFE.sub("_", text)) is not None


_SIMPLE: Mapping[str, tuple[str, Callable[[str], bool]]] = {
    "string": ("", lambda text: True),
    "uri": (errors.BAD_FORMAT, is_uri_reference),
    "dateTime": (codes.BAD_TIME, is_date_time),
    "stamp": (codes.BAD_TIME, lambda text: bool(_STAMP.fullmatch(text)) and is_date_time(text)),
    "decimal": (errors.BAD_FORMAT, lambda text: bool(_DECIMAL.fullmatch(text))),
    "integer": (errors.BAD_FORMAT, lambda text: bool(_INTEGER.fullmatch(text))),
    "double": (errors.BAD_FORMAT, lambda text: bool(_DOUBLE.fullmatch(text))),
    "boolean": (errors.BAD_FORMAT, lambda text: text in ("true", "false", "0", "1")),
    "hex": (errors.BAD_FORMAT, lambda text: bool(re.fullmatch(r"(?:[0-9A-Fa-f]{2})*", text))),
    "action": (errors.BAD_FORMAT, lambda text: text in ("ADD", "OBSERVE", "DELETE")),
}


def is_time(text: str) -> bool:
    """Whether a text is a time in both versions."""
    return all(_SIMPLE[kind][1](text) for kind in ("dateTime", "stamp"))


_EXACT = frozenset({"string", "action"})
"""Simple types whose white space counts; of the others it is taken off before they are read."""
_XSI_TYPES = {
    "int": "integer", "long": "integer", "integer": "integer", "decimal": "decimal", "double": "double",
    "float": "double", "boolean": "boolean", "dateTime": "dateTime", "anyURI": "uri", "hexBinary": "hex",
}  # fmt: skip
_XSD = "http://www.w3.org/2001/XMLSchema"


def check(element: Element, kind: str, models: Mapping[str, Model], path: str = "") -> Iterator[Finding]:
    """What is wrong with an element of a type (a model's name, or a simple type)."""
    model = models.get(kind)
    if model is None:
        yield from _check_value(element.text, kind, path, nil=element.attributes.get(f"{{{XSI}}}nil") == "true")
        yield from (_unexpected(child, path) for child in element.children)
        yield from _check_attributes(element, _NO_CONTENT, path)
        return
    yield from _check_attributes(element, model, path)
    if model.all_at_will:
        return
    if model.value:
        yield from _check_value(element.text, model.value, path)
    elif element.text.strip():
        yield Finding(codes.STRAY_TEXT, path, f"holds the text {shorten(element.text.strip())} beside its elements")
    yield from _check_children(element, model, models, path)


_NO_CONTENT = Model((), {})


def _check_attributes(element: Element, model: Model, path: str) -> Iterator[Finding]:
    for name, (kind, required) in model.attributes.items():
        if name in element.attributes:
            yield from _check_value(element.attributes[name], kind, _join(path, "@" + name))
        elif required:
            yield Finding(errors.MISSING_FIELD, _join(path, "@" + name), f"the attribute {name} is required")
    if not model.open:
        for name in element.attributes:
            if name not in model.attributes and not name.startswith(f"{{{XSI}}}"):
                yield Finding(codes.UNEXPECTED_ATTRIBUTE, path, f"has an attribute {shorten(name)}")


def _check_value(text: str, kind: str, path: str, nil: bool = False) -> Iterator[Finding]:
    code, fits = _SIMPLE[kind]
    stripped = text if kind in _EXACT else " ".join(text.split())
    if fits(stripped) or (nil and not stripped):
        return
    if kind == "stamp" and is_date_time(stripped) and not has_zone(stripped):
        yield Finding(codes.TIME_WITHOUT_ZONE, path, f"{shorten(stripped)} does not say its zone")
        return
    yield Finding(code, path, f"{shorten(text)} is no {kind}")


def check_names(element: Element, kind: str, models: Mapping[str, Model]) -> Iterator[Finding]:
    """What is wrong with the names, the number and the order of an element's children, which are not looked into."""
    yield from _check_children(element, models[kind], {}, "", inside=False)


def check_child(child: Element, kind: str, models: Mapping[str, Model]) -> Iterator[Finding]:
    """What is wrong with an element's child in itself, where its name may stand."""
    particles = {one.name: one for one in models[kind].children}
    particle = particles.get(child.name) or particles[OTHER if child.namespace else LOCAL]
    yield from _check_child(child, particle, models, child.local)


def _check_children(
    element: Element, model: Model, models: Mapping[str, Model], path: str, inside: bool = True
) -> Iterator[Finding]:
    places = {particle.name: number for number, particle in enumerate(model.children)}
    counts = [0] * len(model.children)
    reached = 0
    for child in element.children:
        place = places.get(child.name)
        if place is None and _is_epcis(child.namespace):
            place = places.get(child.local)
            if place is not None:
                yield Finding(
                    codes.QUALIFIED_ELEMENT,
                    _join(path, child.local),
                    f"{child.local} has a namespace; here it has none",
                )
        elif place is None:
            place = places.get(OTHER if child.namespace else LOCAL)
        if place is None:
            yield _unexpected(child, path)
            continue
        particle = model.children[place]
        counts[place] += 1
        if place < reached and not model.any_order:
            yield Finding(
                codes.ELEMENT_OUT_OF_ORDER,
                _join(path, child.local),
                f"{child.local} stands behind what belongs after it",
            )
        reached = max(reached, place)
        if counts[place] == particle.most + 1:
            yield Finding(codes.REPEATED_ELEMENT, _join(path, child.local), f"more than {particle.most} {child.local}")
        if inside:
            yield from _check_child(child, particle, models, _numbered(path, child.local, particle, counts[place] - 1))
    for particle, count in zip(model.children, counts, strict=True):
        if count < particle.least and particle.name in (OTHER, LOCAL):
            yield Finding(codes.UNEXPECTED_ELEMENT, path, "holds nothing that could stand in an extension here")
        elif count < particle.least:
            yield Finding(errors.MISSING_FIELD, _join(path, particle.name), f"{particle.name} is required")
    if model.only_with is not None:
        one, other = (counts[places[name]] for name in model.only_with)
        if one and not other:
            message = f"{model.only_with[0]} stands only with {model.only_with[1]}"
            yield Finding(errors.MISSING_FIELD, _join(path, model.only_with[1]), message)


def _check_child(child: Element, particle: Particle, models: Mapping[str, Model], path: str) -> Iterator[Finding]:
    if particle.type:
        yield from check(child, particle.type, models, path)
    else:
        yield from _check_wild(child, path)


def _check_wild(element: Element, path: str) -> Iterator[Finding]:
    """An element of which nothing is asked but what it says of itself with xsi:type. Iterative: depth is bounded by
    the reader, numbers are not."""
    todo = [(element, path)]
    while todo:
        node, where = todo.pop()
        if node.xsi_type is not None:
            namespace, local = node.xsi_type
            if namespace is None:
                message = f"xsi:type names {shorten(local)} with a prefix that is not declared"
                yield Finding(codes.UNDECLARED_PREFIX, where, message)
            elif namespace == _XSD and local in _XSI_TYPES:
                yield from _check_value(node.text, _XSI_TYPES[local], where)
        todo += [(child, f"{where}.{child.local}") for child in node.children]


def _unexpected(child: Element, path: str) -> Finding:
    return Finding(
        codes.UNEXPECTED_ELEMENT, _join(path, shorten(child.local)[1:-1]), f"{shorten(child.name)} has no place here"
    )


def _is_epcis(namespace: str) -> bool:
    return namespace.startswith("urn:epcglobal:epcis")


def _join(path: str, name: str) -> str:
    local = name.rpartition("}")[2] or name
    return f"{path}.{local}" if path else local


def _numbered(path: str, name: str, particle: Particle, index: int) -> str:
    where = _join(path, name)
    return where if particle.most == 1 else f"{where}[{index}]"
