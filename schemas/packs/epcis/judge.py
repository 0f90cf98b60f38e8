"""From a canonical event to a record or a refusal: shape, rules by profile, identity, payload."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from schemas import errors
from schemas.canonical import canonical_json, canonical_json_fast, sha256
from schemas.errors import Finding
from schemas.pack import CANONICAL_TYPE, Record, Refusal
from schemas.packs.epcis import codes, rules
from schemas.packs.epcis.dscsa import FROM_ROWS, check_shipment
from schemas.packs.epcis.event import Event, misshapen
from schemas.packs.epcis.event_hash import event_hash
from schemas.packs.epcis.official import Official
from schemas.packs.epcis.options import Options
from schemas.packs.epcis.party import NOBODY, of_event
from schemas.packs.epcis.state import issuer
from schemas.packs.epcis.times import milliseconds
from schemas.packs.epcis.transaction import Transaction, is_shipment, owners_of
from schemas.profiles import Profile

KIND = "event"
MOST_FINDINGS = 100
"""Findings kept of one record: a hostile one may have a million."""
FIELDS = frozenset(
    {"event_hash", "declaration", "event_id", "event_type", "action", "biz_step", "disposition", "read_point",
     "biz_location", "sender", "receiver", "owner", "new_owner", "jurisdiction", "issuer", "event_time", "day"}
)  # fmt: skip
PARTIES = ("sender", "receiver", "owner", "new_owner")
"""Of these, those that name parties."""
NONE = "none"
"""Value of a field that an event does not have."""
UNTIMED = frozenset({errors.MISSING_FIELD, codes.BAD_TIME, codes.TIME_OUT_OF_RANGE, codes.TIME_WITHOUT_ZONE})
"""What may be wrong with an `eventTime` while rules can still judge the rest of the event."""
LONGEST = 1000
"""Characters of a value that may become a key, a group or a part of an object's name."""


Outcome = Record | Refusal | tuple[Finding, ...]
"""What an event comes to; findings alone: its own bytes are refused."""


class Around(NamedTuple):
    """What a document says of all its events."""

    sender: str = ""
    """GLN or other name in its header; empty: none."""
    receiver: str = ""
    ignored: tuple[str, ...] = ()
    """Fields of one's own that its event hashes leave out, sorted."""
    warnings: tuple[Finding, ...] = ()
    """Tolerated deviations of the envelope."""
    about: Callable[[Event], Transaction] | None = None
    """Gives what is said of a shipment beside its event; None: nothing that is kept."""


class Rules(NamedTuple):
    """Options and profile in force."""

    options: Options
    profile: Profile
    official: Official | None = None
    """The option `official_schemas`."""
    state: bool = False
    """Whether rows are kept of items, which are asked later what a shipment's document does not say of its goods."""

    def weigh(self, findings: Iterable[Finding]) -> list[Finding]:
        """Findings as this profile takes them: lenient turns what it lets pass into warnings."""
        if self.profile != "lenient":
            return list(findings)
        return [
            finding._replace(code=warning) if (warning := codes.tolerated(finding.code)) else finding
            for finding in findings
        ]


