"""A submission in XML: its envelope judged, its events one by one."""

from __future__ import annotations

from collections.abc import Sequence

from schemas import errors
from schemas.errors import Finding
from schemas.pack import Listed, Record, Steps, Unpacked, finish
from schemas.packs.epcis import codes, plain, plain_xml
from schemas.packs.epcis.event import own_name
from schemas.packs.epcis.judge import Around, Outcome, Rules, answer, judge
from schemas.packs.epcis.known import TooMany
from schemas.packs.epcis.party import of_header
from schemas.packs.epcis.pieces import Pieces, Read, too_much_around, whole
from schemas.packs.epcis.shipments import gather, is_told_in, too_many
from schemas.packs.epcis.transaction import of_xml
from schemas.packs.epcis.xml_check import check
from schemas.packs.epcis.xml_event import to_event
from schemas.packs.epcis.xml_models import EVENTS, LISTED, ROOTS, VERSIONS
from schemas.packs.epcis.xml_text import Element, Scan, Unreadable, parse, scan, to_utf8
from schemas.packs.jsontext import shorten

XML = "application/xml"
_WITHOUT_EVENTS = frozenset({"EPCISMasterDataDocument", "EPCISCaptureJob", "EPCISException"})
_IGNORE = "ignoreFields"
"""A document's own element that names fields which its event hashes leave out (as the published generator reads)."""


def opening(value: bytes, rules: Rules) -> Steps[Unpacked]:
    """Never raises."""

    def read(document: bytes) -> list[Record | None] | None:
        return plain_xml.read(document, rules)

    found = plain.unpack(XML, value, rules, read, lambda: finish(_thorough(value, rules, read)))
    return (yield from _thorough(value, rules, read)) if found is None else found


def _thorough(value: bytes, rules: Rules, read: Read) -> Steps[Unpacked]:
    try:
        data, made = to_utf8(value)
        document = yield from scan(data, rules.options.max_depth)
    except Unreadable as broken:
        return whole([broken.finding], value, XML)
    root = document.root
    if root.name not in ROOTS:
        return _bare(value, data, made, document, rules)
    model, version = ROOTS[root.name]
    if _is_query(root):
        return whole([_no_event(root)], value, XML)
    found = list(check(root, model, VERSIONS[version]))
    if rules.official is not None and len(document.places):
        found += rules.official.xml_envelope(version, data[: document.places.starts[0]], document.tail)
    findings = rules.weigh(found)
    verdict = errors.judge(findings)
    if verdict is not None and verdict.refused:
        return whole(findings, value, XML)
    if not len(document.places):
        return whole([*findings, _no_event(root)], value, XML)
    around = Around(*of_header(root), _ignored(root), tuple(findings))
    if too_much_around((document.head, document.tail), len(document.places), len(data)):
        message = f"an envelope of {len(document.head)} bytes around {len(document.places)} small events"
        return whole([Finding(codes.MALFORMED_DOCUMENT, "", message)], value, XML)

    options, wrap = rules.options, (document.head, document.tail)
    told = is_told_in(data, options)
    together = None if findings else plain.together(len(data), told, read, b"")

    def pieces(around: Around) -> Pieces:
        def judge_one(piece: bytes) -> Outcome:
            try:
                element = parse(piece, document.namespaces, options.max_depth)
            except Unreadable as broken:
                return (broken.finding,)
            official = rules.official
            said = [] if official is None else official.xml_event(version, piece, document.namespaces)
            return _read_item(element, version, around, rules, said)

        return Pieces(XML, data, document.places, judge_one, wrap, made, options.max_event_bytes, together)

    if told:
        try:
            facts = yield from gather(of_xml(root), pieces(around).records(), rules)
        except TooMany:
            return whole([too_many(options)], value, XML)
        around = around._replace(about=facts.about)
    return pieces(around)


def _is_query(root: Element) -> bool:
    """Whether a query document asks, or answers other than with results."""
    body = root.child("EPCISBody") if root.local == "EPCISQueryDocument" else None
    return body is not None and len(body.children) == 1 and body.child("QueryResults") is None


def _no_event(root: Element) -> Finding:
    return Finding(errors.EMPTY_SUBMISSION, "", f"{root.local} holds no event")


def _bare(value: bytes, data: bytes, made: bool, document: Scan, rules: Rules) -> Unpacked:
    """An event without a document, or nothing that this pack reads."""
    root = document.root
    if root.local in _WITHOUT_EVENTS:
        return whole([_no_event(root)], value, XML)
    epcis = root.namespace.startswith("urn:epcglobal:epcis:xsd:")
    if root.local not in EVENTS or (root.namespace and not epcis):
        message = f"{shorten(root.name)} is no EPCIS document of 1.2 or 2.0, and no event"
        return whole([Finding(codes.UNKNOWN_ROOT, "", message)], value, XML)
    if len(data) > rules.options.max_event_bytes:
        message = f"an event of {len(data)} bytes; {rules.options.max_event_bytes} are allowed"
        return whole([Finding(errors.TOO_LARGE, "", message)], value, XML)
    found = []
    if epcis:
        message = "a bare event has no namespace; only documents have one"
        found.append(Finding(codes.QUALIFIED_ELEMENT, root.local, message))
    old = any(child.local in ("extension", "baseExtension") for child in root.children)
    version = "1.2" if old and root.local != "AssociationEvent" else "2.0"
    found += check(root, root.local, VERSIONS[version])
    if rules.official is not None:
        found += rules.official.xml_bare(version, data)
    outcome = judge(to_event(root), Around(), rules, found)
    return Listed(XML, [answer(outcome, data if made else value, XML, made)])


def _read_item(item: Element, version: str, around: Around, rules: Rules, said: Sequence[Finding]) -> Outcome:
    """One element of an event list, of which `said` is known. `extension` is where 1.2 hides what came later."""
    models = VERSIONS[version]
    found: list[Finding] = list(said)
    element = item
    if item.local == "extension" and not item.namespace:
        found += check(item, "EventListExtension", models)
        while element.local == "extension" and not element.namespace and len(element.children) == 1:
            element = element.children[0]
        if element.local == "extension" and not element.namespace:
            message = "an extension of the event list holds one event"
            return tuple(rules.weigh([*found, Finding(codes.UNKNOWN_EVENT_TYPE, "extension", message)]))
    elif item.local in EVENTS or item.local in LISTED[version]:
        if item.namespace:
            message = f"{item.local} has a namespace; inside a document it has none"
            found.append(Finding(codes.QUALIFIED_ELEMENT, item.local, message))
        if item.local not in LISTED[version]:
            message = f"EPCIS {version} knows no {item.local} directly in its event list"
            found.append(Finding(codes.UNEXPECTED_ELEMENT, item.local, message))
        found += check(item, item.local, models if item.local in models else VERSIONS["2.0"])
    else:
        message = f"{shorten(item.name)} is no event of EPCIS {version}"
        where = shorten(item.local)[1:-1]
        return tuple(rules.weigh([*found, Finding(codes.UNKNOWN_EVENT_TYPE, where, message)]))
    return judge(to_event(element), around, rules, found)


def _ignored(root: Element) -> tuple[str, ...]:
    named = next((child for child in root.children if child.local == _IGNORE and child.namespace), None)
    if named is None:
        return ()
    return tuple(sorted({own_name(child.namespace, child.local) for child in named.children}))
