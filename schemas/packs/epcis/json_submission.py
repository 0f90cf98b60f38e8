"""A submission in JSON-LD: its envelope judged, its events one by one."""

from __future__ import annotations

from typing import Any

from schemas import errors
from schemas.errors import Finding
from schemas.pack import CANONICAL_TYPE, Listed, Record, Steps, Unpacked, finish
from schemas.packs.epcis import codes, json_text, plain, plain_json
from schemas.packs.epcis.json_check import ENVELOPES, check_event, json_name
from schemas.packs.epcis.json_event import STANDARD, Prefixes, prefixes, to_event
from schemas.packs.epcis.judge import KIND, Around, Outcome, Rules, answer, judge
from schemas.packs.epcis.known import TooMany
from schemas.packs.epcis.party import party
from schemas.packs.epcis.pieces import Pieces, Read, too_much_around, whole
from schemas.packs.epcis.shipments import gather, is_told_in, too_many
from schemas.packs.epcis.transaction import of_json
from schemas.packs.jsontext import inspect, shorten

JSON = "application/ld+json"


def opening(value: bytes, rules: Rules) -> Steps[Unpacked]:
    """Never raises."""

    def read(document: bytes) -> list[Record | None] | None:
        return plain_json.read(document, rules, _party)

    found = plain.unpack(JSON, value, rules, read, lambda: finish(_thorough(value, rules, read)))
    return (yield from _thorough(value, rules, read)) if found is None else found


def _thorough(value: bytes, rules: Rules, read: Read) -> Steps[Unpacked]:
    options = rules.options
    document = yield from json_text.scan(value, options.max_depth)
    envelope = document.envelope
    if document.findings:
        return whole(document.findings, value, JSON)
    if not isinstance(envelope, dict) or not isinstance(kind := envelope.get("type"), str):
        return whole([Finding(codes.UNKNOWN_ROOT, "", _no_epcis(envelope))], value, JSON)
    if kind not in ENVELOPES:
        return _bare(value, envelope, rules)
    broken = list(ENVELOPES[kind](envelope, ""))
    if rules.official is not None and len(document.places):
        broken += rules.official.json_envelope(envelope)
    findings = rules.weigh(broken)
    verdict = errors.judge(findings)
    if verdict is not None and verdict.refused:
        return whole(findings, value, JSON)
    if not len(document.places):
        return whole([*findings, Finding(errors.EMPTY_SUBMISSION, "", "the event list is empty")], value, JSON)
    wrap = json_text.wrap(envelope)
    if too_much_around(wrap, len(document.places), len(value)):
        message = f"an envelope of {len(wrap[0])} bytes around {len(document.places)} small events"
        return whole([Finding(codes.MALFORMED_DOCUMENT, "", message)], value, JSON)
    names = prefixes(envelope.get("@context"), STANDARD)
    around = Around(_party(envelope, "sender"), _party(envelope, "receiver"), (), tuple(findings))
    told = is_told_in(value, options)
    together = None if findings else plain.together(len(value), told, read, b",")

    def pieces(around: Around) -> Pieces:
        def judge_one(piece: bytes) -> Outcome:
            return _read(piece, names, around, rules)

        return Pieces(JSON, value, document.places, judge_one, wrap, False, options.max_event_bytes, together)

    if told:
        try:
            facts = yield from gather(of_json(envelope), pieces(around).records(), rules)
        except TooMany:
            return whole([too_many(options)], value, JSON)
        around = around._replace(about=facts.about)
    return pieces(around)


def _no_epcis(found: Any) -> str:
    """What is wrong with JSON that is no EPCIS, and what it may be instead."""
    what = "the object has no `type` that is text" if isinstance(found, dict) else f"the text is {json_name(found)}"
    wanted = "EPCIS in JSON-LD is one object whose `type` is `EPCISDocument`, `EPCISQueryDocument` or an event's, such "
    payload = isinstance(found, dict) and found.get("kind") == KIND and "event" in found
    hint = f"; this looks like a record's payload: say content-type {CANONICAL_TYPE}" if payload else ""
    return f"{what}; {wanted}as `ObjectEvent`{hint}"


def _party(envelope: dict[str, Any], role: str) -> str:
    name = envelope.get(role)
    return party(name.strip()) if isinstance(name, str) else ""


def _read(piece: bytes, names: Prefixes, around: Around, rules: Rules) -> Outcome:
    item, found = inspect(piece, rules.options.max_depth)
    if found:
        return tuple(found)
    found += check_event(item, bare=False)
    if not isinstance(item, dict):
        return tuple(found)
    if rules.official is not None:
        found += rules.official.json_event(item)
    return judge(to_event(item, names), around, rules, found)


def _bare(value: bytes, item: dict[str, Any], rules: Rules) -> Unpacked:
    if len(value) > rules.options.max_event_bytes:
        message = f"an event of {len(value)} bytes; {rules.options.max_event_bytes} are allowed"
        return whole([Finding(errors.TOO_LARGE, "", message)], value, JSON)
    if "eventTime" not in item and ":" not in item["type"]:
        message = f"the type {shorten(item['type'])} is no EPCIS document, and what it names is no event"
        return whole([Finding(codes.UNKNOWN_ROOT, "type", message)], value, JSON)
    found = list(check_event(item, bare=True))
    if rules.official is not None:
        found += rules.official.json_bare(item)
    outcome = judge(to_event(item, STANDARD), Around(), rules, found)
    return Listed(JSON, [answer(outcome, value, JSON)])