def judge(event: Event, around: Around, rules_in_force: Rules, found: Sequence[Finding]) -> Outcome:
    """The record of an event of which `found` is already known, or every finding; a refusal where it takes more than
    the event's own bytes to find them again."""
    weighed = rules_in_force.weigh(found)
    bad = _refused(weighed)
    if shape := list(misshapen(event)):
        # What structure has named already is not named twice.
        told = {finding.path for finding in weighed}
        weighed += [finding for finding in shape if not bad or finding.path not in told]
        if any(finding.path != "eventTime" or finding.code not in UNTIMED for finding in shape):
            return few(weighed)  # no rule can judge parts of another shape
    named = {"sender": of_event(event, "source"), "receiver": of_event(event, "destination")}
    sender, receiver = around.sender or named["sender"], around.receiver or named["receiver"]
    computed = "" if shape else event_hash(event, around.ignored)
    if rules_in_force.profile != "schema":
        named_already = {(finding.code, finding.path) for finding in found}
        # What is missing has no form either.
        named_already |= {(errors.BAD_FORMAT, one.path) for one in found if one.code == errors.MISSING_FIELD}
        broken = rules.check(event, rules_in_force.options, sender, receiver, computed)
        weighed += rules_in_force.weigh(one for one in broken if (one.code, one.path) not in named_already)
    if shape:
        return few(weighed)
    moment = milliseconds(event["eventTime"])
    assert moment is not None  # misshapen asks for it
    owners = owners_of(event)
    fields = fields_of(event, computed, sender, receiver, owners, issuer(event), rules_in_force.options)
    for name, text in fields.items():
        if len(text) > LONGEST:
            weighed.append(Finding(errors.OUT_OF_RANGE, name, f"{len(text)} characters; at most {LONGEST}"))
    if _refused(weighed):
        return few(weighed)
    payload: dict[str, Any] = {"kind": KIND, "event": event, "event_hash": computed}
    # What the event says itself is not said again: with or without a header it is one record.
    payload |= {role: name for role, name in (("sender", sender), ("receiver", receiver)) if name != named[role]}
    if around.ignored:
        payload["ignored"] = list(around.ignored)
    shipment = is_shipment(event)
    transaction = around.about(event) if shipment and around.about is not None else Transaction()
    if said := transaction.as_json():
        payload["transaction"] = said
    encoded = encode(payload)
    if shipment and rules_in_force.options.dscsa:
        lacking = rules_in_force.weigh(_lacking(event, transaction, rules_in_force))
        if _refused(lacking):
            return Refusal(few(lacking), encoded, CANONICAL_TYPE, canonical=True)
        weighed += lacking
    return Record(fields, moment, encoded, sha256(encoded), few([*around.warnings, *weighed]))


def _lacking(event: Event, transaction: Transaction, in_force: Rules) -> Iterator[Finding]:
    """What a shipment lacks, as far as that is decided here."""
    if not in_force.state:
        yield from check_shipment(event, transaction)
        return
    yield from (finding for finding in check_shipment(event, transaction) if finding.code not in FROM_ROWS)
    if len(transaction.trade_items) > (most := in_force.options.max_items):
        message = f"master data of {len(transaction.trade_items)} GTINs beside a shipment; {most} are allowed"
        yield Finding(codes.TOO_MANY_ITEMS, "header.masterData", message)


def encode(payload: dict[str, Any]) -> bytes:
    """A payload as canonical JSON."""
    encoded = canonical_json_fast(payload)
    return encoded if encoded.isascii() else canonical_json(payload)  # keys sort otherwise where they are not ASCII


def _refused(findings: Iterable[Finding]) -> bool:
    verdict = errors.judge(findings)
    return verdict is not None and verdict.refused


def fields_of(
    event: Event, computed: str, sender: str, receiver: str, owners: Mapping[str, str], issued_by: str, options: Options
) -> dict[str, str]:
    """The fields of an event's record. `owners`: see owners_of; `issued_by`: see state.issuer."""
    declaration = event.get("errorDeclaration")
    declared = NONE if declaration is None else declaration.get("declarationTime") or "undated"
    return {
        "event_hash": computed,
        "declaration": declared,
        "event_id": event.get("eventID") or NONE,
        "event_type": event["type"],
        "action": event.get("action") or NONE,
        "biz_step": event.get("bizStep") or NONE,
        "disposition": event.get("disposition") or NONE,
        "read_point": event.get("readPoint", {}).get("id") or NONE,
        "biz_location": event.get("bizLocation", {}).get("id") or NONE,
        "sender": sender or NOBODY,
        "receiver": receiver or NOBODY,
        "owner": owners.get("source") or NOBODY,
        "new_owner": owners.get("destination") or NOBODY,
        "jurisdiction": options.jurisdiction_of(receiver),
        "issuer": issued_by,
        "event_time": event["eventTime"],
        "day": event["eventTime"][:10],
    }


def answer(outcome: Outcome, original: bytes, content_type: str, made: bool = False) -> Record | Refusal:
    """What a record gets; where it is refused for what its own bytes show, they are kept. `made`: they are not the
    publisher's, but a transcription of them."""
    if isinstance(outcome, (Record, Refusal)):
        return outcome
    return Refusal(few(outcome), original, content_type, canonical=made)


def few(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The gravest of many findings, in order."""
    kept = list(findings)
    if len(kept) > MOST_FINDINGS:
        kept = sorted(kept, key=lambda finding: errors.GRAVITY[finding.error_class])[:MOST_FINDINGS]
    return tuple(kept)
